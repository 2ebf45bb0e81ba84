"""What counts, from when and until when, on tiny schedules. Times are in nanoseconds."""

from __future__ import annotations

import numpy as np
import pytest

from profleet.simulate.run import Period
from simulate.engine.small import DOWN, arrivals, fleet, policy, service, simulate


def test_the_warm_up_counts_for_nothing_but_its_load() -> None:
    stream = arrivals([0, 4, 8, 30])
    of = fleet([1], [service([10])])
    outcome = simulate(of, stream, policy(), Period(warmup_requests=2)).outcome
    assert outcome.injected.tolist() == [2]
    assert outcome.completed.tolist() == [2]
    assert outcome.window_ns == (8, 30)
    # Busy all the while; its latency is 22, though it waited for the warm-up.
    assert outcome.busy_ns.tolist() == [22]
    assert outcome.maximum_ns[0, 0] == 22
    timed = simulate(of, stream, policy(), Period(warmup_ns=8)).outcome
    assert timed.injected.tolist() == [2]
    assert timed.window_ns == (8, 30)


@pytest.mark.parametrize("chunk", [1, 2, 1000])
def test_what_comes_together_with_the_last_of_the_warm_up_belongs_to_it(chunk: int) -> None:
    stream = arrivals([0, 4, 4, 4, 20, 20, 30])
    of = fleet([1], [service([10])])
    outcome = simulate(of, stream, policy(), Period(warmup_requests=2), chunk=chunk).outcome
    assert outcome.injected.tolist() == outcome.completed.tolist() == [3]
    assert outcome.window_ns == (20, 30)
    # When the window opens, three of the warm-up are there; one of them is served in it.
    assert outcome.served.tolist() == [1]


def test_what_was_there_when_a_timed_warm_up_ended_is_counted_once() -> None:
    # Nothing comes during the warm-up: what is served later came later.
    stream = arrivals([10, 20, 30])
    timed = Period(warmup_ns=5, duration_ns=26)
    for chunk in (1, 3):
        of = fleet([1], [service([8])])
        assert simulate(of, stream, policy(), timed, chunk=chunk).outcome.served.tolist() == [1]


@pytest.mark.parametrize("chunk", [1, 1000])
def test_what_was_there_when_the_warm_up_ended_and_is_dropped_is_not_served(chunk: int) -> None:
    stream = arrivals([0, 1, 2, 20, 40])
    of = fleet([1], [service([15])], outages=[(25, 0, DOWN)])
    by, period = policy(on_failure="drop"), Period(warmup_requests=3)
    outcome = simulate(of, stream, by, period, chunk=chunk).outcome
    # One is done before the window opens at 20; the others go down with the replica.
    assert outcome.window_ns == (20, 40)
    assert outcome.completed.tolist() == outcome.served.tolist() == [0]
    assert outcome.dropped.sum() == 2


def test_a_duration_stops_at_once() -> None:
    stream = arrivals([0, 4, 40])
    outcome = simulate(
        fleet([1], [service([10])]), stream, policy(), Period(duration_ns=13)
    ).outcome
    assert outcome.completed.tolist() == [1]
    assert outcome.in_system.tolist() == [1]
    assert outcome.busy_ns.tolist() == [13]
    assert outcome.window_ns == (0, 13)
    assert outcome.area_ns == 10 + 9


def test_a_number_of_requests_is_served_to_the_end() -> None:
    stream = arrivals([0, 4, 40])
    outcome = simulate(fleet([1], [service([10])]), stream, policy(), Period(requests=2)).outcome
    assert outcome.completed.tolist() == [2]
    assert outcome.sojourn_ns == 10 + 16


def test_energy_of_batches_that_were_measured_and_of_idling() -> None:
    of = fleet([2], [service([10, 20], energy_j=[3e-6, 5e-6])])
    stream, by = arrivals([0, 1, 2, 3]), policy("central_queue", "dynamic")
    outcome = simulate(of, stream, by, Period(duration_ns=31)).outcome
    # Replica 0: one alone and two together, to 30; replica 1 one alone, to 11; 1 W while idle.
    assert outcome.energy_j == pytest.approx([8e-6 + 1e-9, 3e-6 + 21e-9])


def test_energy_from_power_where_it_was_not_measured() -> None:
    of = fleet([1], [service([10])])
    outcome = simulate(of, arrivals([0, 30]), policy(), Period(duration_ns=45)).outcome
    assert outcome.energy_j == pytest.approx([3 * 20e-9 + 1 * 25e-9])


def test_energy_counts_in_proportion_at_both_ends() -> None:
    of = fleet([1], [service([10], energy_j=[8.0])], idle_w=np.array([np.nan]))
    outcome = simulate(of, arrivals([0, 5]), policy(), Period(warmup_ns=5, duration_ns=12)).outcome
    assert outcome.energy_j == pytest.approx([8.0 * 0.5 + 8.0 * 0.2])


def test_unknown_power_leaves_energy_unknown() -> None:
    of = fleet([1], [service([10])], active_w=np.array([np.nan]))
    assert np.isnan(simulate(of, arrivals([0, 5]), policy()).outcome.energy_j[0])


def test_levels_are_sampled_on_a_grid_that_coarsens() -> None:
    span = 10_000_000
    of = fleet([1], [service([span])])
    outcome = simulate(of, arrivals([0, 1, 2]), policy()).outcome
    assert 512 <= len(outcome.sample_ns) <= 1024
    assert set(np.diff(outcome.sample_ns).tolist()) == {32_000}
    after = outcome.sample_ns > 2
    expected = np.select([outcome.sample_ns < span, outcome.sample_ns < 2 * span], [2, 1], 0)
    assert (outcome.waiting[after, 0] == expected[after]).all()
    assert (outcome.busy[after, 0] == 1).all()


def test_offered_load_is_that_of_the_best_batch_size() -> None:
    of = fleet([1], [service([10, 12, 15])])
    stream = arrivals([0, 1, 2], work=[1.0, 1.0, 2.0])
    outcome = simulate(of, stream, policy("jsq", "dynamic")).outcome
    assert outcome.offered_ns.tolist() == [5 + 5 + 10]
