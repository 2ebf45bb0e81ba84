"""Import an ONNX artifact into torch: bytes in, a ``torch.fx.GraphModule`` out.

The module executes the nodes of the artifact one by one, as a person would write them with
``torch.nn.functional``: no operator is fused, replaced or reordered. What is known at import is
computed then: nodes that depend on weights only are evaluated once, and shape arithmetic becomes
Python integers (`torch_lowering`). The generated code is plain Python; print ``module.code``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from onnx import AttributeProto, helper
from torch import fx

from profleet_runner.frameworks import (
    Unsupported,
    torch_ops,
    torch_ops_nn,
    torch_ops_shape,
)
from profleet_runner.frameworks.torch_lowering import Lowering, Operation, Value
from profleet_runner.frameworks.torch_model import OnnxModel, TensorType, infer_types, read_model

RULES = {**torch_ops.RULES, **torch_ops_nn.RULES, **torch_ops_shape.RULES}


@dataclass(frozen=True)
class ImportedGraph:
    """A module called with the inputs in order, and returning a tuple of outputs in order."""

    module: fx.GraphModule
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    types: dict[str, TensorType]
    """Declared type of each input."""


def import_graph(artifact: bytes, device: str = "cpu") -> ImportedGraph:
    """Import the bytes of an ONNX file.

    Args:
        artifact: an ONNX ``ModelProto``, weights included, opset 7 or later.
        device: where the module and the tensors it creates live.

    Raises:
        Unsupported: the message names every operator that is not covered, or what of one is not.
    """
    model = read_model(artifact)
    _check_operators(model.nodes)
    target = torch.device(device)
    lowering = Lowering(target)
    values: dict[str, Value] = {
        name: lowering.named(name, tensor) for name, tensor in model.weights.items()
    }
    values.update({name: lowering.placeholder(name, t) for name, t in model.inputs.items()})
    _lower_nodes(lowering, model, values)
    lowering.output([values[name] for name in model.outputs])
    lowering.graph.eliminate_dead_code()
    lowering.graph.lint()
    module = fx.GraphModule(lowering.root, lowering.graph, class_name="OnnxGraph")
    return ImportedGraph(
        module=module.eval().to(target),
        inputs=tuple(model.inputs),
        outputs=tuple(model.outputs),
        types=model.inputs,
    )


def _check_operators(nodes: Sequence[Any]) -> None:
    missing: dict[str, list[str]] = {}
    for index, node in enumerate(nodes):
        kind = node.op_type
        if node.domain not in {"", "ai.onnx"}:
            kind = f"{node.domain}.{kind}"
        if kind not in RULES:
            missing.setdefault(kind, []).append(_name(node, index))
    if missing:
        parts = [
            f"operator {kind} (node '{names[0]}'"
            + (f" and {len(names) - 1} more)" if len(names) > 1 else ")")
            for kind, names in sorted(missing.items())
        ]
        verb = "are" if len(parts) > 1 else "is"
        raise Unsupported(f"{', '.join(parts)} {verb} not covered by the torch runner")


def _lower_nodes(lowering: Lowering, model: OnnxModel, values: dict[str, Value]) -> None:
    for index, node in enumerate(model.nodes):
        outputs = list(node.output)
        while outputs and not outputs[-1]:
            outputs.pop()
        operation = Operation(
            kind=node.op_type,
            name=_name(node, index),
            attributes={a.name: _attribute(a) for a in node.attribute},
            outputs=outputs,
            opset=model.opset,
        )
        inputs = [values[name] if name else None for name in node.input]
        try:
            result = RULES[node.op_type](lowering, operation, *inputs)
        except (TypeError, ValueError, RuntimeError, LookupError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise operation.unsupported(f"these inputs or attributes ({reason})") from error
        produced = dict(zip(outputs, _as_tuple(result), strict=False))
        values.update({n: lowering.named(n, value) for n, value in produced.items() if n})
        _learn_types(lowering, model, node, values)


def _learn_types(lowering: Lowering, model: OnnxModel, node: Any, values: dict[str, Value]) -> None:
    """Infer what is known of the run-time outputs of a node."""
    waiting = [name for name in node.output if isinstance(values.get(name), fx.Node)]
    if not waiting:
        return
    inputs = {}
    for name in filter(None, node.input):
        value = values[name]
        inputs[name] = value if isinstance(value, torch.Tensor) else lowering.type(value)
    types = infer_types(node, model.opset, inputs)
    for name in waiting:
        if name in types:
            lowering.learn(values[name], types[name])


def _as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def _name(node: Any, index: int) -> str:
    return node.name or next((name for name in node.output if name), f"#{index}")


def _attribute(attribute: Any) -> Any:
    value = helper.get_attribute_value(attribute)
    if attribute.type == AttributeProto.STRING:
        return value.decode()
    if attribute.type == AttributeProto.STRINGS:
        return [item.decode() for item in value]
    if attribute.type in {AttributeProto.INTS, AttributeProto.FLOATS}:
        return list(value)
    return value


__all__ = ["RULES", "ImportedGraph", "import_graph"]
