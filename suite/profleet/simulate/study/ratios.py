"""What a sweep of the Lightning study says together: completion times in units of Lightning's.

Ratios are taken schedule by schedule and then averaged, as in the study's reproduction; the mean of
a device is that over all networks. Only schedules that the reference has, too, are counted.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from profleet.profile.metrics import Metric
from profleet.profile.schema import Record
from profleet.profile.store import write_json
from profleet.simulate.results import load_simulation
from profleet.simulate.schema import SimulationResult
from profleet.simulate.study.networks import networks

REFERENCE = "mit-lightning"
STUDY = "study.json"
STUDY_SCHEMA = "profleet/study/v1"
PUBLISHED = {"lightspeed-a100": 337, "lightspeed-a100x": 329, "lightspeed-brainwave": 42}
"""What the study says of its mean ratios. How it averaged is not known."""


class Row(Record):
    """One device under one schedule, against the reference under the same schedule."""

    device: str
    schedule: str
    offered_load: float
    offered_load_law: float | None
    steady_state: bool
    utilization: float
    completed: int
    completion_mean_ns: dict[str, float]
    ratio: dict[str, float] = Field(default_factory=dict, description="by network")
    ratio_mean: float | None = Field(default=None, description="over the networks")


class StudySummary(Record):
    """``study.json``: the study as a whole.

    History of ``profleet/study``: v1: first version.
    """

    schema_: Annotated[str, Field(alias="schema")] = STUDY_SCHEMA
    reference: str = REFERENCE
    rows: list[Row]
    metrics: dict[str, Metric]

    @property
    def unsteady(self) -> list[str]:
        """The devices without a steady state; with how many schedules, where not with all."""
        counts = Counter(row.device for row in self.rows)
        over = Counter(row.device for row in self.rows if not row.steady_state)
        return [
            device if over[device] == counts[device]
            else f"{device} ({over[device]} of {counts[device]} schedules)"
            for device in over
        ]  # fmt: skip


class Key(NamedTuple):
    """What tells the jobs of a study apart."""

    settings: str
    schedule: str
    device: str


def is_study(result: SimulationResult) -> bool:
    """Whether a simulation is part of the study."""
    study = result.configuration.get("study")
    return isinstance(study, dict) and study.get("kind") == "lightspeed"


def summarize_study(results: Iterable[SimulationResult]) -> StudySummary | None:
    """Return the study that finished simulations are, None if they are none."""
    found = {_key(each): each for each in results if each.status == "finished" and is_study(each)}
    if not found:
        return None
    rows = [
        _row(key, result, found.get(key._replace(device=REFERENCE)))
        for key, result in found.items()
    ]
    evidence = next(iter(found.values())).metrics["offered_load"].evidence
    metrics = {
        name: Metric(value=value, unit="1", evidence=evidence) for name, value in _means(rows)
    }
    return StudySummary(rows=rows, metrics=metrics)


def load_study(folders: Iterable[Path]) -> StudySummary | None:
    """Return the study in these result folders, None if there is none.

    Raises:
        StoreError: a result is damaged.
    """
    return summarize_study(load_simulation(folder) for folder in folders)


def row_of(row: Row) -> dict[str, Any]:
    """Return a row as one level of plain values, for tables."""
    plain = row.model_dump(exclude={"completion_mean_ns", "ratio"})
    plain |= {f"completion_mean_ns {name}": mean for name, mean in row.completion_mean_ns.items()}
    return plain | {f"ratio {name}": ratio for name, ratio in row.ratio.items()}


def write_study(folder: Path, study: StudySummary) -> None:
    """Write ``study.json``.

    Raises:
        StoreError: it cannot be written.
    """
    write_json(folder / STUDY, study.model_dump(mode="json", by_alias=True))


def _key(result: SimulationResult) -> Key:
    study: dict[str, Any] = dict(result.configuration["study"])
    device, schedule = study.pop("device"), study.pop("trace")
    return Key(repr((sorted(study.items()), result.seed)), str(schedule), _name(str(device)))


def _name(reference: str) -> str:
    return reference.partition("@")[0]


def _row(key: Key, result: SimulationResult, reference: SimulationResult | None) -> Row:
    means, given = _completions(result), {} if reference is None else _completions(reference)
    ratio = {name: mean / given[name] for name, mean in means.items() if name in given}
    metrics = result.metrics
    law = metrics.get("offered_load_law")
    return Row(
        device=key.device,
        schedule=key.schedule,
        offered_load=metrics["offered_load"].value,
        offered_load_law=None if law is None else law.value,
        steady_state=result.verdict == "stable",
        utilization=metrics["utilization"].value,
        completed=round(metrics["completed"].value),
        completion_mean_ns=means,
        ratio=ratio,
        ratio_mean=statistics.fmean(ratio.values()) if ratio else None,
    )


def _completions(result: SimulationResult) -> dict[str, float]:
    names = {graph.name: f"completion_mean_ns/{graph.name}" for graph in networks()}
    return {
        name: result.metrics[metric].value
        for name, metric in names.items()
        if metric in result.metrics
    }


def _means(rows: list[Row]) -> Iterable[tuple[str, float]]:
    for device in dict.fromkeys(row.device for row in rows):
        own = [row for row in rows if row.device == device and row.ratio_mean is not None]
        if device == REFERENCE or not own:
            continue
        averages = []
        for graph in networks():
            ratios = [row.ratio[graph.name] for row in own if graph.name in row.ratio]
            if ratios:
                averages.append(statistics.fmean(ratios))
                yield f"completion_ratio/{device}/{graph.name}", averages[-1]
        each = [row.ratio_mean for row in own if row.ratio_mean is not None]
        yield f"completion_ratio_mean/{device}", statistics.fmean(averages)
        yield f"completion_ratio_min/{device}", min(each)
        yield f"completion_ratio_max/{device}", max(each)
