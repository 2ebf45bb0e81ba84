"""What must hold after every run. A violation is a bug of the engine, never of its user.

INV-1  conservation: injected = completed + dropped + in the system, for every model
INV-2  causality: every request waited, was served and travelled for at least no time
INV-3  the clock never goes back
INV-4  no queue, and no number of outstanding requests, is ever negative; at the end they agree
       with the requests that are in the system
INV-5  a replica is not busy for longer than it is up, nor up for longer than the period
INV-6  Little's law, exact: the integral of the number of requests in the system is the sum of the
       times they spent there
INV-7  a replica executes one batch at a time, no larger than the policy allows

What can be seen at the end is checked at the end. Quantities that may never be negative on the way
are or-ed into one number, whose sign tells.
"""

from __future__ import annotations

import numpy as np

from profleet.simulate.engine import layout as at
from profleet.simulate.engine.choose import Wanted
from profleet.simulate.engine.state import State, Tables
from profleet.simulate.records import FleetArrays, Outcome


class InvariantError(AssertionError):
    """An invariant of the engine does not hold: please report it."""


def check(fleet: FleetArrays, f: Tables, s: State, wanted: Wanted, result: Outcome) -> None:
    """Raise InvariantError if a run broke an invariant."""
    models = len(fleet.models)
    left = result.completed + result.dropped.sum(axis=1)
    by_model = left.reshape(-1, models).sum(axis=0) + result.in_system
    _hold("INV-1 conservation", bool((result.injected == by_model).all()))
    _hold("INV-2, 3, 4, 7 nothing negative", bool(s.scalar[at.SIGNS] >= 0))
    _hold("INV-2 spans add up", bool((_parts(result) == result.total_ns[:, at.LATENCY]).all()))
    here = int((s.request[at.ARRIVED] >= 0).sum())
    _hold("INV-4 in the system", here == s.scalar[at.IN_SYSTEM])
    waiting, serving = s.queues[:, at.LENGTH].sum(), s.replicas[:, at.SIZE].sum()
    _hold("INV-4 queues", bool(waiting + serving <= here))
    moving = wanted["WIRES"] or wanted["RETRIES"] or wanted["OUTAGES"]
    _hold("INV-4 places", bool(moving) or bool(waiting + serving == here))
    if not wanted["CENTRAL"] and not moving:
        _hold("INV-4 outstanding", s.replicas[:, at.OUTSTANDING].sum() == here)
        _hold("INV-4 waiting", s.replicas[:, at.WAITING].sum() == waiting)
    _hold(
        "INV-5 busy", bool((result.busy_ns >= 0).all() and (result.busy_ns <= result.up_ns).all())
    )
    _hold("INV-5 up", bool((result.up_ns <= result.window_ns[1] - result.window_ns[0]).all()))
    _hold("INV-6 Little's law", result.area_ns == result.sojourn_ns)
    largest = f.limit.reshape(-1, models).max(axis=1)
    sizes = np.arange(s.batches.shape[1])
    _hold("INV-7 batch", bool((s.batches[sizes[None, :] > largest[:, None]] == 0).all()))
    counts = result.histogram.sum(axis=2)
    _hold("INV-1 histogram", bool((counts == result.completed[:, None]).all()))


def _parts(result: Outcome) -> np.ndarray:
    return result.total_ns[:, at.LATENCY + 1 :].sum(axis=1)


def _hold(name: str, holds: bool) -> None:
    if not holds:
        raise InvariantError(f"{name} does not hold; this is a bug in the engine, please report it")
