"""The outer side of the job protocol: failures with their exit codes, files, progress events."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

FAILURE_SCHEMA = "profleet/failure/v1"

EXIT_CODES = {
    "bug": 1,
    "invalid_job": 2,
    "unsupported": 3,
    "artifact": 4,
    "check": 5,
    "out_of_memory": 6,
    "framework": 7,
    "storage": 8,
    "worker_died": 9,
    "interrupted": 130,
}

ASSIGNMENT = "PROFLEET_RUNNER_WORKER"
"""Environment variable that holds what the coordinator tells a worker."""

PROCESSES = "processes"
"""Folder in the job's folder where each worker leaves what it measured, point by point."""


class Failure(Exception):  # noqa: N818 -- the protocol's own word
    """Why a job has no result; becomes ``failure.json`` and an exit code.

    Args:
        kind: a key of ``EXIT_CODES``.
        message: what went wrong, and where.
        hint: what to do next, or None.
    """

    def __init__(self, kind: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint

    @property
    def exit_code(self) -> int:
        """The documented exit code of this kind."""
        return EXIT_CODES[self.kind]

    def document(self) -> dict[str, Any]:
        """What ``failure.json`` holds."""
        return {
            "schema": FAILURE_SCHEMA,
            "kind": self.kind,
            "message": self.message,
            "hint": self.hint,
        }


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under a temporary name, flush it to storage, then give it its name.

    Raises:
        Failure: kind ``storage``, when the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise storage_failure(path, error) from error


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON document atomically. NaN and infinity are refused: they are not JSON."""
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def storage_failure(path: Path, error: OSError) -> Failure:
    """Say that ``path`` cannot be written, with what to do about it."""
    hints = {
        errno.ENOSPC: "Free space on this file system, then execute the job again.",
        errno.EDQUOT: "Free space within the quota, then execute the job again.",
        errno.EROFS: "The file system is read-only: choose a folder that can be written.",
        errno.EACCES: "Give this user the right to write there, or choose another folder.",
    }
    return Failure(
        "storage",
        f"{path} could not be written: {error.strerror or error}.",
        hints.get(error.errno or 0),
    )


class Progress:
    """Sends progress events, one JSON object a line, at most one every ``interval`` seconds.

    An event of another phase, process or point is always sent. Its readers (the coordinator, the
    host's display) work on the processors that are being measured, hence so few. A reader that
    went away is no reason to stop measuring.
    """

    def __init__(
        self, stream: IO[str], started: float, budget_s: float, interval: float = 5.0
    ) -> None:
        self._stream = stream
        self._started = started
        self._budget_s = budget_s
        self._interval = interval
        self._last: tuple[object, ...] = ()
        self._last_time = float("-inf")
        self.common: dict[str, Any] = {}

    def __call__(self, **fields: Any) -> bool:
        """Send a ``state`` event with ``fields``, the clock and the budget, if one is due.

        Returns:
            Whether it was sent.
        """
        now = time.monotonic()
        event = {"event": "state", **self.common, **fields}
        changed = tuple(event.items())
        if changed == self._last and now - self._last_time < self._interval:
            return False
        self._last, self._last_time = changed, now
        event |= {"elapsed_s": round(now - self._started, 3), "budget_s": self._budget_s}
        send(self._stream, event)
        return True


def send(stream: IO[str], event: dict[str, Any]) -> None:
    """Write one event as a line and flush it."""
    with suppress(BrokenPipeError):
        stream.write(json.dumps(event) + "\n")
        stream.flush()


def log(text: str) -> None:
    """Write a line to the log (standard error)."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
