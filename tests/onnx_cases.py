"""ONNX graphs built in a test, and what onnxruntime or onnx itself says they compute."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

Arrays = dict[str, npt.NDArray[Any]]


def require_torch() -> Any:
    """Import torch; skip where it is not installed, fail where CI should have installed it."""
    if os.environ.get("CI") and importlib.util.find_spec("torch") is None:
        pytest.fail("torch is not installed, and CI must test the torch runner", pytrace=False)
    return pytest.importorskip(
        "torch", reason="torch is not installed: pip install 'profleet[torch]'"
    )


def graph(
    nodes: Sequence[Any],
    inputs: Arrays,
    outputs: Sequence[str],
    weights: Arrays | None = None,
    opset: int = 17,
    shapes: dict[str, Sequence[int | str] | None] | None = None,
) -> bytes:
    """Serialize a graph; ``shapes`` replaces the declared shape of an input (None: no shape)."""
    declared = {name: list(array.shape) for name, array in inputs.items()} | (shapes or {})
    model = helper.make_model(
        helper.make_graph(
            list(nodes),
            "case",
            [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(array.dtype), declared[name]
                )
                for name, array in inputs.items()
            ],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
    return model.SerializeToString()


def by_onnxruntime(artifact: bytes, inputs: Arrays) -> list[Any]:
    """Outputs according to onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(artifact, options, ["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def by_definition(artifact: bytes, inputs: Arrays) -> list[Any]:
    """Outputs according to the reference evaluator of ONNX itself."""
    from onnx.reference import ReferenceEvaluator

    return list(ReferenceEvaluator(onnx.load_model_from_string(artifact)).run(None, inputs))


def by_torch(artifact: bytes, inputs: Arrays) -> list[Any]:
    """Outputs of the imported torch module."""
    import torch

    from profleet_runner.frameworks.torch_graph import import_graph

    imported = import_graph(artifact)
    with torch.no_grad():
        found = imported.module(*(torch.tensor(inputs[name]) for name in imported.inputs))
    return [tensor.numpy() for tensor in found]


def assert_same(found: list[Any], wanted: list[Any], tolerance: float = 1e-5) -> None:
    """Assert equal number, shapes, data types and (nearly) values."""
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def disagreement(check: Any, outputs: Arrays) -> float:
    """Largest error of a manifest's check, as a runner finds it; 1 is the largest allowed."""
    from profleet_runner.check import check_outputs, compare
    from profleet_runner.protocol import Failure

    plain = check.model_dump(mode="json")
    errors = []
    for name, reference in plain["outputs"].items():
        if list(outputs[name].shape) != reference["shape"]:
            with pytest.raises(Failure, match="has shape"):
                check_outputs(outputs, plain)
            return float("inf")
        allowed = plain["atol"] + plain["rtol"] * reference["abs_max"]
        errors.append(compare(outputs[name], reference, allowed)["max_error"] / allowed)
    return max(errors)


def with_random_weights(model: Any, seed: int = 0) -> Any:
    """Replace the placeholders (ConstantOfShape) of a graph without weights by random weights.

    Scaled so that activations keep their size through the layers and no output saturates.
    """
    rng = np.random.default_rng(seed)
    shapes = {t.name: tuple(numpy_helper.to_array(t)) for t in model.graph.initializer}
    consumer = {
        name: (node.op_type, place)
        for node in model.graph.node
        for place, name in enumerate(node.input)
    }
    kept = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape" or node.input[0] not in shapes:
            kept.append(node)
            continue
        shape, name = shapes[node.input[0]], node.output[0]
        kind, place = consumer.get(name, ("", 0))
        if kind == "BatchNormalization" and place in {1, 4}:
            array = rng.uniform(0.5, 1.0, shape)
        elif len(shape) > 1:
            array = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)
        else:
            array = rng.normal(0, 0.1, shape)
        model.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.ir_version = 8
    return model


__all__ = [
    "Arrays",
    "TensorProto",
    "assert_same",
    "by_definition",
    "by_onnxruntime",
    "by_torch",
    "disagreement",
    "graph",
    "require_torch",
    "with_random_weights",
]
