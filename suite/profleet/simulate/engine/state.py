"""The tables the engine works on. Columns are named in ``layout``."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from profleet.simulate.records import Floats, Ints, Small


class Tables(NamedTuple):
    """What stays as it is during a run. R replicas, G groups, M models, C = G * M cells."""

    first: Ints  # (G + 1,)
    group_of: Small  # (R,)
    slowdown: Floats  # (R,)
    serving: Small  # (M, G): the groups that serve a model, from the left
    serving_count: Small  # (M,)
    serves: Small  # (G, M): 1 or 0
    quantiles: Ints  # (C, B, points)
    points: Small  # (C,)
    mean_ns: Floats  # (C, B + 1)
    expected_ns: Ints  # (C, B + 1): whole nanoseconds, for policies
    share_ns: Floats  # (C,): service time of one request at the most efficient batch size
    limit: Ints  # (C,): the largest batch
    load_ns: Ints  # (C,)
    energy_nj: Ints  # (C, B + 1): of a batch, NONE if unknown
    send_ns: Ints  # (C,): transmission of a request
    answer_ns: Ints  # (C,): of a response
    latency_ns: Ints  # (G,)
    host_ns: Ints  # (G,)
    weight: Floats  # (G,)
    tree_at: Ints  # (G, M + 1): where the trees of a group start
    tree_size: Ints  # (G,): leaves, a power of two
    parameter: Ints


class State(NamedTuple):
    """What a run changes."""

    scalar: Ints
    when: Ints  # calendar: times
    what: Ints  # calendar: kind, sequence number, index
    replicas: Small  # (R, REPLICA_SMALL)
    wide: Ints  # (R, REPLICA_WIDE)
    sums: Ints  # (R, REPLICA_SUMS)
    queues: Small  # (Q, QUEUE_COLUMNS)
    timers: Ints  # (replicas or central queues, 2): key and time of the armed timer
    small: Small  # (REQUEST_SMALL, requests)
    request: Ints  # (REQUEST_WIDE, requests)
    real: Floats  # (REQUEST_REAL, requests)
    trail: Ints  # (TRAIL_COLUMNS, requests), if there are links
    tree: Small | Ints
    idle: Small  # (R,): per group, a stack of idle replicas
    idle_at: Small  # (R,): position in it, or NONE
    idle_count: Small  # (G,)
    up: Small  # (R,): per group, the replicas that are up
    up_at: Small
    up_count: Small
    turn: Ints  # (M,): round robin
    link_free: Ints  # (G, 2): when the link can send, receive
    injected: Ints  # (M,)
    counted: Ints  # (C, 3): retried, met, lost
    dropped: Ints  # (C, reasons)
    offered: Ints  # (G,)
    histogram: Ints  # (C, spans, buckets)
    total: Ints  # (C, spans)
    maximum: Ints  # (C, spans)
    batches: Ints  # (G, B + 1)
    levels: Ints  # (G, 2): requests waiting, replicas busy
    sample_ns: Ints  # (samples,)
    sampled: Small  # (samples, G, 2)
    table: Ints  # (rows, columns of the per-request table)
    timeline: Ints  # (rows, columns of the timeline)


def own(array: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """The array as the engine needs it: of that type, contiguous and writable; a copy if not."""
    return np.require(array, dtype, ["C", "W"])


class Chunk(NamedTuple):
    """What the engine is handed at a time: arrivals with their draws, and outages."""

    time_ns: Ints
    model: Small
    client: Small
    priority: Small
    deadline_ns: Ints
    work: Floats
    draw: Floats
    bits: Ints
    outage_ns: Ints
    outage_replica: Small
    outage_up: Small


CHUNK_TYPES: Final[tuple[type[np.generic], ...]] = (
    np.int64,
    np.int32,
    np.int32,
    np.int32,
    np.int64,
    np.float64,
    np.float64,
    np.int64,
    np.int64,
    np.int32,
    np.int32,
)
"""The types of the columns of a chunk."""
