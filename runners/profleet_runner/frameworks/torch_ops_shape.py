"""Operators that make, move and index data for torch."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.nn import functional

from profleet_runner.frameworks import torch_runtime as runtime
from profleet_runner.frameworks.torch_lowering import (
    RULES,
    Dims,
    Lowering,
    Operation,
    Value,
    rule,
)
from profleet_runner.frameworks.torch_model import DTYPES, TensorType, to_tensor


@rule("Constant")
def _constant(g: Lowering, op: Operation) -> Any:
    for attribute in ("value_float", "value_floats", "value_int", "value_ints"):
        if attribute in op.attributes:
            dtype = torch.float32 if "float" in attribute else torch.int64
            return torch.tensor(op.get(attribute), dtype=dtype)
    if "value" not in op.attributes:
        raise op.unsupported(", ".join(op.attributes) or "no value")
    return to_tensor(op.get("value"))


@rule("ConstantOfShape")
def _constant_of_shape(g: Lowering, op: Operation, shape: Value) -> Any:
    fill = to_tensor(op.get("value")) if "value" in op.attributes else torch.zeros(1)
    target = g.numbers(shape)
    made = g.create(torch.full, target, fill.item(), dtype=fill.dtype)
    return g.learn(made, _sized(target)) if isinstance(target, list) else made


def _sized(target: list[Any]) -> TensorType:
    """The type of a tensor made with these dimensions."""
    sizes = (n if isinstance(n, int) and n > 0 else None for n in target)
    return TensorType(None, tuple(sizes))


@rule("Shape")
def _shape(g: Lowering, op: Operation, x: Value) -> Any:
    rank = g.rank(x)
    chosen = slice(op.get("start", 0), op.get("end"))
    if rank is None:
        whole = g.create(runtime.shape, x)
        return g.call(operator.getitem, whole, chosen) if chosen != slice(0, None) else whole
    cells = np.empty(rank, dtype=object)
    for axis in range(rank):
        cells[axis] = g.size(x, axis)
    return Dims(cells[chosen])


@rule("Size")
def _size(g: Lowering, op: Operation, x: Value) -> Any:
    shape = g.known_shape(x)
    cell = np.empty((), dtype=object)
    cell[()] = g.call(torch.numel, x) if shape is None else math.prod(shape)
    return Dims(cell)


@rule("Reshape")
def _reshape(g: Lowering, op: Operation, x: Value, shape: Value) -> Any:
    target = g.numbers(shape)
    allow_zero = bool(op.get("allowzero", 0))
    dims = g.all_dims(x)
    if dims and isinstance(target, list) and not any(isinstance(n, fx.Node) for n in target):
        return Dims(dims[0].cells.reshape(target), dims[0].dtype)
    if not isinstance(target, list):
        return g.call(runtime.reshape, x, target, allow_zero)
    if not allow_zero:
        target = [
            g.size(x, axis) if isinstance(size, int) and size == 0 else size
            for axis, size in enumerate(target)
        ]
    return g.learn(g.call(torch.reshape, x, tuple(target)), _sized(target))


@rule("Flatten")
def _flatten(g: Lowering, op: Operation, x: Value) -> Any:
    axis, rank = op.get("axis", 1), g.rank(x)
    if rank is not None and rank >= 2 and axis in {1, 1 - rank}:
        return g.call(torch.flatten, x, 1)
    return g.call(runtime.flatten, x, axis)


@rule("Transpose")
def _transpose(g: Lowering, op: Operation, x: Value) -> Any:
    rank = g.rank(x)
    perm = op.get("perm") or (None if rank is None else list(reversed(range(rank))))
    return g.call(runtime.transpose, x) if perm is None else g.call(torch.permute, x, perm)


@rule("Squeeze")
def _squeeze(g: Lowering, op: Operation, x: Value, axes: Value | None = None) -> Any:
    chosen = op.get("axes") if op.opset < 13 else g.numbers(axes)
    dims = g.all_dims(x)
    if dims and (chosen is None or isinstance(chosen, list)):
        cells = dims[0].cells
        return Dims(np.squeeze(cells, None if chosen is None else tuple(chosen)), dims[0].dtype)
    return g.call(torch.squeeze, x) if chosen is None else g.call(torch.squeeze, x, chosen)


@rule("Unsqueeze")
def _unsqueeze(g: Lowering, op: Operation, x: Value, axes: Value | None = None) -> Any:
    chosen = op.get("axes") if op.opset < 13 else g.numbers(axes)
    dims = g.all_dims(x)
    if dims and isinstance(chosen, list):
        return Dims(np.expand_dims(dims[0].cells, tuple(chosen)), dims[0].dtype)
    if isinstance(chosen, list) and len(chosen) == 1:
        return g.call(torch.unsqueeze, x, chosen[0])
    return g.call(runtime.unsqueeze, x, chosen)


@rule("Concat")
def _concat(g: Lowering, op: Operation, *values: Value) -> Any:
    dims = g.all_dims(*values)
    if dims:
        return Dims(np.concatenate([d.cells for d in dims], op.get("axis")), dims[0].dtype)
    return g.call(torch.cat, list(values), op.get("axis"))


@rule("Split")
def _split(g: Lowering, op: Operation, x: Value, sizes: Value | None = None) -> Any:
    axis, parts = op.get("axis", 0), len(op.outputs)
    chosen = op.get("split") if op.opset < 13 else g.numbers(sizes)
    dims = g.all_dims(x)
    if chosen is None:
        length = g.size(x, axis)
        chosen = (
            runtime.block_sizes(length, parts)
            if isinstance(length, int)
            else g.call(runtime.block_sizes, length, parts)
        )
    if dims and isinstance(chosen, list):
        edges = np.cumsum(chosen)[:-1]
        return tuple(Dims(part, dims[0].dtype) for part in np.split(dims[0].cells, edges, axis))
    pieces = g.call(torch.split, x, chosen, axis)
    return tuple(g.call(operator.getitem, pieces, i) for i in range(parts))


@rule("Slice")
def _slice(
    g: Lowering,
    op: Operation,
    x: Value,
    starts: Value | None = None,
    ends: Value | None = None,
    axes: Value | None = None,
    steps: Value | None = None,
) -> Any:
    if op.opset < 10:
        first, last, along = op.get("starts"), op.get("ends"), op.get("axes")
        stride = None
    else:
        first, last, along, stride = (g.numbers(v) for v in (starts, ends, axes, steps))
    if not isinstance(first, list) or not isinstance(last, list):
        given = [first, last, along, stride]
        return g.call(runtime.slices_of, x, *given)
    along = along or list(range(len(first)))
    stride = stride or [1] * len(first)
    dims, rank = g.all_dims(x), g.rank(x)
    bounds = first + last
    if dims and not any(isinstance(n, fx.Node) for n in bounds):
        index = [slice(None)] * dims[0].cells.ndim
        for start, end, axis, step in zip(first, last, along, stride, strict=True):
            index[axis] = slice(start, end, step)
        return Dims(dims[0].cells[tuple(index)], dims[0].dtype)
    positive = all(isinstance(step, int) and step > 0 for step in stride)
    if positive and (rank is not None or min(along) >= 0):
        along = [axis % rank if rank is not None else axis for axis in along]
        index = [slice(None)] * (max(along) + 1)
        for start, end, axis, step in zip(first, last, along, stride, strict=True):
            index[axis] = slice(_start(start), _end(end), None if step == 1 else step)
        return g.call(operator.getitem, x, tuple(index))
    return g.call(runtime.slices, x, first, last, along, stride)


def _start(bound: Any) -> Any:
    return max(min(bound, runtime.FAR), -runtime.FAR) if isinstance(bound, int) else bound


def _end(bound: Any) -> Any:
    """Return None for the many spellings of "to the end"."""
    return None if isinstance(bound, int) and bound >= 2**31 - 1 else _start(bound)


@rule("Gather")
def _gather(g: Lowering, op: Operation, x: Value, indices: Value) -> Any:
    axis = op.get("axis", 0)
    dims = g.all_dims(x)
    if dims and isinstance(indices, torch.Tensor):
        taken = np.take(dims[0].cells, indices.numpy(), axis)
        cells = np.empty(np.shape(taken), dtype=object)
        cells[...] = taken
        return Dims(cells, dims[0].dtype)
    if isinstance(indices, torch.Tensor) and indices.dim() == 0:
        return g.call(torch.select, x, axis, int(indices.item()))
    whole = g.dtype(indices) in {torch.int64, torch.int32}
    if isinstance(x, torch.Tensor) and x.dim() == 2 and axis == 0 and whole:
        return g.call(functional.embedding, indices, x)
    return g.call(runtime.gather, x, indices, axis)


@rule("GatherElements")
def _gather_elements(g: Lowering, op: Operation, x: Value, indices: Value) -> Any:
    return g.call(runtime.gather_elements, x, indices, op.get("axis", 0))


@rule("GatherND")
def _gather_nd(g: Lowering, op: Operation, x: Value, indices: Value) -> Any:
    if op.get("batch_dims", 0):
        raise op.unsupported("batch_dims")
    return g.call(runtime.gather_nd, x, indices)


@rule("ScatterND", "ScatterElements")
def _scatter(g: Lowering, op: Operation, x: Value, indices: Value, updates: Value) -> Any:
    reduction = op.get("reduction", "none")
    if reduction not in {"none", "add"}:
        raise op.unsupported(f"reduction '{reduction}'")
    accumulate = reduction == "add"
    if op.kind == "ScatterND":
        return g.call(runtime.scatter_nd, x, indices, updates, accumulate)
    return g.call(runtime.scatter_elements, x, indices, updates, op.get("axis", 0), accumulate)


@rule("Expand")
def _expand(g: Lowering, op: Operation, x: Value, shape: Value) -> Any:
    target, rank = g.numbers(shape), g.rank(x)
    expanded = g.call(runtime.expand, x, target)
    if rank is None or not isinstance(target, list):
        return expanded
    return g.learn(expanded, TensorType(None, (None,) * max(rank, len(target))))


@rule("Tile")
def _tile(g: Lowering, op: Operation, x: Value, repeats: Value) -> Any:
    return g.call(torch.tile, x, g.numbers(repeats))


@rule("Pad")
def _pad(
    g: Lowering,
    op: Operation,
    x: Value,
    pads: Value | None = None,
    fill: Value | None = None,
    axes: Value | None = None,
) -> Any:
    mode = op.get("mode", "constant")
    amounts = op.get("pads") if op.opset < 11 else g.numbers(pads)
    if not isinstance(amounts, list):
        raise op.unsupported("pads that depend on the data")
    rank = g.rank(x)
    along = g.numbers(axes)
    if along is None:
        along = list(range(len(amounts) // 2))
    elif rank is None and min(along) < 0:
        raise op.unsupported("negative axes on an input of unknown rank")
    along = [axis % rank if rank else axis for axis in along]
    before, after = amounts[: len(along)], amounts[len(along) :]
    if mode != "constant":
        used = [i for i in range(len(along)) if (before[i], after[i]) != (0, 0)]
        chosen = [before[i] for i in used] + [after[i] for i in used]
        return g.call(runtime.pad_by_index, x, chosen, [along[i] for i in used], mode)
    count = rank if rank is not None else len(along)
    pairs = {axis: (b, a) for axis, b, a in zip(along, before, after, strict=True)}
    flat = [n for axis in reversed(range(count)) for n in pairs.get(axis, (0, 0))]
    while flat[-2:] == [0, 0]:
        del flat[-2:]
    number = op.get("value", 0.0) if op.opset < 11 else 0
    if fill is not None:
        number = fill.item() if isinstance(fill, torch.Tensor) else g.call(torch.Tensor.item, fill)
    return g.call(functional.pad, x, flat, value=number) if flat else x


@rule("Range")
def _range(g: Lowering, op: Operation, start: Value, limit: Value, step: Value) -> Any:
    dtype = g.dtype(start) or g.dtype(limit)
    if dtype is None:
        raise op.unsupported("an unknown data type")
    numbers = [g.numbers(value) for value in (start, limit, step)]
    return g.create(runtime.arange, *numbers, dtype=dtype)


@rule("OneHot")
def _one_hot(g: Lowering, op: Operation, indices: Value, depth: Value, values: Value) -> Any:
    count = g.numbers(depth)
    if isinstance(count, list):
        count = count[0]
    elif isinstance(count, fx.Node):
        count = depth
    return g.call(runtime.one_hot, indices, count, values, op.get("axis", -1))


@rule("Trilu")
def _trilu(g: Lowering, op: Operation, x: Value, k: Value | None = None) -> Any:
    diagonal = 0 if k is None else g.numbers(k)
    diagonal = diagonal[0] if isinstance(diagonal, list) else diagonal
    return g.call(torch.triu if op.get("upper", 1) else torch.tril, x, diagonal)


@rule("EyeLike")
def _eye_like(g: Lowering, op: Operation, x: Value) -> Any:
    dtype = DTYPES[op.get("dtype")] if op.get("dtype") else g.dtype(x)
    ones = g.call(torch.ones_like, x, dtype=dtype)
    shift = op.get("k", 0)
    return g.call(torch.tril, g.call(torch.triu, ones, shift), shift)


@rule("NonZero")
def _non_zero(g: Lowering, op: Operation, x: Value) -> Any:
    return g.call(torch.t, g.call(torch.nonzero, x))


__all__ = ["RULES"]
