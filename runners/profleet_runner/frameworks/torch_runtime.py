"""Functions an imported graph calls where torch has no single operation with ONNX's meaning.

Rules: never read a tensor's values unless ONNX makes a shape depend on them; create tensors on the
device of an operand. Semantics: https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

FAR = 2**62
"""Farther than any dimension; torch warns about bounds at the edge of 64 bits."""


def truncated_division(a: int, b: int) -> int:
    """Integer division that rounds toward zero, as ONNX and C do."""
    return a // b if (a < 0) == (b < 0) else -(-a // b)


def select(condition: bool, a: int, b: int) -> int:
    """Where, for Python numbers."""
    return a if condition else b


def shape(x: Tensor, device: torch.device) -> Tensor:
    """The shape of a tensor of unknown rank, as a tensor."""
    return torch.tensor(x.shape, device=device)


def divide(a: Tensor, b: Tensor) -> Tensor:
    """Division of operands whose type is not known at import."""
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


def power(a: Tensor, b: Any) -> Tensor:
    """Power whose result has the type of the base."""
    return torch.pow(a, b).to(a.dtype)


def softmax_2d(x: Tensor, axis: int, log: bool) -> Tensor:
    """Softmax before opset 13: over all dimensions from ``axis`` on, taken together."""
    axis = axis % x.dim()
    flat = x.reshape(math.prod(x.shape[:axis]), -1)
    apply = torch.log_softmax if log else torch.softmax
    return apply(flat, 1).reshape(x.shape)


def reshape(x: Tensor, target: Sequence[int], allow_zero: bool) -> Tensor:
    """Reshape in which 0 copies a dimension, unless ``allow_zero``."""
    if allow_zero:
        return x.reshape(tuple(target))
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(target)])


def flatten(x: Tensor, axis: int) -> Tensor:
    """Flatten to two dimensions, split before ``axis``."""
    axis = axis + x.dim() if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def expand(x: Tensor, target: Sequence[int]) -> Tensor:
    """Broadcast a tensor and a shape against each other."""
    return x.expand(torch.broadcast_shapes(x.shape, tuple(target)))


def transpose(x: Tensor) -> Tensor:
    """Reverse the dimensions."""
    return x.permute(tuple(reversed(range(x.dim()))))


def unsqueeze(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Insert dimensions of size one at positions of the result."""
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def slices(
    x: Tensor, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], steps: Sequence[int]
) -> Tensor:
    """Slice along some axes; steps may be negative."""
    index = [slice(None)] * x.dim()
    turned = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step > 0:
            index[axis] = slice(max(min(start, FAR), -FAR), max(min(end, FAR), -FAR), step)
            continue
        size = x.shape[axis]
        first, last, _ = slice(start, end, step).indices(size)
        index[axis] = slice(size - 1 - first, max(size - 1 - last, 0), -step)
        turned.append(axis)
    return (x.flip(turned) if turned else x)[tuple(index)]


def gather(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Take slices at ``indices`` (of any rank, negative ones count from the end)."""
    axis = axis % x.dim()
    indices = indices.to(torch.int64)
    return x[(slice(None),) * axis + (indices,)]


def gather_elements(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Take single elements along an axis."""
    indices = indices.to(torch.int64)
    return torch.gather(x, axis, torch.where(indices < 0, indices + x.shape[axis], indices))


def gather_nd(x: Tensor, indices: Tensor) -> Tensor:
    """Take slices at index tuples (the last dimension of ``indices``)."""
    return x[tuple(indices.to(torch.int64).unbind(-1))]


def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, accumulate: bool) -> Tensor:
    """Replace, or add to, slices at index tuples."""
    places = tuple(indices.to(torch.int64).unbind(-1))
    return x.index_put(places, updates, accumulate=accumulate)


def scatter_elements(
    x: Tensor, indices: Tensor, updates: Tensor, axis: int, accumulate: bool
) -> Tensor:
    """Replace, or add to, single elements along an axis."""
    indices = indices.to(torch.int64)
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    if accumulate:
        return x.scatter_add(axis, indices, updates)
    return x.scatter(axis, indices, updates)


def one_hot(indices: Tensor, depth: Any, values: Tensor, axis: int) -> Tensor:
    """One-hot encoding with values (off, on); indices outside [-depth, depth) give all off."""
    depth = int(depth)
    classes = torch.arange(depth, device=indices.device)
    whole = indices.to(torch.int64)
    wrapped = torch.where(whole < 0, whole + depth, whole)
    hot = wrapped.unsqueeze(-1) == classes
    return torch.where(hot, values[1], values[0]).movedim(-1, axis)


def cumsum(x: Tensor, axis: Any, exclusive: bool, reverse: bool) -> Tensor:
    """Cumulative sum, optionally without the own element or from the end."""
    axis = int(axis)
    if reverse:
        x = x.flip(axis)
    total = torch.cumsum(x, axis, dtype=x.dtype)
    if exclusive:
        total = total - x
    return total.flip(axis) if reverse else total


def arg_max(x: Tensor, axis: int, keepdims: bool, last: bool) -> Tensor:
    """Index of the largest element; of several, the first or the ``last``."""
    if not last:
        return torch.argmax(x, axis, keepdim=keepdims)
    return x.shape[axis] - 1 - torch.argmax(x.flip(axis), axis, keepdim=keepdims)


def arange(start: Any, limit: Any, step: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Range; operands may be numbers or tensors of one element."""
    numbers = [v.item() if isinstance(v, torch.Tensor) else v for v in (start, limit, step)]
    count = max(math.ceil((numbers[1] - numbers[0]) / numbers[2]), 0)
    steps = torch.arange(count, device=device).to(dtype)
    return steps * numbers[2] + numbers[0]


def pad_by_index(x: Tensor, pads: Sequence[int], axes: Sequence[int], mode: str) -> Tensor:
    """Pad by ``reflect``, ``edge`` or ``wrap`` along any axes; negative pads crop first."""
    for axis, before, after in zip(axes, pads, pads[len(axes) :], strict=False):
        size = x.shape[axis] + min(before, 0) + min(after, 0)
        x = x.narrow(axis, max(-before, 0), size)
        index = torch.arange(-max(before, 0), size + max(after, 0), device=x.device)
        if mode == "edge":
            index = index.clamp(0, size - 1)
        elif mode == "wrap" or size == 1:
            index = index % size
        else:
            index = (index % (2 * size - 2)).sub(size - 1).abs().neg().add(size - 1)
        x = x.index_select(axis, index)
    return x


def reduce_axes(rank: int, axes: Sequence[int]) -> tuple[int, ...]:
    """Axes of a reduction, all of them when none is named."""
    return tuple(axes) or tuple(range(rank))


def product(x: Tensor, axes: Sequence[int], keepdims: bool) -> Tensor:
    """Product over several axes."""
    for axis in sorted((axis % x.dim() for axis in reduce_axes(x.dim(), axes)), reverse=True):
        x = torch.prod(x, axis, keepdim=keepdims, dtype=x.dtype)
    return x


def sum_typed(x: Tensor, axes: Sequence[int], keepdims: bool) -> Tensor:
    """Sum that keeps the data type (torch widens integers)."""
    return torch.sum(x, tuple(axes), keepdim=keepdims, dtype=x.dtype)


def log_sum(x: Tensor, axes: Sequence[int], keepdims: bool) -> Tensor:
    """Logarithm of the sum."""
    return torch.log(sum_typed(x, axes, keepdims))


def norm_1(x: Tensor, axes: Sequence[int], keepdims: bool) -> Tensor:
    """Sum of absolute values."""
    return sum_typed(torch.abs(x), axes, keepdims)


def norm_2(x: Tensor, axes: Sequence[int], keepdims: bool) -> Tensor:
    """Square root of the sum of squares."""
    return torch.sqrt(sum_square(x, axes, keepdims))


def sum_square(x: Tensor, axes: Sequence[int], keepdims: bool) -> Tensor:
    """Sum of squares."""
    return sum_typed(torch.square(x), axes, keepdims)


def block_sizes(length: int, parts: int) -> list[int]:
    """Split a length into equal parts, the last one smaller if it does not divide."""
    block = -(-length // parts)
    edges = [min(block * i, length) for i in range(parts + 1)]
    return [b - a for a, b in itertools.pairwise(edges)]


def slices_of(
    x: Tensor,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int] | None,
    steps: Sequence[int] | None,
) -> Tensor:
    """Slice whose axes and steps may be left out."""
    count = len(starts)
    return slices(x, starts, ends, axes or range(count), steps or [1] * count)
