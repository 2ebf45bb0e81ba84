"""What one should know of a simulation besides its numbers: that it was too short for them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from profleet.simulate.metrics import Summary
from profleet.simulate.records import Outcome
from profleet.simulate.settings import SimulateSettings
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
    settings: SimulateSettings, outcomes: Sequence[Outcome], summary: Summary
) -> Iterator[str]:
    """Say what is wrong with the length of the warm-up and of the period, if something is."""
    warm_ms = float(np.mean([outcome.window_ns[0] for outcome in outcomes])) / 1e6
    latency = summary.metrics.get("latency_mean_ms")
    if latency is not None and 0 < warm_ms < FILLED * latency.value:
        yield (
            f"The warm-up took {warm_ms:.3g} ms, and a request takes {latency.value:.3g} ms: the "
            "fleet was still filling when counting began. Simulate more requests, or say a larger "
            "warmup."
        )
    cycle_s = _cycle_s(settings.workload)
    simulated_s = float(np.mean([outcome.last_arrival_ns for outcome in outcomes])) / 1e9
    if simulated_s < cycle_s:
        yield (
            f"The rate of the workload changes over {cycle_s:.4g} s, of which {simulated_s:.3g} s "
            f"were simulated, so what came is not its mean: say duration_s={math.ceil(cycle_s)}, "
            "or let it change faster."
        )


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
