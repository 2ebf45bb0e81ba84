"""A fleet: groups of replicas, its capacity, and the arrays that the engine simulates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from profleet.errors import ConfigError, did_you_mean
from profleet.simulate.fleet.settings import GroupSettings, Outage
from profleet.simulate.records import FleetArrays, Floats, Ints, ServiceClass, Small
from profleet.simulate.service.laws import Law


@dataclass(frozen=True, eq=False)
class Group:
    """A group of equal replicas, with all that was looked up for it.

    ``services`` and ``titles`` go by model. ``law`` is the distribution of assumed service times,
    None where service times are tables. ``speed_cv`` is the coefficient of variation of the
    replicas' speeds. Watts, per replica, and price are NaN where unknown.
    """

    name: str
    settings: GroupSettings
    field: str
    services: dict[str, ServiceClass]
    titles: dict[str, str]
    law: Law | None
    speed_cv: float
    idle_w: float
    active_w: float
    price_per_hour: float

    @property
    def count(self) -> int:
        """How many replicas it has."""
        assert self.settings.count is not None
        return self.settings.count

    @property
    def bytes_per_s(self) -> float:
        """Bandwidth of the link in each direction, infinite where it costs only latency."""
        gbps = self.settings.link.bandwidth_gbps
        return math.inf if gbps is None else gbps * 1e9 / 8

    @property
    def availability(self) -> float:
        """Share of time in which a replica is up, in the long run; outages are not counted."""
        failures = self.settings.failures
        if failures.mtbf_s is None or failures.mttr_s is None:
            return 1.0
        return failures.mtbf_s / (failures.mtbf_s + failures.mttr_s)

    @property
    def speed(self) -> float:
        """Mean speed of a replica, 1.0 for one like those measured."""
        slow = self.settings.stragglers
        return 1 - slow.fraction + slow.fraction / slow.slowdown

    def replica_rps(self, model: str) -> float:
        """Requests per second of one replica like those measured, at its best batch size."""
        means = self.services[model].mean_ns
        return float((np.arange(1, len(means) + 1) / means).max() * 1e9)


@dataclass(frozen=True, eq=False)
class Fleet:
    """All groups; ``notes`` say what a user should know about the profiles in use.

    ``law`` is the distribution of every service time, or None where they are tables.
    """

    groups: tuple[Group, ...]
    models: tuple[str, ...]
    law: Law | None
    notes: tuple[str, ...]

    def index(self, model: str, field: str) -> int:
        """Return the number of a model.

        Raises:
            ConfigError: no replica serves it.
        """
        if model not in self.models:
            raise ConfigError(
                f"{field}: no replica of the fleet serves '{model}'. "
                f"{did_you_mean(model, self.models, 'It serves')}"
            )
        return self.models.index(model)

    def capacity_rps(self, weights: Mapping[str, float] | None = None) -> float:
        """Return the highest rate of requests that the fleet can keep up with.

        Every batch has its most efficient size, requests go where they fit best, and links carry
        what they can; failures count with their long-run share of time, outages do not.

        Args:
            weights: of the models in the stream of requests; None: all models alike.

        Raises:
            ConfigError: a model has no replica, or no weight is above 0.
        """
        from profleet.simulate.fleet.capacity import capacity_rps

        if weights is None:
            weights = dict.fromkeys(self.models, 1.0)
        for model in weights:
            self.index(model, "workload.models")
        return capacity_rps(self.groups, weights)

    def describe(self) -> list[dict[str, Any]]:
        """Return one row for each group and model: what serves it, from what evidence."""
        return [
            {
                "group": group.name,
                "count": group.count,
                "model": model,
                "stack": group.titles[model],
                "source": service.source,
                "evidence": list(service.evidence),
                "max_batch": service.max_batch,
                "service_mean_ms": [float(mean) / 1e6 for mean in service.mean_ns],
                "capacity_rps": group.count
                * group.replica_rps(model)
                * group.speed
                * group.availability,
            }
            for group in self.groups
            for model, service in group.services.items()
        ]

    def arrays(self, random: np.random.Generator) -> FleetArrays:
        """Return what the engine simulates; the replicas' speeds are drawn anew each time.

        Args:
            random: a stream of its own, used for nothing else.
        """
        outages = _outages(self.groups)
        settings = [group.settings for group in self.groups]
        links = [group.link for group in settings]
        failures = [group.failures for group in settings]
        return FleetArrays(
            groups=tuple(group.name for group in self.groups),
            models=self.models,
            first=np.cumsum([0, *(group.count for group in self.groups)]),
            services=tuple(
                group.services.get(model) for group in self.groups for model in self.models
            ),
            draw=Draws(self.law),
            slowdown=np.concatenate([_slowdown(group, random) for group in self.groups]),
            loaded=np.concatenate([self._loaded(group) for group in self.groups]),
            link_latency_ns=_rounded([link.latency_us * 1e3 for link in links]),
            link_bytes_per_s=np.array([group.bytes_per_s for group in self.groups]),
            host_ns=_rounded([group.host_overhead_us * 1e3 for group in settings]),
            idle_w=np.array([group.idle_w for group in self.groups]),
            active_w=np.array([group.active_w for group in self.groups]),
            price_per_hour=np.array([group.price_per_hour for group in self.groups]),
            weight=np.array([group.weight for group in settings]),
            mtbf_ns=_rounded([(each.mtbf_s or 0) * 1e9 for each in failures]),
            mttr_ns=_rounded([(each.mttr_s or 0) * 1e9 for each in failures]),
            outage_ns=np.array([time for time, _, _ in outages], dtype=np.int64),
            outage_replica=np.array([replica for _, _, replica in outages], dtype=np.int32),
            outage_up=np.array([up for _, up, _ in outages], dtype=np.int32),
        )

    def _loaded(self, group: Group) -> Small:
        """The models in memory at the start: those of the group in turn."""
        if not group.settings.warm:
            return np.full(group.count, -1, dtype=np.int32)
        served = [self.models.index(model) for model in group.services]
        return np.resize(np.array(served, dtype=np.int32), group.count)


@dataclass(frozen=True)
class Draws:
    """Service draws: uniform, or multipliers with mean 1 where a law is given."""

    law: Law | None

    def __call__(self, random: np.random.Generator, n: int) -> Floats:
        """Draw ``n`` numbers."""
        uniforms = random.random(n)
        return uniforms if self.law is None else self.law.factors(uniforms)


def _rounded(values: Sequence[float]) -> Ints:
    return np.rint(values).astype(np.int64)


def _slowdown(group: Group, random: np.random.Generator) -> Floats:
    """Draw how much slower each replica is: speeds are lognormal with mean 1, stragglers extra.

    The same number of values is drawn whatever the settings, so a group's settings do not change
    the draws of the groups after it.
    """
    normal, order, extra = (
        random.standard_normal(group.count), random.random(group.count), random.random(),
    )  # fmt: skip
    sigma = math.sqrt(math.log1p(group.speed_cv**2))
    slowdown: Floats = np.exp(sigma**2 / 2 - sigma * normal)
    slow = group.settings.stragglers
    stragglers = math.floor(slow.fraction * group.count + extra)
    slowdown[np.argsort(order)[:stragglers]] *= slow.slowdown
    return slowdown


def _outages(groups: Sequence[Group]) -> list[tuple[int, int, int]]:
    """Return (time, up, replica) of all planned outages, in order of time.

    Raises:
        ConfigError: a replica does not exist, or its outages overlap.
    """
    events: list[tuple[int, int, int]] = []
    first = 0
    for group in groups:
        until: dict[int, float] = {}
        ordered = sorted(group.settings.failures.outages, key=lambda each: each.at_s)
        for outage in ordered:
            end = math.inf if outage.for_s is None else outage.at_s + outage.for_s
            for replica in _replicas(outage, group):
                if outage.at_s <= until.get(replica, -1.0):
                    raise ConfigError(
                        f"{group.field}.failures.outages: replica {replica} is already down at "
                        f"{outage.at_s:g} s. Join the two outages."
                    )
                until[replica] = end
                events.append((round(outage.at_s * 1e9), 0, first + replica))
                if end < math.inf:
                    events.append((round(end * 1e9), 1, first + replica))
        first += group.count
    return sorted(events)


def _replicas(outage: Outage, group: Group) -> Sequence[int]:
    if outage.replicas == "all":
        return range(group.count)
    wrong = [replica for replica in outage.replicas if replica >= group.count]
    if wrong:
        raise ConfigError(
            f"{group.field}.failures.outages: there is no replica {wrong[0]}; the group has "
            f"{group.count}, numbered from 0."
        )
    return sorted(set(outage.replicas))
