"""Built-in routers: which replica gets a request. Each returns a replica, NONE or REFUSED.

A replica that is down is never chosen. ``outstanding`` counts the requests sent to a replica and
not answered yet. Ties go to the lowest number, so the same seed gives the same choice.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from profleet.simulate.engine.features import (
    ABSENT,
    CUSTOM,
    GROUPS,
    JSQ,
    LEAST_WORK,
    LOADS,
    MODEL_AFFINITY,
    MODELS,
    OUTAGES,
    POWER_OF_D,
    RANDOM,
    ROUND_ROBIN,
    ROUTER,
    SLO_AWARE,
    WEIGHTED,
)
from profleet.simulate.engine.layout import (
    BITS,
    CHOICES,
    CLIENT,
    DEADLINE,
    END,
    FOREVER,
    LOADED,
    NONE,
    NONSENSE_ROUTE,
    NOT_WHOLE,
    NOW,
    OUTSTANDING,
    PRIORITY,
    SIZE,
    SPILL,
    STATUS,
    UP,
    VALUE,
    WAITING,
    WORK,
)
from profleet.simulate.engine.state import State, Tables
from profleet.simulate.engine.trees import least_leaf
from profleet.simulate.records import Floats, Ints, Small

REFUSED: Final = -2
"""What a router returns for a request that cannot meet its deadline anywhere."""
BITS_EACH: Final = 31
LOW_BITS: Final = (1 << BITS_EACH) - 1


class Fleet(NamedTuple):
    """What a router of your own sees of the fleet. Arrays are per replica unless said otherwise."""

    now_ns: int
    outstanding: Small  # requests sent there and not answered yet
    waiting: Small  # of these, in its queue
    serving: Small  # of these, in the batch it executes; 0: idle
    free_at_ns: Ints  # when that batch ends
    loaded: Small  # the model in its memory, -1: none
    up: Small  # 0: down
    group: Small  # its group
    slowdown: Floats  # multiplies its service times
    expected_ns: Ints  # (groups * models, batch + 1): mean service time, row group * models + model
    serves: Small  # (groups, models): 1 where the group serves the model


class Request(NamedTuple):
    """What a router of your own sees of the request."""

    model: int
    client: int
    priority: int
    deadline_ns: int  # absolute
    work: float
    random: int  # 62 random bits of its own


def custom_route(fleet: Fleet, request: Request) -> int:
    """Stands for the user's router."""
    raise NotImplementedError


def route(s: State, f: Tables, slot: int, model: int) -> int:
    """The replica for a request, NONE if none is up, REFUSED if the router turns it away."""
    if ROUTER == JSQ:
        return jsq(s, f, model)
    if ROUTER == POWER_OF_D:
        return power_of_d(s, f, slot, model)
    if ROUTER == RANDOM:
        return random(s, f, slot, model)
    if ROUTER == ROUND_ROBIN:
        return round_robin(s, f, model)
    if ROUTER == WEIGHTED:
        return weighted(s, f, slot, model)
    if ROUTER == LEAST_WORK:
        return least_work(s, f, model)
    if ROUTER == MODEL_AFFINITY:
        return model_affinity(s, f, model)
    if ROUTER == CUSTOM:
        return custom(s, f, slot, model)
    return shortest_expected(s, f, slot, model)


def random(s: State, f: Tables, slot: int, model: int) -> int:
    """Any replica that serves the model, all alike."""
    n = candidates(s, f, model)
    if n == 0:
        return NONE
    return candidate(s, f, model, ((s.request[BITS, slot] & LOW_BITS) * n) >> BITS_EACH)


def round_robin(s: State, f: Tables, model: int) -> int:
    """One replica after the other."""
    n = candidates(s, f, model)
    if n == 0:
        return NONE
    turn = s.turn[model]
    if turn >= n:
        turn = 0
    s.turn[model] = turn + 1
    return candidate(s, f, model, turn)


def weighted(s: State, f: Tables, slot: int, model: int) -> int:
    """A random replica, those of a group with twice the weight twice as often."""
    bits = s.request[BITS, slot]
    total = 0.0
    for i in range(f.serving_count[model]):
        g = f.serving[model, i]
        total += f.weight[g] * s.up_count[g]
    mark = (bits >> BITS_EACH) / (LOW_BITS + 1.0) * total
    chosen = NONE
    for i in range(f.serving_count[model]):
        g = f.serving[model, i]
        if f.weight[g] > 0 and s.up_count[g] > 0:
            chosen = g
            mark -= f.weight[g] * s.up_count[g]
            if mark < 0:
                break
    if chosen == NONE:
        return NONE
    place = ((bits & LOW_BITS) * s.up_count[chosen]) >> BITS_EACH
    return s.up[f.first[chosen] + place]


def power_of_d(s: State, f: Tables, slot: int, model: int) -> int:
    """Look at d random replicas (with replacement) and take the one with the fewest outstanding."""
    n = candidates(s, f, model)
    if n == 0:
        return NONE
    bits = s.request[BITS, slot]
    best = candidate(s, f, model, ((bits & LOW_BITS) * n) >> BITS_EACH)
    bits >>= BITS_EACH
    for _ in range(f.parameter[CHOICES] - 1):
        other = candidate(s, f, model, (bits * n) >> BITS_EACH)
        if s.replicas[other, OUTSTANDING] < s.replicas[best, OUTSTANDING]:
            best = other
        bits = stir(bits)
    return best


def stir(bits: int) -> int:
    """The next 31 bits of a sequence that starts from random ones (multiply and fold)."""
    product = (bits ^ 0x2545F491) * 0x5851F42D
    return (product ^ (product >> BITS_EACH)) & LOW_BITS


def jsq(s: State, f: Tables, model: int) -> int:
    """Join the shortest queue: the replica with the fewest outstanding requests."""
    g = least_group(s, f, model, 0)
    if g == NONE:
        return NONE
    return f.first[g] + least_leaf(s.tree, f.tree_at[g, 0], f.tree_size[g])


def least_work(s: State, f: Tables, model: int) -> int:
    """The replica with the least work left.

    That is the time until its batch in service ends, which it knows exactly, plus the mean service
    time of every request waiting there, served alone.
    """
    g = least_group(s, f, model, 0)
    if g == NONE:
        return NONE
    return f.first[g] + least_leaf(s.tree, f.tree_at[g, 0], f.tree_size[g])


def model_affinity(s: State, f: Tables, model: int) -> int:
    """The replica with the fewest outstanding among those that have the model in memory.

    Once each of them has ``spill`` outstanding, the shortest queue of all that serve the model.
    """
    near = least_group(s, f, model, model + 1)
    if near != NONE:
        r = f.first[near] + least_leaf(s.tree, f.tree_at[near, model + 1], f.tree_size[near])
        if s.replicas[r, OUTSTANDING] < f.parameter[SPILL]:
            return r
    return jsq(s, f, model)


def shortest_expected(s: State, f: Tables, slot: int, model: int) -> int:
    """The replica where the request is expected to complete first.

    Knows the speed of groups and replicas, the batch in service, the full batches ahead and the
    batch the request would share. As ``slo_aware`` it refuses a request that is expected to miss
    its deadline even there.
    """
    best = NONE
    soonest = FOREVER
    for i in range(f.serving_count[model]):
        g = f.serving[model, i]
        size = f.tree_size[g]
        if s.tree[f.tree_at[g, 0] + 1] < FOREVER:
            r = f.first[g] + least_leaf(s.tree, f.tree_at[g, 0], size)
            done = s.scalar[NOW] + alone_ns(s, f, g, r, model)
            if done < soonest:
                soonest = done
                best = r
        if s.tree[f.tree_at[g, 1] + 1] < FOREVER:
            r = f.first[g] + least_leaf(s.tree, f.tree_at[g, 1], size)
            done = max(s.tree[f.tree_at[g, 1] + 1], s.scalar[NOW])
            if MODELS:
                done += alone_ns(s, f, g, r, model)
            if done < soonest:
                soonest = done
                best = r
    if ROUTER == SLO_AWARE and best != NONE and soonest > s.request[DEADLINE, slot]:
        return REFUSED
    return best


def alone_ns(s: State, f: Tables, g: int, r: int, model: int) -> int:
    """Expected service time of one request, with loading the model if need be."""
    cell = g * f.serves.shape[1] + model
    time = int(f.expected_ns[cell, 1] * f.slowdown[r])
    if LOADS and s.replicas[r, LOADED] != model:
        time += f.load_ns[cell]
    return time


def custom(s: State, f: Tables, slot: int, model: int) -> int:
    """The user's router, and whether what it returned is a replica that can serve the request."""
    fleet = Fleet(
        s.scalar[NOW],
        s.replicas[:, OUTSTANDING],
        s.replicas[:, WAITING],
        s.replicas[:, SIZE],
        s.wide[:, END],
        s.replicas[:, LOADED],
        s.replicas[:, UP],
        f.group_of,
        f.slowdown,
        f.expected_ns,
        f.serves,
    )
    request = Request(
        model,
        s.small[CLIENT, slot],
        s.small[PRIORITY, slot],
        s.request[DEADLINE, slot],
        s.real[WORK, slot],
        s.request[BITS, slot],
    )
    answer = custom_route(fleet, request)
    r = int(answer)
    if r == NONE:
        return REFUSED
    sensible = r == answer and 0 <= r < len(f.group_of)
    if not sensible or s.replicas[r, UP] == 0 or f.serves[f.group_of[r], model] == 0:
        s.scalar[STATUS] = NONSENSE_ROUTE
        s.scalar[VALUE] = r if r == answer else NOT_WHOLE
        return NONE
    return r


def candidates(s: State, f: Tables, model: int) -> int:
    """How many replicas are up and serve the model."""
    if not GROUPS:
        return s.up_count[0]
    n = 0
    for i in range(f.serving_count[model]):
        n += s.up_count[f.serving[model, i]]
    return n


def candidate(s: State, f: Tables, model: int, place: int) -> int:
    """One of them, by its place among them."""
    g = 0
    if GROUPS:
        for i in range(f.serving_count[model]):
            g = f.serving[model, i]
            if place < s.up_count[g]:
                break
            place -= s.up_count[g]
    if OUTAGES:
        return s.up[f.first[g] + place]
    return f.first[g] + place


def least_group(s: State, f: Tables, model: int, tree: int) -> int:
    """The group whose tree has the least root, among those that serve the model; NONE if none."""
    if not GROUPS:
        return 0 if s.tree[f.tree_at[0, tree] + 1] < ABSENT else NONE
    best = NONE
    least = ABSENT
    for i in range(f.serving_count[model]):
        g = f.serving[model, i]
        root = s.tree[f.tree_at[g, tree] + 1]
        if root < least:
            least = root
            best = g
    return best
