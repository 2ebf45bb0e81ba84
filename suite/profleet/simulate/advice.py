"""What one should know of a simulation besides its numbers: what was too short, or in vain."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from profleet.simulate.metrics import Summary
from profleet.simulate.records import Outcome
from profleet.simulate.settings import SimulateSettings
from profleet.simulate.workload import Workload
from profleet.simulate.workload.settings import (
    Diurnal,
    Mixture,
    Mmpp,
    Piecewise,
    WorkloadSettings,
)

FILLED = 3
"""Mean latencies that a fleet takes, at the least, from empty to as full as it stays."""


def advice(
    settings: SimulateSettings, outcomes: Sequence[Outcome], summary: Summary, workload: Workload
) -> Iterator[str]:
    """Say what is wrong with the length of warm-up and period, and what had no effect, if any."""
    warm_ms = float(np.mean([outcome.window_ns[0] for outcome in outcomes])) / 1e6
    latency = summary.metrics.get("latency_mean_ms")
    if latency is not None and 0 < warm_ms < FILLED * latency.value:
        yield (
            f"The warm-up took {_number(warm_ms)} ms, and a request takes "
            f"{_number(latency.value)} ms: the fleet was still filling when counting began. "
            "Simulate more requests, or say a larger warmup."
        )
    cycle_s = _cycle_s(settings.workload)
    simulated_s = float(np.mean([outcome.last_arrival_ns for outcome in outcomes])) / 1e9
    if simulated_s < cycle_s:
        yield (
            f"The rate of the workload changes over {cycle_s:.4g} s, of which {simulated_s:.3g} s "
            f"were simulated, so what came is not its mean: say duration_s={math.ceil(cycle_s)}, "
            "or let it change faster."
        )
    yield from _too_few(settings, workload)
    if settings.trace and settings.trace_window_ms[0] >= simulated_s * 1e3:
        yield (
            f"The timeline is empty: trace_window_ms begins at {settings.trace_window_ms[0]:g} ms, "
            f"and the last request came at {_number(simulated_s * 1e3)} ms."
        )
    if not any(_deadlines(settings.workload)):
        for key, what in _by_deadline(settings):
            yield (
                f"{key} goes by deadlines, and no request has one, so {what}: say slo.p99_ms=MS or "
                "workload.deadline_ms=MS."
            )


def _too_few(settings: SimulateSettings, workload: Workload) -> Iterator[str]:
    """Say that the trace ended before the period that was asked for."""
    available, rate = workload.requests, workload.mean_rate_rps
    if available is None:
        return
    again = "say workload.loop=true to begin it again"
    if settings.duration_s is not None:
        if rate is not None and available / rate < 0.99 * settings.duration_s:
            yield (
                f"The trace ends after {_number(available / rate)} s of the "
                f"{settings.duration_s:g} s asked for, and nothing came after that: {again}."
            )
    elif settings.requests is not None and available < settings.requests:
        yield (
            f"The trace has {available} of the {settings.requests} requests asked for, so only "
            f"those were simulated: {again}."
        )


def _deadlines(workload: WorkloadSettings) -> Iterator[float | None]:
    if isinstance(workload, Mixture):
        for client in workload.clients.values():
            yield from _deadlines(client.arrivals)
    else:
        yield workload.deadline_ms


def _by_deadline(settings: SimulateSettings) -> Iterator[tuple[str, str]]:
    """The settings that mean nothing where no request has a deadline, and what they do then."""
    if settings.router.kind == "slo_aware":
        yield "router=slo_aware", "nothing was turned away"
    if settings.batching.kind == "deadline":
        yield "batching=deadline", "no batch was limited by one"
    if settings.queue.order == "edf":
        yield "queue.order=edf", "requests were served in order of arrival"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _cycle_s(workload: WorkloadSettings) -> float:
    """How long a changing rate takes to be all that it can be, in seconds."""
    if isinstance(workload, Mixture):
        return max(_cycle_s(client.arrivals) for client in workload.clients.values())
    if isinstance(workload, Diurnal):
        return workload.period_seconds
    if isinstance(workload, Piecewise):
        return math.fsum(piece.seconds for piece in workload.pieces)
    if isinstance(workload, Mmpp):
        return math.fsum(state.mean_seconds for state in workload.states.values())
    return 0.0
