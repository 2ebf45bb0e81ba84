"""The numbers of a profile by name. Names carry the unit; what follows the slash is the condition.

``/b4`` is batch size 4, ``/b4/gap20`` the same after 20 ms of rest, ``/server`` a scenario. What
was not measured, or refused for want of samples, is left out; it is never zero.

Two kinds of rates: ``throughput_rps`` counts *items* per second, so that batch sizes compare;
``peak_rps`` (like ``target_rps`` of a scenario) counts *requests* per second, of ``batch_size``
items each. ``throughput_rps/offline`` is LoadGen's own samples per second. Offline has no
``latency_*``: all its samples are issued at once, and their wait since then says nothing about one
request.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from pydantic import Field

from profleet.manifest.documents import Evidence
from profleet.profile.schema import (
    Estimate,
    Latency,
    Point,
    Profile,
    Reading,
    Record,
    ScenarioResult,
    Value,
)

OFFLINE_RATE = "Samples per second"
"""LoadGen's name of it in the summary."""


class Metric(Record):
    """A number with its interval (null: none is stated), unit and evidence."""

    value: float
    low: float | None = None
    high: float | None = None
    unit: str = Field(min_length=1)
    evidence: Evidence


def metrics_of(profile: Profile) -> dict[str, Metric]:
    """Return every number of a profile under its metric name."""
    return {
        name: Metric(
            value=estimate.value,
            low=estimate.low,
            high=estimate.high,
            unit=unit,
            evidence=profile.evidence,
        )
        for name, unit, estimate in _all(profile)
    }


def offline_rps(scenario: ScenarioResult) -> float | None:
    """Return the items per second of an Offline run, as LoadGen sums it up."""
    rate = scenario.summary.get(OFFLINE_RATE) if scenario.kind == "offline" else None
    if isinstance(rate, int | float) and not isinstance(rate, bool) and 0 < rate < math.inf:
        return float(rate)
    return None


Named = Iterator[tuple[str, str, Estimate]]


def _all(profile: Profile) -> Named:
    for summary in profile.points:
        condition = f"b{summary.batch_size}"
        yield from _latency(summary.latency_ms, condition)
        yield f"throughput_rps/{condition}", "1/s", summary.throughput_rps
    for point in profile.measurement.points:
        yield from _readings(point)
    for rest in profile.idle:
        if rest.gap_ms > 0:
            condition = f"b{rest.batch_size}/gap{rest.gap_ms:g}"
            if isinstance(rest.p50_ms, Estimate):
                yield f"latency_idle_p50_ms/{condition}", "ms", rest.p50_ms
            if rest.ratio is not None:
                yield f"latency_idle_ratio/{condition}", "1", _exact(rest.ratio)
    yield from _cold_start(profile)
    scenario = profile.measurement.scenario
    if scenario is not None:
        if profile.scenario is not None and scenario.kind != "offline":
            yield from _latency(profile.scenario, scenario.kind)
        if (rate := offline_rps(scenario)) is not None:
            yield "throughput_rps/offline", "1/s", _exact(rate)
        if scenario.peak_rps is not None:
            yield "peak_rps", "1/s", _exact(scenario.peak_rps)


def _latency(latency: Latency, condition: str) -> Named:
    for name, percentile in latency.percentiles.items():
        if isinstance(percentile, Estimate):
            yield f"latency_{name}_ms/{condition}", "ms", percentile
    yield f"latency_mean_ms/{condition}", "ms", latency.mean


def _readings(point: Point) -> Named:
    readings: dict[str, tuple[str, Reading]] = {
        "peak_rss_bytes": ("B", point.peak_rss_bytes),
        "peak_device_bytes": ("B", point.peak_device_bytes),
        "host_to_device_ms": ("ms", point.host_to_device_ms),
        "device_to_host_ms": ("ms", point.device_to_host_ms),
        "energy_j": ("J", point.energy_j),
    }
    for name, (unit, reading) in readings.items():
        value = reading.value if isinstance(reading, Value) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{name}/b{point.batch_size}", unit, _exact(value)


def _cold_start(profile: Profile) -> Named:
    starts, summary = profile.measurement.cold_start, profile.cold_start
    totals = [
        start.start_s + start.import_s + start.load_s + start.init_s + start.first_run_s
        for start in starts
        if start.first_run_batch == summary.first_run_batch
    ]
    yield "cold_start_s", "s", _exact(statistics.median(totals))
    yield "start_s", "s", _exact(summary.start_s)
    yield "import_s", "s", _exact(summary.import_s)
    yield "load_s", "s", _exact(summary.load_s)
    yield "init_s", "s", _exact(summary.init_s)
    yield "first_run_s", "s", _exact(summary.first_run_s)


def _exact(value: float) -> Estimate:
    return Estimate(value=value, low=None, high=None)
