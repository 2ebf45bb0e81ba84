"""Give a graph without weights seeded ones, so that it computes with ordinary numbers.

The graphs that ship inside the ``onnx`` package had their large weights replaced by ConstantOfShape
nodes, all 0.02. Equal weights make every channel equal, and the few small tensors that kept trained
values do not fit the rest; so every weight, large or small, is drawn here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx
from onnx import numpy_helper

from profleet.errors import ArtifactError
from profleet.model.graph import attribute, consumers, initialize, real_inputs_only
from profleet.model.weights import BIAS, RESIDUAL_GAIN, SHIFT, VARIANCE, Uniform, draw, scale

Readers = dict[str, list[tuple[onnx.NodeProto, int]]]

POOLED_GAIN = 0.6  # of a layer after max pooling, which raises the second moment 2 to 3 times
TRANSPARENT = frozenset(
    {"Add", "BatchNormalization", "Concat", "Dropout", "Mul", "Reshape", "Transpose"}
)  # fmt: skip -- what may stand between a layer and its ReLU


def seeded_weights(model: onnx.ModelProto, seed: int) -> None:
    """Replace every float weight by a seeded one, in place.

    Layers feeding a ReLU get He scaling by fan-in, others keep the variance; normalization gets
    scales near 1, small shifts and positive variances. Integer constants (shapes) stay.

    Raises:
        ArtifactError: a weight feeds an operator this transform has no rule for.
    """
    graph = model.graph
    shapes = {one.name: tuple(one.dims) for one in graph.initializer if _is_float(one)}
    placeholders = dict(_placeholders(graph))
    shapes.update(placeholders)
    rules = _Rules(graph)
    ranges = {
        name: rules.values(name, shapes[name]) for name in sorted(shapes) if rules.reads(name)
    }
    nodes = [node for node in graph.node if node.output[0] not in placeholders]
    read = {name for node in nodes for name in node.input}
    kept = [one for one in graph.initializer if not _is_float(one) and one.name in read]
    real = {one.name for one in graph.initializer}
    inputs = [one for one in graph.input if one.name not in real]
    for field, content in (("input", inputs), ("node", nodes), ("initializer", kept)):
        copies = [type(one).FromString(one.SerializeToString()) for one in content]
        del getattr(graph, field)[:]
        getattr(graph, field).extend(copies)
    for name, values in ranges.items():
        initialize(graph, name, draw(seed, name, shapes[name], values))
    real_inputs_only(model)


def _is_float(one: onnx.TensorProto) -> bool:
    return bool(one.data_type == onnx.TensorProto.FLOAT)


def _placeholders(graph: onnx.GraphProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield (output, shape) of every float ConstantOfShape node with a stored shape."""
    stored = {one.name: one for one in graph.initializer}
    for node in graph.node:
        if node.op_type != "ConstantOfShape" or node.input[0] not in stored:
            continue
        value = attribute(node, "value", None)
        if value is None or value.data_type == onnx.TensorProto.FLOAT:
            sizes = numpy_helper.to_array(stored[node.input[0]]).tolist()
            yield node.output[0], tuple(int(size) for size in sizes)


class _Rules:
    """Which values a weight gets, from the layer it feeds and from what follows that layer."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._readers: Readers = consumers(graph.node)
        self._stored = {one.name: one for one in graph.initializer}
        self._producers = {name: node for node in graph.node for name in node.output}

    def reads(self, name: str) -> bool:
        """Say whether any node reads ``name``."""
        return name in self._readers

    def values(self, name: str, shape: tuple[int, ...]) -> Uniform:
        """Return the range of the weight ``name``."""
        node, position = self._readers[name][0]
        match node.op_type, position:
            case ("Conv", 1):
                return self._layer(node, math.prod(shape[1:]))
            case ("Gemm", 1):
                return self._layer(node, shape[1 if attribute(node, "transB", 0) else 0])
            case ("MatMul", 1):
                return self._layer(node, shape[-2])
            case ("Conv" | "Gemm", 2):
                return BIAS
            case ("BatchNormalization", 1):
                return scale(self._gain(node))
            case ("BatchNormalization", 2 | 3) | ("Add", _):
                return SHIFT
            case ("BatchNormalization", 4):
                return VARIANCE
            case ("Mul", _):
                return scale()
            case ("Unsqueeze", 0):
                return self.values(node.output[0], shape)
            case ("Reshape", 0) if node.input[1] in self._stored:
                target = numpy_helper.to_array(self._stored[node.input[1]]).tolist()
                return self.values(node.output[0], tuple(target))
        raise ArtifactError(
            f"seeded_weights: no rule for '{name}', input {position} of a {node.op_type} node. "
            "Leave the transform out, or name a graph that has its weights."
        )

    def _layer(self, node: onnx.NodeProto, fan_in: int) -> Uniform:
        kept = Uniform.variance_kept(fan_in, before_relu=self._reaches_relu(node.output[0]))
        return kept.scaled(POOLED_GAIN) if self._is_pooled(node.input[0]) else kept

    def _is_pooled(self, name: str) -> bool:
        node = self._producers.get(name)
        while node is not None and node.op_type in {"Dropout", "LRN", "Reshape"}:
            node = self._producers.get(node.input[0])
        return node is not None and node.op_type == "MaxPool"

    def _reaches_relu(self, name: str) -> bool:
        for node, _ in self._readers.get(name, []):
            if node.op_type == "Relu":
                return True
            if node.op_type in TRANSPARENT and self._reaches_relu(node.output[0]):
                return True
        return False

    def _gain(self, node: onnx.NodeProto) -> float:
        """Return RESIDUAL_GAIN where a normalized branch is added to something not normalized."""
        for reader, _ in self._readers.get(node.output[0], []):
            if reader.op_type == "Sum":
                others = [self._producers.get(name) for name in reader.input]
                if any(one is None or one.op_type != "BatchNormalization" for one in others):
                    return RESIDUAL_GAIN
        return 1.0
