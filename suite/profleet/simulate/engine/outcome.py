"""What a replication counted, from the engine's tables at its end."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from profleet.simulate.engine import layout as at
from profleet.simulate.engine.choose import Wanted
from profleet.simulate.engine.state import State, Tables
from profleet.simulate.records import FleetArrays, Floats, Ints, Outcome


class Closing(NamedTuple):
    """What is counted by time rather than by request, up to one moment. R replicas, M models."""

    end_ns: int
    served: Ints  # (M,)
    batches: Ints  # (G, B + 1)
    busy_ns: Ints  # (R,)
    up_ns: Ints  # (R,)
    energy_j: Floats  # (R,)


def close(fleet: FleetArrays, f: Tables, s: State, wanted: Wanted, carried: Ints | None) -> Closing:
    """Close the books now: of batches in service counts what is done of them.

    Args:
        fleet: what is simulated.
        f: the engine's tables.
        s: the engine's state.
        wanted: features.
        carried: what ``unanswered`` gave when the warm-up ended; None: the system held as many
            requests then as now.
    """
    end = int(s.scalar[at.NOW])
    start = min(int(s.scalar[at.WINDOW]), end)
    busy, metered, unmetered = _running(fleet, f, s, start, end, wanted)
    up = s.sums[:, at.UP_TIME].copy()
    is_up = s.replicas[:, at.UP] == 1
    up[is_up] += np.maximum(0, end - np.maximum(s.sums[is_up, at.UP_SINCE], start))
    group = fleet.group_of
    energy = (
        metered * 1e-9
        + unmetered * 1e-9 * fleet.active_w[group]
        + (up - busy) * 1e-9 * fleet.idle_w[group]
    )
    # Unknown watts that are not used do not make the sum unknown.
    energy[(unmetered == 0) & (up == busy)] = metered[(unmetered == 0) & (up == busy)] * 1e-9
    completed = s.histogram[:, at.LATENCY].sum(axis=1)
    served = completed.reshape(-1, len(fleet.models)).sum(axis=0)
    if carried is None:
        served = served + in_system(fleet, s, wanted, counted=True)
    else:
        served = served + carried - unanswered(fleet, s, wanted)
    return Closing(end, served, s.batches.copy(), busy, up, energy)


def in_system(fleet: FleetArrays, s: State, wanted: Wanted, counted: bool | None = None) -> Ints:
    """How many requests of each model are in the system, shape ``(M,)``.

    ``counted``: only those that arrived after the warm-up (True), or during it (False).
    """
    here = alive(s)
    if counted is not None:
        here = here[(s.request[at.ARRIVED, here] >= s.scalar[at.WINDOW]) == counted]
    model = s.small[at.MODEL, here] if wanted["MODELS"] else np.zeros(len(here), dtype=np.int32)
    return np.bincount(model, minlength=len(fleet.models)).astype(np.int64)


def unanswered(fleet: FleetArrays, s: State, wanted: Wanted) -> Ints:
    """Requests of the warm-up that are in the system or were dropped, of each model, ``(M,)``.

    It becomes less only as they are answered.
    """
    lost = s.counted[:, at.LOST].reshape(-1, len(fleet.models)).sum(axis=0)
    return in_system(fleet, s, wanted, counted=False) + lost


def outcome(fleet: FleetArrays, s: State, wanted: Wanted, closing: Closing) -> Outcome:
    """What was counted at the end; what is counted by time is closed already."""
    end = int(s.scalar[at.NOW])
    start = min(int(s.scalar[at.WINDOW]), closing.end_ns)
    samples = int(s.scalar[at.SAMPLES])
    here = alive(s)
    completed = s.histogram[:, at.LATENCY].sum(axis=1)
    histogram = s.histogram
    for span, feature in ((at.FORMING, "HOLDING"), (at.WIRE, "WIRES")):
        if not wanted[feature]:
            histogram[:, span, 0] = completed
    return Outcome(
        injected=s.injected,
        completed=completed,
        dropped=s.dropped,
        in_system=in_system(fleet, s, wanted, counted=True),
        served=closing.served,
        retried=s.counted[:, at.RETRIED].copy(),
        met=s.counted[:, at.MET].copy() if wanted["DEADLINES"] else completed.copy(),
        histogram=histogram,
        total_ns=s.total,
        maximum_ns=s.maximum,
        batches=closing.batches,
        busy_ns=closing.busy_ns,
        up_ns=closing.up_ns,
        energy_j=closing.energy_j,
        sample_ns=s.sample_ns[:samples].copy(),
        waiting=s.sampled[:samples, :, 0].astype(np.int64),
        busy=s.sampled[:samples, :, 1].astype(np.int64),
        area_ns=int(s.scalar[at.AREA]),
        sojourn_ns=int(s.scalar[at.SOJOURN])
        + int(s.total[:, at.LATENCY].sum())
        + int((end - s.request[at.ARRIVED, here]).sum()),
        window_ns=(start, closing.end_ns),
        last_arrival_ns=int(s.scalar[at.LAST_ARRIVAL]),
        offered_ns=s.offered,
        closed=bool(wanted["CLOSED"]),
        events=_events(s, wanted),
    )


def _events(s: State, wanted: Wanted) -> int:
    """Events handled: those that left the calendar, and arrivals that never were in it."""
    handled = int(s.scalar[at.SEQUENCE] - s.scalar[at.SCHEDULED])
    return handled if wanted["CLOSED"] else handled + int(s.scalar[at.NUMBER])


def alive(s: State) -> Ints:
    """The slots of the requests that are in the system."""
    return np.flatnonzero(s.request[at.ARRIVED] >= 0)


def _running(
    fleet: FleetArrays, f: Tables, s: State, start: int, end: int, wanted: Wanted
) -> tuple[Ints, Ints, Ints]:
    """Busy time, metered energy (nJ) and unmetered time per replica, with batches in service."""
    busy, metered, unmetered = (
        column.copy()
        for column in (
            s.wide[:, at.BUSY],
            s.sums[:, at.ENERGY],
            s.wide[:, at.UNMETERED if wanted["METERED"] else at.BUSY],
        )
    )
    at_work = np.flatnonzero(s.replicas[:, at.SIZE] > 0)
    begun, ends = s.wide[at_work, at.START], s.wide[at_work, at.END]
    more = np.maximum(0, end - np.maximum(begun, start))
    models = len(fleet.models)
    model = s.replicas[at_work, at.SERVING] if wanted["MODELS"] else 0
    known = f.energy_nj[fleet.group_of[at_work] * models + model, s.replicas[at_work, at.SIZE]]
    busy[at_work] += more
    share = more / np.maximum(1, ends - begun)
    metered[at_work] += np.where(known >= 0, known * share, 0).astype(np.int64)
    unmetered[at_work] += np.where(known >= 0, 0, more)
    return busy, metered, unmetered
