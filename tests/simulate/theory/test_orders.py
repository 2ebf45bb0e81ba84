"""Queues with an order: Cobham's waits for priorities, and for the shortest job first."""

import numpy as np
import pytest

import queueing
from profleet.simulate.records import Arrivals

LOAD = 0.8
SHARES = (0.3, 0.7)
NO_DEADLINE = np.iinfo(np.int64).max


def two_classes(requests, seed, work):
    """Poisson arrivals of two classes: the first is more urgent, or its work is less."""
    random = np.random.default_rng(seed)
    kind = (random.random(requests) >= SHARES[0]).astype(np.int32)
    times = np.cumsum(random.exponential(1e6 / LOAD, requests)).astype(np.int64)
    zeros = np.zeros(requests, dtype=np.int32)
    deadline = np.full(requests, NO_DEADLINE)
    return Arrivals(times, zeros, kind, kind, deadline, np.array(work)[kind])


@pytest.mark.parametrize(
    ("order", "work"),
    [("sjf", (0.5, 17 / 14)), ("priority", (2.0, 4 / 7))],
)
def test_each_class_waits_as_cobham_says(theory, order, work):
    """Exponential service; its mean over both classes is 1 ms."""
    waits = []
    for seed in range(20):
        rows = theory.requests(two_classes(150_000, seed, work), order=order, seed=seed)
        late = rows[rows["request"] >= 30_000]
        wait = (late["start_ns"] - late["arrived_ns"]) / 1e6
        waits.append([wait[late["client"] == kind].mean() for kind in (0, 1)])
    rates = [LOAD * share for share in SHARES]
    square = sum(share * 2 * each**2 for share, each in zip(SHARES, work, strict=True))
    exact = queueing.priority_waits(rates, work, square)
    for kind, column in enumerate(np.array(waits).T):
        theory.holds(column, exact[kind], within=0.04)
