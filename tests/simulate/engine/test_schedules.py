"""Tiny schedules, worked out by hand, for every feature. Times are in nanoseconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from profleet.simulate.records import DROPS
from profleet.simulate.run import Period
from simulate.engine import small
from simulate.engine.small import arrivals, fleet, policy, service, simulate

DOWN, UP = 0, 1


def test_one_server_serves_in_order_of_arrival() -> None:
    result = simulate(fleet([1], [service([5])]), arrivals([0, 1, 12]), policy())
    assert result.column("start_ns") == [0, 5, 12]
    assert result.column("completed_ns") == [5, 10, 17]
    outcome = result.outcome
    assert outcome.completed.tolist() == [3]
    # What counts by time ends with the last arrival.
    assert outcome.window_ns == (0, 12)
    assert outcome.busy_ns.tolist() == [10]
    assert outcome.total_ns[0].tolist() == [5 + 9 + 5, 4, 0, 0, 15]
    assert outcome.maximum_ns[0].tolist() == [9, 4, 0, 0, 5]
    assert outcome.area_ns == outcome.sojourn_ns == 19
    assert outcome.events == 6


def test_central_queue_feeds_whoever_is_idle() -> None:
    stream = arrivals([0, 1, 2, 3])
    result = simulate(fleet([2], [service([10])]), stream, policy("central_queue"))
    assert result.column("start_ns") == [0, 1, 10, 11]
    assert result.column("replica") == [0, 1, 0, 1]


def test_a_batch_that_ends_frees_its_replica_for_a_request_that_arrives_then() -> None:
    stream = arrivals([0, 10])
    result = simulate(fleet([1], [service([10])]), stream, policy(limit=0))
    assert result.column("completed_ns") == [10, 20]


@pytest.mark.parametrize(
    ("router", "replicas"),
    [
        ("jsq", [0, 1, 2, 0, 1]),
        ("round_robin", [0, 1, 2, 0, 1]),
        ("least_work", [0, 1, 2, 0, 1]),
        ("central_queue", [0, 1, 2, 0, 1]),
    ],
)
def test_equal_replicas_in_turn(router: str, replicas: list[int]) -> None:
    result = simulate(fleet([3], [service([10])]), arrivals([0] * 5), policy(router))
    assert result.column("replica") == replicas


def test_least_work_counts_time_where_jsq_counts_requests() -> None:
    stream = arrivals([0, 1, 2, 3], work=[9.0, 1.0, 1.0, 1.0])
    two = fleet([2], [service([10])])
    assert simulate(two, stream, policy("jsq")).column("replica") == [0, 1, 0, 1]
    assert simulate(two, stream, policy("least_work")).column("replica") == [0, 1, 1, 1]


def test_weighted_leaves_out_a_group_of_weight_zero() -> None:
    of = fleet([1, 1], [service([1]), service([1])], weight=np.array([0.0, 2.0]))
    assert set(simulate(of, arrivals([0] * 20), policy("weighted")).column("replica")) == {1}


def test_weighted_follows_the_weights() -> None:
    of = fleet([2, 1], [service([1]), service([1])], weight=np.array([1.0, 6.0]))
    replicas = simulate(of, arrivals([0] * 800), policy("weighted")).column("replica")
    assert np.bincount(replicas) == pytest.approx([100, 100, 600], rel=0.25)


def test_random_uses_all_replicas_alike() -> None:
    of = fleet([3, 1], [service([1]), service([1])])
    replicas = simulate(of, arrivals([0] * 800), policy("random")).column("replica")
    assert np.bincount(replicas) == pytest.approx([200] * 4, rel=0.25)


def test_power_of_all_is_nearly_jsq() -> None:
    of = fleet([4], [service([100])])
    many = simulate(of, arrivals([0] * 8), policy({"kind": "power_of_d", "d": 64}))
    assert sorted(many.column("replica")) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_shortest_expected_knows_speeds() -> None:
    of = fleet([1, 1], [service([10]), service([25])])
    result = simulate(of, arrivals([0] * 4), policy("shortest_expected"))
    # Fast at 10, 20, then slow at 25 is before fast at 30.
    assert result.column("replica") == [0, 0, 1, 0]


def test_shortest_expected_fills_the_batch_that_waits() -> None:
    of = fleet([1, 1], [service([10, 12, 14]), service([18])])
    result = simulate(of, arrivals([0, 1, 2]), policy("shortest_expected", "dynamic"))
    # The second may wait for the batch after 10 or be done alone at 1 + 18.
    assert result.column("replica") == [0, 1, 0]
    assert result.column("batch") == [1, 1, 1]


def test_shortest_expected_avoids_stragglers() -> None:
    of = fleet([3], [service([10])], slowdown=np.array([3.0, 1.0, 1.5]))
    result = simulate(of, arrivals([0, 0, 0]), policy("shortest_expected"))
    assert result.column("replica") == [1, 2, 1]
    assert result.column("completed_ns") == [10, 15, 20]


def test_slo_aware_turns_away_what_would_be_late() -> None:
    stream = arrivals([0, 0, 0], deadline_ns=[20, 20, 20])
    result = simulate(fleet([1], [service([10])]), stream, policy("slo_aware"))
    assert result.column("dropped") == [-1, -1, DROPS.index("deadline")]
    assert result.outcome.met.tolist() == [2]
    assert result.outcome.dropped[0].tolist() == [0, 1, 0, 0]


def test_deadlines_count_from_the_arrival() -> None:
    stream = arrivals([5, 5, 5], deadline_ns=[10, 20, 29])
    outcome = simulate(fleet([1], [service([10])]), stream, policy()).outcome
    assert outcome.met.tolist() == [2]


def test_model_affinity_spills_when_the_loaded_replica_is_full() -> None:
    of = fleet(
        [2],
        [service([10], load_ns=100), service([10], load_ns=100)],
        models=2,
        loaded=np.array([0, 1], dtype=np.int32),
    )
    stream = arrivals([0, 0, 0], model=[0, 0, 0])
    near = policy({"kind": "model_affinity", "spill": 2})
    assert simulate(of, stream, near).column("replica") == [0, 0, 1]
    assert simulate(of, stream, policy("jsq")).column("replica") == [0, 1, 0]


def test_a_replica_loads_a_model_before_it_serves_it() -> None:
    of = fleet(
        [1],
        [service([10], load_ns=100), service([20], load_ns=50)],
        models=2,
        loaded=np.array([-1], dtype=np.int32),
    )
    stream = arrivals([0, 1, 2, 3], model=[0, 0, 1, 0])
    result = simulate(of, stream, policy(), Period(duration_ns=400))
    assert result.column("start_ns") == [100, 110, 170, 290]
    assert result.column("end_ns") == [110, 120, 190, 300]
    assert result.outcome.busy_ns.tolist() == [50]
    # One row a batch: formed, started, ended.
    assert result.batches[:, 3:6].tolist() == [
        [0, 100, 110],
        [110, 110, 120],
        [120, 170, 190],
        [190, 290, 300],
    ]


BATCHES = [10.0, 12.0, 14.0, 16.0]


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


@pytest.mark.parametrize(
    ("order", "starts"),
    [
        ("fifo", [0, 10, 20, 60]),
        ("priority", [0, 70, 30, 10]),
        ("edf", [0, 50, 10, 60]),
        ("sjf", [0, 10, 40, 20]),
    ],
)
def test_queue_orders(order: str, starts: list[int]) -> None:
    stream = arrivals(
        [0, 1, 2, 3],
        work=[1, 1, 4, 2],
        priority=[0, 2, 1, 0],
        deadline_ns=[1000, 90, 20, 100],
    )
    result = simulate(fleet([1], [service([10])]), stream, policy(order=order))
    assert result.column("start_ns") == starts


def test_equal_keys_keep_their_order() -> None:
    result = simulate(fleet([1], [service([1])]), arrivals([0] * 30), policy(order="priority"))
    assert result.column("start_ns") == list(range(30))


def test_links_send_one_request_at_a_time() -> None:
    of = fleet(
        [2],
        [service([10], input_bytes=3, output_bytes=2)],
        link_latency_ns=np.array([100]),
        link_bytes_per_s=np.array([1e9]),
        host_ns=np.array([7]),
    )
    result = simulate(of, arrivals([0, 0, 0]), policy())
    # Host 7, then 3 ns each on the link, one after the other, then 100.
    assert result.column("ready_ns") == [110, 113, 116]
    assert result.column("end_ns") == [120, 123, 130]
    assert result.column("completed_ns") == [222, 225, 232]
    assert result.outcome.total_ns[0, 3] == (110 + 102) + (113 + 102) + (116 + 102)
    assert result.outcome.total_ns[0, 1] == 4


def test_a_central_queue_sends_a_batch_when_it_starts() -> None:
    of = fleet(
        [1],
        [service(BATCHES, input_bytes=3)],
        link_latency_ns=np.array([100]),
        link_bytes_per_s=np.array([1e9]),
    )
    result = simulate(of, arrivals([0, 1, 2]), policy("central_queue", "dynamic"))
    assert result.column("start_ns") == [103, 113 + 106, 113 + 106]
    assert result.column("completed_ns") == [213, 219 + 12 + 100, 219 + 12 + 100]


def test_a_full_queue_drops() -> None:
    stream = arrivals([0, 1, 2, 3])
    result = simulate(fleet([1], [service([10])]), stream, policy(limit=1))
    assert result.column("dropped") == [-1, -1, 0, 0]
    assert result.outcome.dropped[0].tolist() == [2, 0, 0, 0]
    assert result.outcome.injected.tolist() == [4]


def test_retries_wait_twice_as_long_each_time() -> None:
    stream = arrivals([0, 1])
    again = policy(limit=0, on_full="retry", max_retries=3, backoff_ms=4e-6)
    result = simulate(fleet([1], [service([10])]), stream, again)
    # Tried at 1, 5 and 13.
    assert result.column("start_ns") == [0, 13]
    assert result.column("retries") == [0, 2]
    assert result.outcome.retried.tolist() == [2]


def test_retries_come_to_an_end() -> None:
    stream = arrivals([0, 1])
    again = policy(limit=0, on_full="retry", max_retries=2, backoff_ms=2e-6)
    result = simulate(fleet([1], [service([100])]), stream, again)
    assert result.column("dropped") == [-1, DROPS.index("retries")]
    assert result.column("completed_ns") == [100, 1 + 2 + 4]


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


def test_service_scales_with_the_replica_and_the_most_work_of_a_batch() -> None:
    of = fleet([1], [service([10, 20])], slowdown=np.array([1.5]))
    stream = arrivals([0, 1, 2], work=[1.0, 2.0, 4.0])
    result = simulate(of, stream, policy("jsq", "dynamic"))
    assert result.column("completed_ns") == [15, 15 + 120, 15 + 120]


def test_a_draw_picks_the_column_of_the_table() -> None:
    draws = [0.0, 0.49, 0.5, 0.999]
    of = fleet(
        [4],
        [service([15.0], quantiles=[[10, 20]])],
        draw=lambda _, n: np.array(draws[:n]),
    )
    result = simulate(of, arrivals([0] * 4), policy("round_robin"))
    assert result.column("completed_ns") == [10, 10, 20, 20]


def test_users_think_before_they_send_again() -> None:
    # Think times 3 and 5, then 10 and 20, and so on, in the order in which users start to think.
    think = arrivals([3, 5, 10, 20, 1])
    result = simulate(fleet([1], [service([4])]), think, policy(), users=2)
    assert result.column("arrived_ns") == [3, 5, 17, 31, 22]
    assert result.column("completed_ns") == [7, 11, 21, 35, 26]


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


def test_users_that_do_not_think_send_together() -> None:
    think = arrivals([0, 0, 0, 0, 7, 7])
    by, period = policy(), Period(warmup_requests=1)
    outcome = simulate(fleet([4], [service([5])]), think, by, period, users=4).outcome
    assert outcome.injected.tolist() == outcome.completed.tolist() == [2]


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


def test_more_requests_than_fit_at_first() -> None:
    result = simulate(fleet([1], [service([1])]), arrivals([0] * 5000), policy(), chunk=700)
    assert result.column("completed_ns") == list(range(1, 5001))


def test_two_models_share_a_replica_by_age() -> None:
    of = fleet([1], [service([10, 11]), service([20, 21])], models=2)
    stream = arrivals([0, 1, 2, 3], model=[0, 1, 0, 1])
    result = simulate(of, stream, policy("jsq", "dynamic"))
    assert result.column("start_ns") == [0, 10, 31, 10]


def test_of_models_that_wait_equally_long_the_first_is_served() -> None:
    of = fleet([1], [service([10]), service([10])], models=2)
    stream = arrivals([0, 5, 5], model=[0, 1, 0])
    assert simulate(of, stream, policy()).column("start_ns") == [0, 20, 10]


def test_a_model_goes_only_where_it_is_served() -> None:
    of = fleet([1, 1], [service([10]), None, service([10]), service([10])], models=2)
    stream = arrivals([0] * 6, model=[1] * 6)
    for router in ("jsq", "random", "round_robin", "least_work", "central_queue"):
        assert set(simulate(of, stream, policy(router)).column("replica")) == {1}


def test_changing_the_router_changes_neither_arrivals_nor_service() -> None:
    def times(router: Any) -> list[tuple[int, int]]:
        of = fleet([3], [service([50])], draw=lambda r, n: r.standard_exponential(n))
        result = simulate(of, arrivals(list(range(0, 400, 7))), policy(router), chunk=13)
        took = np.subtract(result.column("end_ns"), result.column("start_ns")).tolist()
        return list(zip(result.column("arrived_ns"), took, strict=True))

    assert times("jsq") == times("random") == times("central_queue")


def test_chunks_do_not_matter() -> None:
    stream = arrivals(list(range(0, 900, 3)))
    of = fleet([4], [service([11])], draw=small.ones)
    assert (
        simulate(of, stream, policy("random"), chunk=1).table.tolist()
        != []
        == simulate(of, arrivals([]), policy("random")).table.tolist()
    )
    one = simulate(of, stream, policy("jsq"), chunk=1).table
    many = simulate(of, stream, policy("jsq"), chunk=1000).table
    assert (one == many).all()
