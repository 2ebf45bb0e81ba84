"""Folders of simulations made up without an engine: small, exact, and as bad as wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from profleet.profile.metrics import Metric
from profleet.profile.store import writing
from profleet.simulate.engine import histogram
from profleet.simulate.results import finish
from profleet.simulate.schema import InvocationRecord, Promise, Served, SimulationResult

BOTH = ("latency", "wait", "service")
REFUSAL = "The workload offers 1.2 times the work that the fleet can do."


@dataclass(frozen=True)
class Made:
    """What to make up. Latencies are exponential with ``mean_ms``."""

    router: str = "jsq"
    load: float = 0.5
    mean_ms: float = 10.0
    model: str = "squeezenet"
    groups: Mapping[str, int] = field(default_factory=lambda: {"a": 2})
    verdict: str = "stable"
    batch_sizes: tuple[int, ...] = (1, 2)
    replications: int = 3
    promised_ms: float | None = None
    extra: Mapping[str, float] = field(default_factory=dict)
    configuration: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    capacity_rps: float = 1000.0


def make_simulation(folder: Path, what: Made = Made()) -> SimulationResult:
    """Write the folder of a finished simulation; return its result."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables(what).items():
        with writing(folder / "tables" / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    return finish(folder, result_of(what), invocation(what))


def make_failure(
    folder: Path, reason: str, overrides: tuple[str, ...] = (), status: str = "failed"
) -> SimulationResult:
    """Write the folder of a job that has no result."""
    folder.mkdir(parents=True, exist_ok=True)
    result = SimulationResult(status=status, reason=reason)
    return finish(folder, result, invocation(Made(overrides=overrides)))


def invocation(what: Made) -> InvocationRecord:
    given = (f"router={what.router}", f"workload.load={what.load:g}")
    return InvocationRecord(
        run_id="0" * 32,
        profleet_version="0.1.0",
        started_at="2026-01-02T03:04:05+00:00",
        finished_at="2026-01-02T03:05:06+00:00",
        wall_s=1.5,
        overrides=list(given if what.overrides is None else what.overrides),
    )


def latency_ms(what: Made, share: float) -> float:
    return -what.mean_ms * float(np.log(1 - share))


def result_of(what: Made) -> SimulationResult:
    names = {"p50": 0.5, "p99": 0.99, "p99_9": 0.999}
    latency = {f"latency_{name}_ms": latency_ms(what, share) for name, share in names.items()}
    rate = what.load * what.capacity_rps
    values = {"throughput_rps": rate, "utilization": min(1.0, what.load), "offered_load": what.load}
    if len(what.groups) > 1:
        values |= {f"offered_load/{group}": what.load for group in what.groups}
        values |= {f"utilization/{group}": what.load for group in what.groups}
    refused = {}
    if what.verdict == "overloaded":
        refused = dict.fromkeys(latency, REFUSAL)
    else:
        values = latency | values
    kept = None if what.promised_ms is None else latency_ms(what, 0.99) <= what.promised_ms
    promise = Promise(name="latency_p99_ms", bound=what.promised_ms or 1.0, unit="ms", kept=kept)
    return SimulationResult(
        status="finished",
        verdict=what.verdict,
        reasons=[REFUSAL] if refused else [],
        slo=[promise] if kept is not None else [],
        metrics={name: metric(value, what) for name, value in {**values, **what.extra}.items()},
        refused=refused,
        confidence=0.95,
        seed=0,
        replications=what.replications,
        events=1000,
        capacity_rps=what.capacity_rps,
        offered_rps=rate,
        fleet=[served(group, count, what) for group, count in what.groups.items()],
        workload={"kind": "poisson", "models": [what.model], "mean_rate_rps": rate},
        notes=list(what.notes),
        configuration={
            "fleet": {"count": sum(what.groups.values()), "groups": None},
            "workload": {"kind": "poisson", "load": what.load},
            "router": {"kind": what.router},
            "batching": {"kind": "none"},
            "slo": {"p99_ms": what.promised_ms},
            **what.configuration,
        },
    )


def metric(value: float, what: Made) -> Metric:
    low, high = (0.9 * value, 1.1 * value) if what.replications > 1 else (None, None)
    return Metric(value=value, low=low, high=high, unit="1", evidence="interpolated")


def served(group: str, count: int, what: Made) -> Served:
    return Served(
        group=group,
        count=count,
        model=what.model,
        stack=f"{what.model} under onnxruntime on {group}",
        source="profile 33e5",
        evidence=["measured", "measured", "interpolated", "measured"],
        max_batch=4,
        service_mean_ms=[1.0, 1.5, 2.0, 2.5],
        capacity_rps=what.capacity_rps / len(what.groups),
    )


def tables(what: Made) -> dict[str, pd.DataFrame]:
    random = np.random.default_rng(7)
    edges = np.append(histogram.edges(), histogram.edges()[-1]) / 1e6
    parts = []
    for group in what.groups:
        for span in BOTH:
            times = random.exponential(what.mean_ms * 1e6, 5000).astype(np.int64)
            buckets = [histogram.bucket_of(int(time)) for time in times]
            bucket, count = np.unique(buckets, return_counts=True)
            cell = {"group": group, "model": what.model, "span": span}
            edge = {"from_ms": edges[bucket], "to_ms": edges[bucket + 1]}
            parts.append(pd.DataFrame(cell | edge | {"count": count}))
    time_s = np.linspace(0, 10, 50)
    levels = [
        pd.DataFrame(
            {"replication": number, "time_s": time_s, "group": group, "waiting": 3, "busy": 1}
        )
        for number in range(what.replications)
        for group in what.groups
    ]
    names = np.repeat(list(what.groups), list(what.groups.values()))
    replicas = [
        pd.DataFrame(
            {
                "replication": number,
                "replica": np.arange(len(names)),
                "group": names,
                "utilization": what.load * random.uniform(0.9, 1.0, len(names)),
            }
        )
        for number in range(what.replications)
    ]
    batches = pd.DataFrame(
        [(group, size, 100 // size) for group in what.groups for size in what.batch_sizes],
        columns=["group", "size", "count"],
    )
    return {
        "latencies": pd.concat(parts, ignore_index=True),
        "levels": pd.concat(levels, ignore_index=True),
        "replicas": pd.concat(replicas, ignore_index=True),
        "batches": batches,
    }
