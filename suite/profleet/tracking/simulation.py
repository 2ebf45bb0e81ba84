"""What MLflow keeps of simulations: a run for each, and one that sums up a sweep."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from profleet.errors import StoreError
from profleet.profile.store import RESULT
from profleet.simulate.results import (
    INVOCATION,
    find_simulations,
    load_invocation,
    load_simulation,
)
from profleet.simulate.schema import InvocationRecord, SimulationResult
from profleet.simulate.study.ratios import STUDY, row_of, summarize_study
from profleet.tracking.record import (
    MAX_VALUE,
    Number,
    RunRecord,
    RunStatus,
    milliseconds,
    numbers_of,
    tag_key,
)
from profleet.tracking.sweep import PRIVATE

STATUS: dict[str, RunStatus] = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
ARTIFACTS = (RESULT, INVOCATION, "report.html", "tables", "plots", "timeline.json")
SUMMARIZED = (
    "latency_p50_ms", "latency_p99_ms", "throughput_rps", "goodput_rps", "utilization",
    "offered_load", "drop_ratio", "cost_per_hour", "power_mean_w",
)  # fmt: skip
"""Metrics that the table of a sweep shows of every simulation."""


def simulation_record(folder: Path) -> RunRecord:
    """Read the result folder of one simulation, of a failed one too.

    Raises:
        StoreError: it is not the folder of a simulation, or a file in it is damaged.
    """
    result, invocation = load_simulation(folder), load_invocation(folder)
    configuration = result.configuration
    tags = {
        "profleet.kind": "simulation",
        "profleet.status": result.status,
        "profleet.verdict": result.verdict,
        "profleet.reason": result.reason,
        "profleet.schema": result.schema_,
        "profleet.behavior": result.behavior,
        "profleet.version": invocation.profleet_version,
        "profleet.sweep": invocation.sweep_id,
        "mlflow.source.name": "profleet simulate",
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": "\n".join(f"- {line}" for line in (*result.reasons, *result.notes)),
    }
    params = dict(flat(configuration)) | {
        f"served.{row.group}.{row.model}": f"{row.count} x {row.stack}" for row in result.fleet
    }
    return RunRecord(
        identity=invocation.run_id,
        name=_name(result, invocation),
        status=STATUS[result.status],
        started_ms=milliseconds(invocation.started_at),
        finished_ms=milliseconds(invocation.finished_at),
        tags={key: value[:MAX_VALUE] for key, value in tags.items() if value},
        params={tag_key(key): value[:MAX_VALUE] for key, value in params.items()},
        numbers=[number._replace(key=tag_key(number.key)) for number in numbers_of(result.metrics)],
        texts=overrides_of(invocation),
        files=[(folder / name, name) for name in ARTIFACTS if (folder / name).exists()],
    )


def sweep_of_simulations(root: Path) -> RunRecord:
    """Read all simulations below a folder.

    Raises:
        StoreError: there is none, or one is damaged.
    """
    folders = list(find_simulations(root))
    if not folders:
        raise StoreError(f"{root} holds no simulation: there is nothing to sum up.")
    found = [(load_simulation(folder), load_invocation(folder)) for folder in folders]
    counts = Counter(result.status for result, _ in found)
    verdicts = Counter(result.verdict for result, _ in found if result.verdict)
    rows = [_row(result, invocation) for result, invocation in found]
    sweep = next((each.sweep_id for _, each in found if each.sweep_id), root.name)
    first = found[0][1].run_id
    study = summarize_study(result for result, _ in found)
    studied = [] if study is None else numbers_of(study.metrics)
    ratios = {} if study is None else {"tables/study.json": [row_of(each) for each in study.rows]}
    return RunRecord(
        identity=f"simulations:{first}",
        name=f"sweep-{sweep}",
        status="FAILED" if counts["failed"] else "KILLED" if counts["interrupted"] else "FINISHED",
        started_ms=min(milliseconds(each.started_at) for _, each in found),
        finished_ms=max(milliseconds(each.finished_at) for _, each in found),
        tags={
            "profleet.kind": "simulations",
            "profleet.sweep": sweep,
            "profleet.status": ", ".join(f"{n} {name}" for name, n in sorted(counts.items())),
            "profleet.verdict": ", ".join(f"{n} {name}" for name, n in sorted(verdicts.items())),
            "mlflow.source.name": "profleet simulate",
            "mlflow.source.type": "LOCAL",
        },
        params={"simulations": str(len(found))},
        numbers=[Number(f"sweep_{name}", float(n), 0) for name, n in sorted(counts.items())]
        + [number._replace(key=tag_key(number.key)) for number in studied],
        tables={"tables/simulations.json": rows, **ratios},
        files=[
            (root / name, name)
            for name in ("report.html", "plots", STUDY)
            if (root / name).exists()
        ],
        revision=hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
    )


def _name(result: SimulationResult, invocation: InvocationRecord) -> str:
    parts = [
        str(result.configuration.get(key, {}).get("kind", "")) for key in ("workload", "router")
    ]
    fleet = "+".join(dict.fromkeys(row.group for row in result.fleet))
    return "-".join(filter(None, (fleet[:60], *parts))) or f"simulation-{invocation.run_id[:8]}"


def _row(result: SimulationResult, invocation: InvocationRecord) -> dict[str, Any]:
    metrics = {
        name: result.metrics[name].value if name in result.metrics else None for name in SUMMARIZED
    }
    return {
        "overrides": " ".join(_public(invocation)),
        "status": result.status,
        "verdict": result.verdict,
        **metrics,
        "reason": result.reason,
        "run_id": invocation.run_id,
    }


def _public(invocation: InvocationRecord) -> list[str]:
    return [word for word in invocation.overrides if not PRIVATE.match(word)]


def overrides_of(invocation: InvocationRecord) -> dict[str, str]:
    """Return a file with the overrides of the command that others may read, if there are any."""
    words = _public(invocation)
    return {"overrides.txt": "\n".join(words) + "\n"} if words else {}


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten a configuration into parameters; lists become JSON."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif value is not None and value not in ("", []):
            found[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return found
