"""The calendar, trees, queues and the histogram against obvious versions of them."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profleet.simulate.engine import allocate, calendar, choose, features, histogram, link, queues
from profleet.simulate.engine import layout as at
from profleet.simulate.engine import trees as tournament
from profleet.simulate.engine.state import State, Tables
from simulate.engine import small


def fresh(**queue: Any) -> tuple[State, Tables]:
    of = small.fleet([2], [small.service([10.0, 12.0])])
    policy = small.policy(**queue)
    f = allocate.tables(of, policy)
    wanted = choose.choose(of, f, policy, closed=False, sampling=False, table=False, timeline=False)
    return allocate.state(of, f, wanted, 0, 0), f


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 7), st.booleans()), max_size=80))
def test_calendar_hands_out_events_in_total_order(steps: list[tuple[int, int, bool]]) -> None:
    s, _ = fresh()
    mirror: list[tuple[int, int, int]] = []
    for sequence, (time, kind, replace) in enumerate(steps):
        if replace and mirror:
            expected = heapq.heappop(mirror)
            assert s.when[0] == expected[0]
            key = calendar.take_first(s.scalar, s.what)
            assert key >> at.KIND_SHIFT == expected[1]
            assert key & at.INDEX_MASK == expected[2] % 5
        calendar.schedule(s.scalar, s.when, s.what, time, kind, sequence % 5)
        heapq.heappush(mirror, (time, kind, sequence))
        assert s.scalar[at.SCHEDULED] == len(mirror)
    while mirror:
        time, kind, sequence = heapq.heappop(mirror)
        assert s.when[0] == time
        key = calendar.take_first(s.scalar, s.what)
        assert (key >> at.KIND_SHIFT, key & at.INDEX_MASK) == (kind, sequence % 5)
        calendar.close_hole(s.scalar, s.when, s.what)
    assert s.when[0] == at.FOREVER


@given(
    size=st.integers(1, 9),
    changes=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4)), max_size=40),
)
def test_tree_finds_the_leftmost_least(size: int, changes: list[tuple[int, int]]) -> None:
    leaves = 1
    while leaves < size:
        leaves *= 2
    start = 3
    tree = np.full(start + 2 * leaves, 99, dtype=np.int64)
    values = [99] * leaves
    for leaf, value in changes:
        tournament.set_leaf(tree, start, leaves, leaf % size, value)
        values[leaf % size] = value
        assert tournament.least_leaf(tree, start, leaves) == values.index(min(values))
        assert tree[start + 1] == min(values)
    assert (tree[:start] == 99).all()


@given(
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60),
    order=st.sampled_from(["fifo", "priority"]),
)
@settings(max_examples=100)
def test_queues_hand_out_requests_in_their_order(steps: list[tuple[int, int]], order: str) -> None:
    s, f = fresh(order=order)
    names = {"ORDER": choose.ORDERS[order]}
    join = link._link(queues.join, names, lambda function: function, {})
    take = link._link(queues.take, names, lambda function: function, {})
    waiting: list[tuple[int, int, int]] = []
    for number, (priority, taken) in enumerate(steps):
        s.small[at.PRIORITY, number] = priority
        join(s, f, 1, number, 0)
        waiting.append((priority if order == "priority" else 0, number, number))
        waiting.sort()
        count = min(taken, len(waiting))
        slot = take(s, 1, count) if count else at.NONE
        got = []
        while slot != at.NONE:
            got.append(int(slot))
            slot = s.small[at.NEXT, slot]
        assert got == [entry[2] for entry in waiting[:count]]
        del waiting[:count]
        assert s.queues[1, at.LENGTH] == len(waiting)
    assert s.queues[0, at.LENGTH] == 0


@given(st.integers(0, 2**53))
def test_buckets_hold_their_times(time: int) -> None:
    bucket = histogram.bucket_of(time)
    edges = histogram.edges()
    assert edges[bucket] <= time
    assert bucket == histogram.BUCKETS - 1 or time < edges[bucket + 1] or time == edges[bucket]
    assert abs(histogram.middles()[bucket] - time) <= histogram.RELATIVE_ERROR * time


@given(
    times=st.lists(st.integers(0, 10**12) | st.integers(0, 100), min_size=1, max_size=200),
    share=st.sampled_from([0.01, 0.5, 0.9, 0.99, 0.999, 1.0]),
)
def test_quantiles_are_within_the_stated_error(times: list[int], share: float) -> None:
    counts = np.zeros(histogram.BUCKETS, dtype=np.int64)
    for time in times:
        counts[histogram.bucket_of(time)] += 1
    exact = np.quantile(times, share, method="inverted_cdf")
    assert histogram.RELATIVE_ERROR <= 0.01
    assert abs(histogram.quantile(counts, share) - exact) <= histogram.RELATIVE_ERROR * exact


def test_a_quantile_of_nothing_is_unknown() -> None:
    assert np.isnan(histogram.quantile(np.zeros(histogram.BUCKETS, dtype=np.int64), 0.5))


def test_linking_replaces_globals_and_not_attributes() -> None:
    def names(function: Any) -> set[str]:
        return link._globals_of(function)

    from profleet.simulate.engine import cells

    assert names(cells.group_at) == {"GROUPS"}
    one = link._link(cells.group_at, {"GROUPS": False}, lambda function: function, {})
    two = link._link(cells.group_at, {"GROUPS": True}, lambda function: function, {})
    _, f = fresh()
    moved = f._replace(group_of=np.array([7, 7], dtype=np.int32))
    assert one(moved.group_of, 1) == 0
    assert two(moved.group_of, 1) == 7
    assert features.GROUPS is False


def test_every_feature_is_chosen() -> None:
    """What the engine reads and nobody sets would silently keep its default."""
    of = small.fleet([1], [small.service()])
    policy = small.policy()
    wanted = choose.choose(
        of,
        allocate.tables(of, policy),
        policy,
        closed=False,
        sampling=False,
        table=False,
        timeline=False,
    )
    declared = {
        name for name in features.__annotations__ if features.__annotations__[name] != "Final"
    }
    assert set(wanted) == declared


@pytest.mark.parametrize("slots", [at.MAX_INDEX])
def test_too_many_requests_are_an_error_and_not_a_crash(slots: int) -> None:
    s, _ = fresh()
    with pytest.raises(Exception, match="far overloaded"):
        allocate.grow_pool(s, slots)
