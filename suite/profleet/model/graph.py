"""ONNX graphs: composing one node by node, and reading and writing whole models.

A ``Network`` knows the shapes and ranges of its parameters; their values are drawn only by
``Network.model``, so a network of billions of parameters can be counted without being built.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from profleet.errors import ArtifactError
from profleet.model.sources import LIMIT_BYTES
from profleet.model.weights import Uniform, draw

OPSET = 17
IR_VERSION = 8
BATCH = "batch"
NAME_ONE = "Let source.path of the manifest name an .onnx file."

Shape = tuple[int | str, ...]


def parse(data: bytes) -> onnx.ModelProto:
    """Parse a serialized model.

    Raises:
        ArtifactError: the data are not one.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # noqa: BLE001 -- the class differs between protobuf back ends
        raise ArtifactError(f"The source file is not an ONNX model: {error}. {NAME_ONE}") from None
    if not model.graph.node:
        raise ArtifactError(f"The source file is not an ONNX model: it has no nodes. {NAME_ONE}")
    return model


def serialize(model: onnx.ModelProto) -> bytes:
    """Return the same bytes for the same model in every process."""
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def initialize(graph: onnx.GraphProto, name: str, values: npt.NDArray[Any]) -> None:
    """Append an initializer with raw little-endian data (in place: weights are large)."""
    proto = graph.initializer.add()
    proto.name = name
    proto.dims.extend(values.shape)
    proto.data_type = helper.np_dtype_to_tensor_dtype(values.dtype)
    proto.raw_data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def real_inputs_only(model: onnx.ModelProto) -> None:
    """Drop the initializers that graphs before IR version 4 had to repeat as inputs."""
    stored = {one.name for one in model.graph.initializer}
    kept = [one for one in model.graph.input if one.name not in stored]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, 4)


def consumers(nodes: Iterable[onnx.NodeProto]) -> dict[str, list[tuple[onnx.NodeProto, int]]]:
    """Map each tensor name to the nodes that read it, with the position they read it at."""
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in nodes:
        for position, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, position))
    return readers


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Return the value of an attribute, or ``default`` where the node has none."""
    found = [one for one in node.attribute if one.name == name]
    return helper.get_attribute_value(found[0]) if found else default


@dataclass
class Network:
    """An ONNX graph in the making. Every method that adds a node returns its output's name."""

    name: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    parameters: dict[str, tuple[tuple[int, ...], Uniform]] = field(default_factory=dict)
    statistics: dict[str, tuple[tuple[int, ...], Uniform]] = field(default_factory=dict)
    constants: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)

    def input(self, name: str, shape: Shape, dtype: npt.DTypeLike = np.float32) -> str:
        """Declare a graph input; the symbol ``batch`` is an open axis."""
        self.inputs.append(_value_info(name, shape, dtype))
        return name

    def output(self, name: str, value: str, shape: Shape) -> None:
        """Declare ``value`` a float32 graph output called ``name``."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=name))
        self.outputs.append(_value_info(name, shape, np.float32))

    def parameter(self, name: str, shape: tuple[int, ...], values: Uniform) -> str:
        """Declare a float32 weight drawn from ``values`` when the model is made."""
        assert name not in self.parameters, f"two parameters called {name}"
        self.parameters[name] = (shape, values)
        return name

    def statistic(self, name: str, shape: tuple[int, ...], values: Uniform) -> str:
        """Declare a drawn float32 tensor that is no parameter: a running mean or variance."""
        self.statistics[name] = (shape, values)
        return name

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike = np.int64) -> str:
        """Store a value that is no weight: a shape, an axis, a scalar of a formula."""
        self.constants[name] = np.asarray(value, dtype)
        return name

    def add(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Append a node with one output and return that."""
        label = name or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [label], name=label, **attributes))
        return label

    def split(self, name: str, value: str, sizes: Sequence[int], axis: int = -1) -> list[str]:
        """Append a Split into parts of ``sizes`` and return the parts."""
        parts = [f"{name}.{index}" for index in range(len(sizes))]
        target = self.constant(f"{name}.sizes", sizes)
        self.nodes.append(helper.make_node("Split", [value, target], parts, name=name, axis=axis))
        return parts

    def dense(
        self, name: str, value: str, size: tuple[int, int], *, before_relu: bool, bias: Uniform
    ) -> str:
        """Append value [..., in] x weight [in, out] + bias [out]; ``size`` is (in, out)."""
        weights = Uniform.variance_kept(size[0], before_relu=before_relu)
        weight = self.parameter(f"{name}.weight", size, weights)
        product = self.add("MatMul", value, weight, name=f"{name}.matmul")
        return self.add("Add", product, self.parameter(f"{name}.bias", size[1:], bias), name=name)

    def parameter_count(self) -> int:
        """Return how many weights the network has."""
        return sum(math.prod(shape) for shape, _ in self.parameters.values())

    def model(self, seed: int) -> onnx.ModelProto:
        """Draw every parameter and return the finished model.

        Raises:
            ArtifactError: the model would not fit into one file.
        """
        size = 4 * self.parameter_count()
        if size >= LIMIT_BYTES:
            raise ArtifactError(
                f"{self.name} with these arguments has {size} bytes of weights; one ONNX file "
                f"holds less than {LIMIT_BYTES}. Choose smaller arguments."
            )
        model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="profleet")
        model.opset_import.append(onnx.OperatorSetIdProto(domain="", version=OPSET))
        graph = model.graph
        graph.name = self.name
        graph.node.extend(self.nodes)
        graph.input.extend(self.inputs)
        graph.output.extend(self.outputs)
        for name, value in self.constants.items():
            initialize(graph, name, value)
        for name, (shape, values) in {**self.parameters, **self.statistics}.items():
            initialize(graph, name, draw(seed, name, shape, values))
        return model


def _value_info(name: str, shape: Sequence[int | str], dtype: npt.DTypeLike) -> Any:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, shape)


__all__ = [
    "BATCH",
    "Network",
    "Shape",
    "attribute",
    "consumers",
    "initialize",
    "parse",
    "real_inputs_only",
    "serialize",
]
