"""Jobs for runners: a tiny network with the reference of its outputs, in a folder of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tiny

WIDTH = 16


def job(**measure: Any) -> dict[str, Any]:
    """A job that takes a second or two; ``measure`` overrides its settings."""
    artifact = tiny.network(WIDTH).SerializeToString(deterministic=True)
    return {
        "schema": "profleet/job/v1",
        "run_id": "run-1",
        "run_key": "key-1",
        "model": {
            "name": "tiny",
            "version": "1.0.0",
            "artifact": {
                "path": "artifact/model.onnx",
                "format": "onnx",
                "sha256": hashlib.sha256(artifact).hexdigest(),
                "bytes": len(artifact),
            },
            "inputs": [
                {
                    "name": "x",
                    "dtype": "float32",
                    "shape": ["batch", WIDTH],
                    "values": {"kind": "uniform", "low": 0.0, "high": 1.0, "value": None},
                }
            ],
            "outputs": [{"name": "y", "dtype": "float32", "shape": ["batch", WIDTH]}],
            "check": _check(artifact),
        },
        "framework": {
            "name": "onnxruntime",
            "version": "1.0.0",
            "runner": "onnxruntime",
            "accelerator": "cpu",
            "packages": {"onnxruntime": ">=1.17"},
            "options": {},
        },
        "batch_sizes": [1, 3],
        "measure": {
            "processes": 2,
            "min_seconds": 0.05,
            "min_samples": 20,
            "max_samples": 500,
            "target_interval": 0.2,
            "budget_seconds": 20.0,
            "warmup_max_seconds": 0.2,
            "idle_gaps_ms": [1.0, 2.0],
            "idle_samples": 3,
            "copy_samples": 2,
            "intra_op_threads": 1,
            "inter_op_threads": 1,
            "cpus": None,
            "seed": 0,
            **measure,
        },
        "memory_limit_bytes": None,
        "scenario": {"kind": "sweep"},
    }


def _check(artifact: bytes) -> dict[str, Any]:
    import onnxruntime

    from profleet_runner.inputs import draw

    inputs = [
        {
            "name": "x",
            "dtype": "float32",
            "shape": ["batch", WIDTH],
            "values": {"kind": "uniform", "low": 0.0, "high": 1.0},
        }
    ]
    (y,) = onnxruntime.InferenceSession(artifact).run(None, draw(inputs, 2, 1))
    wide = y.astype(np.float64)
    positions = [0, 5, y.size - 1]
    reference = {
        "shape": list(y.shape),
        "sha256": hashlib.sha256(y.tobytes()).hexdigest(),
        "positions": positions,
        "values": wide.reshape(-1)[positions].tolist(),
        "mean": float(wide.mean()),
        "std": float(wide.std()),
        "abs_max": float(np.abs(wide).max()),
    }
    return {
        "seed": 1,
        "batch": 2,
        "producer": "onnxruntime",
        "rtol": 1e-4,
        "atol": 1e-6,
        "outputs": {"y": reference},
    }


def write_job(
    folder: Path, change: Callable[[dict[str, Any]], Any] | None = None, **measure: Any
) -> dict[str, Any]:
    """Write ``job.json`` and the artifact into ``folder``; ``change`` may edit the job before."""
    document = job(**measure)
    if change is not None:
        change(document)
    (folder / "artifact").mkdir(parents=True)
    artifact = tiny.network(WIDTH).SerializeToString(deterministic=True)
    (folder / "artifact" / "model.onnx").write_bytes(artifact)
    (folder / "job.json").write_text(json.dumps(document), "utf-8")
    return document
