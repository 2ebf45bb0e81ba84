"""Arrival times of one synthetic client, from its settings and rate."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from profleet.errors import ConfigError
from profleet.simulate.records import Floats, Ints
from profleet.simulate.workload.gaps import Gaps, gaps_of
from profleet.simulate.workload.rates import Pattern, jumping, modulated, regular, repeating, steady
from profleet.simulate.workload.settings import (
    Deterministic,
    Diurnal,
    Gamma,
    Mmpp,
    Piecewise,
    Poisson,
    Weibull,
)
from profleet.simulate.workload.stream import GAPS, STATES, generator

Synthetic = Deterministic | Poisson | Gamma | Weibull | Mmpp | Diurnal | Piecewise

DIURNAL_PIECES = 1440
"""A sine is drawn as so many straight lines: never further off than 2.4e-6 of its swing."""

_MOST_CHANGES = 100.0


def times(
    settings: Synthetic,
    rate_rps: float | None,
    seed: np.random.SeedSequence,
    client: str,
    block: int,
) -> Iterator[Ints]:
    """Yield arrival times of a client (without end), in integer nanoseconds and in order.

    They come ``block`` at a time. ``rate_rps`` may be ``None`` only for a piecewise rate whose
    levels are requests per second.
    """
    if isinstance(settings, Piecewise):
        return repeating(_gaps(settings, seed, client, block), piecewise(settings, rate_rps))
    assert rate_rps is not None
    if isinstance(settings, Deterministic):
        return regular(rate_rps, block)
    gaps = _gaps(settings, seed, client, block)
    if isinstance(settings, Diurnal):
        return repeating(gaps, diurnal(settings, rate_rps))
    if isinstance(settings, Mmpp):
        rates, mean_ns = states(settings, rate_rps)
        return jumping(gaps, modulated(generator(seed, client, STATES), rates, mean_ns))
    return steady(gaps, rate_rps)


def _gaps(
    settings: Synthetic, seed: np.random.SeedSequence, client: str, block: int
) -> Iterator[Floats]:
    sampler = _sampler(settings)
    rng = generator(seed, client, GAPS)
    while True:
        yield sampler(rng, block)


def _sampler(settings: Synthetic) -> Gaps:
    if isinstance(settings, Weibull):
        return gaps_of("weibull", settings.cv)
    if isinstance(settings, Gamma | Diurnal | Piecewise) and settings.cv != 1:
        return gaps_of("gamma", settings.cv)
    return gaps_of("exponential")


def piecewise(settings: Piecewise, rate_rps: float | None) -> Pattern:
    """Return the pattern of a piecewise rate, scaled to a mean of ``rate_rps`` if it is given."""
    length = np.array([round(piece.seconds * 1e9) for piece in settings.pieces], dtype=np.int64)
    first = np.array([piece.level for piece in settings.pieces])
    last = np.array(
        [piece.level if piece.end_level is None else piece.end_level for piece in settings.pieces]
    )
    scale = 1.0 if rate_rps is None else rate_rps / _mean(length, first, last)
    return Pattern.of(length, first * scale, last * scale)


def _mean(length: Ints, first: Floats, last: Floats) -> float:
    return float(((first + last) / 2 * length).sum() / length.sum())


def own_rate(settings: Piecewise) -> float:
    """Return the mean rate of a piecewise workload whose levels are requests per second."""
    pattern = piecewise(settings, None)
    return float(pattern.mass[-1]) / pattern.total_ns * 1e9


def diurnal(settings: Diurnal, rate_rps: float) -> Pattern:
    """Return a sine of mean ``rate_rps`` as straight pieces."""
    period = round(settings.period_seconds * 1e9)
    edges = np.arange(DIURNAL_PIECES + 1) * period // DIURNAL_PIECES
    phase = 2 * math.pi * (edges - settings.peak_seconds * 1e9) / period
    level = np.maximum(rate_rps * (1 + settings.swing * np.cos(phase)), 0.0)
    return Pattern.of(np.diff(edges), level[:-1], level[1:])


def states(settings: Mmpp, rate_rps: float) -> tuple[Floats, Floats]:
    """Return the rate (requests per second) and mean stay (nanoseconds) of each state.

    Raises:
        ConfigError: the states change so fast that they could as well be one.
    """
    level = np.array([state.level for state in settings.states.values()])
    stay = np.array([state.mean_seconds for state in settings.states.values()])
    # Every state is entered equally often, so each holds for a share of its mean stay.
    changes = 1 / (stay.mean() * rate_rps)
    if changes > _MOST_CHANGES:
        raise ConfigError(
            f"Configuration: workload.states: they change {changes:,.0f} times per request, which "
            "is a Poisson workload; give longer mean_seconds or a higher rate."
        )
    return level * (rate_rps * stay.sum() / (level * stay).sum()), stay * 1e9
