"""When a series of latencies is warm, when there are enough, and what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Latencies = npt.NDArray[np.int64]

CONFIDENCE = 0.95
NOISY_STD = 0.10
"""A standard deviation of this share of the mean is called unstable (as pyperf does)."""

WINDOW = 20
WINDOW_SECONDS = 0.05
LARGEST_WINDOW = 20_000


# -- warm-up -------------------------------------------------------------------------------------


def window_size(latency_s: float, max_seconds: float) -> int:
    """Return how many requests make one of the two windows that are compared.

    At least ``WINDOW`` and ``WINDOW_SECONDS``, unless four windows would not fit the longest
    warm-up: a request of 3 s is compared with the one before it.
    """
    latency_s = max(latency_s, 1e-7)
    wanted = min(max(WINDOW, math.ceil(WINDOW_SECONDS / latency_s)), LARGEST_WINDOW)
    return max(1, min(wanted, int(max_seconds / 4 / latency_s)))


def is_steady(older: Latencies, newer: Latencies) -> bool:
    """Tell whether two consecutive windows of equal length look like one distribution.

    After pyperf's calibration of warm-ups (``_worker.py``), with statistics that one preempted
    request does not move: the older window does not begin with outliers, and mean (its outer 5 %
    left out), median absolute deviation and quartiles of both are close. Windows of under four
    values have no quartiles; there, the medians may differ by 10 %.
    """
    first, second = older.astype(np.float64), newer.astype(np.float64)
    median = float(np.median(second))
    if median <= 0:
        return False
    if len(first) < 4:
        return abs(float(np.median(first)) - median) <= 0.10 * median
    quartiles_1, quartiles_2 = _quartiles(first), _quartiles(second)
    low, _, high = quartiles_1
    reach = max(1.5 * (high - low), 0.01 * median)
    beginning = float(np.median(first[: max(1, min(5, len(first) // 4))]))
    if not low - reach <= beginning <= high + reach:
        return False
    mean_change = _trimmed_mean(first) / _trimmed_mean(second) - 1
    if not -0.5 <= mean_change <= 0.10:
        return False
    if abs(_deviation(first) - _deviation(second)) > 0.10 * median:
        return False
    return bool((np.abs(quartiles_1 - quartiles_2) <= 0.05 * quartiles_2).all())


def _trimmed_mean(values: npt.NDArray[np.float64]) -> float:
    cut = len(values) // 20
    return float(np.sort(values)[cut : len(values) - cut].mean())


def _quartiles(values: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    return np.percentile(values, (25, 50, 75))


def _deviation(values: npt.NDArray[np.float64]) -> float:
    return float(np.median(np.abs(values - np.median(values))))


# -- enough samples ------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def median_rank(count: int) -> int:
    """Return k such that the k-th smallest and k-th largest of ``count`` bound the median.

    Order statistics: the interval covers the median with at least 95 % for any continuous
    distribution, P[Binomial(count, 1/2) < k] <= 2.5 %. 0 when there are too few (under 6).
    """
    if count > 500:
        return math.floor((count - 1.959964 * math.sqrt(count)) / 2)
    total, rank = 0, 0
    limit = (1 - CONFIDENCE) / 2 * 2**count
    while (total := total + math.comb(count, rank)) <= limit:
        rank += 1
    return rank


def median_half_width(latencies: Latencies) -> float:
    """Return half the width of the median's 95 % interval over the median; inf if too few."""
    rank = median_rank(len(latencies))
    if rank < 1:
        return math.inf
    parts = np.partition(latencies, (rank - 1, len(latencies) // 2, len(latencies) - rank))
    low, high = int(parts[rank - 1]), int(parts[len(latencies) - rank])
    return (high - low) / 2 / max(float(np.median(parts)), 1.0)


class Enough:
    """The stop rule: minimum time and minimum count and interval, or the maximum, or a deadline.

    At the maximum the minimum time counts no longer, only whether the interval is met.
    The interval is looked at again only when a tenth more samples have come, so that looking
    costs next to nothing however long a measurement takes.
    """

    def __init__(
        self, min_seconds: float, min_samples: int, max_samples: int, target: float
    ) -> None:
        self._min_seconds = min_seconds
        self._min_samples = min_samples
        self._max_samples = max_samples
        self._target = target
        self._look_at = 0

    def reached(self, blocks: Sequence[Latencies], seconds: float, left_s: float) -> str | None:
        """Return ``interval``, ``maximum`` or ``budget`` when measuring is over, else None.

        Args:
            blocks: the latencies so far.
            seconds: time spent measuring them.
            left_s: time that is left of the budget.
        """
        count = sum(map(len, blocks))
        full = count >= self._max_samples
        minimal = seconds >= self._min_seconds and count >= self._min_samples
        if full or (minimal and count >= self._look_at):
            self._look_at = count + count // 10
            if median_half_width(np.concatenate(blocks)) <= self._target:
                return "interval"
        if full:
            return "maximum"
        return "budget" if left_s <= 0 else None


# -- what is wrong -------------------------------------------------------------------------------


def trouble(latencies: Latencies, target: float) -> list[str]:
    """Return what makes a finished series unstable, one sentence each."""
    said = []
    mean, std = float(latencies.mean()), float(latencies.std(ddof=1)) if len(latencies) > 1 else 0.0
    if std >= NOISY_STD * mean:
        said.append(
            f"the standard deviation is {std / mean:.0%} of the mean (limit {NOISY_STD:.0%})"
        )
    change = drift(latencies, target)
    if change is not None:
        said.append(
            f"the median changed by {change:+.1%} from the first half of the samples to the second"
        )
    return said


def drift(latencies: Latencies, target: float) -> float | None:
    """Return the relative change of the median between the halves, or None if it may be noise.

    It is a drift when it exceeds twice the target interval and the halves' 95 % intervals do not
    overlap.
    """
    half = len(latencies) // 2
    rank = median_rank(half)
    if rank < 1:
        return None
    first, second = np.sort(latencies[:half]), np.sort(latencies[-half:])
    before, after = float(np.median(first)), float(np.median(second))
    apart = first[-rank] < second[rank - 1] or second[-rank] < first[rank - 1]
    change = after / max(before, 1.0) - 1
    return change if apart and abs(change) > 2 * target else None
