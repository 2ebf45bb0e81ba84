"""Streams: the same requests whatever the chunk size; clients and models side by side."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from profleet.simulate.records import NO_DEADLINE, Arrivals
from profleet.simulate.workload.stream import merged
from workloads import drawn, same, workload

MARKS = {"served": ("a", "b", "c"), "models": {"a": 1, "c": 3}}
STATES = {"x": {"level": 1, "mean_seconds": 90}, "y": {"level": 5, "mean_seconds": 10}}
CLIENTS = {
    "chat": {"weight": 5, "arrivals": {"kind": "poisson", "priority": 1, "models": {"b": 1}}},
    "batch": {"weight": 1, "arrivals": {"kind": "gamma", "cv": 3.0, "deadline_ms": 2.5}},
    "cron": {"weight": 0.01, "arrivals": {"kind": "deterministic"}},
}
KINDS = {
    "poisson": {"kind": "poisson", **MARKS},
    "deterministic": {"kind": "deterministic", **MARKS},
    "weibull": {"kind": "weibull", "cv": 3.0, **MARKS},
    "mmpp": {"kind": "mmpp", "states": STATES, **MARKS},
    "diurnal": {"kind": "diurnal", "period_seconds": 7.0, "swing": 1.0, "peak_seconds": 2.0,
                "cv": 2.0, **MARKS},
    "piecewise": {"kind": "piecewise", "cv": 1.0, **MARKS,
                  "pieces": [{"seconds": 0.3, "level": 0}, {"seconds": 0.1, "level": 2}]},
    "mixture": {"kind": "mixture", "served": ("a", "b", "c"), "clients": CLIENTS},
}  # fmt: skip


def joined(chunks):
    return np.concatenate([chunk.time_ns for chunk in chunks])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 200_000), min_size=1, max_size=3),
    seed=st.integers(0, 2**64),
    rate=st.floats(0.01, 1e8),
)
def test_the_chunk_size_changes_nothing(kind, sizes, seed, rate):
    source = workload(**KINDS[kind], rate=rate)
    usual = drawn(source, 140_000, seed)
    assert len(usual) == 140_000
    assert np.all(np.diff(usual.time_ns) >= 0)
    assert usual.time_ns[0] >= 0
    for size in sizes:
        size = max(size, 500)
        chunks = list(source.chunks(np.random.SeedSequence(seed), 140_000, size))
        assert all(len(chunk) == size for chunk in chunks[:-1])
        assert same(drawn(source, 140_000, seed, size), usual)


def test_chunks_of_one_request_are_the_same_too():
    source = workload(**KINDS["mixture"], rate=100.0)
    assert same(drawn(source, 300, size=1), drawn(source, 300))


def test_fewer_requests_are_the_first_ones():
    source = workload(**KINDS["mmpp"], rate=100.0)
    assert np.array_equal(drawn(source, 100).time_ns, drawn(source, 90_000).time_ns[:100])
    assert [len(chunk) for chunk in source.chunks(np.random.SeedSequence(1), 0)] == []


def test_seeds_and_their_children_give_other_requests():
    source = workload("poisson", rate=10.0)
    parent = np.random.SeedSequence(7)
    seeds = [np.random.SeedSequence(7), np.random.SeedSequence(8), *parent.spawn(2)]
    firsts = {int(next(source.chunks(seed)).time_ns[0]) for seed in seeds}
    assert len(firsts) == 4


def test_drawing_leaves_the_seed_as_it_was():
    source, seed = workload(**KINDS["mixture"], rate=10.0), np.random.SeedSequence(7)
    first = next(source.chunks(seed))
    assert same(first, next(source.chunks(seed)))


def test_models_come_by_weight_and_do_not_move_arrivals():
    one = drawn(workload(**KINDS["poisson"], rate=10.0), 100_000)
    other = drawn(workload("poisson", served=("a", "b", "c"), rate=10.0), 100_000)
    assert np.array_equal(one.time_ns, other.time_ns)
    assert stats.chisquare(np.bincount(other.model)).pvalue > 1e-3
    counts = np.bincount(one.model, minlength=3)
    assert counts[1] == 0
    assert stats.chisquare(counts[[0, 2]], [25_000, 75_000]).pvalue > 1e-3
    # Models follow one another independently.
    assert abs(np.corrcoef(one.model[1:], one.model[:-1])[0, 1]) < 0.02


def test_requests_carry_what_their_client_says():
    found = drawn(workload(**KINDS["mixture"], rate=601.0), 120_000)
    rates = np.bincount(found.client) / (found.time_ns[-1] * 1e-9)
    assert rates == pytest.approx([500, 100, 1], rel=0.08)
    assert found.priority.tolist() == np.array([1, 0, 0])[found.client].tolist()
    deadlines = np.array([NO_DEADLINE, 2_500_000, NO_DEADLINE])
    assert np.array_equal(found.deadline_ns, deadlines[found.client])
    assert set(found.model[found.client == 0]) == {1}
    assert set(found.model[found.client == 1]) == {0, 1, 2}
    assert set(found.work) == {1.0}


def test_a_client_is_the_same_with_and_without_the_others():
    def requests_of(name, names):
        clients = {key: CLIENTS[key] for key in names}
        rates = {"chat": 500.0, "batch": 100.0, "cron": 1.0}
        clients = {
            key: {"arrivals": {**value["arrivals"], "rate": rates[key]}}
            for key, value in clients.items()
        }
        source = workload("mixture", served=("a", "b", "c"), clients=clients)
        assert source.mean_rate_rps == pytest.approx(sum(rates[key] for key in names))
        found = drawn(source, 50_000)
        mine = found.client == list(names).index(name)
        return found.time_ns[mine], found.model[mine]

    for name in CLIENTS:
        alone, together = requests_of(name, [name]), requests_of(name, list(CLIENTS)[::-1])
        for one, other in zip(alone, together, strict=True):
            shared = min(len(one), len(other))
            assert shared > 50
            assert np.array_equal(one[:shared], other[:shared])


def test_a_superposition_of_poisson_clients_is_poisson():
    clients = {f"c{i}": {"weight": i + 1, "arrivals": {"kind": "poisson"}} for i in range(20)}
    found = drawn(workload("mixture", clients=clients, rate=100.0), 100_000).time_ns
    assert stats.kstest(np.diff(found), stats.expon(scale=1e7).cdf).pvalue > 1e-3


def block(times, client):
    n = len(times)
    return Arrivals(
        np.array(times, dtype=np.int64), np.zeros(n, np.int32), np.full(n, client, np.int32),
        np.zeros(n, np.int32), np.zeros(n, np.int64), np.ones(n),
    )  # fmt: skip


times_of_clients = st.lists(
    st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=5), min_size=1, max_size=4
)


@given(times_of_clients)
def test_merging_sorts_and_loses_nothing(clients):
    sources, expected = [], []
    for client, parts in enumerate(clients):
        flat = sorted(itertools.chain.from_iterable(parts))
        expected += [(time, client) for time in flat]
        cut = np.cumsum([len(part) for part in parts])[:-1] if parts else []
        sources.append(iter([block(part, client) for part in np.split(np.array(flat), cut)]))
    found = [
        (int(time), int(client))
        for chunk in merged(sources)
        for time, client in zip(chunk.time_ns, chunk.client, strict=True)
    ]
    assert sorted(found) == sorted(expected)
    assert [time for time, _ in found] == sorted(time for time, _ in expected)


def test_at_equal_times_the_first_client_leads():
    sources = [iter([block([1, 2], 0)]), iter([block([1, 2], 1)])]
    assert np.concatenate([chunk.client for chunk in merged(sources)]).tolist() == [0, 1, 0, 1]


def test_memory_does_not_grow_with_the_number_of_requests():
    def peak(requests):
        tracemalloc.start()
        for _ in workload(**KINDS["mixture"], rate=1e5).chunks(np.random.SeedSequence(1), requests):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(4_000_000) < peak(1_000_000) * 1.1 < 80e6


def test_a_thousand_clients_fit_into_little_memory():
    clients = {f"c{i}": {"arrivals": {"kind": "poisson"}} for i in range(1000)}
    source = workload("mixture", clients=clients, rate=1000.0)
    tracemalloc.start()
    for _ in source.chunks(np.random.SeedSequence(1), 100_000):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400e6


def test_constant_columns_share_memory():
    one, other = itertools.islice(
        workload("poisson", rate=1.0).chunks(np.random.SeedSequence(1)), 2
    )
    assert np.shares_memory(one.deadline_ns, other.deadline_ns)
    assert not np.shares_memory(one.time_ns, other.time_ns)
    assert one.model.flags.c_contiguous
    assert one.model.flags.writeable
