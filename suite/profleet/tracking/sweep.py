"""The summary run of a sweep: every job, the best values by model, and the comparison."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import yaml

from profleet import __version__
from profleet.errors import StoreError
from profleet.profile.schema import Profile, name_of
from profleet.profile.store import Result, find_results, load_profile, load_result, source_of
from profleet.tracking.record import Number, RunRecord, RunStatus, identity_of, milliseconds
from profleet.tracking.rows import Row

BEST: dict[str, Callable[[Sequence[tuple[float, str]]], tuple[float, str]]] = {
    "latency_p50_ms": min,
    "throughput_rps": max,
    "peak_rps": max,
    "cold_start_s": min,
}
"""Metric -> which of its values is the best."""

PRIVATE = re.compile(r"[+~]*((tracking|hydra|store|manifests)\b|executor\.)")
"""Overrides that may name servers, passwords and folders of this machine."""


def sweep_record(folder: Path) -> RunRecord:
    """Read all results below ``folder``.

    Raises:
        StoreError: there is none, or one is damaged.
    """
    found = [(path, load_result(path)) for path in find_results(folder)]
    if not found:
        raise StoreError(f"{folder} holds no result: there is nothing to summarize.")
    results = [result for _, result in found]
    sweep = next((result.sweep_id for result in results if result.sweep_id), folder.name)
    suite = next((result.suite for result in results if result.suite), None)
    counts = Counter[str](result.status for result in results)
    best = dict(_best(results))
    rows = [_row(result) for result in results]
    tags = {
        "profleet.kind": "sweep",
        "profleet.sweep": sweep,
        "profleet.suite": suite,
        "profleet.version": __version__,
        "profleet.schema": results[0].schema_,
        "profleet.status": ", ".join(f"{counts[status]} {status}" for status in sorted(counts)),
        "mlflow.source.name": "profleet run",
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": _note(results, best),
    }
    params = {
        "models": ", ".join(sorted({result.stack.model for result in results})),
        "frameworks": ", ".join(sorted({result.stack.framework for result in results})),
        "jobs": str(len(results)),
        **{f"best_{key}": where for key, (_, where) in best.items()},
    }
    numbers = [
        *(Number(f"sweep_jobs_{status}", float(count), 0) for status, count in counts.items()),
        *(Number(f"sweep_best_{key}", value, 0) for key, (value, _) in best.items()),
    ]
    content = json.dumps([rows, params, sorted(counts.items())], sort_keys=True)
    return RunRecord(
        identity=f"sweep:{re.sub(r'[^A-Za-z0-9_.:/-]', '_', sweep)}:{_digest(found)}",
        name=f"sweep-{sweep.replace('/', '-')}",
        status=_status(counts),
        started_ms=min(milliseconds(result.started_at) for result in results),
        finished_ms=max(milliseconds(result.finished_at) for result in results),
        tags={key: value for key, value in tags.items() if value},
        params={key[:250]: value[:6000] for key, value in params.items()},
        numbers=numbers,
        tables={"tables/jobs.json": rows},
        texts=_overrides(folder / "multirun.yaml"),
        files=[(folder / "plots", "plots")] if (folder / "plots").is_dir() else [],
        draw=_drawing(found, folder),
        revision=hashlib.sha256(content.encode()).hexdigest(),
    )


def _digest(found: Sequence[tuple[Path, Result]]) -> str:
    """Tell sweeps of the same name apart, by the first run that is this sweep's own.

    The jobs of a sweep may change and come later, the first does not. A sweep that only reuses
    earlier runs is known by all of them.
    """
    own = [
        identity_of(result)
        for path, result in found
        if source_of(path, result) in {path, path.absolute()}
    ]
    known = own[:1] or [identity_of(result) for _, result in found]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def _overrides(multirun: Path) -> dict[str, str]:
    """Return what the user chose on the command line, but nothing of this machine.

    Hydra's own file holds the whole configuration, with the tracking server and its password.
    """
    try:
        content = yaml.safe_load(multirun.read_text("utf-8"))
        words = [str(word) for word in content["hydra"]["overrides"]["task"]]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return {}
    kept = [word for word in words if not PRIVATE.match(word)]
    return {"overrides.txt": "\n".join(kept) + "\n"} if kept else {}


def _status(counts: Counter[str]) -> RunStatus:
    if counts["interrupted"]:
        return "KILLED"
    return "FAILED" if counts["failed"] else "FINISHED"


def _best(results: Sequence[Result]) -> Iterator[tuple[str, tuple[float, str]]]:
    """Yield ``metric.model`` with its best value and where it was found; models do not compete."""
    values: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for result in results:
        model = name_of(result.stack.model)
        for name, metric in result.metrics.items():
            base, _, condition = name.partition("/")
            if base in BEST:
                contained = result.executor if result.image else ""
                parts = (result.stack.framework, contained, condition)
                where = " ".join(part for part in parts if part)
                values.setdefault((base, model), []).append((metric.value, where))
    for (base, model), candidates in sorted(values.items()):
        yield f"{base}.{re.sub(r'[^A-Za-z0-9_. -]', '_', model)}", BEST[base](candidates)


def _row(result: Result) -> Row:
    row: Row = {
        "model": result.stack.model,
        "framework": result.stack.framework,
        "hardware": result.stack.hardware,
        "executor": result.executor,
        "status": result.status,
        "reason": result.reason,
    }
    for base, best in BEST.items():
        values = [
            (metric.value, name.partition("/")[2])
            for name, metric in result.metrics.items()
            if name.partition("/")[0] == base
        ]
        value, condition = best(values) if values else (None, "")
        row[base] = value
        if base in {"latency_p50_ms", "throughput_rps"}:
            row[f"{base}_at"] = condition
    return row | {"run_id": identity_of(result)}


def _note(results: Sequence[Result], best: dict[str, tuple[float, str]]) -> str:
    lines = [f"- best {key}: {value:.4g} ({where})" for key, (value, where) in best.items()]
    lines += [
        f"- {result.stack.model} · {result.stack.framework}: {result.status}: {result.reason}"
        for result in results
        if result.status != "finished"
    ]
    return "\n".join(lines)[:6000]


def _drawing(found: Sequence[tuple[Path, Result]], folder: Path) -> Callable[[Path], object] | None:
    sources = [source_of(path, result) for path, result in found if result.status == "finished"]
    if (folder / "plots").is_dir() or len(sources) < 2:
        return None

    def draw(target: Path) -> None:
        from profleet.report.plots import write_comparison

        profiles: list[Profile] = [load_profile(source) for source in sources]
        write_comparison(profiles, target)

    return draw
