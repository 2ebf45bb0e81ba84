"""What the parts of the simulator hand to each other: arrivals, service classes, fleet, outcome.

Times are integer nanoseconds from the start of the simulated period. A *cell* is a pair of group
and model, numbered ``group * models + model``: the finest grain at which requests are counted.
"""

from __future__ import annotations

from collections.abc import Callable
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


@dataclass(frozen=True, eq=False)
class FleetArrays:
    """A fleet ready to be simulated: G groups of replicas, M models, R replicas in all.

    The replicas of group ``g`` are numbered ``first[g]`` to ``first[g + 1] - 1``, so ``first`` has
    shape ``(G + 1,)``. ``services[cell]`` is None where the group does not serve the model.

    ``draw(generator, n)`` gives the service draws: uniform in [0, 1) where service classes have
    quantiles, multipliers with mean 1 where they have means only (one kind in one fleet).
    ``slowdown`` (R,) multiplies service times, 1.0 for a replica like those measured; ``loaded``
    (R,) is the model in memory at the start, -1 for a cold replica.

    Per group (G,): ``link_latency_ns``; ``link_bytes_per_s``, infinite for a link that costs only
    latency, else one transfer at a time in each direction; ``host_ns``, spent on every request
    before it is sent; ``idle_w`` and ``active_w``, the latter for batches of unknown energy, both
    NaN if unknown; ``price_per_hour`` of one replica, NaN if unknown; ``weight``, the share of one
    replica under the router ``weighted``; ``mtbf_ns`` and ``mttr_ns``, means of exponential times
    to failure and to repair (0: never fails).

    ``outage_ns``, ``outage_replica``, ``outage_up`` are outages that are planned, in order of time:
    at that time that replica goes down (0) or comes back (1).
    """

    groups: tuple[str, ...]
    models: tuple[str, ...]
    first: Ints
    services: tuple[ServiceClass | None, ...]
    draw: Callable[[np.random.Generator, int], Floats]
    slowdown: Floats
    loaded: Small
    link_latency_ns: Ints
    link_bytes_per_s: Floats
    host_ns: Ints
    idle_w: Floats
    active_w: Floats
    price_per_hour: Floats
    weight: Floats
    mtbf_ns: Ints
    mttr_ns: Ints
    outage_ns: Ints
    outage_replica: Small
    outage_up: Small

    @property
    def replicas(self) -> int:
        """How many replicas there are in all groups."""
        return int(self.first[-1])

    @property
    def group_of(self) -> Small:
        """The group of every replica, shape ``(R,)``."""
        return np.repeat(np.arange(len(self.groups), dtype=np.int32), np.diff(self.first))


SPANS = ("latency", "queue", "forming", "wire", "service")
"""The times kept per request: whole sojourn; waiting in a queue; waiting for the batch to form;
transfers and host overhead; in service (of the batch that held it)."""

DROPS = ("queue_full", "deadline", "failure", "retries")
"""Why a request was dropped."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one replication counted. Statistics leave out requests that arrived in the warm-up.

    Shapes: ``injected``, ``in_system``, ``served`` (models,); ``completed``, ``retried``, ``met``
    (cells,); ``offered_ns`` (groups,) is the service time that the requests sent to a group would
    take at its most efficient batch size (those of a central queue count for all groups that serve
    their model, by what each can do); ``last_arrival_ns`` is when the last request arrived, and
    ``closed`` whether requests came only as others were answered.
    ``histogram[cell, span, bucket]`` counts requests (``engine.histogram`` knows the buckets);
    ``total_ns[cell, span]`` and ``maximum_ns[cell, span]`` belong to it. ``met[cell]`` counts
    completed requests within their deadline. ``dropped[cell, reason]`` follows ``DROPS``; requests
    dropped before a group was chosen count in the first group that serves their model.
    Counted by time, from ``window_ns[0]`` (end of the warm-up) to ``window_ns[1]`` (the last
    arrival, or the end of a period of given length): ``served``, requests answered, whenever they
    arrived; ``batches[group, size]``, batches started; ``busy_ns``, ``up_ns`` and ``energy_j`` of
    every replica.
    ``waiting[sample, group]`` and ``busy[sample, group]`` are numbers of requests waiting and of
    replicas at work at ``sample_ns[sample]``.
    ``area_ns`` is the integral of the number of requests in the system over the whole period and
    ``sojourn_ns`` the sum of all their times in it: equal, by Little's law.
    """

    injected: Ints
    completed: Ints
    dropped: Ints
    in_system: Ints
    served: Ints
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
    last_arrival_ns: int
    offered_ns: Ints
    closed: bool
    events: int
