from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profleet.container.requirements import Requirement, fetch, parse, sha256_of_file
from profleet.errors import EngineError

HASH = "a" * 64
names = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True).filter(lambda name: len(name) < 40)
versions = st.from_regex(r"[0-9]+(\.[0-9]+){0,3}(\+cpu)?", fullmatch=True)
digests = st.frozensets(st.from_regex(r"[0-9a-f]{64}", fullmatch=True), min_size=1, max_size=3)


@given(st.dictionaries(names, st.tuples(versions, digests), min_size=1, max_size=6))
def test_what_is_written_is_read_back(packages: dict[str, tuple[str, frozenset[str]]]):
    lines = ["# a comment", ""]
    for name, (version, hashes) in packages.items():
        options = " \\\n".join(f"    --hash=sha256:{each}" for each in sorted(hashes))
        lines.append(f"{name}=={version} \\\n{options}")
    wanted = [Requirement(name, *packages[name]) for name in sorted(packages)]
    assert list(parse("\n".join(lines), "here")) == wanted


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "numpy==2.0",
        f"numpy>=2.0 --hash=sha256:{HASH}",
        f"numpy==2.* --hash=sha256:{HASH}",
        f"numpy==2.0 --hash=md5:{HASH}",
        f"numpy==2.0 --hash=sha256:{HASH[:-1]}",
        f"numpy==2.0 --hash=sha256:{HASH} --hash=sha256:xyz",
        f"numpy @ https://example.org/numpy.whl --hash=sha256:{HASH}",
        "--index-url https://example.org/simple",
        "-r other.txt",
        f"numpy==2.0; python_version<'3' --hash=sha256:{HASH}",
    ],
)
def test_what_is_not_locked_is_refused(line: str):
    with pytest.raises(EngineError, match=r"^here: '.*' is not NAME==VERSION with") as error:
        parse(f"fine==1 --hash=sha256:{HASH}\n{line}\n", "here")
    assert error.value.kind == "build"


def test_a_package_is_locked_once():
    text = f"a-b==1 --hash=sha256:{HASH}\nA_b==2 --hash=sha256:{HASH}\n"
    with pytest.raises(EngineError, match="a-b appears twice"):
        parse(text, "here")


def test_an_empty_lock_is_refused():
    with pytest.raises(EngineError, match="names no package"):
        parse("# nothing\n", "here")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip knows."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def make_wheel(folder: Path, version: str = "1.0", content: str = "") -> Path:
    path = folder / f"tiny-{version}-py3-none-any.whl"
    about = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", content)
        archive.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any"
        )
        archive.writestr(f"{about}/RECORD", "")
    return path


def tiny(wheel: Path, version: str = "1.0") -> Requirement:
    return Requirement("tiny", version, frozenset({sha256_of_file(wheel)}))


def test_a_wheel_is_fetched_once(shelf: Path, tmp_path: Path):
    wanted = tiny(make_wheel(shelf))
    said: list[str] = []
    (first,) = fetch([wanted], "amd64", said.append, tmp_path)
    next(shelf.iterdir()).unlink()
    (second,) = fetch([wanted], "amd64", said.append, tmp_path)
    assert first == second
    assert {hashlib.sha256(first.read_bytes()).hexdigest()} == wanted.sha256
    assert said == ["downloading tiny==1.0"]


def test_a_damaged_wheel_is_fetched_again(shelf: Path, tmp_path: Path):
    wanted = tiny(make_wheel(shelf))
    (path,) = fetch([wanted], "amd64", lambda _: None, tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    (path,) = fetch([wanted], "amd64", lambda _: None, tmp_path)
    assert {sha256_of_file(path)} == wanted.sha256


def test_another_wheel_of_the_same_version_is_refused(shelf: Path, tmp_path: Path):
    wanted = tiny(make_wheel(shelf, content="good = 1"))
    make_wheel(shelf, content="evil = 1")
    with pytest.raises(EngineError, match="cannot be fetched") as error:
        fetch([wanted], "amd64", lambda _: None, tmp_path)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "wheels").rglob("*.whl"))


def test_a_local_version_is_looked_for_on_its_own_index(shelf: Path, tmp_path: Path):
    wanted = Requirement("tiny", "1.0+cpu", frozenset({HASH}))
    with pytest.raises(EngineError, match=r"tiny==1\.0\+cpu is a build .* PIP_EXTRA_INDEX_URL"):
        fetch([wanted], "amd64", lambda _: None, tmp_path)


def test_a_cache_that_cannot_be_written_is_said(shelf: Path, tmp_path: Path):
    (tmp_path / "wheels").write_text("a file where a folder should be")
    with pytest.raises(EngineError, match="PROFLEET_CACHE"):
        fetch([tiny(make_wheel(shelf))], "amd64", lambda _: None, tmp_path)


def test_an_interpreter_without_pip_is_named(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bare = tmp_path / "bare" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare.parents[1]], check=True)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(EngineError, match=f"{bare} does not have"):
        fetch([tiny(make_wheel(shelf))], "amd64", lambda _: None, tmp_path)
