"""What one MLflow run holds, read from a finished result folder. Nothing here knows a server."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from profleet import __version__
from profleet.errors import StoreError
from profleet.profile.metrics import Metric
from profleet.profile.schema import Profile, Value, name_of
from profleet.profile.store import (
    Result,
    Status,
    load_object,
    load_profile,
    load_result,
    load_samples,
    source_of,
)
from profleet.tracking.rows import Row, tables_of

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]

STATUS: dict[Status, RunStatus] = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "unsupported": "FAILED",
    "interrupted": "KILLED",
}
FILES = (
    "job.json", "lock.json", "profile.json", "samples.parquet", "environment.json", "result.json",
    "runner.log", "container.json",
)  # fmt: skip
FOLDERS = ("loadgen", "plots")
BATCH = re.compile(r"b(\d+)")
MAX_VALUE = 6000
"""Longest parameter value that MLflow keeps; longer ones are cut here, where it can be seen."""


class Number(NamedTuple):
    """One value of a metric; the step is the batch size, 0 where there is none."""

    key: str
    value: float
    step: int


@dataclass(frozen=True)
class RunRecord:
    """One MLflow run.

    ``identity`` finds the run again; a run of another ``revision`` is written anew (None: never).
    ``tables`` and ``texts`` go by artifact path, ``files`` are (file or folder, artifact path),
    and ``draw`` writes pictures into the folder it is given. ``member_of`` names later sweeps whose
    jobs this run answers.
    """

    identity: str
    name: str
    status: RunStatus
    started_ms: int
    finished_ms: int
    tags: dict[str, str]
    params: dict[str, str]
    numbers: list[Number]
    tables: dict[str, list[Row]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    files: list[tuple[Path, str]] = field(default_factory=list)
    draw: Callable[[Path], object] | None = None
    revision: str | None = None
    member_of: tuple[str, ...] = ()


def record_of(folder: Path) -> RunRecord:
    """Read a result folder, of a job that failed too; for a reused one, that of the earlier run.

    Raises:
        StoreError: it is not a finished result folder, or a file in it is missing or damaged.
    """
    result = load_result(folder)
    source, sweep = source_of(folder, result), result.sweep_id
    if result.reused_from is not None:
        result = load_result(source)
    _complete(source, result)
    profile = load_profile(source) if result.status == "finished" else None
    job, environment = _document(source / "job.json"), _document(source / "environment.json")
    machine = _part(environment, "before")
    measured = profile.measurement if profile else None
    scenario = measured.scenario if measured else None
    return RunRecord(
        identity=identity_of(result),
        name="-".join(
            (
                name_of(result.stack.model),
                name_of(result.stack.framework),
                host_class(machine, profile),
            )
        ),
        status=STATUS[result.status],
        started_ms=milliseconds(measured.started_at if measured else result.started_at),
        finished_ms=milliseconds(measured.finished_at if measured else result.finished_at),
        tags=_tags(result, profile) | _commit(environment),
        params=_params(result, profile, job, machine),
        numbers=numbers_of(result.metrics),
        tables=dict(tables_of(profile, source)) if profile else {},
        texts={"scenario.txt": scenario.summary_text} if scenario else {},
        files=list(_files(source)),
        draw=_drawing(profile, source) if profile else None,
        member_of=(sweep,) if sweep and sweep != result.sweep_id else (),
    )


def identity_of(result: Result) -> str:
    """Return the run id; for a job that was never planned, a digest of what is known of it."""
    if result.run_id:
        return re.sub(r"[^\w.:/-]", "_", result.run_id)
    known = [result.stack.model_dump(), result.started_at, result.reason, result.sweep_id]
    return f"unplanned-{hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]}"


def numbers_of(metrics: Mapping[str, Metric]) -> list[Number]:
    """Return a profile's metrics as MLflow's: ``latency_p50_ms/b4`` is ``latency_p50_ms``, step 4.

    Bounds become metrics of their own, ``latency_p50_ms_low`` and ``latency_p50_ms_high``. Every
    other condition stays in the name, after a dot: ``latency_idle_p50_ms.gap20``. A slash would
    make a section of charts of its own, above those that most people come for.
    """
    numbers = []
    for name, metric in metrics.items():
        base, *conditions = name.split("/")
        batches = [int(part[1:]) for part in conditions if BATCH.fullmatch(part)]
        others = [part for part in conditions if not BATCH.fullmatch(part)]
        for suffix, value in (("", metric.value), ("_low", metric.low), ("_high", metric.high)):
            if value is not None and math.isfinite(value):
                key = ".".join((base + suffix, *others))
                numbers.append(Number(key, value, batches[0] if batches else 0))
    return numbers


def host_class(machine: Mapping[str, Any], profile: Profile | None = None) -> str:
    """Return a short name of the kind of machine, such as ``epyc-7b13-8c``."""
    if profile is not None and profile.measurement.framework.accelerator == "cuda":
        return _slug(profile.measurement.framework.device) or "cuda"
    cores = _known(machine, "physical_cores")
    parts = (_slug(str(_known(machine, "cpu_model") or "")), f"{cores}c" if cores else "")
    return "-".join(part for part in parts if part) or "local"


def _slug(device: str) -> str:
    words = re.sub(r"\((R|TM|C)\)|@.*|\b\d+-Core\b", " ", device, flags=re.IGNORECASE)
    noise = {"intel", "amd", "nvidia", "cpu", "processor", "with", "graphics"}
    kept = [word for word in re.findall(r"[a-z0-9]+", words.lower()) if word not in noise]
    return "-".join(kept)[:40]


def _tags(result: Result, profile: Profile | None) -> dict[str, str]:
    tags = {
        "profleet.kind": "run",
        "profleet.run_key": result.run_key,
        "profleet.status": result.status,
        "profleet.schema": profile.schema_ if profile else result.schema_,
        "profleet.version": profile.profleet_version if profile else __version__,
        "profleet.model": result.stack.model,
        "profleet.framework": result.stack.framework,
        "profleet.hardware": result.stack.hardware,
        "profleet.executor": result.executor,
        "profleet.image": result.image,
        "profleet.sweep": result.sweep_id,
        "profleet.suite": result.suite,
        "profleet.error_kind": result.error_kind,
        "profleet.reason": result.reason,
        "profleet.hint": result.hint,
        "mlflow.source.name": "profleet run",
        "mlflow.source.type": "LOCAL",
    }
    if profile is not None:
        tags |= {
            "profleet.lock_sha256": profile.lock_sha256,
            "profleet.stability": profile.status,
            "profleet.evidence": profile.evidence,
            "profleet.check": profile.measurement.check.status,
            "profleet.warnings": " ".join(profile.warnings),
            "mlflow.note.content": "\n".join(f"- {warning}" for warning in profile.warnings),
        }
    elif result.reason:
        tags["mlflow.note.content"] = " ".join(filter(None, (result.reason, result.hint)))
    return {key: _cut(value) for key, value in tags.items() if value}


def _commit(environment: Row) -> dict[str, str]:
    """Profleet's own commit, under the names by which MLflow's UI shows one."""
    known = _part(environment, "provenance")
    commit, dirty = _known(known, "profleet_commit"), _known(known, "profleet_dirty")
    if not isinstance(commit, str):
        return {}
    return {"mlflow.source.git.commit": commit, "mlflow.source.git.dirty": str(bool(dirty))}


def _params(
    result: Result, profile: Profile | None, job: Row, machine: Mapping[str, Any]
) -> dict[str, str]:
    """What was asked, and what identifies the stack as it really ran."""
    stack = result.stack
    model, framework = _part(job, "model"), _part(job, "framework")
    found: Row = {
        "model": {
            "name": name_of(stack.model),
            "version": stack.model.partition("@")[2],
            "sha256": _part(model, "artifact").get("sha256"),
        },
        "framework": {
            "name": name_of(stack.framework),
            "version": stack.framework.partition("@")[2],
            "accelerator": framework.get("accelerator"),
            "options": framework.get("options"),
        },
        "hardware": {
            "name": name_of(stack.hardware),
            **{key: _known(machine, key) for key in ("cpu_model", "physical_cores", "gpus")},
        },
        "batch_sizes": job.get("batch_sizes"),
        "measure": job.get("measure"),
        "scenario": job.get("scenario"),
    }
    if profile is not None:
        ran = profile.measurement.framework
        found["framework"] |= {
            "device": ran.device,
            "options": ran.options or framework.get("options"),
            "threads": {
                name: reading.value if isinstance(reading, Value) else None
                for name, reading in ran.threads.items()
            },
        }
        found["packages"] = ran.packages
        found["executor"] = profile.executor
    return {tag_key(key): _cut(_plain(value)) for key, value in _flat(found)}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None and value not in ("", []):
            yield f"{prefix}{key}", value


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    for name in (*FILES, *FOLDERS):
        if (folder / name).exists():
            yield folder / name, name


def _complete(folder: Path, result: Result) -> None:
    """Refuse a folder that lost a file which its result names."""
    for name in result.paths.values():
        if name in FILES and not (folder / name).exists():
            raise StoreError(
                f"{folder / name} is missing, though result.json names it. Restore the file or "
                "measure again."
            )


def _drawing(profile: Profile, folder: Path) -> Callable[[Path], object] | None:
    """Pictures are drawn for MLflow only where the folder does not hold them yet."""
    if (folder / "plots").is_dir():
        return None

    def draw(target: Path) -> None:
        from profleet.report.plots import write_plots

        write_plots(profile, load_samples(folder), target)

    return draw


def _document(path: Path) -> Row:
    """Read a JSON object; a missing file is an empty one (a job may fail before it is written)."""
    return load_object(path) if path.exists() else {}


def _known(machine: Mapping[str, Any], name: str) -> Any:
    reading = machine.get(name)
    return reading.get("value") if isinstance(reading, Mapping) else None


def _part(document: Row, name: str) -> Row:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def tag_key(key: str) -> str:
    """Return a name that MLflow takes for a tag or parameter."""
    return re.sub(r"[^\w. :/-]", "_", key, flags=re.ASCII)[:250]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cut(value: str) -> str:
    return value if len(value) <= MAX_VALUE else value[: MAX_VALUE - 1] + "…"


def milliseconds(timestamp: str) -> int:
    """Return an ISO 8601 time as milliseconds since 1970."""
    return int(datetime.fromisoformat(timestamp).timestamp() * 1000)
