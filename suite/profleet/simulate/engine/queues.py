"""Queues of requests: first in, first out as linked lists; by a key as skew heaps.

Both live in columns of the request pool, so a queue itself is three numbers and ten thousand of
them cost nothing. A skew heap (Sleator and Tarjan, 1986) melds in O(log n) amortized.
"""

from __future__ import annotations

from profleet.simulate.engine.features import EDF, FIFO, ORDER, PRIORITY_ORDER, WORKS
from profleet.simulate.engine.layout import (
    DEADLINE,
    HEAD,
    JOINED,
    KEY,
    LEFT,
    LENGTH,
    NEXT,
    NONE,
    PRIORITY,
    RANK,
    RIGHT,
    TAIL,
    WORK,
)
from profleet.simulate.engine.state import State, Tables


def join(s: State, f: Tables, q: int, slot: int, cell: int) -> None:
    """Put a request into queue ``q``."""
    queues = s.queues
    small = s.small
    queues[q, LENGTH] += 1
    if ORDER == FIFO:
        small[NEXT, slot] = NONE
        if queues[q, LENGTH] == 1:
            queues[q, HEAD] = slot
        else:
            small[NEXT, queues[q, TAIL]] = slot
        queues[q, TAIL] = slot
    else:
        s.request[KEY, slot] = sort_key(s, f, slot, cell)
        s.request[RANK, slot] = s.scalar[JOINED]
        s.scalar[JOINED] += 1
        small[LEFT, slot] = NONE
        small[RIGHT, slot] = NONE
        if queues[q, LENGTH] == 1:
            queues[q, HEAD] = slot
        else:
            queues[q, HEAD] = meld(s, queues[q, HEAD], slot)


def sort_key(s: State, f: Tables, slot: int, cell: int) -> int:
    """What keyed queues sort by."""
    if ORDER == PRIORITY_ORDER:
        return s.small[PRIORITY, slot]
    if ORDER == EDF:
        return s.request[DEADLINE, slot]
    if WORKS:
        return int(f.expected_ns[cell, 1] * s.real[WORK, slot])
    return f.expected_ns[cell, 1]


def take(s: State, q: int, count: int) -> int:
    """Remove the first ``count`` requests; returns the first, the others follow by NEXT."""
    queues = s.queues
    small = s.small
    first = queues[q, HEAD]
    queues[q, LENGTH] -= count
    if ORDER == FIFO:
        last = first
        for _ in range(count - 1):
            last = small[NEXT, last]
        queues[q, HEAD] = small[NEXT, last]
        small[NEXT, last] = NONE
        return first
    last = first
    top = meld(s, small[LEFT, first], small[RIGHT, first])
    for _ in range(count - 1):
        small[NEXT, last] = top
        last = top
        top = meld(s, small[LEFT, top], small[RIGHT, top])
    small[NEXT, last] = NONE
    queues[q, HEAD] = top
    return first


def meld(s: State, a: int, b: int) -> int:
    """Join two skew heaps and return the root of what comes out."""
    small = s.small
    if a < 0:
        return b
    if b < 0:
        return a
    if before(s, b, a):
        a, b = b, a
    root = a
    node = a
    while True:
        a = small[RIGHT, node]
        small[RIGHT, node] = small[LEFT, node]
        if a < 0:
            small[LEFT, node] = b
            return root
        if before(s, b, a):
            a, b = b, a
        small[LEFT, node] = a
        node = a


def before(s: State, a: int, b: int) -> bool:
    """Whether request ``a`` goes before ``b`` in a keyed queue."""
    request = s.request
    if request[KEY, a] != request[KEY, b]:
        return request[KEY, a] < request[KEY, b]
    return request[RANK, a] < request[RANK, b]
