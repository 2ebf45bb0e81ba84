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
from profleet.simulate.records import Ints


def schedule(scalar: Ints, when: Ints, what: Ints, time: int, kind: int, index: int) -> int:
    """Put an event into the calendar and return its key."""
    sequence = scalar[SEQUENCE]
    scalar[SEQUENCE] = sequence + 1
    key = (kind << KIND_SHIFT) | (sequence << INDEX_BITS) | index
    if scalar[HOLE] == 1:
        scalar[HOLE] = 0
        sift(when, what, time, key, scalar[SCHEDULED])
    else:
        n = scalar[SCHEDULED]
        scalar[SCHEDULED] = n + 1
        rise(when, what, time, key, n)
    return key


def take_first(scalar: Ints, what: Ints) -> int:
    """The key of the first event. Its place stays empty for the next that is scheduled."""
    scalar[HOLE] = 1
    return what[0]


def close_hole(scalar: Ints, when: Ints, what: Ints) -> None:
    """Fill the place of the first event with the last, if nothing was scheduled since."""
    if scalar[HOLE] == 1:
        scalar[HOLE] = 0
        n = scalar[SCHEDULED] - 1
        scalar[SCHEDULED] = n
        time = when[n]
        when[n] = FOREVER
        if n > 0:
            sift(when, what, time, what[n], n)


def sift(when: Ints, what: Ints, time: int, key: int, n: int) -> None:
    """Put an event in place of the first one of ``n``.

    The hole goes all the way down and the event rises from there: it is nearly always late.
    """
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
    rise(when, what, time, key, i)


def rise(when: Ints, what: Ints, time: int, key: int, i: int) -> None:
    """Put an event into the hole at ``i`` or above it."""
    while i > 0:
        parent = (i - 1) >> 1
        if when[parent] < time or (when[parent] == time and what[parent] < key):
            break
        when[i] = when[parent]
        what[i] = what[parent]
        i = parent
    when[i] = time
    what[i] = key
