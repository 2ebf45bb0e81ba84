"""Replicas that go down and come back."""

from __future__ import annotations

from profleet.simulate.engine.calendar import schedule
from profleet.simulate.engine.cells import cell_of, group_at, models_of, queue_of
from profleet.simulate.engine.features import (
    BACKLOGS,
    CENTRAL,
    HOLDING,
    MODELS,
    SAMPLING,
    TIMELINE,
)
from profleet.simulate.engine.layout import (
    BACKLOG,
    BATCH,
    DOWN,
    END,
    ENDS,
    FAILED,
    FAILURE,
    LENGTH,
    NEXT,
    NONE,
    ON_FAILURE,
    OUTAGE,
    OUTAGE_SET,
    OUTSTANDING,
    REPAIR,
    SERVING,
    SIZE,
    START,
    UP,
    UP_SINCE,
    UP_TIME,
    WAITING,
    WAKES,
    WINDOW,
)
from profleet.simulate.engine.queues import take
from profleet.simulate.engine.ranking import piece, rank, reload
from profleet.simulate.engine.replicas import account, become_idle, draw_batch, leave_idle
from profleet.simulate.engine.requests import later
from profleet.simulate.engine.state import Chunk, State, Tables


def plan_outage(s: State, c: Chunk) -> None:
    """Put the next outage of the chunk into the calendar."""
    i = s.scalar[OUTAGE]
    kind = REPAIR if c.outage_up[i] == 1 else FAILURE
    schedule(s.scalar, s.when, s.what, c.outage_ns[i], kind, c.outage_replica[i])
    s.scalar[OUTAGE] = i + 1
    s.scalar[OUTAGE_SET] = 1


def fail(s: State, f: Tables, r: int, now: int) -> None:
    """A replica goes down: what it executes and what waits there is lost, requeued or retried."""
    replicas = s.replicas
    if replicas[r, UP] == 0:
        return
    g = group_at(f.group_of, r)
    replicas[r, UP] = 0
    s.scalar[DOWN] += 1
    s.sums[r, UP_TIME] += max(0, now - max(s.sums[r, UP_SINCE], s.scalar[WINDOW]))
    remove_up(s, f, r, g)
    if CENTRAL:
        leave_idle(s, f, r, g)
    elif HOLDING:
        s.timers[r, WAKES] = NONE
    reload(s, f, r, g, NONE)
    if replicas[r, SIZE] > 0:
        abort(s, f, r, g, now)
    if not CENTRAL:
        for model in range(models_of(f.serves)):
            abandon(s, f, r, g, model, now)
    rank(s, f, r, g)


def abort(s: State, f: Tables, r: int, g: int, now: int) -> None:
    """End the batch in service without a result."""
    replicas = s.replicas
    model = replicas[r, SERVING] if MODELS else 0
    cell = cell_of(f.serves, g, model)
    account(s, f, r, cell, s.wide[r, START], now)
    if TIMELINE:
        draw_batch(s, r, now, 1)
    s.wide[r, ENDS] = NONE
    s.wide[r, END] = now
    if SAMPLING:
        s.levels[g, 1] -= 1
    replicas[r, OUTSTANDING] -= replicas[r, SIZE]
    replicas[r, SIZE] = 0
    slot = replicas[r, BATCH]
    while slot != NONE:
        following = s.small[NEXT, slot]
        later(s, f, slot, cell, FAILED, f.parameter[ON_FAILURE], now)
        slot = following


def abandon(s: State, f: Tables, r: int, g: int, model: int, now: int) -> None:
    """Empty one queue of a replica that went down."""
    q = queue_of(f.serves, r, model)
    waiting = s.queues[q, LENGTH]
    if waiting == 0:
        return
    cell = cell_of(f.serves, g, model)
    if SAMPLING:
        s.levels[g, 0] -= waiting
    s.replicas[r, WAITING] -= waiting
    s.replicas[r, OUTSTANDING] -= waiting
    slot = take(s, q, waiting)
    while slot != NONE:
        following = s.small[NEXT, slot]
        if BACKLOGS:
            s.wide[r, BACKLOG] -= piece(s, f, r, cell, slot)
        later(s, f, slot, cell, FAILED, f.parameter[ON_FAILURE], now)
        slot = following


def repair(s: State, f: Tables, r: int, now: int) -> None:
    """A replica comes back, with no model in its memory."""
    if s.replicas[r, UP] == 1:
        return
    g = group_at(f.group_of, r)
    s.replicas[r, UP] = 1
    s.scalar[DOWN] -= 1
    s.sums[r, UP_SINCE] = now
    place = s.up_count[g]
    s.up[f.first[g] + place] = r
    s.up_at[r] = place
    s.up_count[g] = place + 1
    become_idle(s, f, r, g, now)


def remove_up(s: State, f: Tables, r: int, g: int) -> None:
    """Take a replica off the list of those that are up; the last one fills its place."""
    place = s.up_at[r]
    last = s.up_count[g] - 1
    moved = s.up[f.first[g] + last]
    s.up[f.first[g] + place] = moved
    s.up_at[moved] = place
    s.up_at[r] = NONE
    s.up_count[g] = last
