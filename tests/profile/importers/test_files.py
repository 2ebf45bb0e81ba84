"""Archives and tables that somebody else made."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from profleet.errors import StoreError
from profleet.profile.importers.files import number, read_bytes, read_files, read_table


def archive(path, *members, mode="w:gz"):
    """Write (name, content or TarInfo changes) as a tar archive."""
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                for key, value in content.items():
                    setattr(info, key, value)
                tar.addfile(info)
    return path


GOOD = [("a/x.csv", b"1"), ("a/y.json", b"22"), ("a/z.exe", b"333")]


@pytest.mark.parametrize("mode", ["w:gz", "w", "w:xz"])
def test_files_are_read_from_archives_and_folders_alike(tmp_path, mode):
    packed = archive(tmp_path / "x.tar", *GOOD, mode=mode)
    (tmp_path / "d" / "a").mkdir(parents=True)
    for name, content in GOOD:
        (tmp_path / "d" / name).write_bytes(content)
    expected = [("a/x.csv", b"1"), ("a/y.json", b"22")]
    assert list(read_files(packed, (".csv", ".json"))) == expected
    assert list(read_files(tmp_path / "d", (".csv", ".json"))) == expected


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (("../x.csv", b"1"), "the member '../x.csv' leads outside"),
        (("/etc/x.csv", b"1"), "the member '/etc/x.csv' leads outside"),
        (("a/../../x.csv", b"1"), "leads outside"),
        (("a\\..\\x.csv", b"1"), "leads outside"),
        (("l.csv", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}), "neither file nor"),
        (("l.csv", {"type": tarfile.LNKTYPE, "linkname": "a/x.csv"}), "neither file nor folder"),
        (("p.csv", {"type": tarfile.FIFOTYPE}), "neither file nor folder"),
        (("d.csv", {"type": tarfile.CHRTYPE}), "neither file nor folder"),
        (("a/x.csv", b"other"), "'a/x.csv' is there twice"),
    ],
    ids=["up", "absolute", "inside up", "backslash", "symlink", "hard link", "pipe", "device",
         "twice"],
)  # fmt: skip
def test_hostile_members_are_refused_by_name(tmp_path, member, message):
    path = archive(tmp_path / "x.tar.gz", *GOOD, member)
    with pytest.raises(StoreError) as error:
        list(read_files(path, (".csv", ".json")))
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert not (tmp_path / "x.csv").exists()


def test_a_member_that_claims_to_be_huge_is_refused_before_it_is_read(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        info = tarfile.TarInfo("big.csv")
        info.size = 2**40
        tar.fileobj.write(info.tobuf())  # the header alone
    with pytest.raises(StoreError, match=r"'big.csv' is larger than 64 MiB"):
        list(read_files(tmp_path / "x.tar", (".csv",)))


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_an_archive_cut_anywhere_is_truncated(tmp_path, mode):
    """Also at the seams between members, where tarfile itself sees nothing wrong."""
    whole = archive(tmp_path / "x.tar", *GOOD, mode=mode).read_bytes()
    data_ends = 3 * 1024 if mode == "w" else len(whole)
    for size in {0, 1, 100, 512, 1024, 2048, data_ends // 2, data_ends - 1, data_ends}:
        if size >= len(whole):
            continue
        (tmp_path / "cut.tar").write_bytes(whole[:size])
        with pytest.raises(StoreError, match="truncated"):
            list(read_files(tmp_path / "cut.tar", (".csv", ".json")))


def test_a_missing_archive(tmp_path):
    with pytest.raises(StoreError, match="There is no file or folder"):
        list(read_files(tmp_path / "none.tar", (".csv",)))


def test_tables_are_read_plain_and_gzipped():
    text = b'\xef\xbb\xbfa,b\r\n1,"x,\ny"\n'
    expected = [{"a": "1", "b": "x,\ny"}]
    assert read_table("t", text, ("a", "b")) == expected
    assert read_table("t", gzip.compress(text), ("a", "b")) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,c\n1,2\n", "t: the column 'b' is missing. Expected: a,b. Found: a,c."),
        (b"b,a\n1,2\n", "t: columns are not these"),
        (b"", "Found: nothing"),
        (b"a,b\n1,2\n3\n", "t, line 3: 1 values in place of 2"),
        (b'a,b\n1,"2\n', "t, line 2: unexpected end of data"),
        (b"a,b\n\xff,1\n", "t is not text in UTF-8 (byte 4)"),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 9999, mtime=0)[:-20], "t is truncated or damaged"),
    ],
)
def test_wrong_tables_are_one_error_with_the_place(data, message):
    with pytest.raises(StoreError) as error:
        read_table("t", data, ("a", "b"))
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "nan", "inf", "1e999"])
def test_numbers_are_above_zero_and_finite(text):
    with pytest.raises(StoreError, match=r"t, line 7: ms is '.*', not a number above 0"):
        number(text, "t", 7, "ms")


def test_what_is_no_archive_is_one_line(tmp_path):
    junk = tmp_path / "junk.tar.gz"
    junk.write_bytes(bytes(range(256)) * 50)
    with pytest.raises(StoreError, match="truncated or no tar archive") as caught:
        list(read_files(junk, (".json",)))
    assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_a_file_and_a_table_of_junk(tmp_path):
    with pytest.raises(StoreError, match="is a folder; name the file"):
        read_bytes(tmp_path)
    with pytest.raises(StoreError, match=r"Found: a\?\?b\.") as caught:
        read_table("t", b"a\x00\x1bb\n", ("a", "b"))
    assert str(caught.value).isprintable()
