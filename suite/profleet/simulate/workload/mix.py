"""How the requests of a workload are shared among models, before any rate is known."""

from __future__ import annotations

from collections.abc import Sequence

from profleet.simulate.workload.processes import own_rate
from profleet.simulate.workload.replay import Replay
from profleet.simulate.workload.settings import Client, Mixture, Piecewise, Trace, WorkloadSettings


def model_shares(settings: WorkloadSettings, models: Sequence[str]) -> dict[str, float]:
    """Return the expected share of requests that ask for each model; they sum to 1.

    What a fleet can serve depends on it, and so does what ``workload.load`` is a fraction of.

    Args:
        settings: the group ``workload``.
        models: names of the models that the fleet serves.

    Raises:
        ConfigError: a trace asks for a model that no replica serves.
        TraceError: a trace cannot be read.
    """
    if isinstance(settings, Mixture):
        shared_out = settings.rate is not None or settings.load is not None
        weighted = [
            (
                client.weight if shared_out else _own_weight(client, models, name),
                model_shares(client.arrivals, models),
            )
            for name, client in settings.clients.items()
        ]
    else:
        if isinstance(settings, Trace) and settings.trace_models != "ignore":
            counts = Replay(settings, None, models, "workload").model_counts(models)
        else:
            counts = dict(settings.models or dict.fromkeys(models, 1.0))
        weighted = [(1.0, counts)]
    total = dict.fromkeys(models, 0.0)
    for weight, part in weighted:
        whole = sum(part.values())
        for model, count in part.items():
            total[model] = total.get(model, 0.0) + weight * count / whole
    everything = sum(total.values())
    return {model: share / everything for model, share in total.items()}


def _own_weight(client: Client, models: Sequence[str], name: str) -> float:
    """Return the rate of a client that has one of its own, up to a factor common to all."""
    own = client.arrivals
    if own.rate is not None or own.load is not None:
        return own.rate or own.load or 1.0
    if isinstance(own, Piecewise):
        return own_rate(own)
    if isinstance(own, Trace):
        return Replay(own, None, models, f"workload.clients.{name}.arrivals").rate_rps or 1.0
    return 1.0
