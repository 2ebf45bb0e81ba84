"""What routers know about replicas, kept up to date: counts, expected work, tournament trees."""

from __future__ import annotations

from profleet.simulate.engine.features import (
    ABSENT,
    BACKLOGS,
    COUNTED,
    GROUPS,
    LEAST_WORK,
    MODEL_AFFINITY,
    MODELS,
    OUTAGES,
    ROUTER,
    SPEEDS,
    TIMED,
    WORKS,
)
from profleet.simulate.engine.layout import (
    BACKLOG,
    END,
    LOADED,
    NOW,
    OUTSTANDING,
    SIGNS,
    SIZE,
    UP,
    WORK,
)
from profleet.simulate.engine.state import State, Tables
from profleet.simulate.engine.trees import set_leaf


def expect(s: State, f: Tables, r: int, g: int, cell: int, slot: int) -> None:
    """A request is on its way to a replica."""
    s.replicas[r, OUTSTANDING] += 1
    if BACKLOGS:
        s.wide[r, BACKLOG] += piece(s, f, r, cell, slot)
    rank(s, f, r, g)


def offer(s: State, f: Tables, g: int, cell: int, slot: int) -> None:
    """Count a request as load offered to a group."""
    share = f.share_ns[cell]
    if WORKS:
        share *= s.real[WORK, slot]
    s.offered[g] += int(share)


def offer_to_all(s: State, f: Tables, model: int, slot: int) -> None:
    """Count a request in a central queue: every replica that serves the model has the same load."""
    if not GROUPS:
        offer(s, f, 0, model, slot)
        return
    models = f.serves.shape[1]
    rate = 0.0
    for i in range(f.serving_count[model]):
        g = f.serving[model, i]
        rate += (f.first[g + 1] - f.first[g]) / f.share_ns[g * models + model]
    work = s.real[WORK, slot] if WORKS else 1.0
    for i in range(f.serving_count[model]):
        g = f.serving[model, i]
        s.offered[g] += int((f.first[g + 1] - f.first[g]) / rate * work)


def forget(s: State, f: Tables, r: int, g: int, cell: int, slot: int) -> None:
    """A request that was sent to a replica does not wait for it any longer."""
    s.replicas[r, OUTSTANDING] -= 1
    s.scalar[SIGNS] |= s.replicas[r, OUTSTANDING]
    if BACKLOGS:
        s.wide[r, BACKLOG] -= piece(s, f, r, cell, slot)
    rank(s, f, r, g)


def piece(s: State, f: Tables, r: int, cell: int, slot: int) -> int:
    """What one waiting request adds to the backlog of a replica."""
    if ROUTER == LEAST_WORK:
        time = f.expected_ns[cell, 1] * f.slowdown[r]
    else:
        time = f.share_ns[cell] * f.slowdown[r]
    if WORKS:
        time *= s.real[WORK, slot]
    return int(time)


def rank(s: State, f: Tables, r: int, g: int) -> None:
    """Bring the leaves of a replica up to date."""
    if COUNTED:
        value = s.replicas[r, OUTSTANDING]
        if OUTAGES and s.replicas[r, UP] == 0:
            value = ABSENT
        put(s, f, r, g, 0, value)
        if ROUTER == MODEL_AFFINITY and s.replicas[r, LOADED] >= 0:
            put(s, f, r, g, s.replicas[r, LOADED] + 1, value)
    elif ROUTER == LEAST_WORK:
        rank_by_work(s, f, r, g)
    elif TIMED:
        rank_by_completion(s, f, r, g)


def rank_by_work(s: State, f: Tables, r: int, g: int) -> None:
    """The leaf is the time when a replica has done what it was sent."""
    if OUTAGES and s.replicas[r, UP] == 0:
        put(s, f, r, g, 0, ABSENT)
    elif s.replicas[r, OUTSTANDING] == 0:
        put(s, f, r, g, 0, 0)
    else:
        put(s, f, r, g, 0, max(s.wide[r, END], s.scalar[NOW]) + s.wide[r, BACKLOG])


def rank_by_completion(s: State, f: Tables, r: int, g: int) -> None:
    """Tree 0 holds idle replicas by slowness, tree 1 the others by when a request would be done."""
    idle = ABSENT
    other = ABSENT
    if not OUTAGES or s.replicas[r, UP] == 1:
        waiting = s.replicas[r, OUTSTANDING] - s.replicas[r, SIZE]
        if s.replicas[r, OUTSTANDING] == 0:
            idle = int(f.slowdown[r] * 1024.0) if SPEEDS else 0
        elif MODELS:
            other = max(s.wide[r, END], s.scalar[NOW]) + s.wide[r, BACKLOG]
        else:
            largest = f.limit[g]
            ahead = waiting // largest
            service = ahead * f.expected_ns[g, largest] + f.expected_ns[g, waiting % largest + 1]
            other = max(s.wide[r, END], s.scalar[NOW]) + int(service * f.slowdown[r])
    put(s, f, r, g, 0, idle)
    put(s, f, r, g, 1, other)


def put(s: State, f: Tables, r: int, g: int, tree: int, value: int) -> None:
    """Write the leaf of a replica into one of the trees of its group."""
    set_leaf(s.tree, f.tree_at[g, tree], f.tree_size[g], r - f.first[g], value)


def reload(s: State, f: Tables, r: int, g: int, model: int) -> None:
    """A replica has another model in its memory, or none."""
    if ROUTER == MODEL_AFFINITY and s.replicas[r, LOADED] >= 0:
        put(s, f, r, g, s.replicas[r, LOADED] + 1, ABSENT)
    s.replicas[r, LOADED] = model
