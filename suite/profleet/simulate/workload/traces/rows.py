"""What a reader of request traces gives, and the error it raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profleet.errors import ProfleetError
from profleet.simulate.records import Ints, Small


class TraceError(ProfleetError):
    """A trace cannot be used; the message names the file and, where there is one, the line."""


def bad_line(path: Path, line: int, problem: str) -> TraceError:
    """Return the error for a line (from 1) of a trace."""
    return TraceError(f"Trace {path}, line {line}: {problem}.")


@dataclass(frozen=True, eq=False)
class Rows:
    """Some requests of a trace, in the order of the file; all columns have shape ``(n,)``.

    ``time_ns`` counts from the zero of the trace's own clock. ``label`` indexes ``names``, which
    all blocks of a trace share and which grows from one to the next. Tokens are counts, at least
    0. A column is ``None`` where the format has none.
    """

    time_ns: Ints
    label: Small | None
    names: list[str]
    input_tokens: Ints | None
    output_tokens: Ints | None

    def __len__(self) -> int:
        return len(self.time_ns)


@dataclass(frozen=True)
class Format:
    """A way to write traces down.

    ``read`` yields the rows of a file, block by block, and raises :class:`TraceError` at the first
    line that is not as the format says; its second argument is what the user says about columns.
    ``ordered`` formats hold requests in order of arrival; the others are read whole and sorted.
    ``from_zero`` formats count time from the start of the period; for the others it starts with
    the first request.
    """

    name: str
    read: Callable[[Path, Any], Iterator[Rows]]
    ordered: bool = True
    from_zero: bool = False
