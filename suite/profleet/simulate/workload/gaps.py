"""Gaps between requests: random variables with mean 1 and a chosen coefficient of variation."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np

from profleet.simulate.records import Floats

Distribution = Literal["deterministic", "exponential", "gamma", "weibull"]
Gaps = Callable[[np.random.Generator, int], Floats]
"""``gaps(rng, n)`` draws the next ``n`` gaps, shape ``(n,)``, mean 1, not negative."""


def gaps_of(distribution: Distribution, cv: float = 1.0) -> Gaps:
    """Return the sampler of ``distribution``; ``cv`` (above 0) shapes gamma and Weibull only."""
    if distribution == "deterministic":
        return _deterministic
    if distribution == "exponential":
        return _exponential
    if distribution == "gamma":
        return partial(_gamma, cv**-2, cv**2)
    shape = weibull_shape(cv)
    return partial(_weibull, shape, math.exp(-math.lgamma(1 + 1 / shape)))


def weibull_shape(cv: float) -> float:
    """Return the Weibull shape whose coefficient of variation is ``cv`` (0.01 to 100).

    Solves ``gamma(1 + 2/k) / gamma(1 + 1/k)**2 = 1 + cv**2``, which falls as ``k`` grows.
    """
    wanted = math.log1p(cv**2)
    low, high = math.log(0.05), math.log(500.0)
    for _ in range(100):
        middle = (low + high) / 2
        inverse = math.exp(-middle)
        if math.lgamma(1 + 2 * inverse) - 2 * math.lgamma(1 + inverse) > wanted:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def _deterministic(_rng: np.random.Generator, count: int) -> Floats:
    return np.ones(count)


def _exponential(rng: np.random.Generator, count: int) -> Floats:
    return rng.standard_exponential(count)


def _gamma(shape: float, scale: float, rng: np.random.Generator, count: int) -> Floats:
    gaps = rng.standard_gamma(shape, count)
    gaps *= scale
    return gaps


def _weibull(shape: float, scale: float, rng: np.random.Generator, count: int) -> Floats:
    gaps = rng.weibull(shape, count)
    gaps *= scale
    return gaps
