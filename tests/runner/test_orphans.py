"""Whoever is killed, nothing that a job started stays alive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import jobs
from profleet.paths import data_dir

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")

WORKER_WITH_A_CHILD = """
import json, os, pathlib, subprocess
if "PROFLEET_RUNNER_WORKER" in os.environ:
    child = subprocess.Popen(["sleep", "300"])
    pids = {"coordinator": os.getppid(), "worker": os.getpid(), "child": child.pid}
    path = pathlib.Path(os.environ["PIDS"])
    path.with_suffix(".partial").write_text(json.dumps(pids))
    path.with_suffix(".partial").rename(path)
"""
HOST = """
import sys
from pathlib import Path
from profleet.execute.process import ProcessExecutor
ProcessExecutor().execute(Path(sys.argv[1]), timeout_seconds=60, on_event=lambda event: None)
"""


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"  # a zombie only waits to be collected


def wait_until(holds):
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "it did not happen within 30 s"
        time.sleep(0.02)


def guards(worker: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if f"KILL -- -{worker} ".encode() in command:
            found.append(int(path.parent.name))
    return found


@pytest.fixture
def start(tmp_path):
    """Start a long job from a host; gives the host, and who is who."""
    folder, site, pids = tmp_path / "job", tmp_path / "site", tmp_path / "pids.json"
    folder.mkdir()
    site.mkdir()
    (site / "sitecustomize.py").write_text(WORKER_WITH_A_CHILD)
    jobs.write_job(folder, lambda job: job["measure"].update(min_seconds=50.0, budget_seconds=50.0))
    paths = os.pathsep.join([str(site), str(data_dir("runners"))])
    process = subprocess.Popen(
        [sys.executable, "-c", HOST, str(folder)],
        env={**os.environ, "PYTHONPATH": paths, "PIDS": str(pids)},
        start_new_session=True,
    )
    wait_until(pids.exists)
    known = json.loads(pids.read_text())
    wait_until(lambda: guards(known["worker"]))
    assert all(map(alive, known.values()))
    yield {"host": process.pid, **known}
    process.kill()
    process.wait()


@pytest.mark.parametrize("victim", ["host", "coordinator", "worker"])
def test_nothing_is_left_behind(start, victim):
    os.kill(start[victim], signal.SIGKILL)
    wait_until(lambda: not any(alive(start[who]) for who in ("coordinator", "worker", "child")))
    wait_until(lambda: not guards(start["worker"]))


def test_runner_whose_host_is_gone_leaves_at_once(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    jobs.write_job(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "profleet_runner", str(tmp_path)],
        env={
            **os.environ,
            "PYTHONPATH": str(data_dir("runners")),
            "PROFLEET_PARENT_PID": str(ended.pid),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"Process {ended.pid}" in done.stderr
    assert not (tmp_path / "profile.json").exists()
