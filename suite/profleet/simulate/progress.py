"""How far a simulation is, on standard error: a bar on a terminal, a line at the end otherwise."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from profleet.simulate.records import Outcome


class Progress(AbstractContextManager["Progress"]):
    """Shows the replications of one simulation."""

    def __init__(self, title: str, replications: int, console: Console | None = None) -> None:
        self.title, self.replications = title, replications
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self.events, self.started = 0, time.monotonic()
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("replications"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task(f"{title}compiling and simulating", total=replications)

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()
        if kind is None:
            seconds = time.monotonic() - self.started
            self.console.print(f"{self.title}{self.events:,} events in {seconds:.1f} s")

    def finished(self, replication: int, outcome: Outcome) -> None:
        """Count a replication that has ended."""
        self.events += outcome.events
        self.bar.update(self.task, completed=replication + 1, description=f"{self.title}simulating")
