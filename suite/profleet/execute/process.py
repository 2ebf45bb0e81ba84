"""The process executor: a runner in a local process of its own session."""

from __future__ import annotations

import math
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from profleet.errors import ConfigError
from profleet.execute.executor import KILLED, LOG, Exit, OnEvent
from profleet.execute.leftovers import JOB_DIR, end_leftovers
from profleet.execute.output import Output
from profleet.paths import data_dir

GRACE_SECONDS = 5.0
LOOK_SECONDS: Final = 1.0
PARENT = "PROFLEET_PARENT_PID"
"""Tells the runner with whom to die; the same name stands in the runner."""
PIECE: Final = 2**16
MOST_IN_A_PIPE: Final = 2**20
"""No more can wait in a pipe than this (Linux, unprivileged): what is beyond came later."""


@dataclass(frozen=True)
class ProcessExecutor:
    """Executes ``python -m profleet_runner JOB_DIR`` and blocks until it ends.

    The runner leads a session of its own, so a Ctrl-C at the terminal reaches only this side,
    which then stops the runner and everything it started. If this side dies without a chance to
    do so, the runner, which was told this side's process number, is killed by the kernel (Linux).

    The job is over when the runner's process has ended: what it started and left is killed, even
    where it holds the output open or has a session of its own.
    """

    python: str | None = None

    def execute(self, job_dir: Path, *, timeout_seconds: float, on_event: OnEvent) -> Exit:
        """Execute the job in ``job_dir``; see :class:`profleet.execute.executor.Executor`.

        Raises:
            ConfigError: the interpreter cannot be started.
        """
        log = job_dir / LOG
        with log.open("wb", buffering=0) as log_file, Output(log_file, on_event) as output:
            process = self._started(job_dir)
            with _watched(process, output) as runner:
                timer = threading.Timer(min(timeout_seconds, threading.TIMEOUT_MAX), runner.expire)
                timer.daemon = True
                try:
                    timer.start()
                    runner.follow()
                except BaseException:
                    output.ignore_events()
                    runner.stop()
                    raise
                finally:
                    timer.cancel()
                    runner.signal(signal.SIGKILL)  # whatever it left behind
                    end_leftovers(job_dir)
            code = process.poll()
        return Exit(KILLED if code is None else code, runner.timed_out, log)

    def _started(self, job_dir: Path) -> subprocess.Popen[bytes]:
        interpreter = self.python or sys.executable
        try:
            return subprocess.Popen(
                [interpreter, "-P", "-m", "profleet_runner", str(job_dir)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=job_dir,
                env=_environment(job_dir),
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigError(
                f"executor.python: cannot start '{interpreter}': {error.strerror}. "
                "Name a Python interpreter that has the framework installed."
            ) from None


def _watched(process: subprocess.Popen[bytes], output: Output) -> _Watched:
    try:
        return _Watched(process, output)
    except BaseException:
        process.kill()
        raise


class _Watched:
    """A started runner: its output is handed on while its end is waited for."""

    def __init__(self, process: subprocess.Popen[bytes], output: Output) -> None:
        self.timed_out = False
        self._gone = threading.Event()
        self._given_up = False
        self._process = process
        self._output = output
        self._selector = selectors.DefaultSelector()
        for number, stream in enumerate((process.stdout, process.stderr), start=1):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ, number)
        self._ended, self._says_ended = os.pipe()
        self._selector.register(self._ended, selectors.EVENT_READ)
        threading.Thread(target=self._wait, daemon=True).start()

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *_: object) -> None:
        """Hand on what still waits in the pipes, whoever else holds them open."""
        try:
            for key in list(self._selector.get_map().values()):
                if key.data is not None:
                    self._drain(cast("IO[bytes]", key.fileobj), key.data)
        finally:
            self._selector.close()
            for stream in (self._process.stdout, self._process.stderr):
                cast("IO[bytes]", stream).close()
            os.close(self._ended)

    def follow(self, seconds: float = math.inf) -> bool:
        """Hand on what the runner prints until its process ends; False: it did not."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._given_up:
            ready = self._selector.select(min(left, LOOK_SECONDS))
            for key, _ in ready:
                if key.data is not None:
                    self._hand_on(cast("IO[bytes]", key.fileobj), key.data)
            if any(key.data is None for key, _ in ready):
                return True
        return False

    def expire(self) -> None:
        """End a runner whose time is over; from another thread, whatever holds up this one."""
        if self._gone.is_set():
            return
        self.timed_out = True
        self.signal(signal.SIGTERM)
        if not self._gone.wait(GRACE_SECONDS):
            self.signal(signal.SIGKILL)
            self._given_up = not self._gone.wait(GRACE_SECONDS)

    def stop(self) -> None:
        """Ask the runner to end, then insist."""
        self.signal(signal.SIGTERM)
        if not self.follow(GRACE_SECONDS):
            self.signal(signal.SIGKILL)
            self.follow(GRACE_SECONDS)

    def signal(self, number: int) -> None:
        """Send a signal to the runner's process group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _wait(self) -> None:
        self._process.wait()
        self._gone.set()
        os.close(self._says_ended)

    def _drain(self, stream: IO[bytes], number: int) -> None:
        left = MOST_IN_A_PIPE
        while left > 0 and (size := self._hand_on(stream, number)):
            left -= size

    def _hand_on(self, stream: IO[bytes], number: int) -> int:
        """Hand on a piece that is there; 0: there is none, or nobody writes any more."""
        piece = stream.read(PIECE)
        if piece == b"":
            self._selector.unregister(stream)
        if piece:
            self._output(number, piece)
        return len(piece or b"")


def _environment(job_dir: Path) -> dict[str, str]:
    environment = dict(os.environ)
    inherited = environment.get("PYTHONPATH")
    runners = str(data_dir("runners"))
    environment["PYTHONPATH"] = f"{runners}{os.pathsep}{inherited}" if inherited else runners
    environment[PARENT] = str(os.getpid())
    environment[JOB_DIR] = str(job_dir)
    return environment
