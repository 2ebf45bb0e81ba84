"""Routers and models on tiny schedules, worked out by hand. Times are in nanoseconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from profleet.simulate.records import DROPS
from profleet.simulate.run import Period
from simulate.engine.small import arrivals, fleet, policy, service, simulate


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
