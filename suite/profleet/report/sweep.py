"""What a sweep of simulations says as a whole: curves over the load, knees, and the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from profleet.profile.metrics import Metric
from profleet.report.frontier import front, knee
from profleet.report.simulated import Job, rate_text


class Axis(NamedTuple):
    """What load-latency curves run over: a label, and the value of a job (None: it has none)."""

    label: str
    of: Callable[[Job], float | None]


class Curve(NamedTuple):
    """The jobs of one variant, in order of their load."""

    name: str
    jobs: list[Job]


def axis_of(jobs: Sequence[Job]) -> Axis:
    """Return what tells the loads of a sweep apart.

    The offered load where all fleets can serve as much, else the offered rate; in a closed loop,
    whose users wait for answers, the throughput.
    """
    if any(job.result.offered_rps is None for job in jobs):
        return Axis("Throughput, requests/s", _throughput)
    capacities = [job.result.capacity_rps or 0.0 for job in jobs]
    least, most = min(capacities), max(capacities)
    if least > 0 and most <= least * (1 + 1e-9):
        return Axis(
            f"Offered load (1: {rate_text(most)})",
            lambda job: (job.result.offered_rps or 0.0) / most,
        )
    return Axis("Offered rate, requests/s", lambda job: job.result.offered_rps)


def curves(jobs: Sequence[Job]) -> list[Curve]:
    """Group jobs by what they simulate other than the load, in order of appearance."""
    axis = axis_of(jobs)
    found: dict[str, list[Job]] = {}
    for job in jobs:
        if axis.of(job) is not None:
            found.setdefault(job.variant, []).append(job)
    return [
        Curve(name, sorted(members, key=lambda job: axis.of(job) or 0.0))
        for name, members in found.items()
    ]


def knee_of(curve: Curve, axis: Axis) -> Job | None:
    """Return the job at the knee of a load-latency curve (``frontier.knee``)."""
    steady = [job for job in curve.jobs if job.state != "overloaded" and p99_of(job) is not None]
    rates = [axis.of(job) or 0.0 for job in steady]
    latencies = [metric.value for job in steady if (metric := p99_of(job))]
    over = [axis.of(job) or 0.0 for job in curve.jobs if job.state == "overloaded"]
    place = knee(rates, latencies, ends=bool(over) and max(over) > max(rates, default=0.0))
    return None if place is None else steady[place]


def last_steady(curve: Curve) -> Job | None:
    """Return the job of the highest load that has a steady state, with latency stated."""
    steady = [job for job in curve.jobs if job.state == "stable" and p99_of(job) is not None]
    return steady[-1] if steady else None


def best_of(jobs: Sequence[Job], metric: str) -> list[Job]:
    """Return the jobs on the front of a metric against latency p99, fastest first."""
    able = [job for job in jobs if p99_of(job) and job.metric(metric)]
    points = [(value_of(job, "latency_p99_ms"), value_of(job, metric)) for job in able]
    return [able[index] for index in front(points)]


def p99_of(job: Job) -> Metric | None:
    """Return the latency p99 of a job, None where it is not stated."""
    return job.metric("latency_p99_ms")


def value_of(job: Job, name: str, part: str = "value") -> float:
    """Return a part of a metric, 0 where it is not stated."""
    metric = job.metric(name)
    return 0.0 if metric is None else getattr(metric, part) or 0.0


def _throughput(job: Job) -> float | None:
    metric = job.metric("throughput_rps")
    return None if metric is None else metric.value
