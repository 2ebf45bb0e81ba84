"""The calendar: a binary heap of events in total order.

An event is two integers, its time and ``what``: kind (which is its priority), sequence number and
index of the replica, queue or request it concerns, packed so that comparing ``what`` compares
(priority, sequence number). Both arrays end in FOREVER where the heap ends.
"""

from __future__ import annotations

from profleet.simulate.engine.layout import (
    FOREVER,
    HOLE,
    INDEX_BITS,
    KIND_SHIFT,
    SCHEDULED,
    SEQUENCE,
)
from profleet.simulate.engine.state import State


def schedule(s: State, time: int, kind: int, index: int) -> int:
    """Put an event into the calendar and return its key."""
    scalar = s.scalar
    sequence = scalar[SEQUENCE]
    scalar[SEQUENCE] = sequence + 1
    key = (kind << KIND_SHIFT) | (sequence << INDEX_BITS) | index
    if scalar[HOLE] == 1:
        scalar[HOLE] = 0
        sift(s, time, key, scalar[SCHEDULED])
    else:
        n = scalar[SCHEDULED]
        scalar[SCHEDULED] = n + 1
        rise(s, time, key, n)
    return key


def take_first(s: State) -> int:
    """The key of the first event. Its place stays empty for the next that is scheduled."""
    s.scalar[HOLE] = 1
    return s.what[0]


def close_hole(s: State) -> None:
    """Fill the place of the first event with the last, if nothing was scheduled since."""
    scalar = s.scalar
    if scalar[HOLE] == 1:
        scalar[HOLE] = 0
        n = scalar[SCHEDULED] - 1
        scalar[SCHEDULED] = n
        time = s.when[n]
        s.when[n] = FOREVER
        if n > 0:
            sift(s, time, s.what[n], n)


def sift(s: State, time: int, key: int, n: int) -> None:
    """Put an event in place of the first one of ``n``.

    The hole goes all the way down and the event rises from there: it is nearly always late.
    """
    when = s.when
    what = s.what
    i = 0
    child = 1
    while child < n:
        right = child + 1  # FOREVER if it is the end
        child += (when[right] < when[child]) | (
            (when[right] == when[child]) & (what[right] < what[child])
        )
        when[i] = when[child]
        what[i] = what[child]
        i = child
        child = 2 * i + 1
    rise(s, time, key, i)


def rise(s: State, time: int, key: int, i: int) -> None:
    """Put an event into the hole at ``i`` or above it."""
    when = s.when
    what = s.what
    while i > 0:
        parent = (i - 1) >> 1
        if when[parent] < time or (when[parent] == time and what[parent] < key):
            break
        when[i] = when[parent]
        what[i] = what[parent]
        i = parent
    when[i] = time
    what[i] = key
