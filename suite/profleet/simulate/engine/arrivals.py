"""How a request enters: it arrives, is sent to a replica or waits centrally, and joins a queue."""

from __future__ import annotations

from profleet.simulate.engine.calendar import schedule
from profleet.simulate.engine.cells import cell_of, group_at, model_of, near_group, queue_of
from profleet.simulate.engine.features import (
    CENTRAL,
    DEADLINES,
    DELAYED,
    FIFO,
    GROUPS,
    HOLDING,
    LIMITED,
    MODELS,
    ORDER,
    OUTAGES,
    RETRIES,
    SAMPLING,
    TABLE,
    USES_BITS,
    WIRES,
    WORKS,
)
from profleet.simulate.engine.layout import (
    ARRIVED,
    BITS,
    CLIENT,
    CURSOR,
    DEADLINE,
    DELIVERY,
    DRAW,
    FAILED,
    FOREVER,
    FREE,
    IN_SYSTEM,
    LAST_ARRIVAL,
    LENGTH,
    MODEL,
    NEXT,
    NONE,
    NONSENSE_ROUTE,
    NUMBER,
    ON_FAILURE,
    ON_FULL,
    PRIORITY,
    QUEUE_FULL,
    QUEUE_LIMIT,
    READY,
    REPLICA,
    RETRY_LATER,
    SERIAL,
    SIZE,
    STATUS,
    TOO_LATE,
    TRIES,
    UP,
    WAITING,
    WARMUP_LEFT,
    WINDOW,
    WIRE_NS,
    WORK,
)
from profleet.simulate.engine.queues import join
from profleet.simulate.engine.ranking import expect, forget, offer, offer_to_all
from profleet.simulate.engine.replicas import consider, start_alone
from profleet.simulate.engine.requests import drop, later
from profleet.simulate.engine.routers import REFUSED, route
from profleet.simulate.engine.state import Chunk, State, Tables
from profleet.simulate.records import Ints, Small


def new_slot(s: State, c: Chunk) -> int:
    """Take the next arrival of the chunk into a free slot of the pool."""
    small = s.small
    request = s.request
    scalar = s.scalar
    i = scalar[CURSOR]
    scalar[CURSOR] = i + 1
    slot = scalar[FREE]
    scalar[FREE] = small[NEXT, slot]
    s.real[DRAW, slot] = c.draw[i]
    if MODELS:
        small[MODEL, slot] = c.model[i]
    if WORKS:
        s.real[WORK, slot] = c.work[i]
    if DEADLINES:
        request[DEADLINE, slot] = c.deadline_ns[i]
    if ORDER != FIFO or USES_BITS or TABLE:
        small[PRIORITY, slot] = c.priority[i]
        small[CLIENT, slot] = c.client[i]
    if USES_BITS:
        request[BITS, slot] = c.bits[i]
    if RETRIES:
        small[TRIES, slot] = 0
    if TABLE:
        request[SERIAL, slot] = scalar[NUMBER]
    scalar[NUMBER] += 1
    return slot


def arrive(s: State, f: Tables, slot: int, now: int) -> None:
    """A request enters the system."""
    scalar = s.scalar
    request = s.request
    model = model_of(s.small, slot)
    scalar[IN_SYSTEM] += 1
    request[ARRIVED, slot] = now
    if scalar[WINDOW] == FOREVER:
        warm_up(scalar, now)
    scalar[LAST_ARRIVAL] = now
    if DEADLINES and request[DEADLINE, slot] < FOREVER - now:
        request[DEADLINE, slot] += now
    if WIRES:
        request[WIRE_NS, slot] = 0
    if now >= scalar[WINDOW]:
        s.injected[model] += 1
    dispatch(s, f, slot, model, now)


def warm_up(scalar: Ints, now: int) -> None:
    """Count an arrival towards the end of the warm-up; the first later one opens the window.

    Those that arrive together with the last of the warm-up belong to it: what counts is told apart
    by the time of arrival.
    """
    if scalar[WARMUP_LEFT] > 0:
        scalar[WARMUP_LEFT] -= 1
    elif now > scalar[LAST_ARRIVAL]:
        scalar[WINDOW] = now


def dispatch(s: State, f: Tables, slot: int, model: int, now: int) -> None:
    """Let the router choose, and send the request there."""
    if CENTRAL:
        if is_new(s.scalar, s.small, s.request, slot):
            offer_to_all(s, f, model, slot)
        wait_centrally(s, f, slot, model, now)
        return
    r = route(s, f, slot, model)
    if r < 0:
        cell = cell_of(f.serves, near_group(f.serving, model), model)
        if s.scalar[STATUS] == NONSENSE_ROUTE:
            return
        if r == REFUSED:
            drop(s, f, slot, cell, TOO_LATE, now)
        else:
            later(s, f, slot, cell, FAILED, RETRY_LATER, now)
        return
    g = group_at(f.group_of, r)
    cell = cell_of(f.serves, g, model)
    expect(s, f, r, g, cell, slot)
    if is_new(s.scalar, s.small, s.request, slot):
        offer(s, f, g, cell, slot)
    if WIRES:
        on_link = max(now + f.host_ns[g], s.link_free[g, 0]) + f.send_ns[cell]
        s.link_free[g, 0] = on_link
        s.small[REPLICA, slot] = r
        s.request[READY, slot] = now
        schedule(s.scalar, s.when, s.what, on_link + f.latency_ns[g], DELIVERY, slot)
    else:
        deliver(s, f, slot, r, model, now)


def is_new(scalar: Ints, small: Small, request: Ints, slot: int) -> bool:
    """Whether a request arrived after the warm-up and is sent for the first time."""
    if RETRIES and small[TRIES, slot] > 0:
        return False
    return request[ARRIVED, slot] >= scalar[WINDOW]


def deliver(s: State, f: Tables, slot: int, r: int, model: int, now: int) -> None:
    """A request reaches the replica it was sent to."""
    replicas = s.replicas
    g = group_at(f.group_of, r)
    cell = cell_of(f.serves, g, model)
    q = queue_of(f.serves, r, model)
    if WIRES:
        s.request[WIRE_NS, slot] += now - s.request[READY, slot]
    if OUTAGES and replicas[r, UP] == 0:
        forget(s, f, r, g, cell, slot)
        later(s, f, slot, cell, FAILED, f.parameter[ON_FAILURE], now)
        return
    if (
        LIMITED
        and s.queues[q, LENGTH] >= f.parameter[QUEUE_LIMIT]
        and (replicas[r, SIZE] > 0 or s.queues[q, LENGTH] >= f.limit[cell])
    ):
        forget(s, f, r, g, cell, slot)
        later(s, f, slot, cell, QUEUE_FULL, f.parameter[ON_FULL], now)
        return
    if DELAYED or HOLDING or MODELS or TABLE:
        s.request[READY, slot] = now
    if not HOLDING and replicas[r, SIZE] == 0:
        start_alone(s, f, r, g, model, slot, now)
        return
    join(s, f, q, slot, cell)
    replicas[r, WAITING] += 1
    if SAMPLING:
        s.levels[g, 0] += 1
    if HOLDING and replicas[r, SIZE] == 0:
        consider(s, f, r, g, now)


def wait_centrally(s: State, f: Tables, slot: int, model: int, now: int) -> None:
    """A request joins the queue of its model at the front end; an idle replica may take it."""
    near = near_group(f.serving, model)
    cell = cell_of(f.serves, near, model)
    idle = idle_replica(s, f, model)
    if (
        LIMITED
        and s.queues[model, LENGTH] >= f.parameter[QUEUE_LIMIT]
        and (idle < 0 or s.queues[model, LENGTH] >= f.limit[cell])
    ):
        later(s, f, slot, cell, QUEUE_FULL, f.parameter[ON_FULL], now)
        return
    if DELAYED or HOLDING or MODELS or TABLE:
        s.request[READY, slot] = now
    if not HOLDING and idle >= 0:
        start_alone(s, f, idle, group_at(f.group_of, idle), model, slot, now)
        return
    join(s, f, model, slot, cell)
    if SAMPLING:
        s.levels[near, 0] += 1
    if HOLDING and idle >= 0:
        consider(s, f, idle, group_at(f.group_of, idle), now)


def idle_replica(s: State, f: Tables, model: int) -> int:
    """The replica that became idle last, in the first group that serves the model and has one."""
    if not GROUPS:
        return s.idle[s.idle_count[0] - 1] if s.idle_count[0] > 0 else NONE
    for i in range(f.serving_count[model]):
        g = f.serving[model, i]
        if s.idle_count[g] > 0:
            return s.idle[f.first[g] + s.idle_count[g] - 1]
    return NONE
