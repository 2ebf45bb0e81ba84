"""Small valid manifests as plain values, to be changed and written by tests."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

COMMON: dict[str, Any] = {
    "version": "1.0.0",
    "description": "Made for a test. It is small.",
    "provenance": {"source": "made by the test"},
}
LICENSE = {"id": "CC0-1.0", "source": "made by the test"}
FRAMEWORK = {
    "schema": "profleet/framework/v1", "name": "engine", **COMMON, "license": LICENSE,
    "runner": "engine", "accelerator": "cpu", "packages": {"pyyaml": ">=5,<99"},
    "options": {"fast": True, "level": 3},
}  # fmt: skip
HARDWARE = {
    "schema": "profleet/hardware/v1", "name": "box", **COMMON, "kind": "measured",
    "detect": "local",
}  # fmt: skip
MODEL = {
    "schema": "profleet/model/v1", "name": "net", **COMMON, "task": "test", "license": LICENSE,
    "source": {"kind": "file", "path": "net.onnx", "sha256": "1" * 64},
    "artifact": {"sha256": "2" * 64, "bytes": 10},
    "inputs": [
        {
            "name": "x", "dtype": "float32", "shape": ["batch", 4],
            "values": {"kind": "uniform", "low": 0, "high": 1.5},
        }
    ],
    "outputs": [{"name": "y", "dtype": "float32", "shape": ["batch", "dynamic"]}],
    "frameworks": ["engine"],
    "check": {
        "seed": 1, "batch": 2, "producer": "test", "rtol": 1e-3, "atol": 1e-6,
        "outputs": {
            "y/out.0": {
                "shape": [2, 4], "sha256": "3" * 64, "positions": [0], "values": [0.5],
                "mean": 0.5, "std": 0.1, "abs_max": 1,
            }
        },
    },
}  # fmt: skip
SUITE = {
    "schema": "profleet/suite/v1", "name": "both", **COMMON,
    "stacks": [{"models": ["net@1"], "frameworks": ["engine@1"], "hardware": ["box@1"]}],
}  # fmt: skip
ALL: dict[str, dict[str, Any]] = {
    "model": MODEL, "framework": FRAMEWORK, "hardware": HARDWARE, "suite": SUITE,
}  # fmt: skip


def changed(document: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """Return a copy with ``value`` at ``path``; ``...`` takes the key away."""
    result = copy.deepcopy(document)
    here: Any = result
    for part in path[:-1]:
        here = here[part]
    if value is ...:
        del here[path[-1]]
    else:
        here[path[-1]] = value
    return result


def write(folder: Path, document: dict[str, Any], **keys: Any) -> Path:
    """Write a manifest where a library looks for it; ``keys`` replace top-level ones."""
    document = {**document, **keys}
    kind = document["schema"].split("/")[1]
    path = folder / kind / f"{document['name']}@{document['version']}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    return path
