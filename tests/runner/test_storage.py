"""Results that cannot be written, for real: a file system that is full or read-only."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import pytest

import jobs
from profleet.paths import data_dir
from profleet_runner.protocol import Failure, write_json


@pytest.fixture
def disk(tmp_path):
    """A file system of 16 MiB (needs the right to mount)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs; run as root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder, but=0):
    with (folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    if but:
        os.truncate(folder / "filler", (folder / "filler").stat().st_size - but)


def execute(folder):
    return subprocess.run(
        [sys.executable, "-m", "profleet_runner", str(folder)],
        capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": str(data_dir("runners"))},
    )  # fmt: skip


def test_full_disk(disk):
    jobs.write_job(disk / "job", idle_gaps_ms=[])
    fill(disk, but=4096)
    done = execute(disk / "job")
    assert done.returncode == 8, done.stderr
    assert "No space left on device" in done.stderr
    assert "Free space" in done.stderr
    assert "Traceback" not in done.stderr.replace("OSError: [Errno 28]", "").split("storage:")[-1]
    assert not (disk / "job" / "profile.json").exists()
    assert not list((disk / "job").glob(".*partial"))
    (disk / "filler").unlink()
    assert execute(disk / "job").returncode == 0, "works again once there is space"


def test_read_only_folder(disk):
    jobs.write_job(disk / "job", processes=1, idle_gaps_ms=[])
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = execute(disk / "job")
    assert done.returncode == 8, done.stderr
    assert "read-only" in done.stderr.lower()


def test_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    (tmp_path / ".a.json.partial").mkdir()
    with pytest.raises(Failure, match=r"a\.json could not be written") as caught:
        write_json(path, {"a": 2})
    assert caught.value.kind == "storage"
    assert json.loads(path.read_text()) == {"a": 1}
