"""The same fleets modelled in SimPy: every request must complete at the same nanosecond.

The models share with the simulator only what is given: times of arrivals, service draws, and the
order of what happens at one time (completions, then arrivals, then timers).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
import simpy

from profleet.simulate.api import configure
from profleet.simulate.engine.layout import TABLE_COLUMNS
from profleet.simulate.random import Streams
from profleet.simulate.records import NO_DEADLINE, Arrivals, Ints
from profleet.simulate.run import Period, Record, simulate_once
from profleet.simulate.simulation import prepare

REQUESTS = 20_000
AT_ONCE, COMPLETES, ARRIVES, CLOSES = 0, 1, 2, 3

both_grids = pytest.mark.parametrize(
    ("dist", "grid"), [("exponential", 1), ("deterministic", 50_000)]
)
"""Service and the grid of arrivals in ns; with the second many things happen at one time."""

seeds = pytest.mark.parametrize("seed", [0, 1])


class Moment(simpy.Event):
    """A timeout whose place among others at the same time is given."""

    def __init__(self, env: simpy.Environment, delay: int, order: int) -> None:
        super().__init__(env)
        self._ok, self._value = True, None
        env.schedule(self, order, delay)


@dataclass
class Replica:
    """A server with a queue: starts a full batch, or what there is once the head is due."""

    env: simpy.Environment
    means: np.ndarray
    draws: np.ndarray
    arrivals: list[int]
    done: list[int]
    size: int
    delay: int
    outstanding: int = 0
    queue: deque[int] = field(default_factory=deque)
    poked: simpy.Event | None = None

    def join(self, request: int) -> None:
        self.outstanding += 1
        self.queue.append(request)
        self.poke()

    def poke(self, _: Any = None) -> None:
        if self.poked is not None:
            asleep, self.poked = self.poked, None
            asleep._ok, asleep._value = True, None
            self.env.schedule(asleep, AT_ONCE)

    def sleep(self) -> simpy.Event:
        self.poked = self.env.event()
        return self.poked

    def serve(self) -> Generator[simpy.Event, Any, None]:
        while True:
            while not self.queue:
                yield self.sleep()
            while len(self.queue) < self.size:
                due = self.arrivals[self.queue[0]] + self.delay
                if self.env.now >= due:
                    break
                Moment(self.env, due - self.env.now, CLOSES).callbacks.append(self.poke)
                yield self.sleep()
            count = min(self.size, len(self.queue))
            batch = [self.queue.popleft() for _ in range(count)]
            took = int(self.means[count - 1] * self.draws[batch[0]] + 0.5)
            yield Moment(self.env, took, COMPLETES)
            self.outstanding -= count
            for request in batch:
                self.done[request] = self.env.now


def shortest_queues(
    arrivals: list[int], groups: list[np.ndarray], draws: np.ndarray, size: int, delay: int
) -> tuple[list[int], list[int]]:
    """When requests complete and where, if each joins the shortest queue (the first of several)."""
    env = simpy.Environment()
    done, where = [0] * len(arrivals), [0] * len(arrivals)
    fleet = [Replica(env, means, draws, arrivals, done, size, delay) for means in groups]

    def source() -> Generator[simpy.Event, Any, None]:
        for request, time in enumerate(arrivals):
            yield Moment(env, time - env.now, ARRIVES)
            where[request] = min(range(len(fleet)), key=lambda r: fleet[r].outstanding)
            fleet[where[request]].join(request)

    for replica in fleet:
        env.process(replica.serve())
    env.process(source())
    env.run()
    return done, where


def one_queue(arrivals: list[int], servers: int, mean: float, draws: np.ndarray) -> list[int]:
    """When requests complete that wait in one line, as SimPy's own resource has it."""
    env = simpy.Environment()
    fleet = simpy.Resource(env, capacity=servers)
    done = [0] * len(arrivals)

    def request(number: int) -> Generator[simpy.Event, Any, None]:
        with fleet.request() as turn:
            yield turn
            yield env.timeout(int(mean * draws[number] + 0.5))
            done[number] = env.now

    def source() -> Generator[simpy.Event, Any, None]:
        for number, time in enumerate(arrivals):
            yield env.timeout(time - env.now)
            env.process(request(number))

    env.process(source())
    env.run()
    return done


def poisson(rate_rps: float, grid: int, seed: int) -> Ints:
    gaps = np.random.default_rng(seed).exponential(1e9 / rate_rps, REQUESTS)
    return (np.cumsum(gaps) / grid).astype(np.int64) * grid


def simulated(times: Ints, seed: int, fleet: Any, **policies: Any) -> tuple[pd.DataFrame, Any]:
    """The table of requests in order of their arrival, and the draws that they got."""
    workload = {"kind": "poisson", "load": 0.5}  # not used: the requests are given
    scene = prepare(configure({"fleet": fleet, "workload": workload, **policies}, {}))
    streams, rows = Streams(seed), []
    arrays = scene.fleet.arrays(streams.generator("fleet"))
    same = np.zeros(REQUESTS, dtype=np.int32)
    whole = Arrivals(times, same, same, same, np.full(REQUESTS, NO_DEADLINE), np.ones(REQUESTS))
    chunks = (part(whole, start, start + 7001) for start in range(0, REQUESTS, 7001))
    record = Record(samples=False, on_requests=rows.append)
    simulate_once(arrays, chunks, scene.settings.policy, streams, Period(), record=record)
    table = pd.DataFrame(np.concatenate(rows), columns=list(TABLE_COLUMNS))
    draws = arrays.draw(Streams(seed).generator("service"), REQUESTS)
    return table.sort_values("request", ignore_index=True), draws


def part(whole: Arrivals, start: int, end: int) -> Arrivals:
    return Arrivals(*(getattr(whole, name)[start:end] for name in Arrivals.__dataclass_fields__))


def theory(dist: str, servers: int, mean_ms: float, per_request_ms: float = 0.0) -> dict[str, Any]:
    service = {"dist": dist, "mean_ms": mean_ms, "per_request_ms": per_request_ms}
    return {"preset": "theory", "servers": servers, "service": service}


@seeds
@both_grids
def test_one_queue_for_all_servers(dist, grid, seed):
    times = poisson(0.9 * 16_000, grid, seed)
    table, draws = simulated(
        times, seed, theory(dist, 16, 1.0), router="central_queue", batching="none"
    )
    assert table["completed_ns"].tolist() == one_queue(times.tolist(), 16, 1e6, draws)


@seeds
@both_grids
def test_shortest_queue_of_two_kinds_of_servers(dist, grid, seed):
    times = poisson(0.9 * (6_000 + 4 / 0.003), grid, seed)
    groups = [
        {"name": name, "count": count, "service": {"dist": dist, "mean_ms": mean_ms}}
        for name, count, mean_ms in (("slow", 4, 3.0), ("fast", 6, 1.0))
    ]
    fleet = {"preset": "assumed", "groups": groups}
    table, draws = simulated(times, seed, fleet, router="jsq", batching="none")
    means = [np.array([3e6])] * 4 + [np.array([1e6])] * 6
    done, where = shortest_queues(times.tolist(), means, draws, 1, 0)
    assert table["replica"].tolist() == where
    assert table["completed_ns"].tolist() == done


@seeds
@both_grids
@pytest.mark.parametrize(("delay_ms", "load"), [(0.0, 0.7), (5.0, 0.4), (5.0, 0.8)])
def test_shortest_queue_with_dynamic_batches(dist, grid, seed, delay_ms, load):
    times = poisson(load * 8 / 0.012 * 8, grid, seed)
    batching = {"kind": "dynamic", "size": 8, "max_delay_ms": delay_ms}
    table, draws = simulated(
        times, seed, theory(dist, 8, 5.0, 1.0), router="jsq", batching=batching
    )
    means = [5e6 + 1e6 * np.arange(8)] * 8
    done, where = shortest_queues(times.tolist(), means, draws, 8, round(delay_ms * 1e6))
    assert table["replica"].tolist() == where
    assert table["completed_ns"].tolist() == done
    assert table["batch"].max() >= 4
