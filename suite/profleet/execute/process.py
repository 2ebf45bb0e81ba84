"""The process executor: a runner in a local process of its own session."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from profleet.errors import ConfigError
from profleet.execute.executor import LOG, LONGEST_LINE, Exit, OnEvent, parse_event
from profleet.paths import data_dir

GRACE_SECONDS = 5.0
PARENT = "PROFLEET_PARENT_PID"
"""Tells the runner with whom to die; the same name stands in the runner."""


@dataclass(frozen=True)
class ProcessExecutor:
    """Executes ``python -m profleet_runner JOB_DIR`` and blocks until it ends.

    The runner leads a session of its own, so a Ctrl-C at the terminal reaches only this side,
    which then stops the runner and everything it started. If this side dies without a chance to
    do so, the runner, which was told this side's process number, is killed by the kernel (Linux).
    """

    python: str | None = None

    def execute(self, job_dir: Path, *, timeout_seconds: float, on_event: OnEvent) -> Exit:
        """Execute the job in ``job_dir``; see :class:`profleet.execute.executor.Executor`.

        Raises:
            ConfigError: the interpreter cannot be started.
        """
        log = job_dir / LOG
        interpreter = self.python or sys.executable
        timed_out = threading.Event()
        with log.open("wb") as log_file:
            try:
                process = subprocess.Popen(
                    [interpreter, "-P", "-m", "profleet_runner", str(job_dir)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log_file,
                    cwd=job_dir,
                    env=_environment(),
                    start_new_session=True,
                )
            except OSError as error:
                raise ConfigError(
                    f"executor.python: cannot start '{interpreter}': {error.strerror}. "
                    "Name a Python interpreter that has the framework installed."
                ) from None

            def expire() -> None:
                timed_out.set()
                _signal_group(process, signal.SIGTERM)
                if not _ended_within(process, GRACE_SECONDS):
                    _signal_group(process, signal.SIGKILL)

            timer = threading.Timer(timeout_seconds, expire)
            timer.daemon = True
            timer.start()
            try:
                assert process.stdout is not None
                for line in iter(partial(process.stdout.readline, LONGEST_LINE), b""):
                    event = parse_event(line)
                    if event is None:
                        log_file.write(line)
                        log_file.flush()
                    else:
                        on_event(event)
                code = process.wait()
            except BaseException:
                stop(process)
                raise
            finally:
                timer.cancel()
                _signal_group(process, signal.SIGKILL)  # whatever a runner left behind
                assert process.stdout is not None
                process.stdout.close()
        return Exit(code, timed_out.is_set(), log)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the runner to end, then insist; returns when it has."""
    _signal_group(process, signal.SIGTERM)
    if not _ended_within(process, GRACE_SECONDS):
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _ended_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    inherited = environment.get("PYTHONPATH")
    runners = str(data_dir("runners"))
    environment["PYTHONPATH"] = f"{runners}{os.pathsep}{inherited}" if inherited else runners
    environment[PARENT] = str(os.getpid())
    return environment
