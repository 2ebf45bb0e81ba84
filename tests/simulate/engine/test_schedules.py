"""Tiny schedules, worked out by hand: queues, links, and the rest. Times are in nanoseconds."""

from __future__ import annotations

import numpy as np
import pytest

from profleet.simulate.records import DROPS
from profleet.simulate.run import Period
from simulate.engine import small
from simulate.engine.small import BATCHES, arrivals, fleet, policy, service, simulate


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


def test_deadlines_count_from_the_arrival() -> None:
    stream = arrivals([5, 5, 5], deadline_ns=[10, 20, 29])
    outcome = simulate(fleet([1], [service([10])]), stream, policy()).outcome
    assert outcome.met.tolist() == [2]


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


def test_users_that_do_not_think_send_together() -> None:
    think = arrivals([0, 0, 0, 0, 7, 7])
    by, period = policy(), Period(warmup_requests=1)
    outcome = simulate(fleet([4], [service([5])]), think, by, period, users=4).outcome
    assert outcome.injected.tolist() == outcome.completed.tolist() == [2]


def test_more_requests_than_fit_at_first() -> None:
    result = simulate(fleet([1], [service([1])]), arrivals([0] * 5000), policy(), chunk=700)
    assert result.column("completed_ns") == list(range(1, 5001))


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
