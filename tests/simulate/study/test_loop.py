"""The event loop of the study against the study's rules, one task after the other."""

from __future__ import annotations

import bisect
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profleet.hardware.devices.core_array import CoreArray, Tasks
from profleet.simulate.study import engine, loop
from profleet.simulate.study.engine import simulate_layers, work_of
from profleet.simulate.study.loop import Requests
from profleet.simulate.study.networks import LayerGraph


class Event(NamedTuple):
    tick: int
    request: int
    layer: int | None
    ends: bool


def by_the_rules(graphs, arrivals, kinds, cores, wanted, latency):
    """Return (request, tick) of what is done, in that order."""
    calendar = [Event(tick, request, None, False) for request, tick in enumerate(arrivals)]
    free, following, done = [0] * cores, 0, []
    missing = [list(graphs[kind].wanted) for kind in kinds]
    left = [len(graphs[kind]) for kind in kinds]
    outstanding = set(range(wanted))

    def add(events):
        """Before all that is there for the same request at the same time."""
        for event in reversed(events):
            place = bisect.bisect_left(calendar, event[:2], key=lambda other: other[:2])
            calendar.insert(place, event)

    while outstanding and calendar:
        now, request, layer, ends = calendar.pop(0)
        graph = graphs[kinds[request]]
        if layer is None:
            roots = [number for number, count in enumerate(graph.wanted) if not count]
            add([Event(now + latency, request, root, False) for root in roots])
        elif ends:
            left[request] -= 1
            ready = []
            for child in graph.children[layer]:
                missing[request][child] -= 1
                if not missing[request][child]:
                    ready.append(Event(now, request, child, False))
            add(ready)
            if not left[request]:
                done.append((request, now))
                outstanding.discard(request)
        else:
            end = now
            for _ in range(graph.tasks[layer].count):
                free[following] = max(free[following], now) + graph.tasks[layer].length
                end = max(end, free[following])
                following = (following + 1) % cores
            add([Event(end, request, layer, True)])
    return done


@st.composite
def graphs_(draw):
    size = draw(st.integers(1, 8))
    tasks = [Tasks(draw(st.integers(1, 5)), draw(st.integers(1, 12))) for _ in range(size)]
    children = [
        tuple(draw(st.permutations(sorted(draw(st.sets(st.integers(number + 1, size - 1)))))))
        if number + 1 < size
        else ()
        for number in range(size)
    ]
    return LayerGraph("any", "any", tuple(tasks), tuple(children), 1)


@st.composite
def cases(draw):
    graphs = draw(st.lists(graphs_(), min_size=1, max_size=3))
    count = draw(st.integers(1, 40))
    gaps = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    kinds = draw(st.lists(st.integers(0, len(graphs) - 1), min_size=count, max_size=count))
    return graphs, np.cumsum(gaps), np.array(kinds)


@settings(max_examples=150, deadline=None)
@given(cases(), st.integers(1, 7), st.integers(0, 6), st.data())
def test_the_loop_follows_the_rules(case, cores, latency, data):
    graphs, arrivals, kinds = case
    wanted = data.draw(st.integers(1, len(kinds)))
    device = CoreArray(name="any", cores=cores, clock_hz=1e9, default_datapath_s=latency * 1e-9)
    work = work_of(graphs, device)
    outcome = simulate_layers(work, Requests(arrivals, kinds), cores, wanted)
    expected = by_the_rules(graphs, arrivals.tolist(), kinds, cores, wanted, latency)
    assert [(k, outcome.ended[k]) for k in outcome.done.tolist()] == expected
    assert outcome.now == expected[-1][1]
    assert outcome.busy <= outcome.now * cores
    assert outcome.most <= len(kinds)


def test_without_compilation_the_digits_are_the_same(monkeypatch):
    device = CoreArray(name="any", cores=5, clock_hz=1e9)
    diamond = LayerGraph(
        "any", "any", (Tasks(2, 3), Tasks(3, 7), Tasks(1, 9), Tasks(4, 2)),
        ((1, 2), (3,), (3,), ()), 1,
    )  # fmt: skip
    work = work_of([diamond], device)
    requests = Requests(np.arange(0, 600, 3), np.zeros(200, dtype=np.int64))
    compiled = simulate_layers(work, requests, 5)
    monkeypatch.setattr(engine, "_compiled", lambda: loop.advance)
    plain = simulate_layers(work, requests, 5)
    assert plain.ended.tolist() == compiled.ended.tolist()
    assert (plain.busy, plain.events, plain.most) == (
        compiled.busy, compiled.events, compiled.most,
    )  # fmt: skip


@pytest.mark.parametrize("at_once", [1, 7])
def test_coming_back_in_between_changes_nothing(monkeypatch, at_once):
    device = CoreArray(name="any", cores=3, clock_hz=1e9)
    chain = LayerGraph("any", "any", (Tasks(5, 4), Tasks(2, 9)), ((1,), ()), 1)
    work = work_of([chain], device)
    requests = Requests(np.arange(0, 100, 2), np.zeros(50, dtype=np.int64))
    whole = simulate_layers(work, requests, 3)
    monkeypatch.setattr(engine, "EVENTS_AT_ONCE", at_once)
    parts = simulate_layers(work, requests, 3)
    assert parts.ended.tolist() == whole.ended.tolist()
    assert parts.busy == whole.busy == 50 * (5 * 4 + 2 * 9)


def test_nanoseconds_become_ticks_as_in_the_study():
    assert engine.ticks(920e-9, 97e9) == 89_240
    assert engine.ticks(13_210e-6, 1.41e9) == 18_626_100
    assert engine.ticks(1e-9, 1.41e9) == 2
    assert engine.arrival_ticks(np.array([0, 19_221, 73_848]), 0.25e9).tolist() == [
        0,
        4_806,
        18_462,
    ]
