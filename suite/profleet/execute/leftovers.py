"""What a runner started and left running, in whatever session, found by what it inherited.

Processes that put themselves into a session of their own are in no process group that could be
killed. They still have the environment that the runner got, which names the job (Linux).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

JOB_DIR: Final = "PROFLEET_JOB_DIR"
"""The variable of the runner's environment that marks everything it starts."""
PROC = Path("/proc")
END_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 0.01


def end_leftovers(job_dir: Path) -> None:
    """Kill every process that was started for ``job_dir``; returns when they have ended.

    One that the kernel does not end in time (it waits for a device) stays behind.
    """
    end = time.monotonic() + END_SECONDS
    while left := list(_marked(job_dir)):
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            return
        time.sleep(PAUSE_SECONDS)


def _marked(job_dir: Path) -> Iterator[int]:
    """Yield the living processes whose environment names the job: one that has ended has none."""
    mark = os.fsencode(f"{JOB_DIR}={job_dir}")
    for entry in PROC.glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in entry.read_bytes().split(b"\0"):
                yield int(entry.parent.name)
