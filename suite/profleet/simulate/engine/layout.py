"""The engine's vocabulary: kinds of events, columns of its tables, reasons to leave the loop.

The engine keeps its state in a few integer tables. A column has a name here, so
``replicas[r, OUTSTANDING]`` reads like a field and costs a load. Tables of replicas and queues have
one row each, since an event touches most of it; the pool of requests is kept by columns
(``request[ARRIVED, slot]``), since a simulation uses few of them, and those should fit a cache.
"""

from __future__ import annotations

from typing import Final

FOREVER: Final = (1 << 62) - 1
"""Later than any event."""
LONGEST_NS: Final = 1 << 53
"""No single time may be longer (104 days): below it a float holds every nanosecond exactly."""
NONE: Final = -1
NOT_WHOLE: Final = -(1 << 63) + 1
"""Stands for what a policy returned if that was no whole number."""

# Kinds of events. At equal times the lower number goes first; then the one scheduled first.
REPAIR: Final = 0  # whatever happens now may use the replica that is back
COMPLETION: Final = 1  # a batch that ends now frees its replica for requests that arrive now
RETURN: Final = 2  # a response reaches the front end before the next decision is taken there
DELIVERY: Final = 3  # requests on the wire are ahead of new ones
ARRIVAL: Final = 4
RETRY: Final = 5  # newcomers are ahead of those that were turned away
TIMER: Final = 6  # a request that arrives as the batch closes still joins it
FAILURE: Final = 7  # completion wins: what ends now has ended

KIND_SHIFT: Final = 60
INDEX_BITS: Final = 24
INDEX_MASK: Final = (1 << INDEX_BITS) - 1
MAX_INDEX: Final = INDEX_MASK
"""The most replicas, and requests in the system at once, that an event can name."""
MAX_SEQUENCE: Final = (1 << (KIND_SHIFT - INDEX_BITS)) - 1

# Why the loop was left.
DONE: Final = 0
MORE_ARRIVALS: Final = 1
MORE_OUTAGES: Final = 2
GROW_POOL: Final = 3
GROW_CALENDAR: Final = 4
FLUSH: Final = 5
NONSENSE_ROUTE: Final = 6
NONSENSE_BATCH: Final = 7
OVERFLOW: Final = 8

# Scalars: state.scalar[NAME].
NOW: Final = 0
SEQUENCE: Final = 1
SCHEDULED: Final = 2  # events in the calendar
FREE: Final = 3  # first free slot of the request pool
IN_SYSTEM: Final = 4
JOINED: Final = 5  # requests that joined a keyed queue
AREA: Final = 6
SOJOURN: Final = 7  # of requests that are in no histogram
CURSOR: Final = 9  # next arrival in the chunk
LAST_CHUNK: Final = 10
WINDOW: Final = 11  # end of the warm-up; FOREVER before
WARMUP_LEFT: Final = 12  # arrivals that still belong to the warm-up
HORIZON: Final = 14
OUTAGE: Final = 15  # next outage in its chunk
OUTAGES_END: Final = 16  # there are no further outages after this chunk
OUTAGE_SET: Final = 17  # one outage is in the calendar
DOWN: Final = 18  # replicas that are down
SAMPLES: Final = 19
SAMPLE_STEP: Final = 20
NEXT_SAMPLE: Final = 21
TABLE_ROWS: Final = 22
TIMELINE_ROWS: Final = 23
TIMELINE_FROM: Final = 24
TIMELINE_TO: Final = 25
SIGNS: Final = 26  # every quantity that may not be negative, or-ed together
TO_ISSUE: Final = 27  # closed loop: users who are about to think
STATUS: Final = 28
VALUE: Final = 29  # what a policy returned that made no sense
NUMBER: Final = 30  # arrivals taken so far
LAST_ARRIVAL: Final = 31  # when the last request arrived
HOLE: Final = 32  # the first event of the calendar is being handled
SCALARS: Final = 33

# Small columns of a replica (int32).
BATCH: Final = 0  # first request of the batch in service
SIZE: Final = 1  # of that batch; 0: idle
OUTSTANDING: Final = 2  # sent here and not answered yet
WAITING: Final = 3  # in the queues of this replica
LOADED: Final = 4  # model in its memory, or NONE
SERVING: Final = 5  # model of the batch in service
UP: Final = 6
LIMIT: Final = 7  # batch limit of the adaptive policy
REPLICA_SMALL: Final = 8

# Wide columns of a replica (int64).
START: Final = 0  # of the service of its batch (after loading)
END: Final = 1
ENDS: Final = 2  # key of the event that ends its batch
FREE_SINCE: Final = 3
DECIDED: Final = 4  # when its batch was formed
BACKLOG: Final = 5  # expected service, one by one, of what was sent here and has not started
BUSY: Final = 6  # time in service, from the end of the warm-up
UNMETERED: Final = 7  # of it, in batches of unknown energy, if any energy is known
REPLICA_WIDE: Final = 8

# Columns of a timer (int64), one per replica or central queue.
WAKES: Final = 0  # key of the event that is armed, or NONE
WAKES_AT: Final = 1

# Columns of what is counted per cell.
RETRIED: Final = 0
MET: Final = 1
LOST: Final = 2  # of the warm-up, whenever they were dropped
COUNTED_COLUMNS: Final = 3

# What a replica adds up besides (int64), from the end of the warm-up.
UP_TIME: Final = 0
ENERGY: Final = 1  # nanojoules of batches whose energy is known
UP_SINCE: Final = 2
REPLICA_SUMS: Final = 3

# Columns of a queue (int32).
HEAD: Final = 0
TAIL: Final = 1
LENGTH: Final = 2
QUEUE_COLUMNS: Final = 4

# Small columns of a request (int32).
NEXT: Final = 0
LEFT: Final = 1
RIGHT: Final = 2
MODEL: Final = 3
PRIORITY: Final = 4
CLIENT: Final = 5
TRIES: Final = 6
REPLICA: Final = 7
REQUEST_SMALL: Final = 8

# Wide columns of a request (int64).
ARRIVED: Final = 0  # NONE: the slot is free or its user thinks
READY: Final = 1  # in its queue since
DEADLINE: Final = 2  # absolute
KEY: Final = 3  # rank in a keyed queue
BITS: Final = 4
WIRE_NS: Final = 5
SERIAL: Final = 6
RANK: Final = 7  # order of joining, decides between equal keys
REQUEST_WIDE: Final = 8

# What a response on the wire remembers (int64).
TRAIL_START: Final = 0
TRAIL_END: Final = 1
TRAIL_FORMING: Final = 2
TRAIL_SIZE: Final = 3
TRAIL_COLUMNS: Final = 4

# Real columns of a request (float64).
DRAW: Final = 0
WORK: Final = 1
REQUEST_REAL: Final = 2

# Parameters: tables.parameter[NAME].
QUEUE_LIMIT: Final = 0
MAX_RETRIES: Final = 1
BACKOFF_NS: Final = 2
MAX_DELAY_NS: Final = 3
CHOICES: Final = 4  # of power_of_d
SPILL: Final = 5  # of model_affinity
TARGET_NS: Final = 6  # of adaptive batching
ADD: Final = 7
HOLD: Final = 8  # deadline batching waits for more
ON_FULL: Final = 9  # DROP or RETRY_LATER
ON_FAILURE: Final = 10  # DROP, RETRY_LATER or REQUEUE
PARAMETERS: Final = 11

DROP: Final = 0
RETRY_LATER: Final = 1
REQUEUE: Final = 2

# Spans and drops, in the order of records.SPANS and records.DROPS.
LATENCY: Final = 0
QUEUE: Final = 1
FORMING: Final = 2
WIRE: Final = 3
SERVICE: Final = 4
QUEUE_FULL: Final = 0
TOO_LATE: Final = 1
FAILED: Final = 2
TRIED: Final = 3

TABLE_COLUMNS: Final = (
    "request",
    "model",
    "client",
    "group",
    "replica",
    "arrived_ns",
    "ready_ns",
    "start_ns",
    "end_ns",
    "completed_ns",
    "batch",
    "retries",
    "dropped",
)
"""Of the per-request table. ``dropped`` indexes ``records.DROPS``; -1: completed."""
TIMELINE_COLUMNS: Final = ("replica", "model", "size", "formed_ns", "start_ns", "end_ns", "aborted")
"""Of the timeline: one row a batch; ``formed_ns`` to ``start_ns`` loads the model."""
