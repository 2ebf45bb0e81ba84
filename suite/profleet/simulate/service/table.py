"""Tables of service times: one row a batch size, one column a slice of equal probability.

A row keeps the quantile function of what was measured, averaged over ``POINTS`` slices. So

* its mean is the mean of the samples (to half a nanosecond), and with it every utilization;
* its distribution differs from that of the samples by less than ``1 / POINTS`` (0.024 %)
  anywhere: its p99.9 lies between the samples' p99.87 and p99.93;
* what is rarer than a slice is averaged: nothing is said about single samples beyond p99.976.

The samples of every process weigh the same, however many each of them took, so a row spreads as
far as processes differ, on top of the noise within each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from profleet.errors import ConfigError
from profleet.simulate.records import Evidence, Floats, Ints

POINTS = 4096
"""Columns of a row. A power of two, so that uniform bits pick a column without rounding."""

MAX_BATCH = 4096
"""The largest batch that a table is made for."""

MAX_NS = 10**15
"""The longest service time that is believed: eleven days."""


class Table(NamedTuple):
    """Service times of batch sizes 1 to ``len(evidence)``: nanoseconds, (sizes, ``POINTS``)."""

    quantiles: Ints
    evidence: tuple[Evidence, ...]


class Grid(NamedTuple):
    """What a table is made from: a row, or any other column of numbers, per measured size."""

    sizes: tuple[int, ...]
    values: Floats

    @classmethod
    def of(cls, rows: Mapping[int, NDArray[np.float64 | np.int64] | float]) -> Grid:
        """Collect the values of each size, in order of size."""
        sizes = tuple(sorted(rows))
        return cls(sizes, np.array([rows[size] for size in sizes], dtype=np.float64))

    def at(self, size: int) -> Floats:
        """Return the measured values, or those on the line through the two nearest sizes."""
        if size in self.sizes:
            found: Floats = self.values[self.sizes.index(size)]
            return found
        right = min(max(int(np.searchsorted(self.sizes, size)), 1), len(self.sizes) - 1)
        low, high = self.sizes[right - 1], self.sizes[right]
        share = (size - low) / (high - low)
        line: Floats = (1 - share) * self.values[right - 1] + share * self.values[right]
        return line

    def evidence(self, size: int) -> Evidence:
        """Say what the values at ``size`` are: read, on a line between sizes, or beyond them."""
        if size in self.sizes:
            return "measured"
        inside = self.sizes[0] < size < self.sizes[-1]
        return "interpolated" if inside else "modelled"


def quantile_row(processes: Sequence[NDArray[np.int64]]) -> Ints:
    """Return ``POINTS`` slices of the quantile function of samples, all processes alike.

    Args:
        processes: samples of each process in nanoseconds, at least one process with a sample.
    """
    filled = [samples for samples in processes if len(samples)]
    pooled = np.concatenate(filled)
    weights = np.concatenate([np.full(len(each), 1 / len(each)) for each in filled]) / len(filled)
    order = np.argsort(pooled, kind="stable")
    values, weights = pooled[order].astype(np.float64), weights[order]
    below = np.concatenate(([0.0], np.cumsum(weights)))
    below /= below[-1]
    total = np.concatenate(([0.0], np.cumsum(weights * (values - values[0]))))
    slices = np.diff(np.interp(np.arange(POINTS + 1) / POINTS, below, total)) * POINTS + values[0]
    within = np.clip(slices, max(values[0], 1.0), max(values[-1], 1.0))
    row: Ints = np.maximum.accumulate(np.rint(within)).astype(np.int64)
    return row


def build_table(
    rows: Mapping[int, Ints],
    largest: int,
    *,
    allow_extrapolation: bool,
    field: str,
    what: str,
) -> Table:
    """Make rows for the batch sizes 1 to ``largest`` from the measured ones.

    Between measured sizes every slice is interpolated linearly. Outside them the line through the
    two nearest sizes is followed if that is allowed; such times are ``modelled``.

    Args:
        rows: measured batch size -> quantile row.
        largest: the largest batch that may come.
        allow_extrapolation: use times outside the measured sizes.
        field: the setting that asked for ``largest``, for the message.
        what: the profile, for the message.

    Raises:
        ConfigError: a size lies outside the measured ones, or ``largest`` is too large.
    """
    if largest > MAX_BATCH:
        raise ConfigError(f"{field}: batches of {largest} are more than {MAX_BATCH}, the limit.")
    grid = Grid.of(rows)
    outside = [size for size in range(1, largest + 1) if grid.evidence(size) == "modelled"]
    if outside:
        _refuse(outside, grid.sizes, allow_extrapolation, field, what)
    if outside and not _rises(grid, outside):
        raise ConfigError(
            f"{field}: the times of {what} do not rise with the batch size between the two sizes "
            "nearest to the end of what was measured, so there is no line to extrapolate along. "
            "Measure again, or lower the limit."
        )
    quantiles = np.empty((largest, POINTS), dtype=np.int64)
    for size in range(1, largest + 1):
        times = np.sort(np.clip(np.rint(grid.at(size)), 1, MAX_NS))
        quantiles[size - 1] = times.astype(np.int64)
    return Table(quantiles, tuple(grid.evidence(size) for size in range(1, largest + 1)))


def _rises(grid: Grid, outside: Sequence[int]) -> bool:
    """Tell whether times outside the measured sizes lie on the right side of those measured."""
    first, last = float(grid.values[0].mean()), float(grid.values[-1].mean())
    means = {size: float(grid.at(size).mean()) for size in (outside[0], outside[-1])}
    return all(
        0 < mean <= first if size < grid.sizes[0] else mean >= last for size, mean in means.items()
    )


def _refuse(
    outside: Sequence[int], measured: Sequence[int], allowed: bool, field: str, what: str
) -> None:
    """Raise unless the times outside the measured sizes are wanted and can be had."""
    listed = ", ".join(map(str, measured))
    sizes = f"size {outside[0]}" if len(outside) == 1 else f"sizes {outside[0]} to {outside[-1]}"
    if outside[0] < measured[0] and outside[-1] > measured[-1]:
        sizes = f"sizes below {measured[0]} and above {measured[-1]}"
    if not allowed:
        raise ConfigError(
            f"{field}: batches of {sizes} can occur, but {what} was measured at batch sizes "
            f"{listed} only. Measure more of them, lower the limit, or say "
            "fleet.allow_extrapolation=true."
        )
    if len(measured) < 2:
        raise ConfigError(
            f"{field}: {what} was measured at batch size {listed} only, and one size gives no "
            "line to extrapolate along. Measure a second one."
        )
