"""What simulating costs, against SimPy in the same run, and as fleets grow.

Both sides get the same random numbers, drawn before, and must agree on the mean. Sides alternate;
times are CPU seconds of this process, which computes on one core, so that a busy neighbor changes
them little. Run by `make bench`.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import fleets
from profleet.simulate.random import Streams
from profleet.simulate.records import Outcome
from profleet.simulate.run import Period, simulate_once
from simulate.engine import small

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

ROUNDS = 5
REQUESTS = 200_000


def ratio(ours: Callable[[], Outcome], theirs: Callable[[], float], span: int) -> float:
    """The median over rounds of their time over ours; asserts that both find the same mean."""
    ours()  # compiles
    ratios, costs = [], []
    for _ in range(ROUNDS):
        began = time.process_time()
        mean = theirs()
        between = time.process_time()
        outcome = ours()
        taken = time.process_time() - between
        ratios.append((between - began) / taken)
        costs.append(taken)
        assert outcome.total_ns[:, span].sum() / outcome.completed.sum() == pytest.approx(mean)
    rate = REQUESTS / statistics.median(costs)
    print(
        f"\n  {statistics.median(ratios):.0f} times SimPy ({min(ratios):.0f} to "
        f"{max(ratios):.0f}), {rate / 1e6:.1f} million requests/s"
    )
    return statistics.median(ratios)


def test_sixteen_servers_and_one_queue() -> None:
    times, factors = fleets.erlang(16, 0.8, REQUESTS)
    fleet, stream = fleets.queue_fleet(16, factors), small.arrivals(times.tolist())
    assert (
        ratio(
            lambda: fleets.simulate(fleet, stream, "central_queue"),
            lambda: fleets.simpy_queue(times, factors, 16),
            span=1,
        )
        >= 100
    )


def test_a_thousand_replicas_with_batches_and_the_shortest_queue() -> None:
    times = fleets.batch_arrivals(1024, 0.7, REQUESTS)
    fleet, stream = fleets.batch_fleet(1024), small.arrivals(times.tolist())
    assert (
        ratio(
            lambda: fleets.simulate(fleet, stream, "jsq", "dynamic"),
            lambda: fleets.simpy_batches(times, 1024),
            span=0,
        )
        >= 150
    )


@pytest.mark.parametrize("router", ["jsq", {"kind": "power_of_d", "d": 2}, "central_queue"])
def test_cost_grows_no_faster_than_the_logarithm_of_the_fleet(router: object) -> None:
    """At most: 16,384 replicas have trees and heaps 3.5 times as high as 16."""
    requests = 1_000_000
    costs = {}
    for replicas in (16, 128, 1024, 16_384):
        best = float("inf")
        times, factors = fleets.erlang(replicas, 0.8, requests)
        fleet, stream = fleets.queue_fleet(replicas, factors), small.arrivals(times.tolist())
        for _ in range(3):
            began = time.process_time()
            fleets.simulate(fleet, stream, router)
            best = min(best, time.process_time() - began)
        costs[replicas] = best / requests * 1e9
    print("\n  ns a request:", {n: round(cost) for n, cost in costs.items()})
    assert costs[16_384] <= 3.5 * costs[16]


LONG = 100_000_000
LONG_REPLICAS = 10_000


def test_a_hundred_million_requests() -> None:
    """Drawing included, in a process of its own: peak memory is that of the whole process."""
    done = subprocess.run(
        [sys.executable, "-c", "from benchmarks.test_simulate_engine import long; long()"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    seconds, gigabytes = map(float, done.stdout.split())
    print(f"\n  {seconds:.1f} s, {gigabytes:.2f} GiB")
    assert seconds <= 60
    assert gigabytes <= 1


def long() -> None:
    """Simulate them; print seconds and GiB."""
    fleet = small.fleet(
        [LONG_REPLICAS], [small.service([fleets.MS])], draw=lambda r, n: r.standard_exponential(n)
    )
    policy = small.policy({"kind": "power_of_d", "d": 2})
    for requests in (1000, LONG):  # the first time compiles
        chunks = fleets.poisson(0.8 * LONG_REPLICAS * 1000, requests)
        began = time.perf_counter()
        outcome = simulate_once(fleet, chunks, policy, Streams(1), Period())
        seconds = time.perf_counter() - began
    assert outcome.completed.sum() == LONG
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
