"""How a request leaves: answered, dropped, or turned away to try again."""

from __future__ import annotations

from profleet.simulate.engine.calendar import schedule
from profleet.simulate.engine.cells import models_of
from profleet.simulate.engine.features import CLOSED, DEADLINES, HOLDING, RETRIES, TABLE, WIRES
from profleet.simulate.engine.histogram import bucket_of
from profleet.simulate.engine.layout import (
    ARRIVED,
    BACKOFF_NS,
    CLIENT,
    DEADLINE,
    DROP,
    FORMING,
    FREE,
    IN_SYSTEM,
    LATENCY,
    LOST,
    MAX_RETRIES,
    MET,
    NEXT,
    NONE,
    QUEUE,
    READY,
    REQUEUE,
    RETRIED,
    RETRY,
    SERIAL,
    SERVICE,
    SIGNS,
    SOJOURN,
    TABLE_ROWS,
    TO_ISSUE,
    TRIED,
    TRIES,
    WINDOW,
    WIRE,
    WIRE_NS,
)
from profleet.simulate.engine.state import State, Tables
from profleet.simulate.records import Ints


def leave(
    s: State,
    f: Tables,
    slot: int,
    r: int,
    cell: int,
    now: int,
    start: int,
    end: int,
    forming: int,
    size: int,
) -> None:
    """The answer to a request is back: count it, free its slot."""
    scalar = s.scalar
    request = s.request
    arrived = request[ARRIVED, slot]
    latency = now - arrived
    service = end - start
    wire = request[WIRE_NS, slot] + now - end if WIRES else 0
    waited = latency - service - forming - wire
    scalar[IN_SYSTEM] -= 1
    scalar[SIGNS] |= waited | service | forming | wire
    if arrived >= scalar[WINDOW]:
        if DEADLINES and now <= request[DEADLINE, slot]:
            s.counted[cell, MET] += 1
        count(s.histogram, s.total, s.maximum, cell, LATENCY, latency)
        count(s.histogram, s.total, s.maximum, cell, QUEUE, waited)
        count(s.histogram, s.total, s.maximum, cell, SERVICE, service)
        if HOLDING:
            count(s.histogram, s.total, s.maximum, cell, FORMING, forming)
        if WIRES:
            count(s.histogram, s.total, s.maximum, cell, WIRE, wire)
    else:
        scalar[SOJOURN] += latency
    if TABLE:
        note(s, f, slot, r, cell, now, start, end, size, NONE)
    free(s, slot)


def count(histogram: Ints, total: Ints, maximum: Ints, cell: int, span: int, time: int) -> None:
    """Add one time to the statistics of a span."""
    histogram[cell, span, bucket_of(time)] += 1
    total[cell, span] += time
    if time > maximum[cell, span]:
        maximum[cell, span] = time


def drop(s: State, f: Tables, slot: int, cell: int, reason: int, now: int) -> None:
    """A request leaves without an answer."""
    scalar = s.scalar
    arrived = s.request[ARRIVED, slot]
    scalar[IN_SYSTEM] -= 1
    scalar[SOJOURN] += now - arrived
    if arrived >= scalar[WINDOW]:
        s.dropped[cell, reason] += 1
    else:
        s.counted[cell, LOST] += 1
    if TABLE:
        note(s, f, slot, NONE, cell, now, NONE, NONE, 0, reason)
    free(s, slot)


def later(s: State, f: Tables, slot: int, cell: int, reason: int, how: int, now: int) -> None:
    """A request is turned away: send it again at once or later, or drop it."""
    if how == REQUEUE:
        schedule(s.scalar, s.when, s.what, now, RETRY, slot)
    elif how == DROP or f.parameter[MAX_RETRIES] == 0:
        drop(s, f, slot, cell, reason, now)
    else:
        tries = s.small[TRIES, slot]
        if tries >= f.parameter[MAX_RETRIES]:
            drop(s, f, slot, cell, TRIED, now)
            return
        s.small[TRIES, slot] = tries + 1
        if s.request[ARRIVED, slot] >= s.scalar[WINDOW]:
            s.counted[cell, RETRIED] += 1
        schedule(
            s.scalar, s.when, s.what, now + (f.parameter[BACKOFF_NS] << min(tries, 10)), RETRY, slot
        )


def free(s: State, slot: int) -> None:
    """Give the slot of a request back to the pool."""
    s.request[ARRIVED, slot] = NONE
    s.small[NEXT, slot] = s.scalar[FREE]
    s.scalar[FREE] = slot
    if CLOSED:
        s.scalar[TO_ISSUE] += 1


def note(
    s: State,
    f: Tables,
    slot: int,
    r: int,
    cell: int,
    now: int,
    start: int,
    end: int,
    size: int,
    reason: int,
) -> None:
    """Write the row of a request that leaves into the per-request table."""
    models = models_of(f.serves)
    row = s.table[s.scalar[TABLE_ROWS]]
    s.scalar[TABLE_ROWS] += 1
    row[0] = s.request[SERIAL, slot]
    row[1] = cell % models
    row[2] = s.small[CLIENT, slot]
    row[3] = cell // models if r >= 0 else NONE
    row[4] = r
    row[5] = s.request[ARRIVED, slot]
    row[6] = s.request[READY, slot] if r >= 0 else NONE
    row[7] = start
    row[8] = end
    row[9] = now
    row[10] = size
    row[11] = s.small[TRIES, slot] if RETRIES else 0
    row[12] = reason
