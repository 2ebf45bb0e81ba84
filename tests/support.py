"""Synthetic but realistic records: what a runner would have measured, from a seeded generator."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from profleet.profile.samples import COLUMNS, IDLE, SCENARIO, STEADY, WARMUP, Samples
from profleet.profile.schema import Measurement, Profile, StackRef
from profleet.profile.statistics import CONFIDENCE
from profleet.profile.store import Result, metrics_of, write_json, write_profile, write_result
from profleet.profile.summary import status_of, summarize

STARTED_AT, FINISHED_AT = "2026-01-02T03:04:05+00:00", "2026-01-02T03:05:06+00:00"
LOCK = {"schema": "profleet/lock/v1", "manifests": {}, "packages": {"onnxruntime": "1.23.0"}}


@dataclass(frozen=True)
class Synthetic:
    """What to make up: ``base_ms + slope_ms * batch``, lognormal noise, offsets by process."""

    model: str = "squeezenet"
    framework: str = "onnxruntime"
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8)
    processes: int = 5
    samples: int = 140
    idle_gaps_ms: tuple[float, ...] = (5.0, 20.0, 50.0)
    idle_samples: int = 32
    base_ms: float = 1.5
    slope_ms: float = 3.2
    noise: float = 0.03
    between: float = 0.015
    scenario: str = "sweep"
    unstable: tuple[int, ...] = ()
    seed: int = 0

    @property
    def run_id(self) -> str:
        return hashlib.md5(repr(self).encode()).hexdigest()

    @property
    def run_key(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()

    @property
    def stack(self) -> StackRef:
        return StackRef(
            model=f"{self.model}@1.0.0",
            framework=f"{self.framework}@1.0.0",
            hardware="local@1.0.0",
        )


def make_samples(what: Synthetic = Synthetic()) -> Samples:
    """Samples of every phase, in the order in which a runner would take them."""
    random = np.random.default_rng(what.seed)
    rows: list[tuple[int, int, int, float, int]] = []
    for process in range(what.processes):
        offset = 1 + what.between * random.standard_normal()

        def latencies(batch: int, count: int, factor: float = 1.0, offset: float = offset) -> Any:
            typical = (what.base_ms + what.slope_ms * batch) * offset * factor
            noise = random.lognormal(0, what.noise, count) + 0.3 * (random.random(count) > 0.99)
            return (typical * noise * 1e6).astype(np.int64)

        if what.scenario != "sweep":
            batch = what.batch_sizes[0]
            rows += [(SCENARIO, batch, process, 0.0, v) for v in latencies(batch, what.samples)]
            continue
        for batch in what.batch_sizes:
            rows += [(WARMUP, batch, process, 0.0, v) for v in latencies(batch, 8, 1.4)]
            rows += [(STEADY, batch, process, 0.0, v) for v in latencies(batch, what.samples)]
        batch = what.batch_sizes[0]
        for gap in what.idle_gaps_ms:
            slower = latencies(batch, what.idle_samples, 1 + 0.08 * np.log1p(gap))
            rows += [(IDLE, batch, process, gap, v) for v in slower]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    phase, batch_size, process_, gap_ms, latency_ns = columns
    values = {
        "phase": phase, "batch_size": batch_size, "process": process_, "gap_ms": gap_ms,
        "start_ns": np.cumsum(latency_ns) - latency_ns, "latency_ns": latency_ns,
    }  # fmt: skip
    return Samples(**{name: values[name].astype(dtype) for name, dtype in COLUMNS.items()})


def make_measurement(what: Synthetic = Synthetic()) -> Measurement:
    """The record that belongs to ``make_samples`` of the same arguments."""
    random = np.random.default_rng(what.seed + 1)
    sweep = what.scenario == "sweep"
    first = what.batch_sizes[0]
    cold = [
        {
            "process": process,
            "start_s": 0.12 + 0.01 * random.random(),
            "import_s": 0.35 + 0.02 * random.random(),
            "load_s": 0.004 + 0.001 * random.random(),
            "init_s": 0.05 + 0.01 * random.random(),
            "first_run_s": 0.02 + 0.005 * random.random(),
            "first_run_batch": first,
        }
        for process in range(what.processes)
    ]
    document = {
        "schema": "profleet/measurement/v1",
        "run_id": what.run_id,
        "runner": {"name": "profleet_runner", "version": "0.1.0", "python": "3.11.7"},
        "framework": {
            "name": what.framework,
            "accelerator": "cpu",
            "device": "CPU",
            "packages": {what.framework: "1.23.0", "numpy": "2.3.0"},
            "options": {"graph_optimization": "all"},
            "threads": {"intra_op": {"value": 2}, "inter_op": {"value": 1}},
        },
        "started_at": STARTED_AT,
        "finished_at": FINISHED_AT,
        "cold_start": cold,
        "points": [_point(what, batch) for batch in what.batch_sizes] if sweep else [],
        "check": {
            "status": "passed",
            "seed": 1,
            "batch": 2,
            "outputs": {
                "softmaxout_1": {
                    "bit_identical": False,
                    "max_error": 1.2e-7,
                    "allowed_error": 1e-4,
                    "passed": True,
                }
            },
        },
        "scenario": None if sweep else _scenario(what),
        "settings": {"processes": what.processes, "min_samples": what.samples, "seed": what.seed},
    }
    return Measurement.model_validate(document)


def _point(what: Synthetic, batch: int) -> dict[str, Any]:
    unstable = batch in what.unstable
    return {
        "batch_size": batch,
        "status": "unstable" if unstable else "steady",
        "reasons": ["The budget of 20 s ended before the interval was narrow."] if unstable else [],
        "processes": what.processes,
        "warm_up": [
            {"process": process, "runs": 8, "seconds": 0.1, "steady": True}
            for process in range(what.processes)
        ],
        "input_bytes": batch * 602112,
        "output_bytes": batch * 4000,
        "host_to_device_ms": {"unavailable": "the device is the host"},
        "device_to_host_ms": {"unavailable": "the device is the host"},
        "peak_rss_bytes": {"value": 110_000_000 + batch * 6_000_000},
        "peak_rss_shared": batch != what.batch_sizes[0],
        "peak_device_bytes": {"unavailable": "the device is the host"},
        "energy_j": {"unavailable": "no RAPL domain is readable"},
        "energy_source": None,
    }


def _scenario(what: Synthetic) -> dict[str, Any]:
    return {
        "kind": what.scenario,
        "valid": True,
        "reasons": [],
        "batch_size": what.batch_sizes[0],
        "settings": {"target_rps": 50.0, "seeds": {"qsl": 1, "sample_index": 2, "schedule": 3}},
        "summary": {"Result is": "VALID"}
        | ({"Samples per second": 88.5} if what.scenario == "offline" else {}),
        "summary_text": "Result is : VALID\n",
        "probes": [],
        "peak_rps": 61.5 if what.scenario == "find_peak" else None,
    }


def make_profile(what: Synthetic = Synthetic()) -> tuple[Profile, Samples]:
    """The finished profile and its samples."""
    measurement, samples = make_measurement(what), make_samples(what)
    summary = summarize(measurement, samples)
    profile = Profile(
        schema="profleet/profile/v1",
        run_id=what.run_id,
        run_key=what.run_key,
        lock_sha256=hashlib.sha256(json.dumps(LOCK).encode()).hexdigest(),
        profleet_version="0.1.0",
        executor="process",
        stack=what.stack,
        status=status_of(measurement),
        measurement=measurement,
        confidence=CONFIDENCE,
        **summary._asdict(),
    )
    return profile, samples


def make_profile_dir(
    path: Path,
    *,
    status: str = "finished",
    reason: str | None = None,
    hint: str | None = None,
    error_kind: str | None = None,
    sweep_id: str | None = None,
    suite: str | None = None,
    **what: Any,
) -> Path:
    """Write a complete result folder and return it; further arguments as ``Synthetic``.

    ``job.json``, ``lock.json`` and ``result.json`` always; ``profile.json``, ``samples.parquet``
    and ``environment.json`` when the status is ``finished``.
    """
    synthetic = Synthetic(**what)
    finished = status == "finished"
    write_json(path / "job.json", _job(synthetic))
    write_json(path / "lock.json", LOCK)
    metrics = {}
    if finished:
        profile, samples = make_profile(synthetic)
        fields = {
            "cpu_model": {"value": "Example CPU"},
            "physical_cores": {"value": 2},
            "load_average": {"value": [0.1, 0.1, 0.1]},
            "governor": {"unavailable": "no cpufreq"},
        }
        write_profile(path, profile, samples, {"before": fields, "after": fields})
        metrics = metrics_of(profile)
    names = {
        "job": "job.json", "lock": "lock.json", "profile": "profile.json",
        "samples": "samples.parquet", "environment": "environment.json",
    }  # fmt: skip
    write_result(
        path,
        Result(
            schema="profleet/result/v1",
            status=status,  # type: ignore[arg-type]
            reason=reason if finished or reason else "The framework raised an error.",
            hint=hint,
            error_kind=error_kind if finished or error_kind else "framework",
            run_id=synthetic.run_id,
            run_key=synthetic.run_key,
            stack=synthetic.stack,
            sweep_id=sweep_id,
            suite=suite,
            metrics=metrics,
            paths={name: file for name, file in names.items() if (path / file).exists()},
            started_at=STARTED_AT,
            finished_at=FINISHED_AT,
        ),
    )
    return path


def _job(what: Synthetic) -> dict[str, Any]:
    scenario: dict[str, Any] = {"kind": what.scenario}
    if what.scenario != "sweep":
        scenario |= {"target_rps": 50.0, "seeds": {"qsl": 1, "sample_index": 2, "schedule": 3}}
    return {
        "schema": "profleet/job/v1",
        "run_id": what.run_id,
        "run_key": what.run_key,
        "model": {
            "name": what.model,
            "version": "1.0.0",
            "artifact": {
                "path": "artifact/model.onnx",
                "format": "onnx",
                "sha256": "0" * 64,
                "bytes": 4956208,
            },
            "inputs": [],
            "outputs": [],
            "check": {},
        },
        "framework": {
            "name": what.framework,
            "version": "1.0.0",
            "runner": what.framework,
            "accelerator": "cpu",
            "packages": {what.framework: ">=1"},
            "options": {"graph_optimization": "all"},
        },
        "batch_sizes": list(what.batch_sizes),
        "measure": {
            "processes": what.processes,
            "min_seconds": 2.0,
            "min_samples": what.samples,
            "max_samples": 20000,
            "target_interval": 0.02,
            "budget_seconds": 300.0,
            "warmup_max_seconds": 5.0,
            "idle_gaps_ms": list(what.idle_gaps_ms),
            "idle_samples": what.idle_samples,
            "copy_samples": 20,
            "intra_op_threads": None,
            "inter_op_threads": 1,
            "cpus": None,
            "seed": what.seed,
        },
        "scenario": scenario,
    }
