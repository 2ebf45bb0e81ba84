"""A histogram of times with a bounded relative error, in integers.

Buckets are log-linear: the exponent of a time and the first 6 bits after its leading one, which
are the upper bits of the same number as a float. A bucket is at most 1/64 of its start wide, and is
read at its middle, so a quantile is off by at most 1/128 (0.78 %) of the true sample quantile.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from profleet.simulate.records import Floats, Ints

SUB_BITS: Final = 6
SHIFT: Final = 52 - SUB_BITS
OFFSET: Final = (1023 << SUB_BITS) - 1
BUCKETS: Final = (54 << SUB_BITS) + 1
RELATIVE_ERROR: Final = 1 / (2 << SUB_BITS)
"""How far a quantile may be from the sample quantile, relative to it."""


def bucket_of(time: int) -> int:
    """The bucket of a time in nanoseconds, 0 to 2**53; bucket 0 is for time 0."""
    if time <= 0:
        return 0
    return int(np.float64(time).view(np.int64) >> SHIFT) - OFFSET


def middles() -> Floats:
    """The time that stands for each bucket, in nanoseconds, shape ``(BUCKETS,)``."""
    starts = edges().astype(np.float64)
    ends = np.append(starts[1:], starts[-1])
    middle = np.where(ends - 1 > starts, (starts + ends - 1) / 2, starts)
    middle[0] = 0.0
    return middle


def edges() -> Ints:
    """The least whole time of each bucket, in nanoseconds, shape ``(BUCKETS,)``."""
    bits = (np.arange(BUCKETS - 1, dtype=np.int64) + OFFSET + 1) << SHIFT
    return np.concatenate(([0], np.ceil(bits.view(np.float64)).astype(np.int64)))


def quantile(counts: Ints, share: float) -> float:
    """The time in nanoseconds that ``share`` of the counted times do not exceed; NaN if none.

    ``counts`` has shape ``(BUCKETS,)``. The sample quantile is the smallest sample whose rank is at
    least ``share`` of all; the value returned is within ``RELATIVE_ERROR`` of it.
    """
    below = np.cumsum(counts)
    if below[-1] == 0:
        return float("nan")
    rank = max(1, int(np.ceil(share * below[-1])))
    return float(middles()[np.searchsorted(below, rank)])
