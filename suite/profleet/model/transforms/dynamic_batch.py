"""Open the first axis of every input and output: the graph then takes every batch size."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

from profleet.errors import ArtifactError
from profleet.model.graph import BATCH, initialize, real_inputs_only


def dynamic_batch(model: onnx.ModelProto) -> None:
    """Make the first axis of inputs and outputs the symbol ``batch``, in place.

    A Reshape of something that depends on an input, to a target that starts with 1, keeps the size
    of its first axis instead (0 in the target). Inferred shapes are dropped and inferred anew.

    Raises:
        ArtifactError: the graph fixes its batch size in another way, too.
    """
    real_inputs_only(model)
    graph = model.graph
    del graph.value_info[:]
    for value in [*graph.input, *graph.output]:
        if not value.type.tensor_type.shape.dim:
            raise ArtifactError(
                f"dynamic_batch: '{value.name}' is a scalar, without a batch axis. Leave the "
                "transform out and list the sizes that work in 'batch_sizes'."
            )
    _open_reshapes(graph)
    for value in graph.input:
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    ranks = {one.name: len(one.type.tensor_type.shape.dim) for one in graph.output}
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = {one.name: one for one in _infer(model).graph.output}
    for value in graph.output:
        shape = inferred[value.name].type.tensor_type.shape
        if len(shape.dim) != ranks[value.name] or shape.dim[0].dim_param != BATCH:
            raise ArtifactError(
                f"dynamic_batch: output '{value.name}' does not follow the batch size; "
                "a node inside the graph fixes it. Leave the transform out and list the sizes "
                "that work in 'batch_sizes'."
            )
        value.type.tensor_type.shape.CopyFrom(shape)


def _open_reshapes(graph: onnx.GraphProto) -> None:
    stored = {one.name: one for one in graph.initializer}
    carries = {one.name for one in graph.input}
    for node in graph.node:
        if not carries.intersection(node.input):
            continue
        carries.update(node.output)
        if node.op_type != "Reshape" or node.input[1] not in stored:
            continue
        target = numpy_helper.to_array(stored[node.input[1]])
        if target.size > 1 and target[0] == 1:
            name = f"{node.input[1]}/batch"
            if name not in {one.name for one in graph.initializer}:
                initialize(graph, name, np.concatenate([[0], target[1:]]).astype(np.int64))
            node.input[1] = name
    read = {name for node in graph.node for name in node.input}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in read:
            del graph.initializer[index]


def _infer(model: onnx.ModelProto) -> onnx.ModelProto:
    """Infer shapes on a copy without weights: they are large, and only their shapes matter."""
    light = onnx.ModelProto()
    light.ir_version = model.ir_version
    light.opset_import.extend(model.opset_import)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    for one in model.graph.initializer:
        if one.data_type in {onnx.TensorProto.INT64, onnx.TensorProto.INT32}:
            light.graph.initializer.append(one)
        else:
            light.graph.input.append(
                onnx.helper.make_tensor_value_info(one.name, one.data_type, one.dims)
            )
    try:
        return shape_inference.infer_shapes(light, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as error:
        raise ArtifactError(
            f"dynamic_batch: the graph is inconsistent: {error}. Leave the transform out."
        ) from None
