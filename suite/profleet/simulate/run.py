"""One replication: arrivals and draws in chunks, the engine, an outcome.

::

    simulate_once(
        fleet: FleetArrays,                # what serves
        chunks: Iterator[Arrivals],        # workload.chunks(streams.sequence("arrivals"))
        policy: PolicySettings,            # router, batching, queue (profleet.simulate.policies)
        streams: Streams,                  # profleet.simulate.random
        period: Period,                    # when to stop, what to cut off as warm-up
        *,
        closed_loop: ClosedLoop | None = None,
        record: Record = Record(),         # per-request table, timeline, samples
    ) -> Outcome

Replications are calls with ``Streams(seed, replication)`` and fresh chunks. The per-request table
comes in blocks, ``Record.on_requests(rows)``, columns ``engine.layout.TABLE_COLUMNS``; batches of
the timeline window in ``Record.on_batches(rows)``, columns ``TIMELINE_COLUMNS``.
"""

from __future__ import annotations

import heapq
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profleet.errors import ConfigError, ProfleetError
from profleet.simulate import policies
from profleet.simulate.engine import allocate, choose, invariants, link
from profleet.simulate.engine import layout as at
from profleet.simulate.engine.batching import MOST_ASKED
from profleet.simulate.engine.outcome import Closing, close, outcome, unanswered
from profleet.simulate.engine.state import CHUNK_TYPES, Chunk, State, Tables, own
from profleet.simulate.feed import Feed, nothing
from profleet.simulate.random import Streams
from profleet.simulate.records import Arrivals, ClosedLoop, FleetArrays, Ints, Outcome, Small

log = logging.getLogger(__name__)

OUTAGE_BLOCK = 4096
TABLE_ROWS = 65_536


@dataclass(frozen=True)
class Period:
    """When a replication ends, and what does not count.

    After ``requests`` arrivals it goes on until the last of them has left; at ``duration_ns`` it
    stops at once. At least one is needed unless the stream of requests ends by itself. Requests
    that arrive before ``warmup_ns``, and the first ``warmup_requests``, are simulated only. What is
    counted by time (rates, use of replicas) counts up to the last arrival, or to ``duration_ns``:
    while its last requests leave, a fleet is not as busy as it was.
    """

    requests: int | None = None
    duration_ns: int | None = None
    warmup_requests: int = 0
    warmup_ns: int = 0


@dataclass(frozen=True)
class Record:
    """What to keep besides the counts.

    ``samples``: levels over time, on at most ``engine.allocate.SAMPLE_ROWS`` points.
    """

    samples: bool = True
    on_requests: Callable[[Ints], None] | None = None
    on_batches: Callable[[Ints], None] | None = None
    timeline_ns: tuple[int, int] = (0, at.FOREVER)


def simulate_once(
    fleet: FleetArrays,
    chunks: Iterator[Arrivals],
    policy: policies.PolicySettings,
    streams: Streams,
    period: Period,
    *,
    closed_loop: ClosedLoop | None = None,
    record: Record | None = None,
) -> Outcome:
    """Simulate one replication.

    Raises:
        ConfigError: fleet, policies and period do not fit together, or the fleet is so overloaded
            that the simulation cannot go on.
        PolicyError: a policy of the user raised or returned what makes no sense.
    """
    replication = _Replication(
        fleet, chunks, policy, streams, period, closed_loop, record or Record()
    )
    return replication.execute()


class _Replication:
    """The engine's tables and what feeds them."""

    def __init__(
        self,
        fleet: FleetArrays,
        chunks: Iterator[Arrivals],
        policy: policies.PolicySettings,
        streams: Streams,
        period: Period,
        closed_loop: ClosedLoop | None,
        record: Record,
    ) -> None:
        self.fleet, self.policy, self.period, self.record = fleet, policy, period, record
        self.closed = closed_loop is not None
        self.tables = allocate.tables(fleet, policy)
        self.wanted = choose.choose(
            fleet,
            self.tables,
            policy,
            closed=self.closed,
            sampling=record.samples,
            table=record.on_requests is not None,
            timeline=record.on_batches is not None,
        )
        self.functions = _functions(policy)
        self.state = allocate.state(
            fleet,
            self.tables,
            self.wanted,
            table_rows=TABLE_ROWS if record.on_requests else 0,
            draws=TABLE_ROWS if record.on_batches else 0,
        )
        self.feed = Feed(
            chunks,
            len(fleet.models),
            requests=period.requests,
            warmup=period.warmup_requests,
            warmup_ns=0 if period.warmup_requests else period.warmup_ns,
            closed=self.closed,
        )
        self.carried: Ints | None = None
        self.closing: Closing | None = None
        self.service = streams.generator("service")
        self.routing = streams.generator("routing")
        self.outages = outages(fleet, streams.generator("failures"))
        self._set_scalars(closed_loop)

    def _set_scalars(self, closed_loop: ClosedLoop | None) -> None:
        scalar, period = self.state.scalar, self.period
        scalar[at.HORIZON] = at.FOREVER if period.duration_ns is None else period.duration_ns
        scalar[at.WINDOW] = at.FOREVER
        scalar[at.WARMUP_LEFT] = period.warmup_requests
        if period.warmup_requests == 0:
            scalar[at.WINDOW] = period.warmup_ns
        scalar[at.TIMELINE_FROM], scalar[at.TIMELINE_TO] = self.record.timeline_ns
        scalar[at.TO_ISSUE] = closed_loop.users if closed_loop else 0

    def execute(self) -> Outcome:
        """Feed the engine until it is done."""
        # With the first arrivals at hand, the engine is compiled for what they carry.
        chunk = self._chunk(self._more_arrivals(), _no_outages())
        while True:
            status = self._advance(chunk)
            if status == at.DONE:
                break
            if status == at.MORE_ARRIVALS:
                chunk = self._chunk(self._more_arrivals(), chunk[-3:])
            elif status == at.MORE_OUTAGES:
                chunk = chunk._replace(**self._more_outages())
            elif status == at.GROW_POOL:
                self.state = allocate.grow_pool(self.state, self.state.small.shape[1])
            elif status == at.GROW_CALENDAR:
                self.state = allocate.grow_calendar(self.state)
            elif status == at.FLUSH:
                self._flush()
                self.state = allocate.grow_rows(self.state)
            else:
                raise self._error(status)
        self._flush()
        result = outcome(self.fleet, self.state, self.wanted, self.closing or self._close())
        invariants.check(self.fleet, self.tables, self.state, self.wanted, result)
        return result

    def _advance(self, chunk: Chunk) -> int:
        try:
            engine = _engine(self.wanted, self.functions, (self.state, self.tables, chunk))
            return engine(self.state, self.tables, chunk)
        except (KeyboardInterrupt, ProfleetError):
            raise
        except Exception as error:
            if not self.functions:
                raise
            if _stays_python(error):  # nothing was executed yet
                log.warning("%s cannot be compiled, so everything is slower.", self._custom())
                key = _key(self.wanted, self.functions)
                _engines[key] = link.specialize(self.wanted, self.functions, None)
                return self._advance(chunk)
            answered = isinstance(error, policies.NoNumberError)
            slip = str(error) if answered else f"raised {type(error).__name__}: {error}"
            raise policies.PolicyError(f"{self._custom()} {slip} {self._when()}.") from error

    def _more_arrivals(self) -> Arrivals:
        """The next chunk; after the last one, closes the books of what is counted by time."""
        if self.carried is None and self.feed.counts:
            self.carried = unanswered(self.fleet, self.state, self.wanted)
        arrivals = self.feed.next()
        if arrivals is None:
            scalar = self.state.scalar
            scalar[at.LAST_CHUNK] = 1
            if scalar[at.HORIZON] == at.FOREVER:
                self.closing = self._close()
            return nothing()
        self.wanted = choose.add_traits(self.wanted, arrivals)
        return arrivals

    def _close(self) -> Closing:
        carried = None if self.closed else self.carried
        return close(self.fleet, self.tables, self.state, self.wanted, carried)

    def _chunk(self, arrivals: Arrivals, outage: tuple[Ints, Small, Small]) -> Chunk:
        n = len(arrivals)
        self.state.scalar[at.CURSOR] = 0
        bits = self.routing.integers(0, 1 << 62, n) if self.wanted["USES_BITS"] else _NO_BITS
        columns: tuple[NDArray[Any], ...] = (
            arrivals.time_ns,
            arrivals.model,
            arrivals.client,
            arrivals.priority,
            arrivals.deadline_ns,
            arrivals.work,
            self.fleet.draw(self.service, n),
            bits,
            *outage,
        )
        return Chunk(*(own(c, kind) for c, kind in zip(columns, CHUNK_TYPES, strict=True)))

    def _more_outages(self) -> dict[str, Any]:
        self.state.scalar[at.OUTAGE] = 0
        block = next(self.outages, None)
        if block is None:
            self.state.scalar[at.OUTAGES_END] = 1
            block = _no_outages()
        return dict(zip(("outage_ns", "outage_replica", "outage_up"), block, strict=True))

    def _flush(self) -> None:
        """Hand out the rows of the tables, in the order in which they were written."""
        scalar = self.state.scalar
        if self.record.on_requests and scalar[at.TABLE_ROWS]:
            self.record.on_requests(self.state.table[: scalar[at.TABLE_ROWS]].copy())
        if self.record.on_batches and scalar[at.TIMELINE_ROWS]:
            self.record.on_batches(self.state.timeline[: scalar[at.TIMELINE_ROWS]].copy())
        scalar[at.TABLE_ROWS] = scalar[at.TIMELINE_ROWS] = 0

    def _custom(self) -> str:
        """How to call the user's policies in a message."""
        names = []
        if isinstance(self.policy.router, policies.CustomRouter):
            names.append(f"router '{self.policy.router.name}'")
        if isinstance(self.policy.batching, policies.CustomBatching):
            names.append(f"batching policy '{self.policy.batching.name}'")
        text = " or ".join(names)
        return text[0].upper() + text[1:]

    def _when(self) -> str:
        return f"at {self.state.scalar[at.NOW] / 1e9:.9f} s of simulated time"

    def _error(self, status: int) -> ProfleetError:
        scalar = self.state.scalar
        if status == at.OVERFLOW:
            return ConfigError(
                "The simulation: the times of all requests together exceed 146 years, so the fleet "
                "is far overloaded; lower workload.rate, shorten the run or set queue.limit."
            )
        when = self._when()
        value = int(scalar[at.VALUE])
        said = "a fraction" if value == at.NOT_WHOLE else str(value)
        if status == at.NONSENSE_ROUTE:
            assert isinstance(self.policy.router, policies.CustomRouter)
            return policies.PolicyError(
                f"Router '{self.policy.router.name}' returned {said} {when}: it must return the "
                f"number of a replica that is up and serves the model, 0 to "
                f"{self.fleet.replicas - 1}, or -1 to turn the request away."
            )
        assert isinstance(self.policy.batching, policies.CustomBatching)
        if -at.FOREVER <= value < 0:
            return policies.PolicyError(
                f"Batching policy '{self.policy.batching.name}' wanted to be asked again "
                f"{MOST_ASKED:,} times in a row, the last time {when}: it must start what waits, "
                "or return 0 to wait for the next request."
            )
        return policies.PolicyError(
            f"Batching policy '{self.policy.batching.name}' returned {said} {when}: it must "
            "return the size of a batch (a whole number, at most queue.waiting and "
            "queue.largest), 0 to wait for the next request, or -n to be asked again in n "
            "nanoseconds."
        )


def outages(fleet: FleetArrays, random: np.random.Generator) -> Iterator[tuple[Ints, Small, Small]]:
    """Yield planned and exponential outages in order of time: times, replicas, up (1) or down (0).

    The stream is endless if any replica fails at random.
    """
    planned = zip(fleet.outage_ns, fleet.outage_replica, fleet.outage_up, strict=True)
    # (time, place among the planned or one after all of them, replica, up)
    events = [(int(t), place, int(r), int(u)) for place, (t, r, u) in enumerate(planned)]
    unplanned = len(events)
    group = fleet.group_of
    failing = np.flatnonzero(fleet.mtbf_ns[group])
    first = random.exponential(1.0, len(failing)) * fleet.mtbf_ns[group[failing]]
    events += [
        (int(t), unplanned, int(r), 0)
        for t, r in zip(first, failing, strict=True)
        if t < at.FOREVER
    ]
    heapq.heapify(events)
    block: list[tuple[int, int, int]] = []
    while events:
        time, place, replica, up = heapq.heappop(events)
        block.append((time, replica, up))
        if place == unplanned:
            mean = fleet.mttr_ns[group[replica]] if up == 0 else fleet.mtbf_ns[group[replica]]
            gap = max(1, int(random.exponential(float(mean))))
            if time + gap < at.FOREVER:
                heapq.heappush(events, (time + gap, unplanned, replica, 1 - up))
        if len(block) == OUTAGE_BLOCK or not events:
            times, replicas, ups = zip(*block, strict=True)
            yield (
                np.array(times, dtype=np.int64),
                np.array(replicas, dtype=np.int32),
                np.array(ups, dtype=np.int32),
            )
            block = []


def _functions(policy: policies.PolicySettings) -> dict[str, Callable[..., int]]:
    """The user's policies, by the names that the engine calls them."""
    found: dict[str, Callable[..., int]] = {}
    if isinstance(policy.router, policies.CustomRouter):
        found["custom_route"] = policies.find_router(policy.router.name)
    if isinstance(policy.batching, policies.CustomBatching):
        found["custom_batch"] = policies.find_batching(policy.batching.name)
    return found


_engines: dict[Any, link.Advance] = {}


def _engine(
    wanted: choose.Wanted,
    functions: dict[str, Callable[..., int]],
    sample: tuple[State, Tables, Chunk],
) -> link.Advance:
    """The engine for these features; made once in a process."""
    key = _key(wanted, functions)
    if key not in _engines:
        compiled = os.environ.get("NUMBA_DISABLE_JIT", "0") in {"", "0"}
        _engines[key] = link.specialize(wanted, functions, sample if compiled else None)
    return _engines[key]


def _key(wanted: choose.Wanted, functions: dict[str, Callable[..., int]]) -> tuple[Any, ...]:
    return (*sorted(wanted.items()), *functions.values())


def _stays_python(error: Exception) -> bool:
    """Whether this is Numba saying that it cannot compile something."""
    return type(error).__module__.startswith("numba.")


_NO_BITS: Ints = np.zeros(0, dtype=np.int64)


def _no_outages() -> tuple[Ints, Small, Small]:
    small = np.zeros(0, dtype=np.int32)
    return np.zeros(0, dtype=np.int64), small, small
