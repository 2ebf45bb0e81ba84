"""The event loop: takes arrivals and events in order of time until something is missing.

``advance`` returns why it stopped (``layout``): it is done, wants the next chunk of arrivals or
outages, or a bigger table. Called again with what it wants, it goes on where it was.
"""

from __future__ import annotations

from profleet.simulate.engine.arrivals import arrive, deliver, dispatch, idle_replica, new_slot
from profleet.simulate.engine.calendar import close_hole, schedule, take_first
from profleet.simulate.engine.cells import cell_of, group_at, model_of
from profleet.simulate.engine.features import (
    CENTRAL,
    CLOSED,
    HOLDING,
    OUTAGES,
    RETRIES,
    SAMPLING,
    TABLE,
    TIMELINE,
    WIRES,
)
from profleet.simulate.engine.layout import (
    AREA,
    ARRIVAL,
    COMPLETION,
    CURSOR,
    DELIVERY,
    DONE,
    DOWN,
    ENDS,
    FAILURE,
    FLUSH,
    FOREVER,
    FREE,
    GROW_CALENDAR,
    GROW_POOL,
    HORIZON,
    IN_SYSTEM,
    INDEX_MASK,
    KIND_SHIFT,
    LAST_CHUNK,
    LONGEST_NS,
    MORE_ARRIVALS,
    MORE_OUTAGES,
    NEXT_SAMPLE,
    NONE,
    NOW,
    OUTAGE,
    OUTAGE_SET,
    OUTAGES_END,
    OUTSTANDING,
    OVERFLOW,
    REPAIR,
    REPLICA,
    RETRY,
    RETURN,
    SAMPLE_STEP,
    SAMPLES,
    SCHEDULED,
    SIGNS,
    SIZE,
    STATUS,
    TABLE_ROWS,
    TIMELINE_ROWS,
    TIMER,
    TO_ISSUE,
    TRAIL_END,
    TRAIL_FORMING,
    TRAIL_SIZE,
    TRAIL_START,
    WAKES,
)
from profleet.simulate.engine.outages import fail, plan_outage, repair
from profleet.simulate.engine.ranking import rank
from profleet.simulate.engine.replicas import complete, consider
from profleet.simulate.engine.requests import leave
from profleet.simulate.engine.state import Chunk, State, Tables


def advance(s: State, f: Tables, c: Chunk) -> int:
    """Handle events until the end, or until something is missing; returns what."""
    scalar = s.scalar
    n = len(c.time_ns)
    while True:
        missing = prepare(s, f, c, n)
        if missing != DONE:
            return missing
        time = s.when[0]
        arrival = FOREVER
        if not CLOSED:
            if scalar[CURSOR] < n:
                arrival = c.time_ns[scalar[CURSOR]]
            elif scalar[LAST_CHUNK] == 0:
                return MORE_ARRIVALS
        first = arrival < time or (arrival == time and s.what[0] >= ARRIVAL << KIND_SHIFT)
        if first:
            time = arrival
            if scalar[FREE] == NONE:
                return GROW_POOL
        if time > scalar[HORIZON] or (arrival == FOREVER and quiet(s)):
            return finish(s)
        if SAMPLING and scalar[NEXT_SAMPLE] < time:
            sample(s, time)
        move_clock(s, time)
        if first:
            arrive(s, f, new_slot(s, c), time)
        else:
            handle(s, f, take_first(s.scalar, s.what), time)
            close_hole(s.scalar, s.when, s.what)


def move_clock(s: State, time: int) -> None:
    """Go to the next event, and integrate the number of requests in the system up to it."""
    scalar = s.scalar
    passed = time - scalar[NOW]
    scalar[NOW] = time
    scalar[SIGNS] |= passed
    area = scalar[AREA] + scalar[IN_SYSTEM] * passed
    scalar[AREA] = area
    if area > FOREVER or (
        passed > LONGEST_NS >> 15 and float(passed) * scalar[IN_SYSTEM] > FOREVER
    ):
        scalar[STATUS] = OVERFLOW


def handle(s: State, f: Tables, key: int, now: int) -> None:
    """Handle one event of the calendar. Events that were overtaken are ignored."""
    kind = key >> KIND_SHIFT
    index = key & INDEX_MASK
    if kind == COMPLETION:
        if not OUTAGES or s.wide[index, ENDS] == key:
            complete(s, f, index, now)
    elif HOLDING and kind == TIMER:
        wake(s, f, index, key, now)
    elif WIRES and kind == DELIVERY:
        deliver(s, f, index, s.small[REPLICA, index], model_of(s.small, index), now)
    elif WIRES and kind == RETURN:
        returned(s, f, index, now)
    elif CLOSED and kind == ARRIVAL:
        arrive(s, f, index, now)
    elif (RETRIES or OUTAGES) and kind == RETRY:
        dispatch(s, f, index, model_of(s.small, index), now)
    elif OUTAGES and kind == FAILURE:
        s.scalar[OUTAGE_SET] = 0
        fail(s, f, index, now)
    elif OUTAGES and kind == REPAIR:
        s.scalar[OUTAGE_SET] = 0
        repair(s, f, index, now)


def prepare(s: State, f: Tables, c: Chunk, n: int) -> int:
    """What is missing before the next event can be handled; DONE if nothing is."""
    scalar = s.scalar
    if scalar[STATUS] != DONE:
        return scalar[STATUS]
    room = len(s.when) - scalar[SCHEDULED] - 8
    if WIRES or RETRIES or OUTAGES:
        room -= scalar[IN_SYSTEM]
    if room < 0:
        return GROW_CALENDAR
    if CLOSED and scalar[TO_ISSUE] > 0:
        missing = issue(s, c, n, room)
        if missing != DONE:
            return missing
    if OUTAGES and scalar[OUTAGE_SET] == 0:
        if scalar[OUTAGE] < len(c.outage_ns):
            plan_outage(s, c)
        elif scalar[OUTAGES_END] == 0:
            return MORE_OUTAGES
    return full(s)


def full(s: State) -> int:
    """FLUSH if a table that is written out has no room for the rows of one event."""
    if TABLE and s.scalar[TABLE_ROWS] + s.scalar[IN_SYSTEM] + 1 > len(s.table):
        return FLUSH
    if TIMELINE and s.scalar[TIMELINE_ROWS] == len(s.timeline):
        return FLUSH
    return DONE


def issue(s: State, c: Chunk, n: int, room: int) -> int:
    """Closed loop: users take the next request of the stream and think before they send it."""
    scalar = s.scalar
    while scalar[TO_ISSUE] > 0:
        if scalar[CURSOR] == n:
            if scalar[LAST_CHUNK] == 0:
                return MORE_ARRIVALS
            scalar[TO_ISSUE] = 0
            break
        if scalar[FREE] == NONE:
            return GROW_POOL
        if room == 0:
            return GROW_CALENDAR
        room -= 1
        think = c.time_ns[scalar[CURSOR]]
        slot = new_slot(s, c)
        schedule(s.scalar, s.when, s.what, scalar[NOW] + think, ARRIVAL, slot)
        scalar[TO_ISSUE] -= 1
    return DONE


def wake(s: State, f: Tables, index: int, key: int, now: int) -> None:
    """The time has come that a batching policy asked for."""
    if s.timers[index, WAKES] != key:
        return
    s.timers[index, WAKES] = NONE
    r = idle_replica(s, f, index) if CENTRAL else index
    if r >= 0 and s.replicas[r, SIZE] == 0:
        consider(s, f, r, group_at(f.group_of, r), now)


def returned(s: State, f: Tables, slot: int, now: int) -> None:
    """A response is back at the front end."""
    r = s.small[REPLICA, slot]
    g = group_at(f.group_of, r)
    trail = s.trail
    if not CENTRAL:
        s.replicas[r, OUTSTANDING] -= 1
        s.scalar[SIGNS] |= s.replicas[r, OUTSTANDING]
        rank(s, f, r, g)
    leave(
        s,
        f,
        slot,
        r,
        cell_of(f.serves, g, model_of(s.small, slot)),
        now,
        trail[TRAIL_START, slot],
        trail[TRAIL_END, slot],
        trail[TRAIL_FORMING, slot],
        trail[TRAIL_SIZE, slot],
    )


def quiet(s: State) -> bool:
    """Whether nothing can happen any more after the last arrival: no event but outages.

    Requests may still wait then, for a batch that never fills or a replica that never comes back.
    """
    scalar = s.scalar
    if scalar[SCHEDULED] > scalar[OUTAGE_SET]:
        return False
    if OUTAGES and scalar[HORIZON] < FOREVER:
        return scalar[OUTAGE_SET] == 0
    return not (CENTRAL and OUTAGES and scalar[OUTAGE_SET] == 1 and scalar[DOWN] > 0)


def finish(s: State) -> int:
    """End the period: at the horizon if there is one, else with the last event."""
    scalar = s.scalar
    if scalar[HORIZON] < FOREVER:
        if SAMPLING:
            sample(s, scalar[HORIZON])
        move_clock(s, scalar[HORIZON])
    return scalar[STATUS]


def sample(s: State, until: int) -> None:
    """Note the levels at the points of the grid before ``until``.

    The table has a fixed number of rows: when it is full, every other row goes and the grid
    becomes twice as coarse.
    """
    scalar = s.scalar
    rows = len(s.sample_ns)
    while scalar[NEXT_SAMPLE] < until:
        row = scalar[SAMPLES]
        if row == rows:
            row = rows >> 1
            for i in range(row):
                s.sample_ns[i] = s.sample_ns[2 * i]
                for g in range(len(s.levels)):
                    s.sampled[i, g, 0] = s.sampled[2 * i, g, 0]
                    s.sampled[i, g, 1] = s.sampled[2 * i, g, 1]
            scalar[SAMPLE_STEP] *= 2
            scalar[NEXT_SAMPLE] = s.sample_ns[row - 1] + scalar[SAMPLE_STEP]
            scalar[SAMPLES] = row
            continue
        s.sample_ns[row] = scalar[NEXT_SAMPLE]
        for g in range(len(s.levels)):
            s.sampled[row, g, 0] = s.levels[g, 0]
            s.sampled[row, g, 1] = s.levels[g, 1]
        scalar[SAMPLES] = row + 1
        scalar[NEXT_SAMPLE] += scalar[SAMPLE_STEP]
