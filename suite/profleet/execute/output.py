"""What a runner prints, sorted into progress events and a log that cannot grow without bound."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Protocol, Self

from profleet.execute.executor import LONGEST_LINE, OnEvent, parse_event

STDOUT: Final = 1
LOG_HEAD: Final = 15 * 2**20
LOG_TAIL: Final = 2**20
"""Of a log that is longer than both together, the middle is left out: bytes."""


class Raw(Protocol):
    """A file without buffer: what could not be written does not come back when it is closed."""

    def write(self, data: bytes, /) -> int | None:
        """Write some of ``data``; return how much."""


class Output:
    """Takes a runner's output piece by piece, as it comes; a context manager.

    What is no event goes to the log. One that cannot be written (a full disk) is not worth the
    measurement: the rest of it is dropped.
    """

    def __init__(self, log: Raw, on_event: OnEvent) -> None:
        self._log = log
        self._on_event = on_event
        self._room = LOG_HEAD
        self._tail = bytearray()
        self._dropped = 0
        self._pending = b""

    def __call__(self, stream: int, piece: bytes) -> None:
        """Take a piece of a stream (1 output, 2 errors)."""
        if stream != STDOUT:
            self._write(piece)
            return
        *lines, self._pending = (self._pending + piece).split(b"\n")
        for line in lines:
            self._line(line + b"\n")
        if len(self._pending) > LONGEST_LINE:
            self._write(self._pending)
            self._pending = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.ignore_events()
        self.close()

    def ignore_events(self) -> None:
        """Drop the events that still come: nobody follows a runner that is being stopped."""
        self._on_event = lambda _: None

    def close(self) -> None:
        """Write the last line, which no newline ends, and the end of a log that was too long."""
        if self._pending:
            self._line(self._pending)
            self._pending = b""
        if self._dropped:
            self._append(b"\n[%d bytes are left out here: the log is too long.]\n" % self._dropped)
        self._append(bytes(self._tail))
        self._tail.clear()

    def _line(self, line: bytes) -> None:
        event = parse_event(line)
        if event is None:
            self._write(line)
        else:
            self._on_event(event)

    def _write(self, piece: bytes) -> None:
        if self._room:
            self._append(piece[: self._room])
            piece, self._room = piece[self._room :], max(0, self._room - len(piece))
        self._tail += piece
        if (excess := len(self._tail) - LOG_TAIL) > 0:
            del self._tail[:excess]
            self._dropped += excess

    def _append(self, piece: bytes) -> None:
        try:
            while piece:
                piece = piece[self._log.write(piece) or 0 :]
        except OSError:
            self._room = 0
