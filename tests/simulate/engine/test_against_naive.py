from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profleet.simulate.random import Streams
from profleet.simulate.records import NO_DEADLINE, FleetArrays, ServiceClass
from profleet.simulate.run import Period
from simulate.engine import small
from simulate.engine.naive import NEVER, Naive, requests_of

MS = 1_000_000

ROUTERS: list[Any] = [
    "random",
    "round_robin",
    "jsq",
    {"kind": "power_of_d", "d": 2},
    {"kind": "power_of_d", "d": 4},
    "least_work",
    "shortest_expected",
    "slo_aware",
    {"kind": "model_affinity", "spill": 2},
    "central_queue",
]
BATCHINGS: list[Any] = [
    "none",
    {"kind": "fixed", "size": 2},
    {"kind": "dynamic", "max_delay_ms": 0.0},
    {"kind": "dynamic", "max_delay_ms": 0.00002},
    {"kind": "adaptive", "target_ms": 0.00003, "add": 2},
    {"kind": "deadline"},
    {"kind": "deadline", "hold": True},
]


@st.composite
def queues(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "order": draw(st.sampled_from(["fifo", "priority", "edf", "sjf"])),
        "limit": draw(st.none() | st.integers(0, 4)),
        "on_full": draw(st.sampled_from(["drop", "retry"])),
        "on_failure": draw(st.sampled_from(["requeue", "retry", "drop"])),
        "max_retries": draw(st.integers(0, 2)),
        "backoff_ms": 0.00001,
    }


@st.composite
def fleets(draw: st.DrawFn) -> FleetArrays:
    """One or two groups, one or two models, times of a few nanoseconds, so that ties abound."""
    models = draw(st.integers(1, 2))
    counts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    groups, replicas = len(counts), sum(counts)
    tables = draw(st.booleans())
    sizes = draw(st.booleans())

    def one() -> ServiceClass:
        batch = draw(st.integers(2, 4))
        grow = draw(st.lists(st.integers(1, 9), min_size=batch, max_size=batch))
        means = np.cumsum(grow) + 3
        return small.service(
            means=means.tolist(),
            quantiles=np.stack([means - 2, means, means + 2], axis=1) if tables else None,
            load_ns=draw(st.sampled_from([0, 7])),
            input_bytes=draw(st.integers(0, 3)) if sizes else 0,
            output_bytes=draw(st.integers(0, 3)) if sizes else 0,
        )

    services: list[ServiceClass | None] = [one() for _ in range(groups * models)]
    if groups == 2 and models == 2 and draw(st.booleans()):
        services[draw(st.sampled_from([1, 2]))] = None
    outages = []
    if draw(st.booleans()):
        times = draw(st.lists(st.integers(0, 120), min_size=1, max_size=6))
        outages = [
            (time, draw(st.integers(0, replicas - 1)), draw(st.integers(0, 1)))
            for time in sorted(times)
        ]
    slow = draw(st.booleans())
    return small.fleet(
        counts,
        services,
        models=models,
        draw=small.uniform if tables else small.ones,
        slowdown=np.array(
            [draw(st.sampled_from([1.0, 1.5, 0.75])) if slow else 1.0 for _ in range(replicas)]
        ),
        loaded=np.array(
            [draw(st.integers(-1, models - 1)) for _ in range(replicas)], dtype=np.int32
        ),
        link_latency_ns=np.array([draw(st.sampled_from([0, 0, 4])) for _ in counts]),
        link_bytes_per_s=np.array(
            [draw(st.sampled_from([np.inf, 1e9])) if sizes else np.inf for _ in counts]
        ),
        host_ns=np.array([draw(st.sampled_from([0, 0, 2])) for _ in counts]),
        outages=outages,
    )


@given(
    fleet=fleets(),
    router=st.sampled_from(ROUTERS),
    batching=st.sampled_from(BATCHINGS),
    queue=queues(),
    users=st.sampled_from([0, 0, 0, 3]),
    horizon=st.none() | st.integers(20, 150),
    data=st.data(),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_request_leaves_as_in_the_naive_simulator(
    fleet: FleetArrays,
    router: Any,
    batching: Any,
    queue: dict[str, Any],
    users: int,
    horizon: int | None,
    data: st.DataObject,
) -> None:
    n = data.draw(st.integers(1, 25))

    def ints(low: int, high: int) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=n, max_size=n))

    times = ints(0, 12) if users else np.cumsum(ints(0, 12)).tolist()
    some = data.draw(st.booleans())
    stream = small.arrivals(
        times,
        model=ints(0, len(fleet.models) - 1),
        client=ints(0, 3),
        priority=ints(0, 2),
        deadline_ns=[d * 10 if d else NO_DEADLINE for d in ints(0, 6)] if some else NO_DEADLINE,
        work=[1 + w / 2 for w in ints(0, 2)] if some else 1.0,
    )
    policy = small.policy(router, batching, **queue)
    streams = Streams(1)
    draws = fleet.draw(streams.generator("service"), n)
    bits = streams.generator("routing").integers(0, 1 << 62, n)
    naive = Naive(fleet, policy, NEVER if horizon is None else horizon)
    expected = naive.execute(requests_of(stream, draws, bits), times, users)

    result = small.simulate(
        fleet, stream, policy, Period(duration_ns=horizon), users=users, chunk=7
    )
    assert [tuple(row) for row in result.table.tolist()] == expected
    assert result.outcome.in_system.sum() == naive.in_system
    assert result.outcome.injected.sum() == len(expected) + naive.in_system
