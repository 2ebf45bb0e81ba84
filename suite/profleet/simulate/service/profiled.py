"""Service classes from profiles: every steady sample of the closed-loop batch sweep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from profleet.errors import StoreError
from profleet.profile.samples import STEADY, Samples
from profleet.profile.schema import Insufficient, Point, Profile, Value
from profleet.simulate.records import Floats, Ints, ServiceClass
from profleet.simulate.service.table import MAX_NS, Grid, build_table, quantile_row

PERCENTILE = "p99"
"""The percentile whose refusal in the profile is worth a note."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A profile, read and checked, as the simulator uses it.

    ``name`` is the stack for people (``squeezenet under onnxruntime on epyc-2c-1t``), ``source``
    identifies the profile wherever it lies. ``rows`` are quantile rows in nanoseconds by measured
    batch size; ``alike`` are the same with every process scaled to the mean of all, for replicas
    that differ in speed as the processes did: ``process_cv`` is the coefficient of variation of
    the processes' mean times, None where only one process measured. ``load_ns`` is what loading
    and initializing the model takes.
    """

    name: str
    source: str
    rows: dict[int, Ints]
    alike: dict[int, Ints]
    energy_j: dict[int, float]
    input_bytes: int
    output_bytes: int
    load_ns: int
    process_cv: float | None
    notes: tuple[str, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The measured batch sizes, in order."""
        return tuple(sorted(self.rows))

    def service_class(
        self,
        name: str,
        largest: int,
        *,
        allow_extrapolation: bool,
        field: str,
        alike: bool = False,
    ) -> ServiceClass:
        """Return the service class for batches of 1 to ``largest``.

        Args:
            name: what results call it.
            largest: the largest batch that may come.
            allow_extrapolation: use times outside the measured sizes.
            field: the setting that asked for ``largest``.
            alike: leave out how processes differ; the replicas' speeds stand for it.

        Raises:
            ConfigError: a batch size lies outside the measured ones.
        """
        table = build_table(
            self.alike if alike else self.rows,
            largest,
            allow_extrapolation=allow_extrapolation,
            field=field,
            what=self.name,
        )
        beyond = [size for size, kind in enumerate(table.evidence, 1) if kind == "modelled"]
        line = (
            f"; batch sizes {', '.join(map(str, beyond))} extrapolated linearly" if beyond else ""
        )
        return ServiceClass(
            name=name,
            quantiles=table.quantiles,
            mean_ns=table.quantiles.mean(axis=1),
            evidence=table.evidence,
            source=self.source + line,
            energy_j=self._energy(largest),
            input_bytes=self.input_bytes,
            output_bytes=self.output_bytes,
            load_ns=self.load_ns,
        )

    def _energy(self, largest: int) -> Floats:
        """Joules per batch of 1 to ``largest``; NaN where the measured ones allow no statement."""
        energy = np.full(largest, np.nan)
        if not self.energy_j:
            return energy
        grid = Grid.of(self.energy_j)
        for size in range(1, largest + 1):
            if len(grid.sizes) > 1 or size in grid.sizes:
                energy[size - 1] = max(0.0, float(grid.at(size)))
        return energy


def measured(profile: Profile, samples: Samples, name: str, machine: str, where: str) -> Measured:
    """Read a profile and its samples.

    Args:
        profile: of a batch sweep.
        samples: those that belong to it.
        name: the stack for people.
        machine: a short name of what it was measured on.
        where: folder or run, for messages.

    Raises:
        StoreError: it is no batch sweep, or the samples are not those of the profile.
    """
    if profile.measurement.scenario is not None or not profile.points:
        kind = profile.measurement.scenario.kind if profile.measurement.scenario else "nothing"
        raise StoreError(
            f"{where} measured {kind}, and a simulation needs a batch sweep. Measure one with "
            "scenario=sweep."
        )
    steady = samples.where(samples.phase == STEADY)
    rows: dict[int, Ints] = {}
    alike: dict[int, Ints] = {}
    means: list[list[float]] = []
    for summary in profile.points:
        own = steady.where(steady.batch_size == summary.batch_size)
        if len(own) != summary.latency_ms.count:
            raise StoreError(
                f"{where}: the profile counts {summary.latency_ms.count} samples of batch size "
                f"{summary.batch_size}, and samples.parquet holds {len(own)}: they do not belong "
                "together. Restore the folder or measure again."
            )
        if int(own.latency_ns.max()) > MAX_NS or int(own.latency_ns.min()) < 1:
            raise StoreError(
                f"{where}: a sample of batch size {summary.batch_size} took no time at all or "
                f"more than {MAX_NS / 1e9:g} s. Measure again."
            )
        processes = [own.latency_ns[own.process == each] for each in np.unique(own.process)]
        rows[summary.batch_size] = quantile_row(processes)
        means.append([float(each.mean()) for each in processes])
        common = float(np.mean(means[-1]))
        alike[summary.batch_size] = quantile_row(
            [
                np.rint(each * (common / mean)).astype(np.int64)
                for each, mean in zip(processes, means[-1], strict=True)
            ]
        )
    points = {point.batch_size: point for point in profile.measurement.points}
    smallest = points.get(min(rows))
    if smallest is None or min(smallest.input_bytes, smallest.output_bytes) < 0:
        raise StoreError(
            f"{where}: the measurement says nothing usable about batch size {min(rows)}. Restore "
            "the folder or measure again."
        )
    cold = profile.cold_start
    return Measured(
        name=name,
        source=(
            f"profile {profile.run_id}: {profile.stack.model} {profile.stack.framework} {machine} "
            f"{profile.measurement.started_at[:10]}"
        ),
        rows=rows,
        alike=alike,
        energy_j=dict(_energy(points)),
        input_bytes=-(-smallest.input_bytes // smallest.batch_size),
        output_bytes=-(-smallest.output_bytes // smallest.batch_size),
        load_ns=max(0, round((cold.load_s + cold.init_s) * 1e9)),
        process_cv=_process_cv(means),
        notes=tuple(_notes(profile, name)),
    )


def _energy(points: dict[int, Point]) -> Iterator[tuple[int, float]]:
    for size, point in points.items():
        reading = point.energy_j
        value = reading.value if isinstance(reading, Value) else None
        if isinstance(value, int | float) and value >= 0:
            yield size, float(value)


def _process_cv(means: list[list[float]]) -> float | None:
    """Median over batch sizes of how far the mean times of processes spread."""
    spreads = [np.std(each, ddof=1) / np.mean(each) for each in means if len(each) > 1]
    return float(np.median(spreads)) if spreads else None


def _notes(profile: Profile, name: str) -> Iterator[str]:
    unstable = [p.batch_size for p in profile.measurement.points if p.status == "unstable"]
    if unstable:
        yield (
            f"{name}: measured unstable at batch size {', '.join(map(str, unstable))}: another "
            "measurement may give other times."
        )
    few = [
        point.batch_size
        for point in profile.points
        if isinstance(point.latency_ms.percentiles.get(PERCENTILE), Insufficient)
    ]
    if few:
        yield (
            f"{name}: too few samples to state the {PERCENTILE} service time at batch size "
            f"{', '.join(map(str, few))}, so do not trust simulated tails that depend on it."
        )
