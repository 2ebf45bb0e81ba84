"""The highest rate that still meets a bound: doubling, then bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """One rate that was tried."""

    rate: float
    met: bool


@dataclass(frozen=True)
class Peak:
    """What a search found.

    ``rate`` is the highest rate below the lowest one that failed: it was tried and it met the
    bound; 0 when no rate did. ``bracketed`` tells whether a rate within the tolerance above it
    was tried and failed; if not, ``reason`` says why the search ended without one.
    """

    rate: float
    probes: tuple[Probe, ...]
    bracketed: bool
    reason: str | None


def find_peak(
    meets: Callable[[float], bool],
    start: float,
    tolerance: float = 0.01,
    ceiling: float | None = None,
    max_probes: int = 40,
    floor: float | None = None,
) -> Peak:
    """Search for the highest rate at which ``meets`` holds.

    Doubles from ``start`` until a rate fails (or halves until one meets, when ``start`` fails
    already), then bisects until the two are within ``tolerance`` of each other. ``meets`` should
    hold below some rate and fail above it; where it is noisy near that rate, the answer is still
    a rate that met the bound when it was tried, and a higher one failed.

    Args:
        meets: tries one rate (1/s); called once for each probe, in the order of ``probes``.
        start: the first rate, 1/s.
        tolerance: relative width of the final bracket.
        ceiling: no higher rate is tried, 1/s.
        max_probes: no more rates are tried.
        floor: no lower rate is tried, 1/s; ``start`` / 1024 by default.

    Raises:
        ValueError: a limit that leaves nothing to search.
    """
    low_limit = start / 1024 if floor is None else floor
    high_limit = float("inf") if ceiling is None else ceiling
    if not 0 < low_limit <= start <= high_limit:
        raise ValueError(f"need 0 < floor <= start <= ceiling, got start {start:g}")
    if not 0 < tolerance < 1 or max_probes < 1:
        raise ValueError("tolerance lies between 0 and 1, and max_probes is at least 1")

    probes: list[Probe] = []
    low, high = 0.0, float("inf")  # the highest rate that met, the lowest that failed
    rate: float | None = start
    while rate is not None and len(probes) < max_probes:
        met = meets(rate)
        probes.append(Probe(rate, met))
        low, high = (rate, high) if met else (low, rate)
        rate = _next(low, high, tolerance, low_limit, high_limit)

    reason = None
    if not low:
        reason = f"no rate met the bound; the lowest that was tried is {probes[-1].rate:g}/s"
    elif rate is not None:
        reason = f"the search ended after {max_probes} probes"
        reason += f"; {high:g}/s failed" if high < float("inf") else "; no rate failed"
    elif high == float("inf"):
        reason = f"the bound still held at the ceiling of {high_limit:g}/s"
    return Peak(low, tuple(probes), reason is None, reason)


def _next(
    low: float, high: float, tolerance: float, low_limit: float, high_limit: float
) -> float | None:
    """The next rate to try, or None when the search is over."""
    if not low:
        return max(high / 2, low_limit) if high > low_limit else None
    if high == float("inf"):
        return min(2 * low, high_limit) if low < high_limit else None
    return (low + high) / 2 if high - low > tolerance * low else None
