"""From gaps to times: rates that are steady, follow a repeating pattern, or jump at random.

Each function maps a stream of gaps with mean 1 (blocks of floats) to times in integer nanoseconds
(blocks of the same lengths) by inversion: request ``i`` comes when the integral of the rate reaches
the sum of the first ``i`` gaps. With exponential gaps that is exactly a Poisson process of that
rate. Whole nanoseconds are kept as integers and only the rest as a fraction from block to block,
so a long stream drifts no more than a short one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from profleet.errors import ConfigError
from profleet.simulate.records import Floats, Ints

HORIZON_NS = 2**62
"""No request comes later than this (146 years)."""

_TOO_LATE = (
    "Configuration: workload: the stream runs past 146 years, more than the clock can hold; "
    "raise the rate or ask for fewer requests."
)


def steady(gaps: Iterator[Floats], rate_rps: float) -> Iterator[Ints]:
    """Yield times at a constant rate (requests per second)."""
    gap_ns = 1e9 / rate_rps
    base, fraction = 0, 0.0
    for block in gaps:
        exact = np.cumsum(block * gap_ns)
        exact += fraction
        yield from _bounded(exact, base)
        whole = math.floor(exact[-1])
        base, fraction = base + whole, float(exact[-1]) - whole


def regular(rate_rps: float, block: int) -> Iterator[Ints]:
    """Yield equally spaced times, ``block`` at a time, each off by less than 1 ns."""
    whole, part = divmod(1e9 / rate_rps, 1.0)
    count = np.arange(1, block + 1)
    base, fraction = 0, 0.0
    while True:
        # Only the fractions are floats, so nothing is lost however large the gap is.
        exact = count * part + fraction
        ticks = np.floor(exact)
        last = base + block * int(whole) + int(ticks[-1])
        if last > HORIZON_NS:
            inside = max(0, (HORIZON_NS - base) // (int(whole) + 1))
            yield count[:inside] * int(whole) + ticks[:inside].astype(np.int64) + base
            raise ConfigError(_TOO_LATE)
        yield count * int(whole) + ticks.astype(np.int64) + base
        base, fraction = last, float(exact[-1] - ticks[-1])


def _bounded(exact: Floats, base: int) -> Iterator[Ints]:
    """Yield ``base + floor(exact)`` as integers; raise where it leaves the horizon."""
    room = float(HORIZON_NS - base)
    inside = len(exact) if exact[-1] < room else int(np.searchsorted(exact, room))
    times = exact[:inside].astype(np.int64)
    times += base
    yield times
    if inside < len(exact):
        raise ConfigError(_TOO_LATE)


def _ascending(times: Ints, last: int) -> Ints:
    """Undo what rounding did at the seams of a pattern: time never runs backwards."""
    np.maximum.accumulate(times, out=times)
    return np.maximum(times, last, out=times)


@dataclass(frozen=True, eq=False)
class Pattern:
    """A piecewise linear rate; arrays have one value per piece.

    ``start_ns`` and ``length_ns`` are whole nanoseconds; ``rate`` is the rate at the start of the
    piece (requests per nanosecond) and ``slope`` its change per nanosecond. ``mass`` has one value
    more: the requests expected before each piece and, last, in all.
    """

    start_ns: Ints
    length_ns: Ints
    rate: Floats
    slope: Floats
    mass: Floats

    @property
    def total_ns(self) -> int:
        """Length of the whole pattern."""
        return int(self.start_ns[-1] + self.length_ns[-1])

    @classmethod
    def of(cls, length_ns: Ints, rate_rps: Floats, end_rate_rps: Floats) -> Pattern:
        """Make a pattern of pieces that start at one rate and end at another."""
        first, last = rate_rps * 1e-9, end_rate_rps * 1e-9
        before = np.concatenate([[0], np.cumsum(length_ns)])
        return cls(
            start_ns=before[:-1],
            length_ns=length_ns,
            rate=first,
            slope=(last - first) / length_ns,
            mass=np.concatenate([[0.0], np.cumsum((first + last) / 2 * length_ns)]),
        )

    def times(self, mass: Floats) -> Ints:
        """Return when the integral of the rate reaches ``mass`` (sorted, from 0 to the total)."""
        piece = np.searchsorted(self.mass, mass, side="right") - 1
        np.clip(piece, 0, len(self.rate) - 1, out=piece)
        rate, rest = self.rate[piece], mass - self.mass[piece]
        # The stable root of rate * x + slope * x**2 / 2 = rest.
        root = np.sqrt(np.maximum(rate * rate + 2 * self.slope[piece] * rest, 0.0))
        below = rate + root
        inside = np.divide(2 * rest, below, out=np.zeros_like(rest), where=below > 0)
        np.clip(inside, 0, self.length_ns[piece], out=inside)
        return self.start_ns[piece] + inside.astype(np.int64)


def repeating(gaps: Iterator[Floats], pattern: Pattern) -> Iterator[Ints]:
    """Yield times that follow ``pattern`` over and over again."""
    total, period = float(pattern.mass[-1]), pattern.total_ns
    turn, position, last = 0, 0.0, 0
    for block in gaps:
        mass = np.cumsum(block)
        mass += position
        turns = np.floor(mass / total)
        inside = mass - turns * total
        np.clip(inside, 0.0, total, out=inside)
        limit = int(np.searchsorted(turns, HORIZON_NS // period - turn))
        times = pattern.times(inside[:limit])
        times += (turns[:limit].astype(np.int64) + turn) * period
        yield _ascending(times, last)
        if limit < len(block):
            raise ConfigError(_TOO_LATE)
        last = int(times[-1])
        turn, position = turn + int(turns[-1]), float(inside[-1])


def jumping(gaps: Iterator[Floats], patterns: Iterator[Pattern]) -> Iterator[Ints]:
    """Yield times that follow one pattern after the other (random ones, drawn as they are used)."""
    pattern = next(patterns)
    base, position, last = 0, 0.0, 0
    for block in gaps:
        mass = np.cumsum(block)
        mass += position
        times = np.empty(len(mass), dtype=np.int64)
        filled = 0
        while True:
            total = float(pattern.mass[-1])
            end = filled + int(np.searchsorted(mass[filled:], total))
            times[filled:end] = pattern.times(mass[filled:end])
            times[filled:end] += base
            if end == len(mass):
                break
            filled = end
            mass[filled:] -= total
            base += pattern.total_ns
            if base > HORIZON_NS // 2:
                yield _ascending(times[:filled], last)
                raise ConfigError(_TOO_LATE)
            pattern = next(patterns)
        yield _ascending(times, last)
        last, position = int(times[-1]), float(mass[-1])


def modulated(
    rng: np.random.Generator, rates_rps: Floats, mean_ns: Floats, per_block: int = 1024
) -> Iterator[Pattern]:
    """Yield patterns of a Markov chain that holds ``rates_rps[s]`` while it is in state ``s``.

    A stay in state ``s`` is exponential with mean ``mean_ns[s]``; any of the other states follows,
    each as likely as the next. The first state is drawn by the share of time it holds, so the
    process is stationary from time 0.
    """
    states = len(rates_rps)
    share = np.cumsum(mean_ns) / np.sum(mean_ns)
    state = int(np.searchsorted(share, rng.random(), side="right"))
    while True:
        steps = 1 + np.floor(rng.random(per_block) * (states - 1)).astype(np.int64)
        stays = rng.standard_exponential(per_block)
        visited = (state + np.concatenate([[0], np.cumsum(steps)])) % states
        state = int(visited[-1])
        lengths = np.maximum(np.rint(stays * mean_ns[visited[:-1]]), 1.0).astype(np.int64)
        rates = rates_rps[visited[:-1]]
        yield Pattern.of(lengths, rates, rates)
