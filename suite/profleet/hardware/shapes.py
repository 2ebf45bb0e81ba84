"""Every tensor of an ONNX graph with its shape, at one batch size.

`onnx.shape_inference` does the work. Where it cannot see through shape arithmetic, nodes that
depend on small constants only are computed by ONNX's reference implementation and the inference
is repeated; an ``If`` whose condition is known becomes the branch it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod
from typing import TYPE_CHECKING, Any

from profleet.errors import ArtifactError
from profleet.hardware.layers import bytes_of
from profleet.hardware.skeleton import SMALL

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

Values = dict[str, "npt.NDArray[Any]"]


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph; ``constant``: known before the first request (a weight, a shape)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: bool

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of all elements."""
        return ceil(self.size * bytes_of(self.dtype))


@dataclass(frozen=True)
class Node:
    """A node that executes for every request, with the tensors it reads and writes.

    ``inputs`` has None where an optional input is absent; ``outputs`` are those somebody reads.
    """

    name: str
    op: str
    attributes: Mapping[str, Any]
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]

    @cached_property
    def given(self) -> tuple[Tensor, ...]:
        """The inputs that are there."""
        return tuple(one for one in self.inputs if one is not None)


def resolve(
    model: onnx.ModelProto,
    inputs: Mapping[str, Sequence[int]],
    known: Values,
    operators: Mapping[str, object],
    origin: str,
) -> tuple[Node, ...]:
    """Return the nodes of ``model`` that depend on a request, in the order of the graph.

    Args:
        model: changed in place.
        inputs: shape of every input of the graph.
        known: values of inputs that never change, such as a sampling rate.
        operators: the operators whose cost is known.
        origin: what the model is called in an error.

    Raises:
        ArtifactError: an input is missing, an operator unknown, a tensor made by nothing, or a
            shape cannot be determined.
    """
    for index, node in enumerate(model.graph.node):
        _check_known(node, index, operators, origin)
    _check_connected(model.graph, origin)
    _bind(model.graph, inputs, known, origin)
    values = dict(known)
    _collect(model.graph, values)
    while True:
        inferred = _infer(model, origin)
        shapes = _shapes(inferred)
        if not _unresolved(model.graph, shapes) or not _fold(model, shapes, values):
            break
    return tuple(_nodes(model.graph, shapes, set(known), operators, origin))


def _bind(
    graph: onnx.GraphProto, inputs: Mapping[str, Sequence[int]], known: Values, origin: str
) -> None:
    from onnx import numpy_helper

    weights = {one.name for one in graph.initializer}
    for value in graph.input:
        if value.name in weights:
            continue
        if value.name not in inputs:
            raise ArtifactError(
                f"{origin}: no shape is given for the input '{value.name}'. "
                f"Given: {', '.join(sorted(inputs)) or 'none'}."
            )
        tensor = value.type.tensor_type
        tensor.ClearField("shape")
        tensor.shape.SetInParent()
        for size in inputs[value.name]:
            tensor.shape.dim.add().dim_value = size
    del graph.value_info[:]  # shapes of another batch size
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    graph.initializer.extend(numpy_helper.from_array(one, name) for name, one in known.items())


def _infer(model: onnx.ModelProto, origin: str) -> onnx.ModelProto:
    from onnx import shape_inference

    try:
        return shape_inference.infer_shapes(model, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise ArtifactError(f"{origin}: ONNX finds no shapes for this graph: {first}") from None


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[tuple[int | None, ...], int]]:
    """Return (shape with None for an open axis, element type) of every tensor with a rank."""
    graph = model.graph
    found = {one.name: (tuple(one.dims), one.data_type) for one in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if value.name not in found and tensor.HasField("shape") and tensor.elem_type:
            sizes = (
                axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim
            )
            found[value.name] = (tuple(sizes), tensor.elem_type)
    return found


def _needed(graph: onnx.GraphProto) -> set[str]:
    return {name for node in graph.node for name in node.input} | {one.name for one in graph.output}


def _unresolved(graph: onnx.GraphProto, shapes: Mapping[str, Any]) -> bool:
    needed = _needed(graph)
    return any(
        name in needed and (name not in shapes or None in shapes[name][0])
        for node in graph.node
        for name in node.output
    ) or any(node.op_type == "If" for node in graph.node)


# -- folding what is constant --------------------------------------------------------------------


def _collect(graph: onnx.GraphProto, values: Values) -> None:
    from onnx import numpy_helper

    for one in graph.initializer:
        if one.name not in values and one.ByteSize() <= SMALL + 256:
            array = _array(numpy_helper, one)
            if array is not None:
                values[one.name] = array


def _array(numpy_helper: Any, tensor: onnx.TensorProto) -> npt.NDArray[Any] | None:
    """Return the values of an initializer, or None where the skeleton left them out."""
    try:
        return numpy_helper.to_array(tensor)  # type: ignore[no-any-return]  # onnx is untyped here
    except (ValueError, TypeError):
        return None


def _fold(
    model: onnx.ModelProto,
    shapes: Mapping[str, tuple[tuple[int | None, ...], int]],
    values: Values,
) -> bool:
    """Turn nodes with known results into initializers and take known branches. True: any."""
    import numpy as np
    from onnx import numpy_helper

    graph, kept, changed = model.graph, [], False
    for node in graph.node:
        results: list[npt.NDArray[Any]] | None = None
        shape, _ = shapes.get(node.input[0], ((None,), 0)) if node.input else ((None,), 0)
        if node.op_type == "Shape" and None not in shape and not node.attribute:
            results = [np.asarray(shape, np.int64)]
        elif node.op_type == "If" and node.input[0] in values:
            taken = "then_branch" if values[node.input[0]].item() else "else_branch"
            (branch,) = (one.g for one in node.attribute if one.name == taken)
            kept.extend(_inlined(node, branch, graph))
            _collect(graph, values)
            changed = True
            continue
        elif node.domain in {"", "ai.onnx"} and all(not one or one in values for one in node.input):
            results = _evaluate(node, values, model.opset_import)
        if results is None or sum(one.nbytes for one in results) > SMALL:
            kept.append(node)
            continue
        changed = True
        for name, result in zip(node.output, results, strict=False):
            values[name] = result
            graph.initializer.append(numpy_helper.from_array(result, name))
    if changed:
        nodes = [type(node).FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(nodes)
    return changed


def _evaluate(
    node: onnx.NodeProto, values: Values, opsets: Sequence[onnx.OperatorSetIdProto]
) -> list[npt.NDArray[Any]] | None:
    """Return the results of a node, or None where they cannot be computed here."""
    import numpy as np
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    if node.op_type == "Constant" and node.attribute[0].name == "value":
        return [numpy_helper.to_array(node.attribute[0].t)]
    if any(one.type == one.GRAPH for one in node.attribute) or "Random" in node.op_type:
        return None
    feeds = {name: values[name] for name in node.input if name}
    declared = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(one.dtype), one.shape)
        for name, one in feeds.items()
    ]
    results = [helper.make_empty_tensor_value_info(name) for name in node.output]
    try:
        single = helper.make_model(
            helper.make_graph([node], "constant", declared, results), opset_imports=opsets
        )
        return [np.asarray(one) for one in ReferenceEvaluator(single).run(None, feeds)]
    except Exception:  # noqa: BLE001  # any failure: the node stays, and is named if it matters
        return None


def _inlined(
    node: onnx.NodeProto, branch: onnx.GraphProto, graph: onnx.GraphProto
) -> list[onnx.NodeProto]:
    """Return the nodes of a branch under names of their own; its weights go to ``graph``."""
    local = {name for one in branch.node for name in one.output}
    local |= {one.name for one in branch.initializer}
    names = {name: f"{node.name or node.output[0]}/{name}" for name in local}
    names |= {one.name: out for one, out in zip(branch.output, node.output, strict=True)}
    for weight in branch.initializer:
        graph.initializer.append(weight)
        graph.initializer[-1].name = names[weight.name]
    inlined = []
    for one in branch.node:
        copy = type(one).FromString(one.SerializeToString())
        copy.input[:] = [names.get(name, name) for name in one.input]
        copy.output[:] = [names.get(name, name) for name in one.output]
        inlined.append(copy)
    return inlined


# -- nodes ---------------------------------------------------------------------------------------


def _nodes(
    graph: onnx.GraphProto,
    shapes: Mapping[str, tuple[tuple[int | None, ...], int]],
    known: set[str],
    operators: Mapping[str, object],
    origin: str,
) -> Iterator[Node]:
    from onnx import helper

    constants = {one.name for one in graph.initializer} | known
    needed = _needed(graph)
    for index, node in enumerate(graph.node):
        label = _label(node, index)
        if node.op_type == "If":
            raise ArtifactError(
                f"{origin}: {label} chooses a branch by a value that is known at run time only, "
                "so its cost is not defined. Export the branch that you use."
            )
        _check_known(node, index, operators, origin)  # it may come from a branch
        outputs = [name for name in node.output if name in needed]
        if node.op_type in {"Constant", "Shape", "Size"} or all(
            not name or name in constants for name in node.input
        ):
            constants.update(outputs)
            continue  # computed when the model is loaded, or free
        yield Node(
            node.name or f"{node.op_type}.{index}",
            node.op_type,
            {one.name: helper.get_attribute_value(one) for one in node.attribute},
            tuple(
                _tensor(name, shapes, constants, origin, label) if name else None
                for name in node.input
            ),
            tuple(_tensor(name, shapes, constants, origin, label) for name in outputs),
        )


def _label(node: onnx.NodeProto, index: int) -> str:
    return f"node '{node.name or index}' ({node.op_type})"


def _check_known(
    node: onnx.NodeProto, index: int, operators: Mapping[str, object], origin: str
) -> None:
    if node.domain in {"", "ai.onnx"} and (node.op_type in operators or node.op_type == "If"):
        return
    where = f"{node.domain}." if node.domain else ""
    raise ArtifactError(
        f"{origin}: {_label(node, index)} uses the operator {where}{node.op_type}, whose cost is "
        "not known. Known operators: profleet/hardware/operators.py."
    )


def _check_connected(graph: onnx.GraphProto, origin: str) -> None:
    """Refuse a graph in which a node reads what nothing before it makes."""
    made = {one.name for one in (*graph.input, *graph.initializer)}
    made |= {one.values.name for one in graph.sparse_initializer}
    for index, node in enumerate(graph.node):
        lost = next((name for name in node.input if name and name not in made), None)
        if lost is not None:
            raise ArtifactError(
                f"{origin}: {_label(node, index)} reads '{lost}', which is no input, no weight "
                "and no result of a node before it. The file is damaged; export it again."
            )
        made.update(node.output)


def _tensor(
    name: str,
    shapes: Mapping[str, tuple[tuple[int | None, ...], int]],
    constants: set[str],
    origin: str,
    label: str,
) -> Tensor:
    from onnx import TensorProto

    shape, kind = shapes.get(name, ((None,), 0))
    sizes = tuple(size for size in shape if size is not None)
    if name not in shapes or len(sizes) != len(shape):
        seen = "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
        raise ArtifactError(
            f"{origin}: the shape of '{name}' at {label} cannot be determined"
            f"{f' ({seen})' if name in shapes else ''}. Export the model with fixed shapes, all "
            "but the batch size."
        )
    return Tensor(name, sizes, _dtype_name(TensorProto.DataType.Name(kind)), name in constants)


def _dtype_name(kind: str) -> str:
    """Return the name of an ONNX element type as this package writes it."""
    special = {"FLOAT": "float32", "DOUBLE": "float64", "BFLOAT16": "bfloat16"}
    if kind.startswith("FLOAT8"):
        return "float8"
    if kind.startswith("FLOAT4"):
        return "float4"
    return special.get(kind, kind.lower())
