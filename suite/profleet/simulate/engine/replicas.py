"""What a replica does: decide on a batch, execute it, complete it, become idle."""

from __future__ import annotations

from profleet.simulate.engine.batching import adapt, decide
from profleet.simulate.engine.calendar import schedule
from profleet.simulate.engine.cells import cell_of, group_at, models_of, near_group, queue_of
from profleet.simulate.engine.features import (
    ADAPTIVE,
    BACKLOGS,
    BATCHING,
    CENTRAL,
    HOLDING,
    LOADS,
    METERED,
    MODEL_AFFINITY,
    MODELS,
    OUTAGES,
    QUANTILES,
    ROUTER,
    SAMPLING,
    SINGLE,
    SPEEDS,
    TIMED,
    TIMELINE,
    WIRES,
    WORKS,
)
from profleet.simulate.engine.layout import (
    BACKLOG,
    BATCH,
    BUSY,
    COMPLETION,
    DECIDED,
    DRAW,
    END,
    ENDS,
    ENERGY,
    FREE_SINCE,
    HEAD,
    LENGTH,
    LOADED,
    LONGEST_NS,
    NEXT,
    NONE,
    OUTSTANDING,
    READY,
    REPLICA,
    RETURN,
    SERVING,
    SIGNS,
    SIZE,
    START,
    TIMELINE_FROM,
    TIMELINE_ROWS,
    TIMELINE_TO,
    TIMER,
    TRAIL_END,
    TRAIL_FORMING,
    TRAIL_SIZE,
    TRAIL_START,
    UNMETERED,
    WAITING,
    WAKES,
    WAKES_AT,
    WINDOW,
    WIRE_NS,
    WORK,
)
from profleet.simulate.engine.queues import take
from profleet.simulate.engine.ranking import piece, rank, reload
from profleet.simulate.engine.requests import leave
from profleet.simulate.engine.state import State, Tables


def consider(s: State, f: Tables, r: int, g: int, now: int) -> None:
    """Ask the batching policy about the queue of an idle replica; start a batch if it says so."""
    if MODELS:
        consider_models(s, f, r, g, now)
        return
    q = queue_of(f.serves, r, 0)
    if s.queues[q, LENGTH] == 0:
        return
    answer = decide(s, f, q, r, g, now)
    if answer > 0:
        start_from(s, f, r, g, 0, q, answer, now)
    elif HOLDING and answer < 0:
        arm(s, q, now - answer)


def consider_models(s: State, f: Tables, r: int, g: int, now: int) -> None:
    """Of several models, start the one whose head waits longest among those that may start."""
    models = models_of(f.serves)
    best = NONE
    size = 0
    oldest = 0
    wake = 0
    for model in range(models):
        q = queue_of(f.serves, r, model)
        if s.queues[q, LENGTH] == 0 or (CENTRAL and f.serves[g, model] == 0):
            continue
        answer = decide(s, f, q, r, g * models + model, now)
        if answer > 0:
            since = s.request[READY, s.queues[q, HEAD]]
            if best == NONE or since < oldest:
                best = model
                size = answer
                oldest = since
        elif HOLDING and answer < 0:
            if CENTRAL:
                arm(s, q, now - answer)
            elif wake == 0 or now - answer < wake:
                wake = now - answer
    if best != NONE:
        start_from(s, f, r, g, best, queue_of(f.serves, r, best), size, now)
    elif HOLDING and wake > 0:
        arm(s, r, wake)


def arm(s: State, timer: int, time: int) -> None:
    """Make sure that a queue is looked at again by ``time``."""
    if s.timers[timer, WAKES] == NONE or s.timers[timer, WAKES_AT] > time:
        s.timers[timer, WAKES] = schedule(s.scalar, s.when, s.what, time, TIMER, timer)
        s.timers[timer, WAKES_AT] = time


def start_from(
    s: State, f: Tables, r: int, g: int, model: int, q: int, size: int, now: int
) -> None:
    """Take ``size`` requests from a queue and execute them as one batch."""
    if not CENTRAL:
        s.replicas[r, WAITING] -= size
        s.scalar[SIGNS] |= s.replicas[r, WAITING]
    if HOLDING:
        s.timers[q if CENTRAL else r, WAKES] = NONE
    if SAMPLING:
        s.levels[near_group(f.serving, model) if CENTRAL else g, 0] -= size
    start(s, f, r, g, model, take(s, q, size), size, now)


def start_alone(s: State, f: Tables, r: int, g: int, model: int, slot: int, now: int) -> None:
    """Execute a request that found an idle replica."""
    s.small[NEXT, slot] = NONE
    start(s, f, r, g, model, slot, 1, now)


def start(s: State, f: Tables, r: int, g: int, model: int, first: int, size: int, now: int) -> None:
    """Execute a batch: ``first`` and those that follow it by NEXT."""
    cell = cell_of(f.serves, g, model)
    replicas = s.replicas
    wide = s.wide
    s.scalar[SIGNS] |= -replicas[r, SIZE]
    replicas[r, BATCH] = first
    replicas[r, SIZE] = size
    if MODELS:
        replicas[r, SERVING] = model
    begins = ready_at(s, f, r, g, model, first, now)
    ends = begins + service_ns(s, f, r, cell, first, size)
    wide[r, START] = begins
    wide[r, END] = ends
    if HOLDING or TIMELINE:
        wide[r, DECIDED] = now
    key = schedule(s.scalar, s.when, s.what, ends, COMPLETION, r)
    if OUTAGES:
        wide[r, ENDS] = key
    if now >= s.scalar[WINDOW]:
        s.batches[g, size] += 1
    if CENTRAL:
        leave_idle(s, f, r, g)
        replicas[r, OUTSTANDING] = size
    if SAMPLING:
        s.levels[g, 1] += 1
    if BACKLOGS:
        start_backlog(s, f, r, cell, first)
    if TIMED or ROUTER == MODEL_AFFINITY:
        rank(s, f, r, g)


def ready_at(s: State, f: Tables, r: int, g: int, model: int, first: int, now: int) -> int:
    """When the service of a batch begins: with its model loaded, and all its requests there."""
    begins = now
    cell = cell_of(f.serves, g, model)
    if LOADS and s.replicas[r, LOADED] != model:
        begins = now + f.load_ns[cell]
        reload(s, f, r, g, model)
    if CENTRAL and WIRES:
        begins = max(begins, fetch(s, f, r, g, cell, first, now))
    return begins


def start_backlog(s: State, f: Tables, r: int, cell: int, first: int) -> None:
    """What a batch executes does not wait any longer."""
    slot = first
    while slot != NONE:
        s.wide[r, BACKLOG] -= piece(s, f, r, cell, slot)
        slot = s.small[NEXT, slot]


def fetch(s: State, f: Tables, r: int, g: int, cell: int, first: int, now: int) -> int:
    """Send the requests of a batch from the central queue; returns when the last has come."""
    arrival = now
    slot = first
    while slot != NONE:
        on_link = max(now + f.host_ns[g], s.link_free[g, 0]) + f.send_ns[cell]
        s.link_free[g, 0] = on_link
        arrival = on_link + f.latency_ns[g]
        s.request[WIRE_NS, slot] += arrival - now
        s.small[REPLICA, slot] = r
        slot = s.small[NEXT, slot]
    return arrival


def service_ns(s: State, f: Tables, r: int, cell: int, first: int, size: int) -> int:
    """How long the batch takes: the draw of its first request, the most work of any."""
    draw = s.real[DRAW, first]
    if QUANTILES:
        time = float(f.quantiles[cell, size - 1, int(draw * f.points[cell])])
    else:
        time = f.mean_ns[cell, size] * draw
    if SPEEDS:
        time *= f.slowdown[r]
    if WORKS:
        slot = first
        most = 0.0
        while slot != NONE:
            most = max(most, s.real[WORK, slot])
            slot = s.small[NEXT, slot]
        time *= most
    return int(min(time, float(LONGEST_NS)) + 0.5)


def complete(s: State, f: Tables, r: int, now: int) -> None:
    """The batch of a replica ends: its requests leave, and the next batch may start."""
    replicas = s.replicas
    wide = s.wide
    small = s.small
    g = group_at(f.group_of, r)
    model = replicas[r, SERVING] if MODELS else 0
    cell = cell_of(f.serves, g, model)
    begun = wide[r, START]
    size = replicas[r, SIZE]
    account(s, f, r, cell, begun, now)
    if BATCHING == ADAPTIVE:
        adapt(s, f, r, cell, now - begun)
    if TIMELINE:
        draw_batch(s, r, now, 0)
    slot = replicas[r, BATCH]
    while slot != NONE:
        following = NONE if BATCHING == SINGLE else small[NEXT, slot]
        forming = 0
        if HOLDING:
            idle_since = max(s.request[READY, slot], wide[r, FREE_SINCE])
            forming = max(0, wide[r, DECIDED] - idle_since)
        if WIRES:
            answer(s, f, slot, r, g, cell, begun, now, forming, size)
        else:
            leave(s, f, slot, r, cell, now, begun, now, forming, size)
        slot = following
    replicas[r, SIZE] = 0
    if CENTRAL or not WIRES:
        replicas[r, OUTSTANDING] -= size
        s.scalar[SIGNS] |= replicas[r, OUTSTANDING]
    if SAMPLING:
        s.levels[g, 1] -= 1
    become_idle(s, f, r, g, now)


def become_idle(s: State, f: Tables, r: int, g: int, now: int) -> None:
    """A replica that is up has nothing in service: it looks for its next batch."""
    if HOLDING:
        s.wide[r, FREE_SINCE] = now
    if CENTRAL:
        consider(s, f, r, g, now)
        if s.replicas[r, SIZE] == 0:
            enter_idle(s, f, r, g)
    else:
        rank(s, f, r, g)
        if s.replicas[r, WAITING] > 0:
            consider(s, f, r, g, now)


def answer(
    s: State,
    f: Tables,
    slot: int,
    r: int,
    g: int,
    cell: int,
    start: int,
    end: int,
    forming: int,
    size: int,
) -> None:
    """Put the response to a request on the wire."""
    on_link = max(end, s.link_free[g, 1]) + f.answer_ns[cell]
    s.link_free[g, 1] = on_link
    s.trail[TRAIL_START, slot] = start
    s.trail[TRAIL_END, slot] = end
    s.trail[TRAIL_FORMING, slot] = forming
    s.trail[TRAIL_SIZE, slot] = size
    schedule(s.scalar, s.when, s.what, on_link + f.latency_ns[g], RETURN, slot)


def account(s: State, f: Tables, r: int, cell: int, begun: int, until: int) -> None:
    """Add the time and the energy of a batch since the end of the warm-up."""
    window = s.scalar[WINDOW]
    busy = until - max(begun, window)
    if busy <= 0:
        return
    s.wide[r, BUSY] += busy
    if METERED:
        energy = f.energy_nj[cell, s.replicas[r, SIZE]]
        if energy < 0:
            s.wide[r, UNMETERED] += busy
        else:
            whole = s.wide[r, END] - begun
            s.sums[r, ENERGY] += energy if busy == whole else int(energy * (busy / whole))


def draw_batch(s: State, r: int, now: int, aborted: int) -> None:
    """Write a batch into the timeline if it overlaps the window."""
    if now < s.scalar[TIMELINE_FROM] or s.wide[r, DECIDED] > s.scalar[TIMELINE_TO]:
        return
    row = s.timeline[s.scalar[TIMELINE_ROWS]]
    s.scalar[TIMELINE_ROWS] += 1
    row[0] = r
    row[1] = s.replicas[r, SERVING]
    row[2] = s.replicas[r, SIZE]
    row[3] = s.wide[r, DECIDED]
    row[4] = s.wide[r, START]
    row[5] = now
    row[6] = aborted


def enter_idle(s: State, f: Tables, r: int, g: int) -> None:
    """Put a replica on the stack of idle ones of its group."""
    place = s.idle_count[g]
    s.idle[f.first[g] + place] = r
    s.idle_at[r] = place
    s.idle_count[g] = place + 1


def leave_idle(s: State, f: Tables, r: int, g: int) -> None:
    """Take a replica off the stack of idle ones; the last one fills its place."""
    place = s.idle_at[r]
    if place < 0:
        return
    last = s.idle_count[g] - 1
    moved = s.idle[f.first[g] + last]
    s.idle[f.first[g] + place] = moved
    s.idle_at[moved] = place
    s.idle_at[r] = NONE
    s.idle_count[g] = last
