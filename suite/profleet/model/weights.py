"""Seeded weights: values that keep activations in a normal range, equal on every machine.

Timing depends on values (denormals are slow, constant weights invite shortcuts), so placeholder
weights are drawn, not zero. One independent stream per tensor, keyed by (seed, tensor name).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from profleet.model.drawing import drawing

RESIDUAL_GAIN = 0.3  # of a branch added to an identity: fifty such sums must not explode
CHUNK = 1 << 22  # words at a time: bounds the temporaries of a large embedding


@dataclass(frozen=True)
class Uniform:
    """Uniform values in [low, high)."""

    low: float
    high: float

    @classmethod
    def around(cls, center: float, half_width: float) -> Uniform:
        """Return the range center +- half_width."""
        return cls(center - half_width, center + half_width)

    def scaled(self, factor: float) -> Uniform:
        """Return the range times ``factor``."""
        return Uniform(factor * self.low, factor * self.high)

    @classmethod
    def variance_kept(cls, fan_in: int, *, before_relu: bool) -> Uniform:
        """Return weights of variance 2/fan_in before a ReLU, else 1/fan_in: moments are kept.

        The rule is He et al., Delving Deep into Rectifiers, arXiv:1502.01852, equation 10.
        """
        return cls.around(0.0, math.sqrt((6.0 if before_relu else 3.0) / fan_in))


BIAS = Uniform.around(0.0, 0.05)
SHIFT = Uniform.around(0.0, 0.1)
VARIANCE = Uniform(0.8, 1.25)


def scale(gain: float = 1.0) -> Uniform:
    """Return the scale of a normalization layer: gain, give or take a fifth."""
    return Uniform.around(gain, 0.2 * gain)


def draw(seed: int, name: str, shape: tuple[int, ...], values: Uniform) -> npt.NDArray[np.float32]:
    """Draw the float32 tensor ``name``; equal for equal (seed, name, size) everywhere."""
    runner: Any = drawing()
    words = runner.stream(seed, f"weight/{name}")
    count = math.prod(shape)
    drawn = np.empty(count, "<f4")
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        raw = words.random_raw(stop - start)
        drawn[start:stop] = runner.uniform(raw, values.low, values.high, np.float32)
    return drawn.reshape(shape)
