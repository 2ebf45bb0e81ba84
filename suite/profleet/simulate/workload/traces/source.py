"""One trace file: checked from end to end before it is used, then replayed block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from profleet.simulate.records import Ints
from profleet.simulate.workload.statistics import RateStatistics, RateSummary
from profleet.simulate.workload.traces.rows import Format, Rows, TraceError

Window = tuple[float, float]


@dataclass(frozen=True)
class Summary:
    """What is in a trace (in its window).

    ``start_ns`` is the time of the first request, on the same clock as ``Source.rows``. ``labels``
    counts the requests of each model name. Mean token counts are ``None`` where there are none.
    ``state`` tells this version of the file from others.
    """

    state: tuple[int, int]
    sha256: str
    start_ns: int
    rates: RateSummary
    labels: dict[str, int]
    mean_input_tokens: float | None
    mean_output_tokens: float | None


@dataclass(frozen=True)
class Source:
    """A trace file, how to read it, and the part that is wanted (seconds from its first request).

    ``columns`` goes to the reader; it must be hashable.
    """

    path: Path
    format: Format
    columns: Any = None
    window_seconds: Window | None = None
    expected_rows: int | None = None

    def summary(self) -> Summary:
        """Read the whole file once and check every line (remembered while the file is the same).

        Raises:
            TraceError: anything is wrong with it, or the window holds no request.
        """
        return _summary(self, self._state())

    def rows(self, state: tuple[int, int]) -> Iterator[Rows]:
        """Yield the requests of the window, in order of arrival, on a clock that starts at 0.

        Raises:
            TraceError: the file is not, or no longer, in the ``state`` it was when summed up.
        """
        self._check_state(state)
        yield from _windowed(self._ordered(), self.format.from_zero, self.window_seconds)
        self._check_state(state)

    def _check_state(self, state: tuple[int, int]) -> None:
        if self._state() != state:
            raise TraceError(f"Trace {self.path} changed after it was checked; run again.")

    def _ordered(self) -> Iterator[Rows]:
        blocks = self.format.read(self.path, self.columns)
        if self.format.ordered and getattr(self.columns, "duration", None) is None:
            return blocks
        return iter([_sorted(list(blocks))])

    def _state(self) -> tuple[int, int]:
        try:
            found = self.path.stat()
        except OSError as error:
            raise TraceError(
                f"Trace {self.path} cannot be read: {error.strerror or error}."
            ) from None
        return found.st_size, found.st_mtime_ns


def _sorted(blocks: list[Rows]) -> Rows:
    order = np.argsort(np.concatenate([rows.time_ns for rows in blocks]), kind="stable")

    def column(name: str) -> Any:
        if getattr(blocks[0], name) is None:
            return None
        return np.concatenate([getattr(rows, name) for rows in blocks])[order]

    return Rows(
        time_ns=column("time_ns"),
        label=column("label"),
        names=blocks[0].names,
        input_tokens=column("input_tokens"),
        output_tokens=column("output_tokens"),
    )


def _windowed(blocks: Iterator[Rows], from_zero: bool, window: Window | None) -> Iterator[Rows]:
    start: int | None = None
    for rows in blocks:
        if start is None:
            start = int(rows.time_ns[0])
        if window is None:
            yield _moved(rows, 0, len(rows), 0 if from_zero else start)
            continue
        edges = [start + round(seconds * 1e9) for seconds in window]
        first, last = np.searchsorted(rows.time_ns, edges)
        if last > first:
            yield _moved(rows, int(first), int(last), edges[0])


def _moved(rows: Rows, first: int, last: int, zero_ns: int) -> Rows:
    def column(values: Any) -> Any:
        return None if values is None else values[first:last]

    return Rows(
        time_ns=rows.time_ns[first:last] - zero_ns,
        label=column(rows.label),
        names=rows.names,
        input_tokens=column(rows.input_tokens),
        output_tokens=column(rows.output_tokens),
    )


@lru_cache(maxsize=64)
def _summary(source: Source, state: tuple[int, int]) -> Summary:
    rates, tokens = RateStatistics(), [0, 0]
    counts: Ints = np.zeros(0, dtype=np.int64)
    names: list[str] = []
    start: int | None = None
    has_tokens = [False, False]
    for rows in source.rows(state):
        start = int(rows.time_ns[0]) if start is None else start
        rates.add(rows.time_ns)
        names = rows.names
        if rows.label is not None:
            found = np.bincount(rows.label, minlength=len(names))
            found[: len(counts)] += counts
            counts = found
        for index, column in enumerate((rows.input_tokens, rows.output_tokens)):
            if column is not None:
                has_tokens[index] = True
                tokens[index] += int(column.sum())
    if start is None:
        assert source.window_seconds is not None
        low, high = source.window_seconds
        raise TraceError(
            f"Trace {source.path} has no request from {low:g} to {high:g} seconds after its first "
            "one (workload.window_seconds)."
        )
    total = rates.result()
    means = [
        total_tokens / total.requests if has else None
        for total_tokens, has in zip(tokens, has_tokens, strict=True)
    ]
    _check_rows(source, total.requests)
    return Summary(
        state=state,
        sha256=_digest(source.path),
        start_ns=start,
        rates=total,
        labels=dict(zip(names, counts.tolist(), strict=True)) if len(counts) else {},
        mean_input_tokens=means[0],
        mean_output_tokens=means[1],
    )


def _check_rows(source: Source, found: int) -> None:
    expected = source.expected_rows
    if expected is not None and source.window_seconds is None and found != expected:
        raise TraceError(
            f"Trace {source.path} holds {found:,} requests where the published file has "
            f"{expected:,}: it is cut off or another one. Download it again, or read it as it is "
            f"with workload.dataset=null workload.format={source.format.name}."
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
