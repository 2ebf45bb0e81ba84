"""Two rules for curves of results: where a load-latency curve bends, and what nothing beats."""

from __future__ import annotations

import math
from collections.abc import Sequence

KNEE = "the highest rate per p99 latency (Kleinrock's power)"
"""The rule of ``knee``, for captions."""

FEWEST = 3
"""Steady points that a curve needs before anything is said of its bend."""


def knee(rates: Sequence[float], latencies: Sequence[float], *, ends: bool = False) -> int | None:
    """Return which point of a load-latency curve is its knee.

    The knee is where the power ``rate / latency`` is highest: before it, more load costs little
    latency, behind it latency grows faster than the load. It is Kleinrock's rule, and unlike
    those that look at the drawn curve it does not depend on the units or on the range of the axes.

    None where the curve has fewer than ``FEWEST`` points, or where its power is highest at the
    first point, or at the last and the load could have been raised: then the knee lies outside.

    Args:
        rates: offered rate of each point, rising, of any unit.
        latencies: of each point, positive.
        ends: whether higher loads were tried and have no steady state, so that the last point may
            be the knee.
    """
    if len(rates) < FEWEST:
        return None
    power = [
        rate / latency if latency > 0 else math.inf
        for rate, latency in zip(rates, latencies, strict=True)
    ]
    best = max(range(len(power)), key=power.__getitem__)
    last = best == len(power) - 1
    return None if best == 0 or (last and not ends) else best


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the points that no other beats, of two values that are both better if lower.

    A point is beaten by one that is nowhere worse and somewhere better; equal points do not beat
    each other. In order of the first value, then of the second.
    """
    order = sorted(range(len(points)), key=lambda index: points[index])
    kept: list[int] = []
    for index in order:
        if not kept:
            kept.append(index)
            continue
        best = points[kept[-1]]
        if points[index] == best or points[index][1] < best[1]:
            kept.append(index)
    return kept
