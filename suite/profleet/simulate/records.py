"""What the parts of the simulator hand to each other: arrivals, service classes, fleet, outcome.

Times are integer nanoseconds from the start of the simulated period. A *cell* is a pair of group
and model, numbered ``group * models + model``: the finest grain at which requests are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Small = NDArray[np.int32]
Floats = NDArray[np.float64]
Evidence = Literal["measured", "interpolated", "calibrated", "modelled", "assumed"]

NO_DEADLINE = np.iinfo(np.int64).max
"""``deadline_ns`` of a request that may take any time."""


@dataclass(frozen=True, eq=False)
class Arrivals:
    """A chunk of the request stream, in order of time; all columns have shape ``(n,)``.

    ``time_ns`` never decreases, within a chunk and from one to the next. ``model`` and ``client``
    index the names the workload lists. Lower ``priority`` goes first. ``deadline_ns`` counts from
    the arrival. ``work`` multiplies the service time (1.0: a request like those measured).
    """

    time_ns: Ints
    model: Small
    client: Small
    priority: Small
    deadline_ns: Ints
    work: Floats

    def __len__(self) -> int:
        return len(self.time_ns)


@dataclass(frozen=True)
class ClosedLoop:
    """A fixed number of users; each sends, waits for its answer, thinks and sends again.

    The stream of such a workload gives requests, not arrivals: in its chunks ``time_ns`` is the
    time its user thinks *before* it sends that request (any order, not negative). Rows are used
    up in the order in which users start to think: the first ``users`` rows at time 0, then one
    whenever a request completes or is dropped for good.
    """

    users: int


@dataclass(frozen=True, eq=False)
class ServiceClass:
    """How long one replica of some hardware takes for a batch of one model.

    Either a table (``quantiles``: sorted service times in nanoseconds, shape
    ``(max_batch, points)``; row ``b - 1`` is batch size ``b``, and a uniform draw picks the
    column), or ``mean_ns`` times a draw with mean 1 that the caller transforms (theory).

    ``evidence[b - 1]`` says where the times of batch size ``b`` come from, ``source`` which
    profile or formula. ``energy_j`` is per batch, NaN where it is unknown.
    """

    name: str
    quantiles: Ints
    mean_ns: Floats
    evidence: tuple[Evidence, ...]
    source: str
    energy_j: Floats
    input_bytes: int
    output_bytes: int
    load_ns: int

    @property
    def max_batch(self) -> int:
        """The largest batch size it has times for."""
        return len(self.mean_ns)


SPANS = ("latency", "queue", "forming", "wire", "service")
"""The times kept per request: whole sojourn; waiting in a queue; waiting for the batch to form;
transfers and host overhead; in service (of the batch that held it)."""

DROPS = ("queue_full", "deadline", "failure", "retries")
"""Why a request was dropped."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one replication counted. Statistics leave out requests that arrived in the warm-up.

    ``histogram[cell, span, bucket]`` counts requests (``engine.histogram`` knows the buckets);
    ``total_ns[cell, span]`` and ``maximum_ns[cell, span]`` belong to it. ``met[cell]`` counts
    completed requests within their deadline. ``dropped[cell, reason]`` follows ``DROPS``; requests
    dropped before a group was chosen count in the first group that serves their model.
    ``batches[group, size]`` counts batches. ``busy_ns``, ``up_ns``, ``energy_j`` are per replica,
    from ``window_ns[0]`` (end of warm-up) to ``window_ns[1]`` (end of the period).
    ``waiting[sample, group]`` and ``busy[sample, group]`` are numbers of requests waiting and of
    replicas at work at ``sample_ns[sample]``.
    ``area_ns`` is the integral of the number of requests in the system over the whole period and
    ``sojourn_ns`` the sum of all their times in it: equal, by Little's law.
    """

    injected: Ints
    completed: Ints
    dropped: Ints
    in_system: Ints
    retried: Ints
    met: Ints
    histogram: Ints
    total_ns: Ints
    maximum_ns: Ints
    batches: Ints
    busy_ns: Ints
    up_ns: Ints
    energy_j: Floats
    sample_ns: Ints
    waiting: Ints
    busy: Ints
    area_ns: int
    sojourn_ns: int
    window_ns: tuple[int, int]
    offered_ns: Ints
    events: int
