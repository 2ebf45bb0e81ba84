"""The coordinator: fresh worker processes one after another, then one result.

It blocks on the pipes of the worker and wakes only when the worker says something (at the start of
a phase, and every five seconds within one) or ends. It holds no framework and, while a worker
measures, not even numpy.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from profleet_runner import environment, host
from profleet_runner.job import Job, read_job
from profleet_runner.packages import installed
from profleet_runner.protocol import (
    ASSIGNMENT,
    PROCESSES,
    Failure,
    Progress,
    log,
    send,
    write_json,
)
from profleet_runner.resources import die_with_parent, out_of_memory, says_out_of_memory

PARENT = "PROFLEET_PARENT_PID"
"""Process number of the host, where it wants the coordinator to die with it."""
LOG_TAIL = 8192
OUTPUTS = ("profile.json", "samples.npz", "environment.json", "failure.json")


class Interrupted(BaseException):
    """SIGTERM or SIGINT; not an ``Exception``, so that nothing swallows it."""


def run_job(folder: Path) -> int:
    """Execute the job in ``folder``; returns the exit code of the protocol."""
    parent = os.environ.pop(PARENT, None)
    if parent is not None:
        die_with_parent(int(parent))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    try:
        _clear(folder)
        _execute(folder)
    except Failure as failure:
        return _fail(folder, failure)
    except Interrupted as interrupted:
        return _fail(
            folder, Failure("interrupted", f"Interrupted by {interrupted}.", _kept(folder))
        )
    except Exception as error:  # noqa: BLE001 -- the outermost place: traceback and exit code 1
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}"
        return _fail(folder, Failure("bug", f"The runner failed: {said}", "See the traceback."))
    return 0


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    for other in (signal.SIGTERM, signal.SIGINT):
        signal.signal(other, signal.SIG_IGN)  # once is enough: let the clean-up finish
    raise Interrupted(signal.Signals(number).name)


def _clear(folder: Path) -> None:
    """Remove the output of an earlier execution: results must not mix."""
    try:
        for name in OUTPUTS:
            (folder / name).unlink(missing_ok=True)
        if (folder / PROCESSES).exists():
            shutil.rmtree(folder / PROCESSES)
    except OSError as error:
        raise Failure(
            "storage",
            f"The earlier output in {folder} cannot be removed: {error.strerror or error}.",
            "Give the runner a folder that it can write.",
        ) from error


def _fail(folder: Path, failure: Failure) -> int:
    with contextlib.suppress(Failure):
        if folder.is_dir():
            write_json(folder / "failure.json", failure.document())
    log(f"{failure.kind}: {failure.message}" + (f" {failure.hint}" if failure.hint else ""))
    return failure.exit_code


def _kept(folder: Path) -> str | None:
    finished = list((folder / PROCESSES).glob("*.npz"))
    return f"What was measured so far is in {PROCESSES}/." if finished else None


# -- one job -------------------------------------------------------------------------------------


def _execute(folder: Path) -> None:
    started, started_at = time.monotonic(), _now()
    job = read_job(folder)
    packages = installed(job.framework.packages)
    before = environment.capture()
    for number in range(job.processes):
        run_worker(job, number, started)

    progress = Progress(sys.stdout, started, job.measure.budget_seconds)
    progress(phase="write", process=job.processes, processes=job.processes)
    after = environment.capture()
    from profleet_runner import aggregate

    results = aggregate.read_results(job)
    write_json(
        folder / "environment.json",
        {"before": before, "after": after, "warnings": environment.warnings(before, after)},
    )
    aggregate.write_samples(job, folder / "samples.npz")
    document = aggregate.measurement(job, results, packages, started_at, _now())
    write_json(folder / "profile.json", document)
    shutil.rmtree(folder / PROCESSES, ignore_errors=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# -- one worker ----------------------------------------------------------------------------------


def run_worker(job: Job, number: int, started: float) -> None:
    """Start worker ``number``, forward its events and its log, and wait until it has ended.

    Raises:
        Failure: the worker's own, or what its death means.
        Interrupted: the worker is gone by then.
    """
    kills = host.oom_kills()
    with _worker(job, number, started) as (process, events, output):
        failure, tail = _listen(events, output)
        code = process.wait()
    if failure is not None:
        raise failure
    if code:
        raise death(code, tail, kills, host.oom_kills(), job.memory_limit_bytes)


@contextlib.contextmanager
def _worker(
    job: Job, number: int, started: float
) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """A worker in a session of its own; nothing of its process group is alive afterwards."""
    events, events_end = os.pipe()
    output, output_end = os.pipe()
    given = {
        "coordinator": os.getpid(),
        "events_fd": events_end,
        "started": started,
        "spawned": time.monotonic(),
        "deadline": started + job.measure.budget_seconds,
    }
    source = str(Path(__file__).parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    process = subprocess.Popen(
        [sys.executable, "-m", "profleet_runner.worker", str(job.folder), str(number)],
        stdin=subprocess.DEVNULL,
        stdout=output_end,
        stderr=output_end,
        pass_fds=(events_end,),
        start_new_session=True,
        env={
            **os.environ,
            "PYTHONPATH": f"{source}{os.pathsep}{inherited}" if inherited else source,
            ASSIGNMENT: json.dumps(given),
        },
    )
    os.close(events_end)
    os.close(output_end)
    guard = _guard(process.pid)
    try:
        yield process, events, output
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        guard.communicate()
        os.close(events)
        os.close(output)


def _guard(worker: int) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one by a moment, to kill the group of the worker.

    The kernel kills the worker with the coordinator, but not what the worker started. The guard
    sleeps until its standard input ends: when the coordinator closes it, or is killed. It has a
    session of its own, so that who kills the group of the coordinator does not kill the guard.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", f"read -r _; kill -s KILL -- -{worker} 2>/dev/null"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _listen(events: int, output: int) -> tuple[Failure | None, str]:
    """Forward events and log until the worker closes its end of the events.

    Returns:
        The failure that the worker reported, and the end of its log.
    """
    failure: Failure | None = None
    pending, tail = b"", b""
    with selectors.DefaultSelector() as selector:
        selector.register(events, selectors.EVENT_READ)
        selector.register(output, selectors.EVENT_READ)
        while events in {key.fd for key in selector.get_map().values()}:
            for key, _ in selector.select():
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fd)
                elif key.fd == output:
                    tail = _forward(data, tail)
                else:
                    *lines, pending = (pending + data).split(b"\n")
                    for line in lines:
                        failure = _event(line) or failure
    os.set_blocking(output, False)
    with contextlib.suppress(BlockingIOError):
        while data := os.read(output, 65536):
            tail = _forward(data, tail)
    return failure, tail.decode(errors="replace")


def _forward(data: bytes, tail: bytes) -> bytes:
    with contextlib.suppress(OSError):
        sys.stderr.buffer.write(data)
        sys.stderr.buffer.flush()
    return (tail + data)[-LOG_TAIL:]


def _event(line: bytes) -> Failure | None:
    event: dict[str, Any] = json.loads(line)
    if event["event"] == "failure":
        return Failure(event["kind"], event["message"], event["hint"])
    send(sys.stdout, event)
    return None


def death(
    code: int, tail: str, kills_before: int | None, kills_after: int | None, limit: int | None
) -> Failure:
    """Say what the end of a worker means that reported no failure itself.

    Args:
        code: as :mod:`subprocess` gives it, negative for a signal.
        tail: end of the worker's log.
        kills_before: the cgroup's count of processes killed for memory, before the worker.
        kills_after: the same, after it.
        limit: memory limit of the job, bytes.
    """
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    last = tail.strip().splitlines()[-1:]
    if code == -signal.SIGKILL:
        counted = kills_before is not None and kills_after is not None
        if counted and (kills_after or 0) > (kills_before or 0):
            group = host.memory_limit()
            known = [each for each in (limit, group) if each is not None]
            used = host.memory_peak() if group is not None else None
            return out_of_memory(
                min(known, default=None),
                "",
                peak if used is None else used,
                "the kernel killed the process (SIGKILL)",
                "were resident" if used is None else "were in use, files included",
            )
        why = (
            "the kernel counts no process of this cgroup killed for memory"
            if counted
            else "whether the kernel did it for lack of memory cannot be told here"
        )
        return Failure(
            "worker_died",
            f"A worker was killed by SIGKILL; {why}. It had used at most {peak >> 20} MiB.",
            "Look for who killed it (dmesg), then execute the job again.",
        )
    if says_out_of_memory(tail):
        return out_of_memory(limit, last[0] if last else "", peak)
    if code < 0:
        name = signal.Signals(-code).name
        said = f": {last[0]}" if last else ""
        return Failure("worker_died", f"A worker died of {name}{said}.", "See the log.")
    said = f": {last[0]}" if last else ""
    return Failure("bug", f"A worker ended with exit code {code}{said}", "See the traceback.")
