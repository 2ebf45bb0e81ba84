"""What comes out of a container is hostile: nothing of it leaves its folder or fills a disk."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profleet.container.archive import CHUNK, Entry, Limits, Link, first_file, pack, unpack

MIB = 2**20
LIMITS = Limits(total_bytes=4 * MIB, file_bytes=2 * MIB, members=100)


def archive(*members: tuple[tarfile.TarInfo, bytes], **options) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **options) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, **fields):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content if kind == tarfile.REGTYPE else b""


def chunks(data: bytes, size: int = 4096):
    return (data[start : start + size] for start in range(0, len(data), size))


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


# -- both ways -----------------------------------------------------------------------------------


NAMES = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}\.[a-z]", fullmatch=True)


@settings(max_examples=60, deadline=None)
@given(
    content=st.dictionaries(NAMES, st.binary(max_size=3000), max_size=6),
    step=st.integers(1, 2000),
)
def test_what_is_packed_comes_out(tmp_path_factory, content, step):
    target = tmp_path_factory.mktemp("out")
    data = b"".join(pack(Entry(name, value) for name, value in content.items()))
    unpacked = unpack(chunks(data, step), target, LIMITS)
    assert files(target) == content
    assert sorted(unpacked.taken) == sorted(content)
    assert unpacked.refused == []


def test_a_file_is_streamed_and_its_folders_come_first(tmp_path):
    big = tmp_path / "model.onnx"
    big.write_bytes(os.urandom(3 * MIB + 7))
    pieces = list(pack([Entry("artifact/model.onnx", big), Link("artifact/link", "/artifact/x")]))
    assert max(map(len, pieces)) <= CHUNK
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        kinds = [(each.name, each.type) for each in tar.getmembers()]
        assert kinds == [
            ("artifact", tarfile.DIRTYPE),
            ("artifact/model.onnx", tarfile.REGTYPE),
            ("artifact/link", tarfile.SYMTYPE),
        ]
        assert tar.extractfile("artifact/model.onnx").read() == big.read_bytes()
        assert {(each.uid, each.gid) for each in tar.getmembers()} == {(0, 0)}


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(bytes(2 * MIB))
    pieces = pack([Entry("model.onnx", file)])
    next(pieces)
    next(pieces)
    os.truncate(file, MIB)
    with pytest.raises(OSError, match="shorter"):
        list(pieces)


# -- hostile -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hostile", "why"),
    [
        (member("../outside"), "path"),
        (member("a/../../outside"), "path"),
        (member("/outside"), "path"),
        (member("a\\..\\outside"), "path"),
        (member("a\nb"), "path"),
        (member("/".join("abcdefghij")), "path"),
        (member("n" * 256), "path"),
        (member("link", kind=tarfile.SYMTYPE, linkname="/etc/passwd"), "a link to /etc/passwd"),
        (member("hard", kind=tarfile.LNKTYPE, linkname="good"), "a link to good"),
        (member("device", kind=tarfile.CHRTYPE, devmajor=1, devminor=3), "device"),
        (member("disk", kind=tarfile.BLKTYPE), "device"),
        (member("pipe", kind=tarfile.FIFOTYPE), "pipe"),
        (member("job.json/x"), "no folder"),
        (member("good"), "already"),
        (member("job.json"), "already"),
        (member("big", bytes(2 * MIB + 1)), "2097153 bytes"),
    ],
)
def test_one_hostile_member_is_refused_and_the_rest_is_taken(tmp_path, hostile, why):
    target = tmp_path / "target"
    target.mkdir()
    (target / "job.json").write_text("mine")
    data = archive(member("good", b"1"), hostile, member("later", b"2"))
    unpacked = unpack(chunks(data), target, LIMITS)
    assert files(target) == {"good": b"1", "later": b"2", "job.json": b"mine"}
    assert len(unpacked.refused) == 1
    assert why in unpacked.refused[0]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["target"]
    assert not any(path.is_symlink() for path in target.rglob("*"))


def test_a_link_that_is_there_already_is_not_written_through(tmp_path):
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (target / "artifact").symlink_to(outside)
    (target / "file").symlink_to(outside / "made")
    data = archive(member("artifact/x"), member("file"))
    unpacked = unpack([data], target, LIMITS)
    assert len(unpacked.refused) == 2
    assert list(outside.iterdir()) == []


def test_what_was_packed_before_is_skipped_without_a_word(tmp_path):
    data = archive(member("job.json"), member("artifact/x"), member("profile.json"))
    unpacked = unpack([data], tmp_path, LIMITS, frozenset({"job.json", "artifact"}))
    assert unpacked.taken == ["profile.json"]
    assert unpacked.refused == []


def test_modes_and_owners_of_the_archive_do_not_count(tmp_path):
    data = archive(member("x", mode=0o6777, uid=0, gid=0))
    unpack([data], tmp_path, LIMITS)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) & ~0o644 == 0


def test_too_many_members_are_cut_off(tmp_path):
    data = archive(*(member(f"f{number}") for number in range(LIMITS.members + 50)))
    unpacked = unpack(chunks(data), tmp_path, LIMITS)
    assert len(unpacked.taken) == LIMITS.members
    assert "more than 100" in unpacked.refused[-1]


def test_too_many_bytes_are_cut_off(tmp_path):
    data = archive(*(member(f"f{number}", bytes(MIB)) for number in range(10)))
    unpacked = unpack(chunks(data), tmp_path, LIMITS)
    assert sum(map(len, files(tmp_path).values())) <= LIMITS.total_bytes
    assert len(unpacked.taken) == 4
    assert "in all" in unpacked.refused[-1]


def test_refusals_are_counted_up_to_a_number(tmp_path):
    links = [member(f"l{n}", kind=tarfile.SYMTYPE, linkname="/") for n in range(90)]
    unpacked = unpack(chunks(archive(*links)), tmp_path, LIMITS)
    assert len(unpacked.refused) == 21
    assert unpacked.refused[-1] == "and more"


def endless(first: bytes):
    """An archive that goes on for 100 GB unless it is cut off; counts what was asked for."""
    yield first
    for _ in range(100_000):
        endless.given += MIB
        yield bytes(MIB)


@pytest.mark.parametrize("size", [10 * 2**30, 2**62, 3 * MIB])
def test_a_file_of_ten_gigabytes_is_cut_off_without_filling_memory(tmp_path, size):
    info = tarfile.TarInfo("profile.json")
    info.size = size
    endless.given = 0
    tracemalloc.start()
    unpacked = unpack(endless(info.tobuf(tarfile.GNU_FORMAT)), tmp_path, LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert files(tmp_path) == {}
    assert unpacked.refused
    assert endless.given < 3 * LIMITS.total_bytes
    assert peak < 16 * MIB


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
def test_a_header_of_ten_gigabytes_is_not_read_into_memory(tmp_path, kind):
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, 10 * 2**30
    endless.given = 0
    tracemalloc.start()
    unpacked = unpack(endless(info.tobuf(tarfile.GNU_FORMAT)), tmp_path, LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert unpacked.refused
    assert peak < 8 * MIB


def test_headers_without_end_are_cut_off(tmp_path):
    long = tarfile.TarInfo("././@LongLink")
    long.type, long.size = tarfile.GNUTYPE_LONGNAME, 8
    block = long.tobuf(tarfile.GNU_FORMAT) + b"name".ljust(512, b"\0")
    unpacked = unpack((block for _ in range(10**6)), tmp_path, LIMITS)
    assert unpacked.refused


def test_a_file_of_negative_size_is_refused(tmp_path):
    info, _ = member("x", b"")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12  # base-256, -1
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    unpacked = unpack([bytes(header) + bytes(1024)], tmp_path, LIMITS)
    assert unpacked.refused
    assert files(tmp_path) == {}


@settings(max_examples=150, deadline=None)
@given(noise=st.binary(max_size=3000), cut=st.integers(0, 4000), at=st.integers(0, 3000))
def test_damaged_archives_never_raise(tmp_path_factory, noise, cut, at):
    target = tmp_path_factory.mktemp("out")
    data = bytearray(archive(member("a/b", b"1" * 700), member("c")))
    data[at : at + len(noise)] = noise
    unpack([bytes(data[:cut]) if cut < 3000 else bytes(data)], target, LIMITS)
    assert all(target in path.parents for path in target.rglob("*"))
    assert not any(path.is_symlink() for path in target.rglob("*"))


def test_a_broken_off_archive_leaves_no_half_file(tmp_path):
    data = archive(member("whole"), member("half", bytes(MIB)))
    unpacked = unpack([data[: len(data) // 2]], tmp_path, LIMITS)
    assert files(tmp_path) == {"whole": b"x"}
    assert unpacked.refused


def test_the_first_file_of_an_archive():
    data = archive(member("complete.json", b"{}"))
    assert first_file([data], 100) == b"{}"
    assert first_file([data], 1) is None
    assert first_file([archive(member("x", kind=tarfile.SYMTYPE, linkname="y"))], 100) is None
    assert first_file([b"nonsense" * 100], 100) is None
    assert first_file([], 100) is None
