"""The smallest fleet that keeps a promise, for every kind of hardware there is a profile of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from profleet.errors import ConfigError
from profleet.profile.metrics import Metric
from profleet.profile.schema import Record, name_of
from profleet.profile.store import RESULT, load_document
from profleet.simulate.fleet.settings import GroupSettings, ProfiledFleet, TheoryFleet
from profleet.simulate.results import PLANS
from profleet.simulate.schema import Served, SimulationResult
from profleet.simulate.service.catalog import Catalog
from profleet.simulate.service.sources import Places, accepts
from profleet.simulate.settings import REQUESTS, SimulateSettings
from profleet.simulate.simulation import Scene, prepare, simulate_scene
from profleet.simulate.workload.settings import (
    Mixture,
    Open,
    Piecewise,
    Trace,
    WorkloadSettings,
)

PLAN_SCHEMA = f"{PLANS}/v1"
OBJECTIVES = {"count": "replicas", "cost": "cost_per_hour", "energy": "energy_per_request_j"}
GROWTH = 1.3
"""Factor between the sizes that are tried until one keeps the promise."""

IDLE = 0.05
"""Utilization below which more replicas no longer help."""


class PlanSettings(SimulateSettings):
    """The whole configuration of ``profleet plan`` (``conf/plan.yaml``)."""

    hardware: tuple[str, ...] | None
    objective: Literal["count", "cost", "energy"]
    max_replicas: Annotated[int, Field(ge=1, le=1_000_000)]


class Probe(Record):
    """One size that was simulated."""

    replicas: int
    kept: bool
    verdict: str
    metrics: dict[str, Metric] = Field(description="those that the promise and objectives name")


class Answer(Record):
    """The smallest fleet of one kind of hardware; ``replicas`` is null where none was found."""

    hardware: str
    replicas: int | None
    reason: str | None = Field(default=None, description="why there is none")
    served: list[Served] = Field(default_factory=list)
    notes: list[str] = Field(
        default_factory=list,
        description="what to know of the smallest fleet, or of the largest that failed",
    )
    metrics: dict[str, Metric] = Field(default_factory=dict, description="of the smallest fleet")
    probes: list[Probe] = Field(default_factory=list)


class PlanResult(Record):
    """``result.json`` of a plan."""

    schema_: Annotated[str, Field(alias="schema")] = PLAN_SCHEMA
    status: Literal["finished", "failed", "interrupted"]
    reason: str | None = None
    objective: str
    best: str | None = Field(default=None, description="the hardware with the least of it")
    metrics: dict[str, Metric] = Field(
        default_factory=dict, description="replicas/HARDWARE and the objectives"
    )
    answers: list[Answer] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list, description="of all answers, each said once")
    configuration: dict[str, Any] = Field(default_factory=dict)
    paths: dict[str, str] = Field(default_factory=dict)


def load_plan(folder: Path) -> PlanResult:
    """Read ``result.json`` of a plan.

    Raises:
        StoreError: it is missing, damaged or of a newer version.
    """
    return load_document(folder / RESULT, PLAN_SCHEMA, PlanResult)


@dataclass(frozen=True)
class Kind:
    """Hardware that may serve: its name, and the settings of a fleet of some size of it."""

    name: str
    fleet: Callable[[int], ProfiledFleet | TheoryFleet]


def plan(
    settings: PlanSettings, on_probe: Callable[[str, Probe], None] = lambda name, probe: None
) -> PlanResult:
    """Search the smallest fleet of every kind of hardware that keeps ``slo``.

    A size keeps the promise when the upper end of every promised quantile's interval does, few
    enough requests are dropped and the fleet is stable. Sizes grow until one does, and the first
    that does is found by bisection, so a promise that a larger fleet breaks again is not noticed.

    Args:
        settings: a simulation; the size of its fleet is what is looked for.
        on_probe: told the hardware and every size that was simulated.

    Raises:
        ConfigError: nothing is promised, the rate is relative or not said, or a period is too short
            to tell.
        ProfleetError: a profile, trace or setting cannot be used.
    """
    if not settings.slo.bounds:
        raise ConfigError(
            "slo: no latency is promised. Say what the fleet must keep: slo.p99_ms=50."
        )
    if field := _relative(settings.workload):
        raise ConfigError(
            f"{field} is a fraction of a fleet that is still looked for. Say how many requests "
            f"come per second: {field.removesuffix('load')}rate=5000."
        )
    if _unsaid(settings.workload):
        raise ConfigError("workload: say how many requests come per second: workload.rate=5000.")
    answers: list[Answer] = []
    interrupted = False
    try:
        for kind in kinds(settings):
            answers.append(  # noqa: PERF401 -- what was found before Ctrl-C stays
                _answer(settings, kind, on_probe)
            )
    except KeyboardInterrupt:
        interrupted = True
    return _result(settings, answers, interrupted)


def _relative(workload: WorkloadSettings) -> str | None:
    """The setting that says the rate as a fraction of capacity, if one does."""
    if getattr(workload, "load", None) is not None:
        return "workload.load"
    clients = workload.clients if isinstance(workload, Mixture) else {}
    relative = (name for name, each in clients.items() if each.arrivals.load is not None)
    name = next(relative, None)
    return None if name is None else f"workload.clients.{name}.arrivals.load"


def _unsaid(workload: WorkloadSettings) -> bool:
    """Whether nothing says how many requests come; traces and pieces say it themselves."""
    if isinstance(workload, Mixture):
        clients = (client.arrivals for client in workload.clients.values())
        return workload.rate is None and any(_unsaid(each) for each in clients)
    itself = isinstance(workload, Trace | Piecewise)
    return isinstance(workload, Open) and not itself and workload.rate is None


def _result(settings: PlanSettings, answers: list[Answer], interrupted: bool) -> PlanResult:
    found = [answer for answer in answers if answer.replicas is not None]
    key = OBJECTIVES[settings.objective]
    best = min(found, key=lambda answer: answer.metrics[key].value, default=None)
    reason = None if found else " ".join(answer.reason or "" for answer in answers)
    if interrupted:
        reason = f"Interrupted after {len(answers)} kinds of hardware."
    return PlanResult(
        status="interrupted" if interrupted else "finished" if found else "failed",
        reason=reason,
        objective=settings.objective,
        best=best.hardware if best else None,
        metrics={
            f"{name}/{answer.hardware}": metric
            for answer in answers
            for name, metric in answer.metrics.items()
        },
        answers=answers,
        notes=list(dict.fromkeys([*(text for each in answers for text in each.notes),
                                  *_not_compared(settings)])),
        configuration=settings.stated(),
    )  # fmt: skip


def _not_compared(settings: PlanSettings) -> Iterator[str]:
    """Say so where devices of the catalogue may serve and were not named."""
    fleet = settings.fleet
    if (
        isinstance(fleet, ProfiledFleet) and fleet.allow_models and fleet.groups is None
        and settings.hardware is None and fleet.service is None and fleet.profile is None
    ):  # fmt: skip
        yield (
            "Compared is the hardware that a profile exists of. Name devices of the catalogue to "
            "have them compared, too: hardware=[nvidia-t4,nvidia-l4]."
        )


def kinds(settings: PlanSettings) -> list[Kind]:
    """Return the kinds of hardware to compare: named ones, those of the groups, or all there are.

    Raises:
        ConfigError: there is no profile of the model, or hardware is named twice.
    """
    fleet = settings.fleet
    if settings.hardware is not None and not (
        isinstance(fleet, ProfiledFleet) and fleet.groups is None
    ):
        raise ConfigError(
            "hardware: this fleet says itself what it runs on. Leave hardware out, or plan with "
            "fleet=quickstart."
        )
    if isinstance(fleet, TheoryFleet):
        return [Kind("servers", lambda n: fleet.model_copy(update={"servers": n}))]
    if fleet.groups is not None:
        return [_of_group(fleet, group) for group in fleet.groups]
    if settings.hardware is not None:
        named = [(hardware, fleet.framework) for hardware in settings.hardware]
    elif fleet.service is not None or fleet.profile is not None:
        return [_of_group(fleet, fleet.expanded()["fleet"])]
    else:
        named = list(dict.fromkeys(_profiled(settings, fleet)))
    if not named:
        raise ConfigError(
            "fleet: no profile fits its model and framework. `profleet run` measures one."
        )
    alike = len({hardware for hardware, _ in named}) == len(named)
    return [
        _of_hardware(fleet, hardware, framework, hardware if alike else f"{hardware}/{framework}")
        for hardware, framework in named
    ]


def _of_hardware(fleet: ProfiledFleet, hardware: str, framework: str | None, name: str) -> Kind:
    known = {"hardware": hardware, "framework": framework}
    return Kind(name, lambda n: fleet.model_copy(update={**known, "count": n}))


def _of_group(fleet: ProfiledFleet, group: GroupSettings) -> Kind:
    name = group.name or group.hardware or "fleet"
    return Kind(
        name,
        lambda n: fleet.model_copy(update={"groups": (group.model_copy(update={"count": n}),)}),
    )


def _profiled(settings: PlanSettings, fleet: ProfiledFleet) -> Iterator[tuple[str, str | None]]:
    """Yield (hardware, framework) of every profile of the fleet's model."""
    places = Places(settings.store, settings.tracking, settings.manifests)
    models = fleet.model or ()
    for source in Catalog(fleet.profiles, places).sources:
        for each in source.candidates:
            fits = not models or any(accepts(model, each.stack.model) for model in models)
            if fits and (fleet.framework is None or accepts(fleet.framework, each.stack.framework)):
                yield each.hardware, fleet.framework or name_of(each.stack.framework)


def _answer(settings: PlanSettings, kind: Kind, on_probe: Callable[[str, Probe], None]) -> Answer:
    """Search one kind of hardware."""
    probes: dict[int, Probe] = {}
    results: dict[int, SimulationResult] = {}

    def keeps(replicas: int) -> bool:
        if replicas not in probes:
            result = _simulated(settings, kind, replicas)
            probes[replicas], results[replicas] = _probe(replicas, result), result
            on_probe(kind.name, probes[replicas])
        return probes[replicas].kept

    size = _least(settings, kind)
    too_few, reason = size - 1, None
    while reason is None:
        if size > settings.max_replicas:
            reason = f"{kind.name}: {settings.max_replicas} replicas (max_replicas) are too few."
        elif keeps(size):
            break
        elif probes[size].metrics["utilization"].value < IDLE:
            reason = f"{kind.name}: even {size} replicas, almost idle, break the promise."
        else:
            too_few, larger = size, max(size + 1, math.ceil(size * GROWTH))
            size = larger if size == settings.max_replicas else min(larger, settings.max_replicas)
    if reason is not None:
        said = [probes[n] for n in sorted(probes)]
        notes = results[max(results)].notes if results else []
        return Answer(hardware=kind.name, replicas=None, reason=reason, probes=said, notes=notes)
    while size - too_few > 1:
        middle = (size + too_few) // 2
        size, too_few = (middle, too_few) if keeps(middle) else (size, middle)
    result = results[size]
    count = Metric(value=size, unit="1", evidence=result.metrics["utilization"].evidence)
    return Answer(
        hardware=kind.name,
        replicas=size,
        served=result.fleet,
        notes=result.notes,
        metrics={"replicas": count, **probes[size].metrics},
        probes=[probes[n] for n in sorted(probes)],
    )


def _least(settings: PlanSettings, kind: Kind) -> int:
    """The smallest size that is not overloaded."""
    load = _scene(settings, kind, 1).load
    return 1 if load is None else math.floor(load) + 1


def _scene(settings: PlanSettings, kind: Kind, replicas: int) -> Scene:
    return prepare(settings.model_copy(update={"fleet": kind.fleet(replicas)}))


def _simulated(settings: PlanSettings, kind: Kind, replicas: int) -> SimulationResult:
    simulation = simulate_scene(_scene(settings, kind, replicas))
    if simulation.interrupted:
        raise KeyboardInterrupt
    result = simulation.result()
    if OBJECTIVES[settings.objective] not in {"replicas", *result.metrics}:
        raise ConfigError(
            f"objective={settings.objective}: {kind.name} does not state it. Give its price or "
            "power: fleet.price_per_hour=2.5, fleet.power.active_w=300, fleet.power.idle_w=60."
        )
    for promise in result.slo:
        if promise.kept is None:
            why = result.refused.get(promise.name, "it has no value.")
            raise ConfigError(
                f"{promise.name} cannot be told: {why} Simulate more of them: "
                f"requests={(settings.requests or REQUESTS) * 4}."
            )
    return result


def _probe(replicas: int, result: SimulationResult) -> Probe:
    named = [promise.name for promise in result.slo]
    named += ["utilization", "throughput_rps", *list(OBJECTIVES.values())[1:], "power_mean_w"]
    return Probe(
        replicas=replicas,
        kept=result.verdict == "stable" and all(promise.kept for promise in result.slo),
        verdict=str(result.verdict),
        metrics={name: result.metrics[name] for name in named if name in result.metrics},
    )
