"""What every executor is: it starts a runner on a job's folder and blocks until the runner ended.

``process`` is in :mod:`profleet.execute.process`, ``docker`` in :mod:`profleet.execute.docker`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from profleet.profile.store import Status

Event = dict[str, Any]
OnEvent = Callable[[Event], None]

LOG: Final = "runner.log"
LONGEST_LINE: Final = 65_536
"""Bytes of a runner's line without end that are held; none of its events is as long."""
KILLED: Final = -9
"""The code of a runner that did not end by itself, or whose end nobody saw."""
CONTAINER: Final = "container.json"
"""What an executor tells of the container it used, in the job's folder beside the result."""
GO_ON: Final = "What is finished stays; the same command with resume=true does the rest."

MORE_MEMORY: Final = (
    "Use smaller batch sizes or a smaller model, or raise executor.memory_mb (of the container) or "
    "executor.memory_limit_mb (of each process), whichever was reached."
)


@dataclass(frozen=True)
class Failure:
    """Why a run has no profile."""

    kind: str
    message: str
    hint: str | None

    @property
    def status(self) -> Status:
        """The status it gives the result."""
        if self.kind == "unsupported":
            return "unsupported"
        return "interrupted" if self.kind == "interrupted" else "failed"


@dataclass(frozen=True)
class Exit:
    """How a runner ended.

    ``code`` is negative for a signal, as in :mod:`subprocess`. ``failure`` is what the executor
    knows of a runner that could not say itself why it failed.
    """

    code: int
    timed_out: bool
    log: Path
    failure: Failure | None = None


class Executor(Protocol):
    """Starts runners."""

    def execute(self, job_dir: Path, *, timeout_seconds: float, on_event: OnEvent) -> Exit:
        """Execute the job in ``job_dir`` and leave what the protocol names there.

        Nothing of the runner is alive when this returns or raises.

        Args:
            job_dir: holds ``job.json`` and what it refers to.
            timeout_seconds: the runner is stopped after this time.
            on_event: gets each progress event.

        Raises:
            ProfleetError: the runner cannot be started.
        """
        ...


def parse_event(line: bytes) -> Event | None:
    """Return the progress event in a line of a runner's standard output, if it is one."""
    if not line.startswith(b'{"event"'):
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
