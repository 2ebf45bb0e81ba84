"""Small fleets and request streams for the tests of the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from profleet.execute.settings import check
from profleet.simulate import policies
from profleet.simulate.engine.layout import TABLE_COLUMNS
from profleet.simulate.random import Streams
from profleet.simulate.records import (
    NO_DEADLINE,
    Arrivals,
    ClosedLoop,
    FleetArrays,
    Ints,
    Outcome,
    ServiceClass,
)
from profleet.simulate.run import Period, Record, simulate_once

BATCHES = (10.0, 12.0, 14.0, 16.0)
"""Service times of batches of 1 to 4 requests."""
DOWN, UP = 0, 1
"""What happens in an outage."""


def service(
    means: Sequence[float] = (1000.0,),
    quantiles: Any = None,
    load_ns: int = 0,
    energy_j: Sequence[float] | None = None,
    input_bytes: int = 0,
    output_bytes: int = 0,
) -> ServiceClass:
    """A service class; times in nanoseconds by batch size."""
    n = len(means)
    return ServiceClass(
        name="small",
        quantiles=np.zeros((n, 0), np.int64) if quantiles is None else np.array(quantiles),
        mean_ns=np.array(means, dtype=np.float64),
        evidence=("assumed",) * n,
        source="test",
        energy_j=np.full(n, np.nan) if energy_j is None else np.array(energy_j, dtype=np.float64),
        input_bytes=input_bytes,
        output_bytes=output_bytes,
        load_ns=load_ns,
    )


def ones(_: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    return np.ones(n)


def uniform(random: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    return random.random(n)


def fleet(
    counts: Sequence[int], services: Sequence[ServiceClass | None], models: int = 1, **more: Any
) -> FleetArrays:
    """Groups of these sizes; ``services`` by cell; everything else free of cost or delay."""
    groups, replicas = len(counts), sum(counts)
    outages: Sequence[tuple[int, int, int]] = more.pop("outages", ())
    fields: dict[str, Any] = {
        "groups": tuple(f"g{g}" for g in range(groups)),
        "models": tuple(f"m{m}" for m in range(models)),
        "first": np.cumsum([0, *counts]),
        "services": tuple(services),
        "draw": ones,
        "slowdown": np.ones(replicas),
        "loaded": np.zeros(replicas, np.int32),
        "link_latency_ns": np.zeros(groups, np.int64),
        "link_bytes_per_s": np.full(groups, np.inf),
        "host_ns": np.zeros(groups, np.int64),
        "idle_w": np.ones(groups),
        "active_w": np.full(groups, 3.0),
        "price_per_hour": np.ones(groups),
        "weight": np.ones(groups),
        "mtbf_ns": np.zeros(groups, np.int64),
        "mttr_ns": np.zeros(groups, np.int64),
        "outage_ns": np.array([o[0] for o in outages], dtype=np.int64),
        "outage_replica": np.array([o[1] for o in outages], dtype=np.int32),
        "outage_up": np.array([o[2] for o in outages], dtype=np.int32),
    }
    return FleetArrays(**{**fields, **more})


def arrivals(times: Sequence[int], **columns: Any) -> Arrivals:
    """Requests at these times; other columns are single values or sequences."""
    n = len(times)

    def column(name: str, default: float, kind: Any) -> Any:
        return np.array(np.broadcast_to(columns.pop(name, default), n), dtype=kind)

    made = Arrivals(
        time_ns=np.array(times, dtype=np.int64),
        model=column("model", 0, np.int32),
        client=column("client", 0, np.int32),
        priority=column("priority", 0, np.int32),
        deadline_ns=column("deadline_ns", NO_DEADLINE, np.int64),
        work=column("work", 1.0, np.float64),
    )
    assert not columns
    return made


def chunked(stream: Arrivals, size: int) -> Iterator[Arrivals]:
    for i in range(0, len(stream), size):
        part = slice(i, i + size)
        yield Arrivals(
            stream.time_ns[part],
            stream.model[part],
            stream.client[part],
            stream.priority[part],
            stream.deadline_ns[part],
            stream.work[part],
        )


def policy(router: Any = "jsq", batching: Any = "none", **queue: Any) -> policies.PolicySettings:
    return check(
        policies.PolicySettings,
        {
            "router": {"kind": router} if isinstance(router, str) else router,
            "batching": {"kind": batching} if isinstance(batching, str) else batching,
            "queue": queue,
        },
    )


class Result:
    """An outcome with the per-request table and the timeline."""

    def __init__(self, outcome: Outcome, rows: list[Ints], batches: list[Ints]) -> None:
        self.outcome = outcome
        self.table = np.concatenate([np.zeros((0, len(TABLE_COLUMNS)), np.int64), *rows])
        self.batches = np.concatenate([np.zeros((0, 7), np.int64), *batches])

    def column(self, name: str) -> list[int]:
        """A column of the table, by number of the request."""
        order = np.argsort(self.table[:, 0], kind="stable")
        return [int(x) for x in self.table[order, TABLE_COLUMNS.index(name)]]


def simulate(
    of: FleetArrays,
    stream: Arrivals,
    by: policies.PolicySettings,
    period: Period | None = None,
    *,
    users: int = 0,
    chunk: int = 1000,
    seed: int = 1,
) -> Result:
    rows: list[Ints] = []
    batches: list[Ints] = []
    outcome = simulate_once(
        of,
        chunked(stream, chunk),
        by,
        Streams(seed),
        period or Period(),
        closed_loop=ClosedLoop(users) if users else None,
        record=Record(on_requests=rows.append, on_batches=batches.append),
    )
    return Result(outcome, rows, batches)
