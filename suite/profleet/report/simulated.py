"""Simulations as reports see them: what their folders hold, and in what they differ.

Nothing here needs a live simulation, so every report can be made again from files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profleet.errors import StoreError
from profleet.profile.metrics import Metric
from profleet.simulate.results import find_simulations, load_invocation, load_simulation
from profleet.simulate.schema import InvocationRecord, Served, SimulationResult

if TYPE_CHECKING:
    import pandas as pd

LOAD = re.compile(r"workload\.(rate|load|users|clients\..*\.(rate|load))")
"""Settings that say how many requests come; all others tell variants of a sweep apart."""

PRIVATE = re.compile(r"[+~]*(tracking|hydra|store|manifests)\b")
"""Overrides that may name servers, passwords and folders of one machine."""

_WORDS = {"router", "fleet", "workload", "fleet.hardware", "fleet.framework"}
"""Settings whose values speak for themselves."""

_OF_FLEET = re.compile(
    r"fleet\.(groups|(groups\.\d+\.)?(count|servers|hardware|name|model|kind|framework)(\.\d+)?)"
)
"""Settings that the name of a fleet says."""


@dataclass(frozen=True)
class Job:
    """One simulation: its folder, what it left there, and how it differs from its neighbors."""

    folder: Path
    name: str
    result: SimulationResult
    invocation: InvocationRecord | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    """What was set differently than in another job of the sweep: setting -> value."""

    @property
    def variant(self) -> str:
        """How it differs from the others, but for how many requests come."""
        return _label({key: value for key, value in self.settings.items() if not LOAD.match(key)})

    @property
    def load(self) -> str:
        """How many requests come, where that differs from the others."""
        return _label({key: value for key, value in self.settings.items() if LOAD.match(key)})

    @property
    def label(self) -> str:
        """How it differs from the others."""
        return _label(self.settings) or self.name

    def metric(self, name: str) -> Metric | None:
        """Return a metric, None where it was not stated."""
        return self.result.metrics.get(name)

    @property
    def state(self) -> str:
        """The verdict, or the status of a job that has none."""
        if self.result.status != "finished" or self.result.verdict is None:
            return self.result.status
        return self.result.verdict


def load_job(folder: Path, name: str = "") -> Job:
    """Read one simulation.

    Raises:
        StoreError: ``result.json`` is missing, damaged or of a newer version.
    """
    result = load_simulation(folder)
    try:
        invocation = load_invocation(folder)
    except StoreError:  # the result does not depend on it
        invocation = None
    return Job(folder, name or folder.name, result, invocation)


def load_jobs(folders: Path | Iterable[Path]) -> list[Job]:
    """Read all simulations below a folder, or those of several folders, and tell them apart.

    One that cannot be read is a failed job, with the reason.
    """
    if isinstance(folders, Path):
        root, found = folders, list(find_simulations(folders))
    else:
        found = list(folders)
        root = found[0].parent if found else Path()
    jobs = []
    for folder in found:
        name = folder.relative_to(root).as_posix() if folder.is_relative_to(root) else str(folder)
        try:
            jobs.append(load_job(folder, name))
        except StoreError as error:
            jobs.append(Job(folder, name, SimulationResult(status="failed", reason=str(error))))
    return [
        Job(job.folder, job.name, job.result, job.invocation, settings)
        for job, settings in zip(jobs, differences(jobs), strict=True)
    ]


def load_table(folder: Path, name: str) -> pd.DataFrame | None:
    """Read one of the tables of a simulation, None where there is none.

    Raises:
        StoreError: the table is damaged.
    """
    import pandas as pd
    import pyarrow as pa

    path = folder / "tables" / f"{name}.parquet"
    if not path.is_file():
        return None
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{path} is damaged: {error}. Simulate again.") from error


# -- in words --------------------------------------------------------------------------------------


def fleet_text(fleet: Sequence[Served]) -> str:
    """Name a fleet: ``12 one-thread + 4 two-threads``."""
    counts = {served.group: served.count for served in fleet}
    return " + ".join(f"{count} {group}" for group, count in counts.items())


def title_of(result: SimulationResult) -> str:
    """Name a simulation by what serves, what comes and how it is decided."""
    parts = [fleet_text(result.fleet)]
    models = list(dict.fromkeys(served.model for served in result.fleet))
    if models and models != ["any"]:
        parts.append(", ".join(models[:3]) + (f" and {len(models) - 3} more" * (len(models) > 3)))
    if result.workload:
        rps = result.offered_rps
        rate = "" if rps is None else f" {rate_text(rps, '/s')}"
        parts.append(f"{_workload(result.workload)}{rate}")
    if router := result.configuration.get("router"):
        parts.append(_router(router).replace("_", " "))
    if batching := result.configuration.get("batching"):
        parts.append(_batching(str(batching.get("name") or batching.get("kind"))))
    return " · ".join(part for part in parts if part) or "Simulation"


def _workload(workload: Mapping[str, Any]) -> str:
    """Name what comes: a trace by its data set."""
    trace = (workload.get("clients") or [{}])[0].get("dataset")
    kind = workload.get("kind", "")
    return str(trace if kind == "trace" and trace else kind).replace("_", " ")


def rate_text(rps: float, unit: str = " requests/s") -> str:
    """Write a rate with four significant digits, all digits before the point included."""
    return f"{rps:.4g}{unit}" if rps < 1000 else f"{rps:.0f}{unit}"


def _router(router: Mapping[str, Any]) -> str:
    """Name a router as its option is called, one of the user by its own name."""
    if router.get("kind") == "power_of_d":
        return f"power_of_{'two' if router.get('d') == 2 else router.get('d')}"
    return str(router.get("name") or router.get("kind"))


def runs(evidence: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return evidence by batch size, from 1, in runs of the same: first, last, evidence."""
    found: list[tuple[int, int, str]] = []
    for size, kind in enumerate(evidence, 1):
        if found and found[-1][2] == kind:
            found[-1] = (found[-1][0], size, kind)
        else:
            found.append((size, size, kind))
    return found


def _batching(kind: str) -> str:
    return f"{'no' if kind == 'none' else kind.replace('_', ' ')} batching"


def why(result: SimulationResult) -> list[str]:
    """Say why a simulation failed, was interrupted or has the verdict it has."""
    return [each for each in (result.reason, *result.reasons) if each]


def grouped(refused: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the metrics that were refused by reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in refused.items():
        reasons.setdefault(reason, []).append(name)
    return reasons


def public_overrides(invocation: InvocationRecord) -> tuple[list[str], bool]:
    """Return the overrides that others may read, and whether some were left out."""
    kept = [each for each in invocation.overrides if not PRIVATE.match(each)]
    return kept, len(kept) < len(invocation.overrides)


# -- in what jobs differ ---------------------------------------------------------------------------


def differences(jobs: Sequence[Job]) -> list[dict[str, str]]:
    """Return for every job its values of those settings in which any two jobs differ.

    Settings that only some jobs have (those of their router, say) are compared among these. Fleets
    of different groups are told apart by name. Of a job that has no configuration because it
    failed, what its overrides say is known.
    """
    flat = [_flat(job) for job in jobs]
    names = list(dict.fromkeys(name for each in flat for name in each))
    differing = [name for name in names if len({each[name] for each in flat if name in each}) > 1]
    if "fleet" in differing:
        differing = [name for name in differing if not _follows_fleet(name, flat)]
    if any(name.startswith("slo.") for name in differing):  # deadlines follow what is promised
        differing = [name for name in differing if not name.endswith("deadline_ms")]
    differing.sort(key=lambda name: bool(LOAD.match(name)))
    return [
        {name.removesuffix(".kind"): each[name] for name in differing if name in each}
        for each in flat
    ]


def _follows_fleet(name: str, flat: Sequence[Mapping[str, str]]) -> bool:
    """Whether the name of the fleet says a setting already, or decides it (as a price)."""
    if not name.startswith("fleet."):
        return False
    pairs = {(each.get("fleet"), each[name]) for each in flat if name in each}
    return bool(_OF_FLEET.fullmatch(name)) or len(pairs) == len({fleet for fleet, _ in pairs})


def _flat(job: Job) -> dict[str, str]:
    if not job.result.configuration:
        words = job.invocation.overrides if job.invocation else []
        pairs = [word.lstrip("+").partition("=") for word in words if not PRIVATE.match(word)]
        groups = {"router", "batching", "workload"}
        return {f"{key}.kind" if key in groups else key: value for key, _, value in pairs}
    name = {"fleet": fleet_text(job.result.fleet)} if job.result.fleet else {}
    flat = {**name, **flatten(job.result.configuration)}
    if "router.d" in flat:
        flat["router.kind"] = _router({"kind": flat["router.kind"], "d": int(flat.pop("router.d"))})
    return flat


def flatten(values: Any, path: str = "") -> dict[str, str]:
    """Return nested plain values as ``dotted.path`` -> text; nothing of an empty mapping."""
    if isinstance(values, Mapping) and values:
        pairs = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list) and any(isinstance(each, Mapping | list) for each in values):
        pairs = [(str(index), value) for index, value in enumerate(values)]
    else:
        return {path: _text(values)} if path else {}
    found: dict[str, str] = {}
    for key, value in pairs:
        found |= flatten(value, f"{path}.{key}" if path else key)
    return found


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return "none" if value in ({}, "") else str(value)


def _label(settings: Mapping[str, str]) -> str:
    parts = []
    for key, value in settings.items():
        if key == "batching":
            parts.append(_batching(value))
        elif key in _WORDS:
            parts.append(value.replace("_", " "))
        else:
            parts.append(f"{key.rpartition('.')[2]}={value}")
    return " · ".join(parts)
