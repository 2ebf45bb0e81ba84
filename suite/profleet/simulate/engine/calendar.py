"""The calendar: a binary heap of events in total order.

An event is two integers, its time and ``what``: kind (which is its priority), sequence number and
index of the replica, queue or request it concerns, packed so that comparing ``what`` compares
(priority, sequence number). Both arrays end in FOREVER where the heap ends.
"""

from __future__ import annotations

from profleet.simulate.engine.layout import (
    FOREVER,
    INDEX_BITS,
    KIND_SHIFT,
    SCHEDULED,
    SEQUENCE,
)
from profleet.simulate.engine.state import State


def schedule(s: State, time: int, kind: int, index: int) -> int:
    """Put an event into the calendar and return its key."""
    when = s.when
    what = s.what
    sequence = s.scalar[SEQUENCE]
    s.scalar[SEQUENCE] = sequence + 1
    key = (kind << KIND_SHIFT) | (sequence << INDEX_BITS) | index
    i = s.scalar[SCHEDULED]
    s.scalar[SCHEDULED] = i + 1
    while i > 0:
        parent = (i - 1) >> 1
        if when[parent] < time or (when[parent] == time and what[parent] < key):
            break
        when[i] = when[parent]
        what[i] = what[parent]
        i = parent
    when[i] = time
    what[i] = key
    return key


def remove_first(s: State) -> None:
    """Take the first event out of the calendar."""
    when = s.when
    what = s.what
    n = s.scalar[SCHEDULED] - 1
    s.scalar[SCHEDULED] = n
    time = when[n]
    key = what[n]
    when[n] = FOREVER
    i = 0
    child = 1
    while child < n:
        right = child + 1
        if right < n and (
            when[right] < when[child] or (when[right] == when[child] and what[right] < what[child])
        ):
            child = right
        if time < when[child] or (time == when[child] and key < what[child]):
            break
        when[i] = when[child]
        what[i] = what[child]
        i = child
        child = 2 * i + 1
    if n > 0:
        when[i] = time
        what[i] = key
