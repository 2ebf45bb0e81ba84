"""From samples to statistics: what a profile states, and what it warns of."""

from __future__ import annotations

import statistics as stdlib
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from profleet.errors import StoreError
from profleet.profile.samples import IDLE, SCENARIO, STEADY, Samples
from profleet.profile.schema import (
    ColdStartSummary,
    Estimate,
    IdleSummary,
    Insufficient,
    Latency,
    Measurement,
    Percentile,
    Point,
    PointSummary,
)
from profleet.profile.statistics import (
    PERCENTILES,
    Groups,
    Interval,
    mean_estimate,
    needed,
    quantile,
    quantile_estimate,
    throughput_estimate,
)

__all__ = ["Samples", "Summary", "status_of", "summarize"]

UNSTEADY_STD = 0.10
"""pyperf's threshold: a standard deviation of this share of the mean deserves a warning."""

RUN_FLOOR = 0.02
"""No interval is stated narrower than +- 2 %.

What changes from run to run (placement, temperature, neighbors of a virtual machine) does not show
within one run: MLModelScope's own papers differ by 1.8 % for one model on one GPU, and quiet runs
here differ by up to 3 % (`make bench`).
"""

MOST_REASONS = 2
"""A warning gives this many of a point's reasons; all of them stay in the profile."""


class Summary(NamedTuple):
    """Statistics of one measurement and what to know before trusting them."""

    points: list[PointSummary]
    idle: list[IdleSummary]
    cold_start: ColdStartSummary
    scenario: Latency | None
    warnings: list[str]


def summarize(measurement: Measurement, samples: Samples) -> Summary:
    """Compute the statistics of a measurement from its samples.

    Raises:
        StoreError: the measurement records no cold start.
    """
    steady = samples.where(samples.phase == STEADY)
    points = []
    for point in measurement.points:
        groups = steady.where(steady.batch_size == point.batch_size).latency_ms()
        if groups:
            points.append(_point(point.batch_size, groups))
    requests = samples.where(samples.phase == SCENARIO).latency_ms()
    scenario = _without_intervals(_latency(requests)) if requests else None
    idle = list(_idle(samples))
    return Summary(
        points=points,
        idle=idle,
        cold_start=_cold_start(measurement),
        scenario=scenario,
        warnings=[
            *_warnings(measurement, points),
            *_about_rests(idle, samples),
            *_about_scenario(measurement, scenario, len(requests)),
        ],
    )


def status_of(measurement: Measurement) -> Literal["steady", "unstable"]:
    """Return ``unstable`` if a point is, or if LoadGen calls the scenario invalid."""
    scenario = measurement.scenario
    invalid = scenario is not None and not scenario.valid
    if invalid or any(point.status == "unstable" for point in measurement.points):
        return "unstable"
    return "steady"


# -- statistics ----------------------------------------------------------------------------------


def _point(batch_size: int, groups: Groups) -> PointSummary:
    in_seconds = mean_estimate([group / 1e3 for group in groups])
    return PointSummary(
        batch_size=batch_size,
        latency_ms=_latency(groups),
        throughput_rps=_estimate(throughput_estimate(batch_size, in_seconds)),
    )


def _latency(groups: Groups) -> Latency:
    pooled = np.concatenate(groups)
    return Latency(
        count=len(pooled),
        mean=_estimate(mean_estimate(groups)),
        std=float(pooled.std(ddof=1)) if len(pooled) > 1 else 0.0,
        minimum=float(pooled.min()),
        maximum=float(pooled.max()),
        percentiles={name: _percentile(groups, name) for name in PERCENTILES},
    )


def _percentile(groups: Groups, name: str) -> Percentile:
    have = sum(map(len, groups))
    need = needed(PERCENTILES[name])
    if have < need:
        return Insufficient(
            insufficient_samples=f"{name} needs {need} samples and has {have}",
            have=have,
            need=need,
        )
    return _estimate(quantile_estimate(groups, PERCENTILES[name]))


def _estimate(interval: Interval) -> Estimate:
    """State an interval, never narrower than what separates one run from the next."""
    floor = RUN_FLOOR * abs(interval.value)
    low, high = interval.low, interval.high
    return Estimate(
        value=interval.value,
        low=None if low is None else min(low, interval.value - floor),
        high=None if high is None else max(high, interval.value + floor),
    )


def _without_intervals(latency: Latency) -> Latency:
    """Requests of one process queue behind each other: no interval here holds for the next run."""

    def bare(entry: Percentile) -> Percentile:
        if isinstance(entry, Insufficient):
            return entry
        return Estimate(value=entry.value, low=None, high=None)

    return latency.model_copy(
        update={
            "mean": bare(latency.mean),
            "percentiles": {name: bare(entry) for name, entry in latency.percentiles.items()},
        }
    )


def _idle(samples: Samples) -> Iterator[IdleSummary]:
    """Compare every gap with back-to-back requests *of the same process*.

    Back-to-back is the gap 0 of the idle phase where a process measured it, else its steady
    samples.
    """
    idle = samples.where(samples.phase == IDLE)
    for batch_size in np.unique(idle.batch_size):
        rested = idle.where(idle.batch_size == batch_size)
        steady = samples.where((samples.phase == STEADY) & (samples.batch_size == batch_size))
        missing = ~np.isin(steady.process, rested.process[rested.gap_ms == 0])
        back_to_back = _by_process(rested.where(rested.gap_ms == 0)) | _by_process(
            steady.where(missing & np.isin(steady.process, rested.process))
        )
        if not back_to_back:
            continue
        yield _rest(int(batch_size), 0.0, back_to_back, back_to_back)
        for gap_ms in np.unique(rested.gap_ms[rested.gap_ms > 0]):
            after = _by_process(rested.where(rested.gap_ms == gap_ms))
            if after.keys() & back_to_back.keys():
                yield _rest(int(batch_size), float(gap_ms), after, back_to_back)


def _rest(
    batch_size: int,
    gap_ms: float,
    after: dict[int, NDArray[np.float64]],
    back_to_back: dict[int, NDArray[np.float64]],
) -> IdleSummary:
    groups = list(after.values())
    p50, base = _percentile(groups, "p50"), _percentile(list(back_to_back.values()), "p50")
    stated = isinstance(p50, Estimate) and isinstance(base, Estimate)
    ratios = [
        _median(latencies) / _median(back_to_back[process])
        for process, latencies in after.items()
        if process in back_to_back
    ]
    return IdleSummary(
        batch_size=batch_size,
        gap_ms=gap_ms,
        count=sum(map(len, groups)),
        p50_ms=p50,
        ratio=stdlib.median(ratios) if stated else None,
    )


def _median(latencies: NDArray[np.float64]) -> float:
    return quantile(np.sort(latencies), PERCENTILES["p50"])  # the one that p50_ms states


def _by_process(samples: Samples) -> dict[int, NDArray[np.float64]]:
    return dict(zip(np.unique(samples.process).tolist(), samples.latency_ms(), strict=True))


def _cold_start(measurement: Measurement) -> ColdStartSummary:
    """Take medians; the first run only where its batch is the smallest one that came first."""
    starts = measurement.cold_start
    if not starts:
        raise StoreError(
            f"The measurement of run {measurement.run_id} records no cold start: its runner does "
            "not follow the job protocol. Check it with the conformance test."
        )
    batch = min(start.first_run_batch for start in starts)
    first = [start.first_run_s for start in starts if start.first_run_batch == batch]
    return ColdStartSummary(
        processes=len(starts),
        start_s=stdlib.median(start.start_s for start in starts),
        import_s=stdlib.median(start.import_s for start in starts),
        load_s=stdlib.median(start.load_s for start in starts),
        init_s=stdlib.median(start.init_s for start in starts),
        first_run_s=stdlib.median(first),
        first_run_processes=len(first),
        first_run_batch=batch,
    )


# -- warnings: the consequence, then the reason ----------------------------------------------------


def _warnings(measurement: Measurement, points: list[PointSummary]) -> Iterator[str]:
    if measurement.check.status == "failed":
        yield (
            "The outputs disagree with the manifest's reference: these are the times of a wrong "
            "answer."
        )
    yield from _about_points(measurement.points, {point.batch_size: point for point in points})


def _about_rests(idle: list[IdleSummary], samples: Samples) -> Iterator[str]:
    batches: dict[int, list[IdleSummary]] = {}
    for rest in idle:
        batches.setdefault(rest.batch_size, []).append(rest)
    yield from _by_batch(
        (batch_size, text)
        for batch_size, rests in batches.items()
        for text in _rest_warnings(rests, samples.where(samples.batch_size == batch_size))
    )


def _rest_warnings(rests: list[IdleSummary], samples: Samples) -> Iterator[str]:
    refused = [f"{rest.gap_ms:g}" for rest in rests if isinstance(rest.p50_ms, Insufficient)]
    if refused:
        yield (
            f"too few samples to state the p50 after a rest of {', '.join(refused)} ms (needs "
            f"{needed(PERCENTILES['p50'])}). Raise measure.budget_seconds or measure.idle_samples."
        )
    if len(np.unique(samples.where(samples.phase == IDLE).process)) == 1:
        yield (
            "rests were measured in one process, so their intervals leave out how processes "
            "differ and may be too narrow."
        )


def _about_scenario(
    measurement: Measurement, scenario: Latency | None, processes: int
) -> Iterator[str]:
    result = measurement.scenario
    if result is None:
        return
    if not result.valid:
        yield f"LoadGen calls the {result.kind} run invalid: {' '.join(result.reasons)}".strip()
    if scenario is None:
        yield "The scenario left no samples, so nothing is stated about its latency."
    else:
        if processes == 1:
            yield (
                "The scenario: measured in one process, and its requests depend on each other, so "
                "no intervals are stated. Another run may give other numbers."
            )
        yield from (f"The scenario: {text}" for text in _withheld(scenario, "scenario.min_queries"))


def _about_points(points: list[Point], summaries: dict[int, PointSummary]) -> Iterator[str]:
    yield from _by_batch(
        (point.batch_size, text)
        for point in points
        for text in _point_warnings(point, summaries.get(point.batch_size))
    )


def _by_batch(told: Iterable[tuple[int, str]]) -> Iterator[str]:
    """Say each thing once, with all the batch sizes it is true of."""
    batches: dict[str, list[int]] = {}
    for batch_size, text in told:
        batches.setdefault(text, []).append(batch_size)
    for text, sizes in batches.items():
        yield f"Batch {', '.join(map(str, sizes))}: {text}"


def _point_warnings(point: Point, summary: PointSummary | None) -> Iterator[str]:
    if point.status == "unstable":
        why = " ".join(point.reasons[:MOST_REASONS]) or "The runner gave no reason."
        more = len(point.reasons) - MOST_REASONS
        why += f" (And {more} more, in profile.json.)" if more > 0 else ""
        yield f"unstable, another run may give other numbers. {why}"
    if summary is None:
        yield "no steady samples, so nothing is stated."
        return
    unsteady = sum(not warm_up.steady for warm_up in point.warm_up)
    if unsteady:
        yield (
            f"still changing when the warm-up ended in {unsteady} of {point.processes} processes, "
            "so the first samples may be too slow."
        )
    if point.processes == 1:
        yield (
            "measured in one process, so the intervals leave out how processes differ and may be "
            "too narrow."
        )
    latency = summary.latency_ms
    yield from _withheld(latency, "measure.min_samples and measure.budget_seconds")
    if latency.std >= UNSTEADY_STD * latency.mean.value:
        yield (
            f"the standard deviation is more than {UNSTEADY_STD:.0%} of the mean. Compare medians, "
            "and look at the CDF before trusting the mean."
        )


def _withheld(latency: Latency, remedy: str) -> Iterator[str]:
    refused = [
        f"{percentile} (needs {entry.need})"
        for percentile, entry in latency.percentiles.items()
        if isinstance(entry, Insufficient)
    ]
    if refused:
        yield f"too few samples to state {', '.join(refused)}. Raise {remedy}."
