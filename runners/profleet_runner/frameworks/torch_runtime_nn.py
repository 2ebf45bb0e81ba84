"""Convolution, pooling, resizing and recurrence for imported graphs, where torch alone differs.

The rules of `torch_runtime` hold here too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def layer_norm(
    x: Tensor, scale: Tensor, bias: Tensor | None, axis: int, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Layer normalization from ``axis`` on: output, mean and inverse standard deviation."""
    size = x.shape[axis % x.dim() :]
    wide = scale.expand(size)
    y, mean, rstd = torch.native_layer_norm(
        x, size, wide, None if bias is None else bias.expand(size), epsilon
    )
    return y, mean, rstd


def window_pads(
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
    auto_pad: str,
    ceil_mode: bool,
) -> list[int]:
    """Pads (in the order of ``torch.nn.functional.pad``) after which plain windows cover ONNX's.

    Negative where the last elements belong to no window.
    """
    result: list[int] = []
    for i, length in enumerate(size):
        extent = (kernel[i] - 1) * dilations[i] + 1
        if auto_pad in {"SAME_UPPER", "SAME_LOWER"}:
            count = -(-length // strides[i])
            total = max((count - 1) * strides[i] + extent - length, 0)
            before = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
        else:
            before, after = pads[i], pads[i + len(size)]
            room = length + before + after - extent
            count = (-(-room // strides[i]) if ceil_mode else room // strides[i]) + 1
            if ceil_mode and (count - 1) * strides[i] >= length + before:
                count -= 1
        result[:0] = [before, (count - 1) * strides[i] + extent - length - before]
    return result


def pad_windows(
    x: Tensor,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
    auto_pad: str,
    ceil_mode: bool,
    fill: float,
) -> Tensor:
    """Pad so that windows without padding cover what ONNX's windows cover."""
    size = x.shape[2:]
    amounts = window_pads(size, kernel, strides, dilations, pads, auto_pad, ceil_mode)
    return functional.pad(x, amounts, value=fill)


def average_pool(
    x: Tensor,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    auto_pad: str,
    ceil_mode: bool,
    count_pads: bool,
) -> Tensor:
    """Average pooling with uneven pads: the sum of each window over the number of its elements."""
    pool = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[len(kernel) - 1]
    ones = torch.ones_like(x[:1, :1])
    amounts = window_pads(
        x.shape[2:], kernel, strides, [1] * len(kernel), pads, auto_pad, ceil_mode
    )
    beyond = amounts
    if count_pads and auto_pad not in {"SAME_UPPER", "SAME_LOWER"}:
        given = [p for i in reversed(range(len(kernel))) for p in (pads[i], pads[i + len(kernel)])]
        ones = functional.pad(ones, given, value=1.0)
        beyond = [amount - part for amount, part in zip(amounts, given, strict=True)]
    elif count_pads:
        ones, beyond = functional.pad(ones, amounts, value=1.0), [0] * len(amounts)
    total = pool(functional.pad(x, amounts), kernel, strides)
    return total / pool(functional.pad(ones, beyond), kernel, strides)


def crop(x: Tensor, size: Sequence[int], upper: bool) -> Tensor:
    """Crop the spatial dimensions to ``size``; ``upper`` takes the odd element at the end."""
    for axis, wanted in enumerate(size, start=2):
        surplus = x.shape[axis] - wanted
        start = surplus // 2 if upper else surplus - surplus // 2
        x = x.narrow(axis, start, wanted)
    return x


def local_response_norm(x: Tensor, size: int, alpha: float, beta: float, bias: float) -> Tensor:
    """LRN over an even number of channels: ONNX has the odd one after, torch before."""
    turned = functional.local_response_norm(x.flip(1), size, alpha, beta, bias)
    return turned.flip(1)


def depth_to_space(x: Tensor, block: int) -> Tensor:
    """Depth to space in depth-column-row order."""
    n, c, h, w = x.shape
    x = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, c // block**2, h * block, w * block)


def space_to_depth(x: Tensor, block: int) -> Tensor:
    """Inverse of depth to space in depth-column-row order."""
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, c * block**2, h // block, w // block)


def resize(
    x: Tensor,
    scales: Sequence[float] | None,
    sizes: Sequence[int] | None,
    mode: str,
    coordinates: str,
    rounding: str,
) -> Tensor:
    """Resize by nearest or linear interpolation, one axis after the other.

    ``coordinates`` is ONNX's coordinate_transformation_mode, ``rounding`` its nearest_mode.
    """
    for axis, length in enumerate(x.shape):
        if sizes is not None:
            wanted, scale = sizes[axis], sizes[axis] / length
        else:
            assert scales is not None
            wanted, scale = _scaled(length, scales[axis]), scales[axis]
        if wanted == length and scale == 1:
            continue
        place = _coordinates(wanted, length, scale, coordinates, x.device)
        if mode == "nearest":
            x = x.index_select(axis, _nearest(place, rounding).clamp(0, length - 1))
            continue
        place = place.clamp(0, length - 1)
        low = place.floor()
        weight = (place - low).to(x.dtype).reshape([-1] + [1] * (x.dim() - axis - 1))
        first = low.to(torch.int64)
        second = (first + 1).clamp(max=length - 1)
        x = torch.lerp(x.index_select(axis, first), x.index_select(axis, second), weight)
    return x


def _scaled(length: int, scale: float) -> int:
    """The whole part of a product rounded to single precision, as ONNX's scales are."""
    product = length * scale
    whole = round(product)
    return whole if abs(product - whole) <= product * 2.0**-24 else math.floor(product)


def _coordinates(wanted: int, length: int, scale: float, mode: str, device: torch.device) -> Tensor:
    index = torch.arange(wanted, device=device, dtype=torch.float32)
    if mode == "align_corners":
        return index * ((length - 1) / (wanted - 1)) if wanted > 1 else index * 0
    if mode == "asymmetric":
        return index / scale
    if mode == "pytorch_half_pixel" and wanted == 1:
        return index * 0
    return (index + 0.5) / scale - 0.5


def _nearest(place: Tensor, rounding: str) -> Tensor:
    if rounding == "floor":
        index = place.floor()
    elif rounding == "ceil":
        index = place.ceil()
    elif rounding == "round_prefer_ceil":
        index = (place + 0.5).floor()
    else:
        index = (place - 0.5).ceil()
    return index.to(torch.int64)


def recurrent(
    kind: str,
    x: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    hidden: int,
    biases: bool,
    direction: str,
) -> tuple[Tensor, ...]:
    """LSTM or GRU: outputs (sequence, directions, batch, hidden) and the last states."""
    directions = 2 if direction == "bidirectional" else 1
    reverse = direction == "reverse"
    first = list(states) or [x.new_zeros(directions, x.shape[1], hidden)] * (
        2 if kind == "LSTM" else 1
    )
    apply: Any = torch.lstm if kind == "LSTM" else torch.gru
    start = tuple(first) if kind == "LSTM" else first[0]
    y, *last = apply(
        x.flip(0) if reverse else x, start, weights, biases, 1, 0.0, False, directions == 2, False
    )
    y = y.flip(0) if reverse else y
    y = y.reshape(y.shape[0], y.shape[1], directions, hidden).transpose(1, 2)
    return (y, *last)
