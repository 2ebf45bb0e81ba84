"""Batching on tiny schedules, worked out by hand. Times are in nanoseconds."""

from __future__ import annotations

from profleet.simulate.run import Period
from simulate.engine.small import BATCHES, arrivals, fleet, policy, service, simulate


def test_fixed_batches_wait_until_they_are_full() -> None:
    of = fleet([1], [service(BATCHES)])
    result = simulate(of, arrivals([0, 3, 8, 9, 50]), policy("jsq", {"kind": "fixed", "size": 2}))
    assert result.column("start_ns") == [3, 3, 15, 15]
    assert result.outcome.in_system.tolist() == [1]
    # The first waited for the second; the third for the fourth, and then for the replica.
    assert result.outcome.total_ns[0].tolist() == [64, 13, 3, 0, 48]
    assert result.outcome.batches.tolist() == [[0, 0, 2]]


def test_dynamic_batches_close_after_the_delay() -> None:
    of = fleet([1], [service(BATCHES)])
    ten = {"kind": "dynamic", "size": 3, "max_delay_ms": 10e-6}
    result = simulate(of, arrivals([0, 10, 11, 12, 13, 40]), policy("jsq", ten))
    # The request that arrives as the batch closes still joins it; three at 12 are full.
    assert result.column("start_ns") == [10, 10, 22, 22, 22, 50]
    assert result.column("batch") == [2, 2, 3, 3, 3, 1]
    assert result.outcome.total_ns[0, 2] == 10 + 0 + 10


def test_greedy_batches_take_what_waits() -> None:
    of = fleet([1], [service(BATCHES)])
    stream = arrivals([0, 1, 2, 3, 4, 5])
    result = simulate(of, stream, policy("jsq", "dynamic"), Period(duration_ns=100))
    assert result.column("start_ns") == [0, 10, 10, 10, 10, 26]
    assert result.outcome.batches.tolist() == [[0, 2, 0, 0, 1]]


def test_adaptive_limit_climbs_and_halves() -> None:
    of = fleet([1], [service(BATCHES)])
    aimd = {"kind": "adaptive", "target_ms": 14e-6, "add": 1}
    result = simulate(of, arrivals([0] * 17), policy("jsq", aimd))
    # 16 ns are above the target: 4, then half of it, and up again.
    assert result.batches[:, 2].tolist() == [1, 2, 3, 4, 2, 3, 2]


def test_deadline_batches_are_as_large_as_the_first_allows() -> None:
    of = fleet([1], [service([10, 20, 30])])
    stream = arrivals([0, 1, 1, 1], deadline_ns=[100, 30, 30, 30])
    result = simulate(of, stream, policy("jsq", {"kind": "deadline"}))
    assert result.column("start_ns") == [0, 10, 10, 30]
    assert result.outcome.met.tolist() == [3]


def test_deadline_batches_hold_while_one_more_would_meet_it() -> None:
    of = fleet([1], [service([10, 20, 30])])
    stream = arrivals([0, 5], deadline_ns=[40, 100])
    result = simulate(of, stream, policy("jsq", {"kind": "deadline", "hold": True}))
    # Alone until 20 - a pair would be done by 40 -; two until 10, then they go.
    assert result.column("start_ns") == [10, 10]
