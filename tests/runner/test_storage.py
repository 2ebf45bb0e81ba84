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


def test_full_disk(small_disk):
    jobs.write_job(small_disk / "job", idle_gaps_ms=[])
    fill(small_disk, but=4096)
    done = execute(small_disk / "job")
    assert done.returncode == 8, done.stderr
    assert "No space left on device" in done.stderr
    assert "Free space" in done.stderr
    assert "Traceback" not in done.stderr.replace("OSError: [Errno 28]", "").split("storage:")[-1]
    assert not (small_disk / "job" / "profile.json").exists()
    assert not list((small_disk / "job").glob(".*partial"))
    (small_disk / "filler").unlink()
    assert execute(small_disk / "job").returncode == 0, "works again once there is space"


def test_read_only_folder(small_disk):
    jobs.write_job(small_disk / "job", processes=1, idle_gaps_ms=[])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = execute(small_disk / "job")
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
