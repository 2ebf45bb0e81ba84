"""Failures and repairs on tiny schedules, worked out by hand. Times are in nanoseconds."""

from __future__ import annotations

import numpy as np
import pytest

from profleet.simulate.run import Period
from simulate.engine.small import DOWN, UP, arrivals, fleet, policy, service, simulate


def test_completion_wins_over_a_failure_at_the_same_time() -> None:
    of = fleet([1], [service([10])], outages=[(10, 0, DOWN)])
    assert simulate(of, arrivals([0]), policy()).column("completed_ns") == [10]


@pytest.mark.parametrize(
    ("how", "completed"),
    [("requeue", [20, 10, 30]), ("retry", [20, 10, 30]), ("drop", [5, 10, 5])],
)
def test_requests_of_a_replica_that_fails(how: str, completed: list[int]) -> None:
    of = fleet([2], [service([10])], outages=[(5, 0, DOWN)])
    # The second keeps replica 1 busy; then the third waits at replica 0.
    stream = arrivals([0, 0, 2])
    by = policy(on_failure=how, backoff_ms=3e-6)
    result = simulate(of, stream, by, Period(duration_ns=40))
    assert result.column("completed_ns") == completed
    assert result.column("dropped") == ([2, -1, 2] if how == "drop" else [-1, -1, -1])
    assert result.column("retries") == ([1, 0, 1] if how == "retry" else [0, 0, 0])
    assert result.outcome.up_ns.tolist() == [5, 40]
    assert result.outcome.busy_ns.tolist() == [5, 10 if how == "drop" else 30]
    assert result.batches[:, 6].tolist().count(1) == 1


def test_a_replica_comes_back_cold() -> None:
    of = fleet([1], [service([10], load_ns=30)], outages=[(5, 0, DOWN), (50, 0, UP)])
    by = policy(on_failure="drop")
    result = simulate(of, arrivals([0, 60]), by, Period(duration_ns=100))
    assert result.column("dropped") == [2, -1]
    assert result.column("start_ns")[1] == 90
    assert result.outcome.up_ns.tolist() == [5 + 50]


def test_without_any_replica_requests_are_tried_again() -> None:
    of = fleet([1], [service([10])], outages=[(5, 0, DOWN), (20, 0, UP)])
    again = policy(max_retries=2, backoff_ms=8e-6)
    result = simulate(of, arrivals([6, 7]), again)
    # At 14 and 15 it is still down; at 30 and 31 it is up.
    assert result.column("start_ns") == [30, 40]
    assert simulate(of, arrivals([6]), policy(max_retries=0)).column("dropped") == [2]


def test_a_central_queue_waits_for_the_repair() -> None:
    of = fleet([1], [service([10])], outages=[(5, 0, DOWN), (500, 0, UP)])
    assert simulate(of, arrivals([6]), policy("central_queue")).column("start_ns") == [500]


def test_exponential_failures_leave_the_long_run_share() -> None:
    of = fleet([4], [service([5])], mtbf_ns=np.array([3000]), mttr_ns=np.array([1000]))
    outcome = simulate(of, arrivals([0]), policy(), Period(duration_ns=400_000)).outcome
    assert outcome.up_ns.mean() / 400_000 == pytest.approx(0.75, abs=0.06)
