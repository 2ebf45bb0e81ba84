"""From what replications counted to named numbers with intervals, and a verdict.

Every number is computed once per replication. Its value is the mean over replications, and its
interval Student's t of them, widened by the resolution of the histogram where it is a quantile;
one replication gives no interval. Names carry the unit; what follows
a slash is the group or the model they belong to, and without one they are the whole fleet's.

Quantiles come from histograms (``engine.histogram`` bounds their error) and are left out where a
replication has fewer requests than MLPerf's early-stopping rule asks for. Where the offered load
is 1 or more there is no steady state to speak of: latency and waiting are then refused, unless
requests are turned away before queues grow without end. Load and
queues are judged while requests arrive: afterwards even an overloaded fleet works off what it has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from profleet.manifest.documents import Evidence
from profleet.profile.metrics import Metric
from profleet.profile.statistics import CONFIDENCE, needed, process_half_width
from profleet.simulate.engine import histogram
from profleet.simulate.records import DROPS, SPANS, FleetArrays, Ints, Outcome

Verdict = Literal["stable", "backlogged", "overloaded"]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
NAMES = {span: "wait" if span == "queue" else span for span in SPANS}
"""Span of a request -> how its metrics begin."""

STEADY_SPANS = ("latency", "queue", "forming")
"""Spans that have a distribution in steady state only."""

WORST_LAST: tuple[Evidence, ...] = (
    "measured", "interpolated", "calibrated", "modelled", "assumed",
)  # fmt: skip
SHARES = {"utilization", "availability", "drop_ratio", "slo_attainment"}
"""Metrics that are a part of a whole, and so are their intervals."""

NS_PER_S = 1e9

GROWTH = 1.6
"""How much longer a queue is at the end than halfway if it grows: 1.9 times if it always grew."""


UNSTEADY = "the queues have no steady state, and every time in them depends on how long one looks."
SHED = "the rest is turned away, and times are those of the requests that were served."


class Number(NamedTuple):
    """One number of one replication; ``resolution`` is how far it may be off, as a fraction."""

    name: str
    value: float
    unit: str
    resolution: float = 0.0


class Summary(NamedTuple):
    """What the replications say together.

    ``refused`` names the metrics that were left out, each with the reason; ``reasons`` says in
    sentences why the verdict is what it is.
    """

    metrics: dict[str, Metric]
    refused: dict[str, str]
    verdict: Verdict
    reasons: tuple[str, ...]


def summarize(
    fleet: FleetArrays,
    outcomes: Sequence[Outcome],
    *,
    confidence: float = CONFIDENCE,
    load: float | None = None,
    sheds: bool = False,
) -> Summary:
    """Return the metrics, refusals and verdict of one or more replications.

    Args:
        fleet: what was simulated.
        outcomes: one per replication, all of the same fleet.
        confidence: level of the intervals.
        load: mean rate of the workload over what the fleet can do at most; None: not known, only
            what happened counts.
        sheds: whether requests are turned away before any queue grows without end. What is served
            then has times that do not depend on how long one looks.
    """
    verdict, reasons = judge(fleet, outcomes, load, sheds=sheds)
    columns: dict[str, list[Number]] = {}
    refused: dict[str, str] = {}
    for outcome in outcomes:
        for number in _numbers(fleet, outcome, refused):
            columns.setdefault(number.name, []).append(number)
    if verdict == "overloaded" and not sheds:
        for name in [name for name in columns if _is_steady(name)]:
            refused[name] = reasons[0]
            del columns[name]
    evidence = evidence_of(fleet, outcomes)
    metrics = {}
    for name, column in columns.items():
        if len(column) == len(outcomes):
            metrics[name] = _metric(column, evidence, confidence)
        else:
            few = f"Only {len(column)} of {len(outcomes)} replications can state it."
            refused.setdefault(name, few)
    return Summary(metrics, refused, verdict, reasons)


def offered_load(fleet: FleetArrays, outcome: Outcome) -> list[float]:
    """Return the offered load of every group: work sent to it over what it can do at most.

    Both while requests arrived: n of them come in n - 1 gaps.
    """
    requests = int(outcome.injected.sum())
    span_ns = max(1, outcome.last_arrival_ns - outcome.window_ns[0])
    gaps = max(0, requests - 1) / max(1, requests)
    return list((outcome.offered_ns * gaps / (span_ns * np.diff(fleet.first))).tolist())


def judge(
    fleet: FleetArrays,
    outcomes: Sequence[Outcome],
    load: float | None = None,
    *,
    sheds: bool = False,
) -> tuple[Verdict, tuple[str, ...]]:
    """Say whether the fleet keeps up; arguments as for ``summarize``.

    ``overloaded``: the fleet or a group was offered as much work as it can do, or more; or it
    answered no request at all.
    ``backlogged``: the load is below 1, and yet the number of waiting requests grew as long as
    requests arrived (the period is short, replicas were down, or batches do not fill).
    ``stable``: neither. A closed loop is stable: its users wait for their answers.
    """
    if not any(outcome.injected.any() for outcome in outcomes):
        none = (
            "No request came after the warm-up, so nothing is known of latency: simulate a longer "
            "period (requests or duration_s), or a higher rate."
        )
        return "stable", (none,)
    if not any(outcome.completed.any() or outcome.in_system.any() for outcome in outcomes):
        return "overloaded", ("Every request was dropped: drop_ratio and its causes say why.",)
    if any(outcome.closed for outcome in outcomes):
        return "stable", ()
    so = SHED if sheds else UNSTEADY
    if load is not None and load >= 1:
        much = f"The workload offers {load:.3g} times the work that the fleet can do: {so}"
        return "overloaded", (much,)
    loads = np.mean([offered_load(fleet, outcome) for outcome in outcomes], axis=0)
    whole = float(np.dot(loads, np.diff(fleet.first))) / fleet.replicas
    if load is not None and whole >= 1:
        short = (
            f"The workload offers {load:.3g} times the work that the fleet can do, but by chance "
            f"{whole:.3g} times in what was simulated: simulate a longer period (requests or "
            "duration_s)."
        )
        return "overloaded", (short,)
    over = [
        f"Group {name} was offered {load:.3g} times the work that it can do: {so}"
        for name, load in zip(fleet.groups, loads, strict=True)
        if load >= 1
    ]
    if over:
        return "overloaded", tuple(over)
    growing = [outcome for outcome in outcomes if _grows(outcome, fleet.replicas)]
    if 2 * len(growing) > len(outcomes):
        grew = (
            f"The offered load is {max(loads):.3g}, but the number of waiting requests kept "
            "growing: simulate a longer period, or look at batching, failures and bursts."
        )
        return "backlogged", (grew,)
    return "stable", ()


def evidence_of(fleet: FleetArrays, outcomes: Sequence[Outcome]) -> Evidence:
    """Return the weakest evidence among the batch sizes that were executed."""
    models = len(fleet.models)
    used = np.sum([outcome.batches for outcome in outcomes], axis=0) > 0
    found = [
        evidence
        for cell, service in enumerate(fleet.services)
        if service is not None
        for evidence, executed in zip(service.evidence, used[cell // models][1:], strict=False)
        if executed
    ]
    return max(found, key=WORST_LAST.index, default="assumed")


def _is_steady(name: str) -> bool:
    return name.startswith(tuple(f"{NAMES[span]}_" for span in STEADY_SPANS))


def _grows(outcome: Outcome, replicas: int) -> bool:
    """Whether the queue is far longer when the last requests arrive than halfway there."""
    waiting = outcome.waiting[outcome.sample_ns <= outcome.last_arrival_ns].sum(axis=1)
    if len(waiting) < 20:
        return False
    tenth = len(waiting) // 10
    middle, end = waiting[4 * tenth : 6 * tenth].mean(), waiting[-tenth:].mean()
    return bool(end > GROWTH * middle and end - middle > max(10, replicas))


def _numbers(fleet: FleetArrays, outcome: Outcome, refused: dict[str, str]) -> Iterator[Number]:
    models = len(fleet.models)
    seconds = (outcome.window_ns[1] - outcome.window_ns[0]) / NS_PER_S
    everywhere = np.arange(len(outcome.completed))
    yield from _rates(outcome, everywhere, int(outcome.served.sum()), seconds, "")
    yield from _spans(outcome, everywhere, "", refused)
    if models > 1:
        for index, model in enumerate(fleet.models):
            cells = everywhere[index::models]
            yield from _rates(outcome, cells, int(outcome.served[index]), seconds, f"/{model}")
            yield from _spans(outcome, cells, f"/{model}", refused)
    yield from _groups(fleet, outcome, seconds)
    yield from _losses(outcome)


def _rates(outcome: Outcome, cells: Ints, served: int, seconds: float, of: str) -> Iterator[Number]:
    completed = int(outcome.completed[cells].sum())
    yield Number(f"completed{of}", completed, "1")
    if seconds > 0:
        good = int(outcome.met[cells].sum()) / max(1, completed)
        yield Number(f"throughput_rps{of}", served / seconds, "1/s")
        yield Number(f"goodput_rps{of}", served * good / seconds, "1/s")


def _spans(outcome: Outcome, cells: Ints, of: str, refused: dict[str, str]) -> Iterator[Number]:
    count = int(outcome.completed[cells].sum())
    if not count:
        return
    for index, span in enumerate(SPANS):
        total = int(outcome.total_ns[cells, index].sum())
        if not total and span in {"forming", "wire"}:
            continue  # nothing of the kind was simulated
        name = NAMES[span]
        yield Number(f"{name}_mean_ms{of}", total / count / 1e6, "ms")
        maximum = outcome.maximum_ns[cells, index].max() / 1e6
        yield Number(f"{name}_max_ms{of}", maximum, "ms")
        counts = outcome.histogram[cells, index].sum(axis=0)
        for label, share in QUANTILES.items():
            key = f"{name}_{label}_ms{of}"
            if count < needed(share):
                refused[key] = f"{count} requests, and {needed(share)} are needed."
                continue
            value = min(maximum, histogram.quantile(counts, share) / 1e6)
            yield Number(key, value, "ms", histogram.RELATIVE_ERROR)


def _groups(fleet: FleetArrays, outcome: Outcome, seconds: float) -> Iterator[Number]:
    counts = np.diff(fleet.first)
    busy = np.add.reduceat(outcome.busy_ns, fleet.first[:-1])
    up = np.add.reduceat(outcome.up_ns, fleet.first[:-1])
    loads = offered_load(fleet, outcome)
    yield Number("utilization", busy.sum() / max(1, up.sum()), "1")
    yield Number("offered_load", float(np.dot(loads, counts) / counts.sum()), "1")
    if fleet.mtbf_ns.any() or len(fleet.outage_ns):
        whole = (outcome.window_ns[1] - outcome.window_ns[0]) * counts.sum()
        yield Number("availability", up.sum() / max(1, whole), "1")
    sizes = np.arange(outcome.batches.shape[1])
    batches = outcome.batches.sum(axis=0)
    if batches.sum():
        yield Number("batch_size_mean", float(batches @ sizes / batches.sum()), "1")
    if len(fleet.groups) > 1:
        for group, name in enumerate(fleet.groups):
            yield Number(f"utilization/{name}", busy[group] / max(1, up[group]), "1")
            yield Number(f"offered_load/{name}", loads[group], "1")
    yield from _energy_and_cost(fleet, outcome, seconds)


def _energy_and_cost(fleet: FleetArrays, outcome: Outcome, seconds: float) -> Iterator[Number]:
    served = int(outcome.served.sum())
    good = served * int(outcome.met.sum()) / max(1, int(outcome.completed.sum()))
    if seconds <= 0:
        return
    energy = float(outcome.energy_j.sum())
    if math.isfinite(energy) and energy > 0:
        yield Number("power_mean_w", energy / seconds, "W")
        if served:
            yield Number("energy_per_request_j", energy / served, "J")
        if good:
            yield Number("energy_per_good_request_j", energy / good, "J")
    per_hour = float(np.dot(fleet.price_per_hour, np.diff(fleet.first)))
    if math.isfinite(per_hour):
        yield Number("cost_per_hour", per_hour, "price/h")
        if served:
            per_second = served / seconds
            yield Number("cost_per_million", per_hour / 3600 / per_second * 1e6, "price/1e6")
    if len(fleet.groups) > 1:
        joules = np.add.reduceat(outcome.energy_j, fleet.first[:-1])
        prices = fleet.price_per_hour * np.diff(fleet.first)
        for group, name in enumerate(fleet.groups):
            if math.isfinite(joules[group]) and joules[group] > 0:
                yield Number(f"power_mean_w/{name}", float(joules[group]) / seconds, "W")
            if math.isfinite(prices[group]):
                yield Number(f"cost_per_hour/{name}", float(prices[group]), "price/h")


def _losses(outcome: Outcome) -> Iterator[Number]:
    injected = int(outcome.injected.sum())
    dropped = outcome.dropped.sum(axis=0)
    yield Number("injected", injected, "1")
    yield Number("dropped", int(dropped.sum()), "1")
    if injected:
        yield Number("drop_ratio", float(dropped.sum() / injected), "1")
        yield Number("slo_attainment", float(outcome.met.sum() / injected), "1")
    for reason, count in zip(DROPS, dropped, strict=True):
        yield Number(f"dropped/{reason}", int(count), "1")
    yield Number("retried", int(outcome.retried.sum()), "1")


def _metric(column: Sequence[Number], evidence: Evidence, confidence: float) -> Metric:
    values, unit = [number.value for number in column], column[0].unit
    if evidence == "calibrated" and unit in {"W", "J"}:
        evidence = "modelled"  # no device model was compared with a joule
    value = float(np.mean(values))
    if len(values) < 2:
        return Metric(value=value, unit=unit, evidence=evidence)
    half = process_half_width(values, confidence) + column[0].resolution * abs(value)
    low = value - half if min(values) < 0 else max(0.0, value - half)
    whole = column[0].name.partition("/")[0] in SHARES
    high = min(1.0, value + half) if whole else value + half
    return Metric(value=value, low=low, high=high, unit=unit, evidence=evidence)
