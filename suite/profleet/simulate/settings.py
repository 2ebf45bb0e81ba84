"""The configuration of ``profleet simulate``, checked once, before anything starts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from profleet.execute.settings import Percent, Positive, Settings, TrackingSettings
from profleet.simulate.fleet.settings import FleetSettings
from profleet.simulate.policies import (
    BatchingSettings,
    PolicySettings,
    QueueSettings,
    RouterSettings,
)
from profleet.simulate.run import Period
from profleet.simulate.study.settings import NoStudy, StudySettings
from profleet.simulate.workload.settings import Mixture, WorkloadSettings

MAX_REQUESTS = 10**12
REQUESTS, PER_REPLICA = 100_000, 50
"""Requests of a replication where nothing says when it ends, at least so many a replica."""

MAX_SECONDS = 100 * 86_400
DROP_RATIO = 0.01
"""Dropped requests that a promise of latency allows where it does not say."""


class SloSettings(Settings):
    """What the fleet promises (``conf/slo``): latency quantiles, and how few requests it drops."""

    p50_ms: Positive | None
    p90_ms: Positive | None
    p95_ms: Positive | None
    p99_ms: Positive | None
    p99_9_ms: Positive | None
    max_drop_ratio: Annotated[float, Field(ge=0, le=1)] | None

    @model_validator(mode="after")
    def _ordered(self) -> SloSettings:
        given = list(self.bounds.items())
        for (lower, first), (upper, second) in pairwise(given):
            if second < first:
                raise ValueError(f"{upper}_ms ({second:g}) is below {lower}_ms ({first:g})")
        return self

    @property
    def bounds(self) -> dict[str, float]:
        """The promised latencies in milliseconds, by quantile, lowest quantile first."""
        names = ("p50", "p90", "p95", "p99", "p99_9")
        bounds = {name: getattr(self, f"{name}_ms") for name in names}
        return {name: bound for name, bound in bounds.items() if bound is not None}

    @property
    def drop_ratio(self) -> float:
        """The highest ratio of dropped requests that keeps the promise."""
        return DROP_RATIO if self.max_drop_ratio is None else self.max_drop_ratio


class NoAutoscaling(Settings):
    """The number of replicas does not change."""

    kind: Literal["none"]


class SimulateSettings(Settings):
    """The whole configuration of one simulation."""

    fleet: FleetSettings
    workload: WorkloadSettings
    router: RouterSettings
    batching: BatchingSettings
    queue: QueueSettings
    slo: SloSettings
    autoscaling: NoAutoscaling
    study: StudySettings = NoStudy()
    requests: Annotated[int, Field(ge=1, le=MAX_REQUESTS)] | None
    duration_s: Annotated[float, Field(gt=0, le=MAX_SECONDS)] | None
    warmup: Annotated[float, Field(ge=0, lt=1)]
    replications: Annotated[int, Field(ge=1, le=10_000)]
    seed: Annotated[int, Field(ge=0)]
    confidence: Percent
    per_request: bool
    trace: bool
    trace_window_ms: tuple[Annotated[float, Field(ge=0)], Positive]
    plugins: tuple[str, ...]
    store: Annotated[Path, Field(strict=False)]
    manifests: tuple[str, ...]
    tracking: TrackingSettings

    @model_validator(mode="after")
    def _consistent(self) -> SimulateSettings:
        start, end = self.trace_window_ms
        if end <= start:
            raise ValueError(f"trace_window_ms: {end:g} is not after {start:g}")
        if self.requests is not None and self.duration_s is not None:
            raise ValueError("requests and duration_s both say when to stop: give one of them")
        return self

    @property
    def policy(self) -> PolicySettings:
        """What decides where requests go and when they are served."""
        return PolicySettings(router=self.router, batching=self.batching, queue=self.queue)

    def period(self, available: int | None) -> Period:
        """When a replication ends, and what of it is warm-up.

        Args:
            available: how many requests the workload has; None: they never end.
        """
        if self.duration_s is not None:
            end = round(self.duration_s * 1e9)
            return Period(None, end, warmup_ns=round(self.warmup * end))
        wanted = self.requests or available or self._enough()
        requests = wanted if available is None else min(wanted, available)
        return Period(requests, warmup_requests=int(self.warmup * requests))

    def _enough(self) -> int:
        replicas = sum(group.count or 0 for group in self.fleet.expanded().values())
        return max(REQUESTS, PER_REPLICA * replicas)

    @property
    def sheds(self) -> bool:
        """Whether requests are turned away before any queue grows without end."""
        early = self.router.kind == "slo_aware" and bool(self.slo.bounds)
        return early or self.queue.limit is not None

    def stated(self) -> dict[str, Any]:
        """Return what was simulated as plain values, without where results and logs go."""
        return self.model_dump(mode="json", exclude={"store", "tracking", "manifests", "study"})

    def with_deadlines(self) -> SimulateSettings:
        """Give requests that have no deadline the highest latency that is promised."""
        if not self.slo.bounds:
            return self
        deadline = list(self.slo.bounds.values())[-1]
        workload = self.workload
        if isinstance(workload, Mixture):
            clients = {
                name: client.model_copy(update={"arrivals": _due(client.arrivals, deadline)})
                for name, client in workload.clients.items()
            }
            due: Any = workload.model_copy(update={"clients": clients})
        else:
            due = _due(workload, deadline)
        return self.model_copy(update={"workload": due})


def _due(workload: Any, deadline_ms: float) -> Any:
    if workload.deadline_ms is not None:
        return workload
    return workload.model_copy(update={"deadline_ms": deadline_ms})
