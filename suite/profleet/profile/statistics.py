"""Estimates with honest intervals, and when a percentile may be stated at all.

Samples of one process are correlated (same memory layout, same thread placement), and fresh
processes differ by more than their own noise suggests: the variance *between* processes is the
real one (pyperf). A stated interval therefore reaches, on each side, as far as the farther of

* an interval from the pooled samples as if they were independent, and
* a Student t interval from one estimate per process.

With one process only the first exists; whoever states it should say so.

Everything here is plain numpy and the standard library.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
"""Confidence level of every interval that is stated."""

EARLY_STOPPING_CONFIDENCE = 0.99
"""Confidence level of MLPerf's early-stopping rule."""

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
"""The percentiles of a profile."""

Groups = Sequence[NDArray[np.float64]]
"""One array of samples per process."""


class Interval(NamedTuple):
    """An estimate and its bounds; a bound is None where the samples allow none."""

    value: float
    low: float | None
    high: float | None


# -- how many samples a percentile needs ---------------------------------------------------------


@lru_cache(maxsize=256)
def early_stopping_count(
    percentile: float, over: int, confidence: float = EARLY_STOPPING_CONFIDENCE
) -> int:
    """Return the fewest samples of which ``over`` may exceed the percentile's latency.

    MLPerf LoadGen's rule (``early_stopping.cc``, tolerance 0): the smallest n with
    P[Binomial(n, 1 - percentile) <= over] <= 1 - confidence, so that with this confidence the
    true percentile lies below the largest sample that is left.

    Args:
        percentile: as a fraction, 0 < percentile < 1.
        over: samples above the latency, at least 0.
        confidence: as a fraction, 0 < confidence < 1.
    """
    if not (0 < percentile < 1 and 0 < confidence < 1 and over >= 0):
        raise ValueError("percentile and confidence lie between 0 and 1, and over is at least 0")
    short, enough = over, 2 * over + 1
    while _few_over(enough, percentile, over) > 1 - confidence:
        short, enough = enough, 2 * enough
    while enough - short > 1:
        middle = (short + enough) // 2
        if _few_over(middle, percentile, over) > 1 - confidence:
            short = middle
        else:
            enough = middle
    return enough


def _few_over(n: int, percentile: float, over: int) -> float:
    """P[Binomial(n, 1 - percentile) <= over], summed from logarithms."""
    k = np.arange(min(over, n))
    steps = np.log((n - k) / (k + 1)) + math.log((1 - percentile) / percentile)
    logs = n * math.log(percentile) + np.concatenate(([0.0], np.cumsum(steps)))
    return float(np.exp(logs).sum())


def needed(percentile: float) -> int:
    """Return the fewest samples from which the percentile is stated.

    Above the median: MLPerf's early-stopping count for one sample over (p90 64, p95 130, p99
    662). Up to the median, where that rule does not look: the fewest samples whose extremes
    enclose the percentile with ``CONFIDENCE`` (p50 6).
    """
    if percentile > 0.5:
        return early_stopping_count(percentile, 1)
    tail = (1 - CONFIDENCE) / 2
    return math.ceil(math.log(tail) / math.log(max(percentile, 1 - percentile)))


# -- quantiles -----------------------------------------------------------------------------------


def quantile(ordered: NDArray[np.float64], percentile: float) -> float:
    """Return ``ordered[int(n * percentile)]``, as MLPerf LoadGen does; ``ordered`` is sorted."""
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * percentile))])


def order_statistic_interval(
    ordered: NDArray[np.float64], percentile: float, confidence: float = CONFIDENCE
) -> tuple[float | None, float | None]:
    """Return the distribution-free interval of a quantile of independent samples.

    How many of n samples lie below the true quantile is Binomial(n, percentile), whatever the
    distribution; each bound is the sample whose rank leaves at most (1 - confidence) / 2 outside.
    A bound is None where even the smallest or largest sample leaves more than that.
    """
    low, high = _ranks(len(ordered), percentile, confidence)
    return (
        float(ordered[low - 1]) if low >= 1 else None,
        float(ordered[high - 1]) if high <= len(ordered) else None,
    )


@lru_cache(maxsize=1024)
def _ranks(n: int, percentile: float, confidence: float) -> tuple[int, int]:
    """Ranks (from 1) of both bounds; 0 and n + 1 mean that there is none."""
    spread = 12 * math.sqrt(n * percentile * (1 - percentile)) + 12
    first = max(0, math.floor(n * percentile - spread))
    last = min(n, math.ceil(n * percentile + spread))
    k = np.arange(first, last)
    steps = np.log((n - k) / (k + 1)) + math.log(percentile / (1 - percentile))
    logs = np.concatenate(([0.0], np.cumsum(steps)))
    mass = np.exp(logs - logs.max())  # what lies outside first..last is below 1e-15
    mass /= mass.sum()
    below = np.cumsum(mass)  # P[B <= first + i]
    above = np.cumsum(mass[::-1])[::-1]  # P[B >= first + i]
    tail = (1 - confidence) / 2
    low = first + int(np.count_nonzero(below <= tail))
    high = last + 1 - int(np.count_nonzero(above <= tail))
    return low, high


def quantile_estimate(
    groups: Groups, percentile: float, confidence: float = CONFIDENCE
) -> Interval:
    """Return the quantile of all samples with the interval described at the top of the module.

    Args:
        groups: samples by process, not negative, in any unit; empty ones are passed over.
        percentile: as a fraction.
        confidence: as a fraction.

    Raises:
        ValueError: there is no sample.
    """
    groups = _filled(groups)
    ordered = np.sort(np.concatenate(groups))
    value = quantile(ordered, percentile)
    low, high = order_statistic_interval(ordered, percentile, confidence)
    half = process_half_width([quantile(np.sort(g), percentile) for g in groups], confidence)
    return _widened(value, low, high, half)


# -- means ---------------------------------------------------------------------------------------


def mean_estimate(groups: Groups, confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of all samples with its interval; arguments as ``quantile_estimate``."""
    groups = _filled(groups)
    pooled = np.concatenate(groups)
    value = float(pooled.mean())
    half = process_half_width([float(g.mean()) for g in groups], confidence)
    if len(pooled) < 2:
        return Interval(value, None, None)
    error = float(pooled.std(ddof=1)) / math.sqrt(len(pooled))
    own = t_quantile((1 + confidence) / 2, len(pooled) - 1) * error
    return _widened(value, value - own, value + own, half)


def process_half_width(estimates: Sequence[float], confidence: float = CONFIDENCE) -> float:
    """Return half the width of the t interval of one estimate per process; 0 for one process."""
    count = len(estimates)
    if count < 2:
        return 0.0
    error = float(np.std(estimates, ddof=1)) / math.sqrt(count)
    return t_quantile((1 + confidence) / 2, count - 1) * error


def throughput_estimate(items: int, seconds: Interval) -> Interval:
    """Return items per second from the mean time of a batch of ``items``."""

    def rate(time: float | None) -> float | None:
        return items / time if time else None

    value = rate(seconds.value)
    if value is None:
        raise ValueError("the mean time of a batch is zero")
    return Interval(value, rate(seconds.high), rate(seconds.low))


def _filled(groups: Groups) -> list[NDArray[np.float64]]:
    filled = [group for group in groups if len(group)]
    if not filled:
        raise ValueError("there is no sample")
    return filled


def _widened(value: float, low: float | None, high: float | None, half: float) -> Interval:
    """Widen to value +- half; times are not negative, so no lower bound is."""
    return Interval(
        value,
        None if low is None else max(0.0, min(low, value - half)),
        None if high is None else max(high, value + half),
    )


# -- Student's t ---------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def t_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t for 0.5 <= probability < 1.

    Bisection of the closed form for up to 100 degrees of freedom (Abramowitz and Stegun 26.7.3
    and 26.7.4), the expansion 26.7.5 around the normal quantile above that; within one part in a
    million of the exact value up to probability 0.9995.
    """
    if freedom < 1 or not 0.5 <= probability < 1:
        raise ValueError("freedom is at least 1, and 0.5 <= probability < 1")
    if freedom > 100:
        return _t_expansion(NormalDist().inv_cdf(probability), freedom)
    low, high = 0.0, math.pi / 2  # angle whose tangent is t / sqrt(freedom)
    for _ in range(60):
        middle = (low + high) / 2
        if _t_central(middle, freedom) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return math.tan(low) * math.sqrt(freedom)


def _t_central(angle: float, freedom: int) -> float:
    """P[|T| <= tan(angle) * sqrt(freedom)]."""
    cosine, term, total = math.cos(angle), 1.0, 0.0
    odd = freedom % 2
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * cosine * total)
    return math.sin(angle) * total


def _t_expansion(z: float, freedom: int) -> float:
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
