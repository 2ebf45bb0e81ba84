"""What is being measured, on standard error: a live line on a terminal, plain lines otherwise.

Nothing is drawn on a clock: a drawing thread would take time from the two cores being measured.
The display changes when the runner reports: between blocks of requests, at most every 5 s within a
phase, and followed by requests that are not recorded.
"""

from __future__ import annotations

import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from profleet.execute.foreign import text
from profleet.execute.invocation import say

PHASES = {
    "artifact": "preparing the artifact",
    "copy": "copying the artifact into the engine",
    "container": "starting the container",
    "cold_start": "cold start",
    "check": "checking the outputs",
    "warmup": "warming up",
    "measure": "measuring",
    "idle": "measuring after idle gaps",
    "scenario": "running the scenario",
    "write": "writing",
}


class Progress:
    """Shows the events of one job."""

    def __init__(self, title: str, budget_seconds: float, console: Console | None = None) -> None:
        self._title = title
        self._budget = budget_seconds
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._started = time.monotonic()
        self._last_line = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def event(self, event: dict[str, Any]) -> None:
        """Show one progress event of the runner, which may hold anything."""
        phase = PHASES.get(str(event.get("phase")), text(event.get("phase")))
        processes, process = event.get("processes"), event.get("process")
        where = text(f"process {process}/{processes}") if processes and process else ""
        batch = event.get("batch_size")
        detail = text(f"batch {batch}") if batch else ""
        self._show(phase, where, detail)

    def note(self, what: str) -> None:
        """Show what happens outside the runner, such as building an artifact."""
        self._show(what, "", "")

    def _show(self, phase: str, where: str, detail: str) -> None:
        elapsed = time.monotonic() - self._started
        clock = f"{elapsed:.0f} s, budget {self._budget:.0f} s"
        parts = [part for part in (where, detail, phase) if part]
        if self._live is not None:
            line = Text.assemble(
                (self._title, "bold cyan"), "  ", " · ".join(parts), "  ", (clock, "dim")
            )
            with suppress(OSError):  # a terminal that went away is no reason to stop measuring
                self._live.update(line, refresh=True)
            return
        line_key = f"{where or phase}"
        if line_key != self._last_line:
            self._last_line = line_key
            say(f"{self._title}: {where or phase} ({clock})")
