"""Built-in batching policies: when an idle replica starts, and with how many requests.

Each is asked when a replica becomes idle, when a request joins the queue of an idle one, and when
the time it asked for has come. It returns the size of the batch to start now; 0 to be asked again
when the next request joins; or -n to be asked again in n nanoseconds at the latest.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from profleet.simulate.engine.features import (
    ADAPTIVE,
    BATCHING,
    BY_DEADLINE,
    DEADLINES,
    DYNAMIC,
    FIXED,
    GREEDY,
    SINGLE,
)
from profleet.simulate.engine.layout import (
    ADD,
    DEADLINE,
    FOREVER,
    HEAD,
    HOLD,
    LENGTH,
    LIMIT,
    MAX_DELAY_NS,
    NONSENSE_BATCH,
    NOT_WHOLE,
    READY,
    SIZE,
    STATUS,
    TARGET_NS,
    VALUE,
)
from profleet.simulate.engine.state import State, Tables
from profleet.simulate.records import Ints

MOST_ASKED: Final = 100_000
"""How often in a row a policy of your own may want to be asked again: a run must end."""


class Queue(NamedTuple):
    """What a batching policy of your own sees of a queue that is not empty."""

    now_ns: int
    waiting: int
    largest: int  # the largest batch it may start
    head_since_ns: int  # when the request at its head joined
    head_deadline_ns: int  # absolute
    expected_ns: Ints  # (batch + 1,): mean service time by batch size on this replica's hardware
    slowdown: float  # of this replica, multiplies them
    replica: int


def custom_batch(queue: Queue) -> int:
    """Stands for the user's batching policy."""
    raise NotImplementedError


def decide(s: State, f: Tables, q: int, r: int, cell: int, now: int) -> int:
    """What the policy says about queue ``q``, not empty, for idle replica ``r``."""
    waiting = s.queues[q, LENGTH]
    if BATCHING == SINGLE:
        return 1
    if BATCHING == GREEDY:
        return min(waiting, f.limit[cell])
    if BATCHING == FIXED:
        return fixed(f, cell, waiting)
    if BATCHING == DYNAMIC:
        return dynamic(s, f, q, cell, waiting, now)
    if BATCHING == ADAPTIVE:
        return min(waiting, s.replicas[r, LIMIT], f.limit[cell])
    if BATCHING == BY_DEADLINE:
        return by_deadline(s, f, q, r, cell, waiting, now)
    return custom(s, f, q, r, cell, waiting, now)


def fixed(f: Tables, cell: int, waiting: int) -> int:
    """Always full batches."""
    return f.limit[cell] if waiting >= f.limit[cell] else 0


def dynamic(s: State, f: Tables, q: int, cell: int, waiting: int, now: int) -> int:
    """A full batch at once; a smaller one when its head has waited ``max_delay``."""
    if waiting >= f.limit[cell]:
        return f.limit[cell]
    left = s.request[READY, s.queues[q, HEAD]] + f.parameter[MAX_DELAY_NS] - now
    return -left if left > 0 else waiting


def by_deadline(s: State, f: Tables, q: int, r: int, cell: int, waiting: int, now: int) -> int:
    """The largest batch that meets the deadline of the request at the head.

    At least one request. With ``hold`` it waits for more as long as one more would still meet it.
    """
    deadline = s.request[DEADLINE, s.queues[q, HEAD]] if DEADLINES else FOREVER
    size = min(waiting, f.limit[cell])
    if f.parameter[HOLD] == 1 and size < f.limit[cell] and deadline < FOREVER:
        left = deadline - int(f.expected_ns[cell, size + 1] * f.slowdown[r]) - now
        if left > 0:
            return -left
    while size > 1 and now + int(f.expected_ns[cell, size] * f.slowdown[r]) > deadline:
        size -= 1
    return size


def adapt(s: State, f: Tables, r: int, cell: int, took: int) -> None:
    """Adaptive: add to the limit after a full batch within the target, halve it after a slow one.

    Additive increase, multiplicative decrease, per replica, on the service time of a batch.
    """
    limit = s.replicas[r, LIMIT]
    if took > f.parameter[TARGET_NS]:
        s.replicas[r, LIMIT] = max(1, limit >> 1)
    elif s.replicas[r, SIZE] >= limit:
        s.replicas[r, LIMIT] = min(limit + f.parameter[ADD], f.limit[cell])


def custom(s: State, f: Tables, q: int, r: int, cell: int, waiting: int, now: int) -> int:
    """The user's policy, and whether what it returned is a batch that can be started."""
    head = s.queues[q, HEAD]
    queue = Queue(
        now,
        waiting,
        f.limit[cell],
        s.request[READY, head],
        s.request[DEADLINE, head],
        f.expected_ns[cell],
        f.slowdown[r],
        r,
    )
    answer = custom_batch(queue)
    size = int(answer)
    # VALUE counts how often it wanted to be asked again, until it is what was wrong.
    s.scalar[VALUE] = s.scalar[VALUE] + 1 if size < 0 else 0
    nonsense = size != answer or size > min(waiting, f.limit[cell]) or size < -FOREVER
    if nonsense or s.scalar[VALUE] > MOST_ASKED:
        s.scalar[STATUS] = NONSENSE_BATCH
        s.scalar[VALUE] = size if size == answer else NOT_WHOLE
        return 0
    return size
