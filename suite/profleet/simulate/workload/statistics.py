"""What reports say about a stream of requests: mean rate, peak rate, spread of the gaps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from profleet.simulate.records import Ints


@dataclass(frozen=True)
class RateSummary:
    """How requests came.

    ``mean_rps`` is gaps over the time from the first to the last request and ``gap_cv`` their
    standard deviation over their mean: both NaN where all requests come at one time. ``peak_rps``
    is the highest rate in any window of ``window_seconds``, counted from the first request.
    """

    requests: int
    span_ns: int
    mean_rps: float
    gap_cv: float
    peak_rps: float
    window_seconds: float


class RateStatistics:
    """Counts a stream, chunk by chunk, in constant memory."""

    def __init__(self, window_seconds: float = 1.0) -> None:
        self._window = max(1, round(window_seconds * 1e9))
        self._requests = 0
        self._first = self._last = 0
        # Of the gaps: their mean and the sum of squared differences from it.
        self._mean = self._squares = 0.0
        self._peak = self._in_window = 0
        self._at = 0

    def add(self, time_ns: Ints) -> None:
        """Take the next arrival times, in order."""
        if not len(time_ns):
            return
        if self._requests:
            gaps = np.diff(time_ns, prepend=self._last)
        else:
            self._first = int(time_ns[0])
            gaps = np.diff(time_ns)
        self._add_gaps(gaps.astype(np.float64))
        self._add_counts(time_ns)
        self._requests += len(time_ns)
        self._last = int(time_ns[-1])

    def _add_gaps(self, gaps: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
        if not len(gaps):
            return
        before, count = max(0, self._requests - 1), len(gaps)
        mean = float(gaps.mean())
        apart = mean - self._mean
        self._squares += float(((gaps - mean) ** 2).sum())
        self._squares += apart**2 * before * count / (before + count)
        self._mean += apart * count / (before + count)

    def _add_counts(self, time_ns: Ints) -> None:
        windows = (time_ns - self._first) // self._window
        starts = np.flatnonzero(np.diff(windows, prepend=windows[0] - 1))
        counts = np.diff(starts, append=len(windows))
        if windows[0] == self._at:
            counts[0] += self._in_window
        self._peak = max(self._peak, self._in_window, int(counts.max()))
        self._at, self._in_window = int(windows[-1]), int(counts[-1])

    def result(self) -> RateSummary:
        """Return the figures so far."""
        span, gaps = self._last - self._first, self._requests - 1
        known = gaps > 0 and span > 0
        return RateSummary(
            requests=self._requests,
            span_ns=span,
            mean_rps=gaps / span * 1e9 if known else math.nan,
            gap_cv=math.sqrt(self._squares / gaps) / self._mean if known else math.nan,
            peak_rps=self._peak / (self._window * 1e-9),
            window_seconds=self._window * 1e-9,
        )
