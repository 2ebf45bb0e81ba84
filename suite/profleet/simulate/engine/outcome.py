"""What a replication counted, from the engine's tables at its end."""

from __future__ import annotations

import numpy as np

from profleet.simulate.engine import layout as at
from profleet.simulate.engine.choose import Wanted
from profleet.simulate.engine.state import State, Tables
from profleet.simulate.records import FleetArrays, Ints, Outcome


def outcome(fleet: FleetArrays, f: Tables, s: State, wanted: Wanted) -> Outcome:
    """Close the books: batches still in service count up to the end of the period."""
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
    samples = int(s.scalar[at.SAMPLES])
    here = alive(s)
    counted = s.request[here, at.ARRIVED] >= s.scalar[at.WINDOW]
    model = s.small[here, at.MODEL] if wanted["MODELS"] else np.zeros(len(here), dtype=np.int32)
    completed = s.histogram[:, at.LATENCY].sum(axis=1)
    histogram = s.histogram
    for span, feature in ((at.FORMING, "HOLDING"), (at.WIRE, "WIRES")):
        if not wanted[feature]:
            histogram[:, span, 0] = completed
    return Outcome(
        injected=s.injected,
        completed=completed,
        dropped=s.dropped,
        in_system=np.bincount(model[counted], minlength=len(fleet.models)).astype(np.int64),
        retried=s.counted[:, at.RETRIED].copy(),
        met=s.counted[:, at.MET].copy() if wanted["DEADLINES"] else completed.copy(),
        histogram=histogram,
        total_ns=s.total,
        maximum_ns=s.maximum,
        batches=s.batches,
        busy_ns=busy,
        up_ns=up,
        energy_j=energy,
        sample_ns=s.sample_ns[:samples].copy(),
        waiting=s.sampled[:samples, :, 0].astype(np.int64),
        busy=s.sampled[:samples, :, 1].astype(np.int64),
        area_ns=int(s.scalar[at.AREA]),
        sojourn_ns=int(s.scalar[at.SOJOURN])
        + int(s.total[:, at.LATENCY].sum())
        + int((end - s.request[here, at.ARRIVED]).sum()),
        window_ns=(start, end),
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
    return np.flatnonzero(s.request[:, at.ARRIVED] >= 0)


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
