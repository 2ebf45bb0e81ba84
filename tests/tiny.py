"""A tiny real network with its manifest: what tests execute when any network will do."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper


def network(width: int = 32, layers: int = 2, seed: int = 0) -> onnx.ModelProto:
    """A perceptron [batch, width] -> [batch, width] with seeded weights."""
    random = np.random.RandomState(seed)
    nodes, weights, last = [], [], "x"
    for layer in range(layers):
        weight = random.standard_normal((width, width)).astype(np.float32) / np.sqrt(width)
        weights.append(numpy_helper.from_array(weight.astype(np.float32), f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], [f"m{layer}"]))
        last = "y" if layer == layers - 1 else f"r{layer}"
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [last]))
    shape = ["batch", width]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def workspace(root: Path, *, name: str = "tiny", width: int = 32, layers: int = 2) -> Path:
    """Write ``root/manifests/model/NAME@1.0.0.yaml`` and its network; return ``root/manifests``."""
    from profleet.manifest.documents import Model
    from profleet.model.reference import reference_check

    folder = root / "manifests" / "model"
    folder.mkdir(parents=True, exist_ok=True)
    artifact = folder / f"{name}.onnx"
    artifact.write_bytes(network(width, layers).SerializeToString(deterministic=True))
    digest = hashlib.sha256(artifact.read_bytes()).hexdigest()
    placeholder = {
        "shape": [2, width], "sha256": "0" * 64, "positions": [0], "values": [0.0],
        "mean": 0.0, "std": 0.0, "abs_max": 0.0,
    }  # fmt: skip
    document: dict[str, Any] = {
        "schema": "profleet/model/v1",
        "name": name,
        "version": "1.0.0",
        "description": "A perceptron for tests.",
        "task": "test",
        "license": {"id": "CC0-1.0", "source": "made by the test"},
        "provenance": {"source": "made by the test"},
        "source": {"kind": "file", "path": artifact.name, "sha256": digest},
        "artifact": {"format": "onnx", "sha256": digest, "bytes": artifact.stat().st_size},
        "inputs": [
            {
                "name": "x", "dtype": "float32", "shape": ["batch", width],
                "values": {"kind": "uniform", "low": 0.0, "high": 1.0},
            }
        ],
        "outputs": [{"name": "y", "dtype": "float32", "shape": ["batch", width]}],
        "frameworks": ["onnxruntime", "openvino", "torch"],
        "check": {
            "seed": 1, "batch": 2, "producer": "placeholder", "rtol": 1e-4, "atol": 1e-6,
            "outputs": {"y": placeholder},
        },
    }  # fmt: skip
    model = Model.model_validate(document, strict=False)
    check = reference_check(artifact, model, 1, 2)
    dumped = check.model_dump(mode="json")
    document["check"] = {**dumped, "rtol": 1e-4, "atol": 1e-6}
    path = folder / f"{name}@1.0.0.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    return root / "manifests"
