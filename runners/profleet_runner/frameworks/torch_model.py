"""Reading an ONNX artifact for torch: weights become tensors without a second copy in a message.

``onnx.load_model_from_string`` would hold every weight once more, inside the parsed message, for
as long as the message lives. The artifact is therefore cut along its protobuf fields first: weights
are copied straight from the bytes into tensors, everything else is parsed by ``onnx``.

Source of the field numbers: ``onnx.proto`` (stable since ONNX 1.0) and the protobuf wire format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # has no stubs
from onnx import TensorProto, defs, helper, inliner, numpy_helper, shape_inference

from profleet_runner.frameworks import Unsupported

_MODEL_GRAPH, _GRAPH_INITIALIZER, _GRAPH_SPARSE, _TENSOR_RAW = 7, 5, 15, 9
_SMALL = 64
"""Constants up to this many elements take part in type inference: they may be shapes."""

DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT16: torch.uint16,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.BOOL: torch.bool,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.UINT32: torch.uint32,
    TensorProto.UINT64: torch.uint64,
    TensorProto.BFLOAT16: torch.bfloat16,
}

_ELEMENTS = {dtype: element for element, dtype in DTYPES.items()}


@dataclass(frozen=True)
class TensorType:
    """What is known of a tensor before it exists: ``None`` stands for unknown."""

    dtype: torch.dtype | None
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX model taken apart: nodes in topological order, weights as tensors."""

    nodes: list[Any]
    inputs: dict[str, TensorType]
    outputs: list[str]
    weights: dict[str, torch.Tensor]
    opset: int


def read_model(artifact: bytes) -> OnnxModel:
    """Take the bytes of an ONNX file apart.

    Raises:
        Unsupported: not an ONNX model, or one with external, sparse or string weights, or of an
            opset before 7 (whose broadcasting followed other rules).
    """
    try:
        model, tensors = _cut(memoryview(artifact))
    except (DecodeError, IndexError, ValueError) as error:
        raise Unsupported(f"the artifact is not a readable ONNX model: {error}") from error
    if model.functions:
        model = inliner.inline_local_functions(model)
    opset = next((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), 0)
    if opset < 7:
        raise Unsupported(
            f"opset {opset} is not covered by the torch runner; it covers 7 and later"
        )
    weights = {proto.name: to_tensor(proto, raw) for proto, raw in tensors}
    return OnnxModel(
        nodes=list(model.graph.node),
        inputs={i.name: _type(i.type) for i in model.graph.input if i.name not in weights},
        outputs=[o.name for o in model.graph.output],
        weights=weights,
        opset=opset,
    )


def to_tensor(proto: Any, raw: memoryview | None = None) -> torch.Tensor:
    """Return a ``TensorProto`` as a tensor of its own memory; ``raw`` replaces its raw data.

    Raises:
        Unsupported: external data, or a data type torch does not have.
    """
    if proto.data_location == TensorProto.EXTERNAL:
        raise Unsupported(f"weight '{proto.name}' is stored outside the artifact")
    if proto.data_type not in DTYPES:
        kind = TensorProto.DataType.Name(proto.data_type)
        raise Unsupported(f"tensor '{proto.name}' has data type {kind}, which torch lacks")
    if raw is None:
        array = np.asarray(numpy_helper.to_array(proto))
    else:
        kind = helper.tensor_dtype_to_np_dtype(proto.data_type)
        array = np.frombuffer(raw, kind).reshape(tuple(proto.dims))
    if proto.data_type == TensorProto.BFLOAT16:
        return torch.tensor(array.view(np.int16)).view(torch.bfloat16)
    return torch.tensor(array)


def _cut(artifact: memoryview) -> tuple[Any, list[tuple[Any, memoryview | None]]]:
    """Return the model without its weights, and each weight as (message without data, data)."""
    rest, graph, tensors = bytearray(), bytearray(), []
    for number, whole, payload in _fields(artifact):
        if number != _MODEL_GRAPH:
            rest += whole
            continue
        for inner, inner_whole, inner_payload in _fields(payload):
            if inner == _GRAPH_SPARSE:
                raise Unsupported("sparse weights are not covered by the torch runner")
            if inner == _GRAPH_INITIALIZER:
                tensors.append(_cut_tensor(inner_payload))
            else:
                graph += inner_whole
    model = onnx.ModelProto.FromString(bytes(rest))
    model.graph.ParseFromString(bytes(graph))
    return model, tensors


def _cut_tensor(payload: memoryview) -> tuple[Any, memoryview | None]:
    rest, raw = bytearray(), None
    for number, whole, data in _fields(payload):
        if number == _TENSOR_RAW:
            raw = data
        else:
            rest += whole
    return TensorProto.FromString(bytes(rest)), raw


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yield (field number, the whole field, its payload) of a protobuf message."""
    position = 0
    while position < len(data):
        start = position
        tag, position = _varint(data, position)
        wire = tag & 7
        if wire == 2:
            length, position = _varint(data, position)
        elif wire == 0:
            length = _varint(data, position)[1] - position
        elif wire in {1, 5}:
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {start}")
        end = position + length
        if end > len(data):
            raise ValueError(f"a field of {length} bytes at byte {start} passes the end")
        yield tag >> 3, data[start:end], data[position:end]
        position = end


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def infer_types(
    node: Any, opset: int, inputs: dict[str, TensorType | torch.Tensor]
) -> dict[str, TensorType]:
    """Infer the types of a node's outputs from what is known of its inputs.

    Shapes stored in the model for intermediate values are not believed: exporters leave stale ones
    behind. A type that cannot be inferred is left out.
    """
    types, data = {}, {}
    for name, known in inputs.items():
        shape = None if known.shape is None else list(known.shape)
        types[name] = helper.make_tensor_type_proto(_ELEMENTS.get(known.dtype, 0), shape)
        if isinstance(known, torch.Tensor) and known.numel() <= _SMALL:
            array = (known.float() if known.dtype == torch.bfloat16 else known).numpy()
            data[name] = numpy_helper.from_array(array, name)
    try:
        schema = defs.get_schema(node.op_type, opset, "")
        found = shape_inference.infer_node_outputs(schema, node, types, data)
    except (defs.SchemaError, shape_inference.InferenceError):
        return {}
    return {name: _type(proto) for name, proto in found.items()}


def _type(proto: Any) -> TensorType:
    tensor = proto.tensor_type
    shape = None
    if tensor.HasField("shape"):
        # Some exporters write 0 or -1 for a dimension that is not known.
        shape = tuple(d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim)
    return TensorType(DTYPES.get(tensor.elem_type), shape)


__all__ = ["DTYPES", "OnnxModel", "TensorType", "infer_types", "read_model", "to_tensor"]
