"""Which features of the engine a simulation needs."""

from __future__ import annotations

from typing import Final

import numpy as np

from profleet.simulate import policies
from profleet.simulate.engine import features as has
from profleet.simulate.engine.state import Tables
from profleet.simulate.records import NO_DEADLINE, Arrivals, FleetArrays

Wanted = dict[str, int | bool]

ROUTERS: Final = {
    "random": has.RANDOM,
    "round_robin": has.ROUND_ROBIN,
    "weighted": has.WEIGHTED,
    "jsq": has.JSQ,
    "power_of_d": has.POWER_OF_D,
    "least_work": has.LEAST_WORK,
    "shortest_expected": has.SHORTEST_EXPECTED,
    "model_affinity": has.MODEL_AFFINITY,
    "slo_aware": has.SLO_AWARE,
    "central_queue": has.CENTRAL_QUEUE,
    "custom": has.CUSTOM,
}
BATCHINGS: Final = {
    "none": has.SINGLE,
    "fixed": has.FIXED,
    "dynamic": has.DYNAMIC,
    "adaptive": has.ADAPTIVE,
    "deadline": has.BY_DEADLINE,
    "custom": has.CUSTOM_BATCHING,
}
ORDERS: Final = {
    "fifo": has.FIFO,
    "priority": has.PRIORITY_ORDER,
    "edf": has.EDF,
    "sjf": has.SJF,
}
WITH_BITS: Final = (has.RANDOM, has.WEIGHTED, has.POWER_OF_D, has.CUSTOM)
WITH_TIMES: Final = (has.LEAST_WORK, has.SHORTEST_EXPECTED, has.SLO_AWARE)


def choose(
    fleet: FleetArrays,
    f: Tables,
    policy: policies.PolicySettings,
    *,
    closed: bool,
    sampling: bool,
    table: bool,
    timeline: bool,
) -> Wanted:
    """Return the features that fleet, policies and records ask for; arrivals may add some."""
    router = ROUTERS[policy.router.kind]
    batching = BATCHINGS[policy.batching.kind]
    if isinstance(policy.batching, policies.DynamicBatching) and not policy.batching.max_delay_ms:
        batching = has.GREEDY
    if batching != has.CUSTOM_BATCHING and f.limit.max() == 1:
        batching = has.SINGLE
    models = len(fleet.models) > 1
    wires = bool(fleet.link_latency_ns.any() or fleet.host_ns.any())
    wires = wires or bool(f.send_ns.any() or f.answer_ns.any())
    outages = bool(len(fleet.outage_ns) or fleet.mtbf_ns.any())
    limited = policy.queue.limit is not None
    retries = (limited and policy.queue.on_full == "retry") or outages
    cold = outages or bool((fleet.loaded < 0).any())
    loads = models or router in {has.MODEL_AFFINITY, has.CUSTOM} or (cold and f.load_ns.any())
    return {
        "ROUTER": router,
        "BATCHING": batching,
        "ORDER": ORDERS[policy.queue.order],
        "CENTRAL": router == has.CENTRAL_QUEUE,
        "ABSENT": 2**62 if router in WITH_TIMES else 2**31 - 1,
        "COUNTED": router in {has.JSQ, has.MODEL_AFFINITY},
        "TIMED": router in WITH_TIMES,
        "BACKLOGS": router == has.LEAST_WORK or (router in WITH_TIMES and models),
        "USES_BITS": router in WITH_BITS,
        "GROUPS": len(fleet.groups) > 1,
        "MODELS": models,
        "QUANTILES": bool(f.points.any()),
        "SPEEDS": bool((fleet.slowdown != 1.0).any()),
        "WORKS": False,
        "DEADLINES": False,
        "WIRES": wires,
        "METERED": bool((f.energy_nj >= 0).any()),
        "LOADS": bool(loads),
        "OUTAGES": outages,
        "LIMITED": limited,
        "RETRIES": retries,
        "CLOSED": closed,
        "DELAYED": wires or retries,
        "HOLDING": batching in {has.FIXED, has.DYNAMIC, has.BY_DEADLINE, has.CUSTOM_BATCHING},
        "SAMPLING": sampling,
        "TABLE": table,
        "TIMELINE": timeline,
    }


def add_traits(wanted: Wanted, chunk: Arrivals) -> Wanted:
    """Add what the requests of a chunk carry for the first time."""
    deadlines = wanted["DEADLINES"] or bool((chunk.deadline_ns != NO_DEADLINE).any())
    works = wanted["WORKS"] or bool((chunk.work != 1.0).any())
    if (deadlines, works) == (wanted["DEADLINES"], wanted["WORKS"]):
        return wanted
    return {**wanted, "DEADLINES": deadlines, "WORKS": works}


def check_arrivals(chunk: Arrivals, models: int, after_ns: int, *, closed: bool) -> None:
    """Assert what the engine relies on, so that a wrong chunk cannot corrupt its tables."""
    if len(chunk) == 0:
        return
    assert chunk.model.min() >= 0
    assert chunk.model.max() < models
    assert np.isfinite(chunk.work).all()
    assert (chunk.work >= 0).all()
    assert chunk.time_ns.min() >= 0
    if not closed:
        assert chunk.time_ns[0] >= after_ns
        assert (np.diff(chunk.time_ns) >= 0).all()
