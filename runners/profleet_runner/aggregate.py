"""From what each process measured to one ``profile.json`` and one ``samples.npz``."""

from __future__ import annotations

import io
import json
import platform
import statistics
from pathlib import Path
from typing import Any

from profleet_runner import __version__
from profleet_runner.job import Job
from profleet_runner.protocol import PROCESSES, write_atomically
from profleet_runner.resources import reading, reading_of, unavailable

MEASUREMENT_SCHEMA = "profleet/measurement/v1"

Result = dict[str, Any]
"""What a worker left in ``processes/NUMBER.json``."""


def read_results(job: Job) -> list[Result]:
    """Read what the workers left, in order of process."""
    folder = job.folder / PROCESSES
    return [
        json.loads((folder / f"{number}.json").read_text("utf-8"))
        for number in range(job.processes)
    ]


def write_samples(job: Job, path: Path) -> None:
    """Put the samples of all processes behind one another.

    Raises:
        Failure: kind ``storage``.
    """
    import numpy as np

    from profleet_runner.measure import stack

    parts = []
    for number in range(job.processes):
        with np.load(job.folder / PROCESSES / f"{number}.npz", allow_pickle=False) as columns:
            parts.append(dict(columns))
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **stack(parts))
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def measurement(
    job: Job, results: list[Result], packages: dict[str, str], started_at: str, finished_at: str
) -> dict[str, Any]:
    """Return ``profile.json``: schema ``profleet/measurement/v1``."""
    first = results[0]
    threads, mismatch = _threads(results)
    return {
        "schema": MEASUREMENT_SCHEMA,
        "run_id": job.run_id,
        "runner": {
            "name": "profleet_runner",
            "version": __version__,
            "python": platform.python_version(),
        },
        "framework": {
            "name": job.framework.name,
            "accelerator": job.framework.accelerator,
            "device": first["framework"]["device"],
            "packages": packages,
            "options": first["framework"]["options"],
            "threads": threads,
        },
        "started_at": started_at,
        "finished_at": finished_at,
        "cold_start": [result["cold_start"] for result in results],
        "points": _points(job, results, mismatch),
        "check": first["check"],
        "scenario": first["scenario"],
        "settings": {
            **job.measure.document(),
            "processes": job.processes,
            "batch_sizes": job.batch_sizes,
            "memory_limit_bytes": job.memory_limit_bytes,
            "effective_intra_op_threads": first["framework"]["requested"]["intra_op"],
        },
    }


def _threads(results: list[Result]) -> tuple[dict[str, Any], list[str]]:
    """Readings of the first process' threads, and where any process has others than asked for."""
    readings: dict[str, Any] = {}
    others: dict[str, list[int]] = {}
    for number, result in enumerate(results):
        for name, requested in result["framework"]["requested"].items():
            effective = result["framework"]["threads"].get(name, "the framework does not tell")
            readings.setdefault(name, reading_of(effective))
            readings.setdefault(f"requested_{name}", reading(requested))
            if isinstance(effective, int) and effective != requested:
                kind = name.replace("_", "-")
                said = f"{requested} {kind} threads were requested, {effective} are in effect"
                others.setdefault(said, []).append(number)
    mismatch = []
    for said, numbers in others.items():
        where = "" if len(numbers) == len(results) else f" in process {str(numbers)[1:-1]}"
        mismatch.append(f"{said}{where}.")
    return readings, mismatch


def _points(job: Job, results: list[Result], mismatch: list[str]) -> list[dict[str, Any]]:
    if job.scenario["kind"] != "sweep":
        return []
    points = []
    for batch_size in job.batch_sizes:
        parts = [
            part
            for result in results
            for part in result["points"]
            if part["batch_size"] == batch_size
        ]
        points.append(_point(batch_size, parts, job.measure.target_interval, mismatch))
    return points


def _point(
    batch_size: int, parts: list[dict[str, Any]], target: float, mismatch: list[str]
) -> dict[str, Any]:
    reasons = [
        f"Process {part['warm_up']['process']}: {reason}."
        for part in parts
        for reason in part["reasons"]
    ]
    reasons += [*_spread([part["median_ns"] for part in parts], target), *mismatch]
    clean = [part for part in parts if part["peak_rss_clean"]]
    to_device, to_host = _copies([part["copies"] for part in parts])
    return {
        "batch_size": batch_size,
        "status": "unstable" if reasons else "steady",
        "reasons": reasons,
        "processes": len(parts),
        "warm_up": [part["warm_up"] for part in parts],
        "input_bytes": parts[0]["input_bytes"],
        "output_bytes": parts[0]["output_bytes"],
        "host_to_device_ms": to_device,
        "device_to_host_ms": to_host,
        "peak_rss_bytes": _largest([part["peak_rss_bytes"] for part in clean or parts]),
        "peak_rss_shared": not clean,
        "peak_device_bytes": _largest([part["peak_device_bytes"] for part in clean or parts]),
        "energy_j": _energy(parts),
        "energy_source": parts[0]["energy_source"],
    }


def _spread(medians: list[float], target: float) -> list[str]:
    """Say how far the processes are apart, when that is beyond the target."""
    half = (max(medians) - min(medians)) / 2 / statistics.median(medians)
    if half <= target:
        return []
    said = (
        f"The medians of the {len(medians)} processes lie within ±{half:.1%} of one another "
        f"(target ±{target:.1%}): {min(medians) / 1e6:.4g} to {max(medians) / 1e6:.4g} ms."
    )
    return [said]


def _copies(parts: list[list[list[float]] | str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Medians over the copies of all processes, milliseconds."""
    taken = [seconds for part in parts if not isinstance(part, str) for seconds in part]
    if not taken:
        reason = next((part for part in parts if isinstance(part, str)), "no copy was timed")
        return unavailable(reason), unavailable(reason)
    to_device, to_host = (statistics.median(column) * 1e3 for column in zip(*taken, strict=True))
    return reading(to_device), reading(to_host)


def _largest(readings: list[dict[str, Any]]) -> dict[str, Any]:
    values = [one["value"] for one in readings if "value" in one]
    return reading(max(values)) if values else readings[0]


def _energy(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Energy per batch over all processes, each weighted by its samples."""
    known = [part for part in parts if "value" in part["energy_j"]]
    if not known:
        first: dict[str, Any] = parts[0]["energy_j"]
        return first
    samples = sum(part["samples"] for part in known)
    return reading(sum(part["energy_j"]["value"] * part["samples"] for part in known) / samples)
