"""The jobs that engines are compared on, and SimPy models of them; times in nanoseconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import simpy

from profleet.simulate.random import Streams
from profleet.simulate.records import NO_DEADLINE, Arrivals, FleetArrays, Floats, Ints, Outcome
from profleet.simulate.run import Period, simulate_once
from simulate.engine import small

MS = 1_000_000
CHUNK = 65_536


class Given:
    """Service draws that were made before, so that drawing is not part of what is timed."""

    def __init__(self, factors: Floats) -> None:
        self.factors = factors
        self.used = 0

    def __call__(self, _: np.random.Generator, n: int) -> Floats:
        self.used += n
        return self.factors[self.used - n : self.used]


def erlang(servers: int, load: float, n: int) -> tuple[Ints, Floats]:
    """Arrivals of M/M/c, and exponential service in units of its mean of 1 ms."""
    random = np.random.default_rng(12345)
    times = np.cumsum(random.exponential(MS / (load * servers), n)).astype(np.int64)
    return times, random.exponential(1.0, n)


def queue_fleet(servers: int, factors: Floats) -> FleetArrays:
    """Servers with a mean service time of 1 ms."""
    return small.fleet([servers], [small.service([MS])], draw=Given(factors))


def simpy_queue(times: Ints, factors: Floats, servers: int) -> float:
    """The mean wait in M/M/c, a process for every request."""
    env = simpy.Environment()
    fleet = simpy.Resource(env, capacity=servers)
    service = np.floor(MS * factors + 0.5).astype(np.int64).tolist()
    waited = 0

    def request(time: int, takes: int) -> Iterator[Any]:
        nonlocal waited
        with fleet.request() as slot:
            yield slot
            waited += env.now - time
            yield env.timeout(takes)

    def source() -> Iterator[Any]:
        for time, takes in zip(times.tolist(), service, strict=True):
            yield env.timeout(time - env.now)
            env.process(request(time, takes))

    env.process(source())
    env.run()
    return waited / len(times)


BATCH = 8
BATCH_NS = [(4 + b) * MS for b in range(1, BATCH + 1)]
"""A batch takes 4 ms and 1 ms more for each of its requests."""


def batch_arrivals(replicas: int, load: float, n: int) -> Ints:
    """Poisson arrivals at a share of what the replicas can do with full batches."""
    random = np.random.default_rng(7)
    gap = BATCH_NS[-1] / BATCH / replicas / load
    return np.cumsum(random.exponential(gap, n)).astype(np.int64)


def batch_fleet(replicas: int) -> FleetArrays:
    """Replicas that take batches of up to 8."""
    return small.fleet([replicas], [small.service(BATCH_NS)])


def simpy_batches(times: Ints, replicas: int) -> float:
    """The mean latency under JSQ and greedy batching, a process for every replica."""
    env = simpy.Environment()
    queues: list[deque[int]] = [deque() for _ in range(replicas)]
    outstanding = [0] * replicas
    wake: list[Any] = [None] * replicas
    total = 0

    def replica(k: int) -> Iterator[Any]:
        nonlocal total
        queue = queues[k]
        while True:
            if not queue:
                wake[k] = env.event()
                yield wake[k]
                wake[k] = None
            batch = [queue.popleft() for _ in range(min(BATCH, len(queue)))]
            yield env.timeout(BATCH_NS[len(batch) - 1])
            for arrived in batch:
                total += env.now - arrived
            outstanding[k] -= len(batch)

    def source() -> Iterator[Any]:
        for time in times.tolist():
            yield env.timeout(time - env.now)
            k = outstanding.index(min(outstanding))
            outstanding[k] += 1
            queues[k].append(time)
            if wake[k] is not None and not wake[k].triggered:
                wake[k].succeed()

    for k in range(replicas):
        env.process(replica(k))
    env.process(source())
    env.run()
    return total / len(times)


def simulate(fleet: FleetArrays, stream: Arrivals, router: Any, batching: Any = "none") -> Outcome:
    """One replication of Profleet on the same numbers."""
    if isinstance(fleet.draw, Given):
        fleet = replace(fleet, draw=Given(fleet.draw.factors))
    policy = small.policy(router, batching)
    return simulate_once(fleet, small.chunked(stream, CHUNK), policy, Streams(1), Period())


def poisson(rate_rps: float, n: int) -> Iterator[Arrivals]:
    """A long Poisson stream, drawn as it is needed."""
    random = np.random.default_rng(1)
    same = small.arrivals([0] * CHUNK)
    time = 0.0
    for first in range(0, n, CHUNK):
        count = min(CHUNK, n - first)
        times = np.cumsum(random.standard_exponential(count)) * (1e9 / rate_rps) + time
        time = float(times[-1])
        yield Arrivals(
            times.astype(np.int64),
            same.model[:count],
            same.client[:count],
            same.priority[:count],
            np.full(count, NO_DEADLINE),
            same.work[:count],
        )
