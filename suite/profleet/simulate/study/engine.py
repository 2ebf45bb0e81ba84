"""Run the loop of the Lightning study: lay out its arrays, compile it, let it grow."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from types import FunctionType
from typing import Any

import numpy as np

from profleet.hardware.devices.core_array import CoreArray
from profleet.simulate.records import Ints
from profleet.simulate.study import loop
from profleet.simulate.study.loop import Requests, State, Work
from profleet.simulate.study.networks import LayerGraph

EVENTS_AT_ONCE = 200_000
"""Between two looks at whether the user wants to stop."""

FIRST_ROOM = 1024
GHZ = 1e9


@dataclass(frozen=True, eq=False)
class Outcome:
    """What happened, until the last of the wanted requests was done.

    ``started`` and ``ended`` (requests,) are ticks, ``ended`` -1 for what was not done; ``done``
    lists the requests that were, in that order. ``now`` is the tick of the end, ``busy`` the ticks
    that all cores together computed until then, ``most`` the most requests there at once.
    """

    started: Ints
    ended: Ints
    done: Ints
    now: int
    busy: int
    events: int
    most: int


def ticks(seconds: float, clock_hz: float) -> int:
    """Return a latency in whole ticks, rounded up, as the study rounds its nanoseconds."""
    return ceil(round(seconds * 1e9, 6) * (clock_hz / GHZ))


def arrival_ticks(arrival_ns: Ints, clock_hz: float) -> Ints:
    """Return arrivals in whole ticks, rounded up; shape ``(requests,)`` as given."""
    found: Ints = np.ceil(arrival_ns * (clock_hz / GHZ)).astype(np.int64)
    return found


def work_of(graphs: Sequence[LayerGraph], device: CoreArray) -> Work:
    """Lay out networks for a device: its granularity, and its datapath in ticks."""
    tasks = [each.at_least(device.granularity) for graph in graphs for each in graph.tasks]
    children = [found for graph in graphs for found in graph.children]
    latencies = [device.datapath_s.get(graph.model, device.default_datapath_s) for graph in graphs]
    return Work(
        first=np.cumsum([0, *map(len, graphs)]),
        length=np.array([each.length for each in tasks]),
        tasks=np.array([each.count for each in tasks]),
        wanted=np.array([count for graph in graphs for count in graph.wanted]),
        child_at=np.cumsum([0, *map(len, children)]),
        child=np.array([child for found in children for child in found], dtype=np.int64),
        latency=np.array([ticks(each, device.clock_hz) for each in latencies]),
    )


def simulate_layers(
    work: Work, requests: Requests, cores: int, wanted: int | None = None
) -> Outcome:
    """Simulate requests on an idle device until the first ``wanted`` are done; None: all.

    Args:
        work: the networks.
        requests: in order of arrival.
        cores: of the device.
        wanted: how many requests, from the first, are waited for.
    """
    wanted = len(requests.arrival) if wanted is None else wanted
    widest = max(1, int(np.diff(work.child_at).max()), _roots(work))
    state = _first_state(work, requests, cores, wanted, widest)
    advance = _compiled()
    while (why := advance(state, work, requests, wanted, EVENTS_AT_ONCE, widest)) != loop.FINISHED:
        if why == loop.HEAP_FULL:
            state = state._replace(when=_twice(state.when), key=_twice(state.key))
        elif why == loop.ROWS_FULL:
            state = _more_rows(state)
    scalar = state.scalar
    now = int(scalar[loop.NOW])
    ahead = int(np.maximum(state.free - now, 0).sum())  # a core that is ahead is busy until then
    return Outcome(
        started=requests.arrival,
        ended=state.ended,
        done=state.done[: scalar[loop.DONE]].copy(),
        now=now,
        busy=int(scalar[loop.WORK]) - ahead,
        events=int(scalar[loop.EVENTS]),
        most=int(scalar[loop.MOST]),
    )


def _roots(work: Work) -> int:
    """The most layers that a request starts with."""
    parts = np.split(work.wanted, work.first[1:-1])
    return max(int((part == 0).sum()) for part in parts)


def _first_state(work: Work, requests: Requests, cores: int, wanted: int, widest: int) -> State:
    count, rows = len(requests.arrival), 16
    scalar = np.zeros(loop.SCALARS, dtype=np.int64)
    scalar[loop.FREE_ROWS], scalar[loop.OUTSTANDING] = rows, wanted
    return State(
        scalar=scalar,
        when=np.zeros(FIRST_ROOM + widest, dtype=np.int64),
        key=np.zeros(FIRST_ROOM + widest, dtype=np.int64),
        free=np.zeros(cores, dtype=np.int64),
        order=np.zeros(count, dtype=np.int64),
        row=np.zeros(count, dtype=np.int64),
        missing=np.zeros((rows, int(np.diff(work.first).max())), dtype=np.int64),
        left=np.zeros(rows, dtype=np.int64),
        spare=np.arange(rows),
        ended=np.full(count, -1, dtype=np.int64),
        done=np.zeros(count, dtype=np.int64),
    )


def _twice(values: Ints) -> Ints:
    return np.concatenate([values, np.zeros_like(values)])


def _more_rows(state: State) -> State:
    rows = len(state.left)
    state.scalar[loop.FREE_ROWS] = rows
    return state._replace(
        missing=np.concatenate([state.missing, np.zeros_like(state.missing)]),
        left=_twice(state.left),
        spare=np.concatenate([np.arange(rows, 2 * rows), np.zeros(rows, dtype=np.int64)]),
    )


@cache
def _compiled() -> Callable[..., int]:
    """Compile the loop, or leave it as it is where Numba is switched off."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in {"", "0"}:
        return loop.advance
    from numba import njit

    parts: dict[str, Any] = {}
    for function in (loop.push, loop.drop_first, loop.append, loop.place, loop.arrive, loop.finish):
        parts[function.__name__] = njit(_with(function, parts), **_OPTIONS, **_INNER)
    compiled: Callable[..., int] = njit(_with(loop.advance, parts), **_OPTIONS, cache=True)
    return compiled


_OPTIONS = {"_nrt": False, "error_model": "numpy"}
"""The loop allocates nothing and never divides by zero."""
_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Only the loop calls its parts."""


def _with(function: Callable[..., Any], parts: dict[str, Any]) -> FunctionType:
    """Return a copy that calls compiled functions."""
    assert isinstance(function, FunctionType)
    copy = FunctionType(function.__code__, {**function.__globals__, **parts}, function.__name__)
    copy.__module__ = function.__module__
    return copy
