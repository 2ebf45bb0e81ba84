"""Convolution, pooling, normalization and recurrent operators for torch."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from profleet_runner.frameworks import torch_runtime_nn as runtime
from profleet_runner.frameworks.torch_lowering import RULES, Lowering, Operation, Value, rule

_CONV = (functional.conv1d, functional.conv2d, functional.conv3d)
_CONV_TRANSPOSE = (
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)
_MAX_POOL = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
_AVERAGE_POOL = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


class _Window:
    """The window attributes that convolution and pooling share."""

    def __init__(self, op: Operation, kernel: Sequence[int]) -> None:
        self.kernel = list(kernel)
        self.count = len(self.kernel)
        if not 1 <= self.count <= 3:
            raise op.unsupported(f"{self.count} spatial dimensions")
        self.strides = list(op.get("strides", [1] * self.count))
        self.dilations = list(op.get("dilations", [1] * self.count))
        self.auto_pad = op.get("auto_pad", "NOTSET") or "NOTSET"
        self.pads = list(op.get("pads", [0] * (2 * self.count)))
        if self.auto_pad == "VALID":
            self.pads = [0] * (2 * self.count)
        self.ceil_mode = bool(op.get("ceil_mode", 0))

    def resolve(self, g: Lowering, x: Value) -> None:
        """Turn SAME padding into plain pads where the input's size is known at import."""
        shape = g.shape(x)
        if not self.auto_pad.startswith("SAME") or shape is None or None in shape[2:]:
            return
        size = [int(length or 0) for length in shape[2:]]
        amounts = runtime.window_pads(
            size, self.kernel, self.strides, self.dilations, [], self.auto_pad, False
        )
        if min(amounts) >= 0:
            self.pads = amounts[-2::-2] + amounts[-1::-2]
            self.auto_pad = "NOTSET"

    @property
    def even(self) -> bool:
        """Whether the same padding applies before and after each dimension."""
        same = self.pads[: self.count] == self.pads[self.count :]
        return same and not self.auto_pad.startswith("SAME")

    @property
    def padding(self) -> list[int]:
        return self.pads[: self.count]

    def padded(self, g: Lowering, x: Value, fill: float = 0.0) -> Any:
        """Pad the input so that the window itself needs no padding."""
        if not self.auto_pad.startswith("SAME") and not self.ceil_mode:
            amounts = [
                pad
                for i in reversed(range(self.count))
                for pad in (self.pads[i], self.pads[i + self.count])
            ]
            return g.call(functional.pad, x, amounts, value=fill)
        return g.call(
            runtime.pad_windows,
            x,
            self.kernel,
            self.strides,
            self.dilations,
            self.pads,
            self.auto_pad,
            self.ceil_mode,
            fill,
        )


@rule("Conv")
def _conv(g: Lowering, op: Operation, x: Value, w: Value, b: Value | None = None) -> Any:
    kernel = op.get("kernel_shape") or list((g.shape(w) or ())[2:])
    if None in kernel or not kernel:
        raise op.unsupported("a kernel of unknown shape")
    window = _Window(op, kernel)
    window.resolve(g, x)
    padding = window.padding
    if not window.even:
        x, padding = window.padded(g, x), [0] * window.count
    convolve = _CONV[window.count - 1]
    return g.call(convolve, x, w, b, window.strides, padding, window.dilations, op.get("group", 1))


@rule("ConvTranspose")
def _conv_transpose(g: Lowering, op: Operation, x: Value, w: Value, b: Value | None = None) -> Any:
    kernel = op.get("kernel_shape") or list((g.shape(w) or ())[2:])
    if None in kernel or not kernel:
        raise op.unsupported("a kernel of unknown shape")
    window = _Window(op, kernel)
    convolve = _CONV_TRANSPOSE[window.count - 1]
    extra = list(op.get("output_padding", [0] * window.count))
    group = op.get("group", 1)
    same = window.auto_pad.startswith("SAME")
    wanted = op.get("output_shape")
    extents = [(k - 1) * d + 1 for k, d in zip(window.kernel, window.dilations, strict=True)]
    if same and any(s > extent for s, extent in zip(window.strides, extents, strict=True)):
        raise op.unsupported("automatic padding and strides beyond the kernel")
    if wanted or same:
        size = (
            wanted[-window.count :]
            if wanted
            else [
                g.call(operator.mul, g.size(x, i + 2), window.strides[i])
                for i in range(window.count)
            ]
        )
        full = g.call(convolve, x, w, b, window.strides, 0, extra, group, window.dilations)
        return g.call(runtime.crop, full, size, window.auto_pad == "SAME_UPPER")
    if window.even:
        return g.call(
            convolve, x, w, b, window.strides, window.padding, extra, group, window.dilations
        )
    before, after = window.pads[: window.count], window.pads[window.count :]
    beyond = [max(e - a, 0) for e, a in zip(extra, after, strict=True)]
    full = g.call(convolve, x, w, b, window.strides, 0, beyond, group, window.dilations)
    index: list[slice] = [slice(None), slice(None)]
    for start, end, more in zip(before, after, extra, strict=True):
        index.append(slice(start, -(end - more) if end > more else None))
    return g.call(operator.getitem, full, tuple(index))


@rule("MaxPool")
def _max_pool(g: Lowering, op: Operation, x: Value) -> Any:
    if len(op.outputs) > 1:
        raise op.unsupported("the output of indices")
    window = _Window(op, op.get("kernel_shape"))
    window.resolve(g, x)
    pool = _MAX_POOL[window.count - 1]
    narrow = all(2 * pad <= k for pad, k in zip(window.padding, window.kernel, strict=True))
    if window.even and narrow:
        return g.call(
            pool,
            x,
            window.kernel,
            window.strides,
            window.padding,
            window.dilations,
            ceil_mode=window.ceil_mode,
        )
    padded = window.padded(g, x, float("-inf"))
    return g.call(pool, padded, window.kernel, window.strides, 0, window.dilations)


@rule("AveragePool")
def _average_pool(g: Lowering, op: Operation, x: Value) -> Any:
    window = _Window(op, op.get("kernel_shape"))
    if any(dilation != 1 for dilation in window.dilations):
        raise op.unsupported("dilations")
    window.resolve(g, x)
    count_pads = bool(op.get("count_include_pad", 0))
    narrow = all(2 * pad <= k for pad, k in zip(window.padding, window.kernel, strict=True))
    if window.even and narrow:
        return g.call(
            _AVERAGE_POOL[window.count - 1],
            x,
            window.kernel,
            window.strides,
            window.padding,
            ceil_mode=window.ceil_mode,
            count_include_pad=count_pads,
        )
    return g.call(
        runtime.average_pool,
        x,
        window.kernel,
        window.strides,
        window.pads,
        window.auto_pad,
        window.ceil_mode,
        count_pads,
    )


@rule("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(g: Lowering, op: Operation, x: Value) -> Any:
    rank = g.rank(x)
    if rank is None:
        raise op.unsupported("an input of unknown rank")
    if rank == 4:
        average = op.kind == "GlobalAveragePool"
        pool = functional.adaptive_avg_pool2d if average else functional.adaptive_max_pool2d
        return g.call(pool, x, (1, 1))
    reduction = torch.mean if op.kind == "GlobalAveragePool" else torch.amax
    return g.call(reduction, x, list(range(2, rank)), True)


@rule("LRN")
def _lrn(g: Lowering, op: Operation, x: Value) -> Any:
    size = op.get("size")
    apply = functional.local_response_norm if size % 2 else runtime.local_response_norm
    return g.call(apply, x, size, op.get("alpha", 1e-4), op.get("beta", 0.75), op.get("bias", 1.0))


@rule("BatchNormalization")
def _batch_norm(
    g: Lowering, op: Operation, x: Value, scale: Value, bias: Value, mean: Value, var: Value
) -> Any:
    if op.get("training_mode", 0) or len(op.outputs) > 1:
        raise op.unsupported("training mode")
    if op.opset < 9 and not op.get("spatial", 1):
        raise op.unsupported("spatial = 0")
    epsilon = op.get("epsilon", 1e-5)
    return g.call(functional.batch_norm, x, mean, var, scale, bias, False, 0.0, epsilon)


@rule("InstanceNormalization")
def _instance_norm(g: Lowering, op: Operation, x: Value, scale: Value, bias: Value) -> Any:
    epsilon = op.get("epsilon", 1e-5)
    return g.call(functional.instance_norm, x, weight=scale, bias=bias, eps=epsilon)


@rule("LayerNormalization")
def _layer_norm(
    g: Lowering, op: Operation, x: Value, scale: Value, bias: Value | None = None
) -> Any:
    axis, epsilon = op.get("axis", -1), op.get("epsilon", 1e-5)
    rank, size = g.rank(x), g.known_shape(scale)
    count = -axis if axis < 0 else (rank - axis if rank is not None else None)
    if size is not None and len(size) == count and len(op.outputs) == 1:
        known = (g.shape(x) or ())[-count:] or (None,) * count
        # A scale of size 1 may stand for any size of the input.
        whole = all(a == b or (a is None and b != 1) for a, b in zip(known, size, strict=True))
        if whole and (bias is None or g.known_shape(bias) == size):
            return g.call(functional.layer_norm, x, list(size), scale, bias, epsilon)
    found = g.call(runtime.layer_norm, x, scale, bias, axis, epsilon)
    return tuple(g.call(operator.getitem, found, i) for i in range(len(op.outputs)))


@rule("GroupNormalization")
def _group_norm(g: Lowering, op: Operation, x: Value, scale: Value, bias: Value) -> Any:
    if op.opset < 21:
        raise op.unsupported("one scale a group (before opset 21)")
    groups, epsilon = op.get("num_groups"), op.get("epsilon", 1e-5)
    return g.call(functional.group_norm, x, groups, scale, bias, epsilon)


@rule("LpNormalization")
def _lp_norm(g: Lowering, op: Operation, x: Value) -> Any:
    return g.call(functional.normalize, x, float(op.get("p", 2)), op.get("axis", -1), eps=0.0)


@rule("DepthToSpace")
def _depth_to_space(g: Lowering, op: Operation, x: Value) -> Any:
    crd = op.get("mode", "DCR") == "CRD"
    return g.call(
        functional.pixel_shuffle if crd else runtime.depth_to_space, x, op.get("blocksize")
    )


@rule("SpaceToDepth")
def _space_to_depth(g: Lowering, op: Operation, x: Value) -> Any:
    return g.call(runtime.space_to_depth, x, op.get("blocksize"))


@rule("Resize")
def _resize(
    g: Lowering,
    op: Operation,
    x: Value,
    roi: Value | None = None,
    scales: Value | None = None,
    sizes: Value | None = None,
) -> Any:
    if op.opset < 11:
        return _interpolate(g, op, x, g.numbers(roi), None, "asymmetric", "floor")
    if isinstance(scales, torch.Tensor) and scales.numel() == 0:
        scales = None
    for attribute in ("antialias", "exclude_outside", "axes"):
        if op.get(attribute):
            raise op.unsupported(attribute)
    if op.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise op.unsupported("keep_aspect_ratio_policy")
    return _interpolate(
        g,
        op,
        x,
        g.numbers(scales),
        g.numbers(sizes),
        op.get("coordinate_transformation_mode", "half_pixel"),
        op.get("nearest_mode", "round_prefer_floor"),
    )


@rule("Upsample")
def _upsample(g: Lowering, op: Operation, x: Value, scales: Value | None = None) -> Any:
    factors = op.get("scales") if scales is None else g.numbers(scales)
    return _interpolate(g, op, x, factors, None, "asymmetric", "floor")


def _interpolate(
    g: Lowering,
    op: Operation,
    x: Value,
    scales: Any,
    sizes: Any,
    coordinates: str,
    rounding: str,
) -> Any:
    mode = op.get("mode", "nearest")
    if mode not in {"nearest", "linear"}:
        raise op.unsupported(f"mode '{mode}'")
    if coordinates not in {"half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"}:
        raise op.unsupported(f"coordinate_transformation_mode '{coordinates}'")
    if not isinstance(scales, list) or scales[:2] != [1, 1] or not 3 <= len(scales) <= 5:
        return g.call(runtime.resize, x, scales, sizes, mode, coordinates, rounding)
    factors = scales[2:]
    if not all(float(factor * 64).is_integer() for factor in factors):
        return g.call(runtime.resize, x, scales, sizes, mode, coordinates, rounding)
    whole = all(factor >= 1 and float(factor).is_integer() for factor in factors)
    floored = (coordinates, rounding) == ("asymmetric", "floor")
    centered = (coordinates, rounding) == ("half_pixel", "round_prefer_floor")
    if mode == "nearest" and (floored or (centered and whole)):
        return g.call(functional.interpolate, x, scale_factor=factors, mode="nearest")
    if mode == "linear" and coordinates in {"half_pixel", "align_corners"}:
        name = {3: "linear", 4: "bilinear", 5: "trilinear"}[len(scales)]
        corners = coordinates == "align_corners"
        return g.call(
            functional.interpolate, x, scale_factor=factors, mode=name, align_corners=corners
        )
    return g.call(runtime.resize, x, scales, sizes, mode, coordinates, rounding)


@rule("LSTM", "GRU")
def _recurrent(
    g: Lowering, op: Operation, x: Value, w: Value, r: Value, b: Value | None = None, *rest: Any
) -> Any:
    lengths, *states = (*rest, None, None, None)[: 3 if op.kind == "LSTM" else 2]
    _check_recurrent(op, lengths, rest)
    hidden = op.get("hidden_size")
    direction = op.get("direction", "forward")
    order = [0, 2, 3, 1] if op.kind == "LSTM" else [1, 0, 2]
    gates = len(order)

    def gate_order(value: Value) -> Any:
        blocks = g.call(torch.chunk, value, gates, 0)
        return g.call(torch.cat, [g.call(operator.getitem, blocks, i) for i in order], 0)

    weights = []
    for i in range(2 if direction == "bidirectional" else 1):
        weights += [gate_order(g.call(torch.select, value, 0, i)) for value in (w, r)]
        if b is not None:
            both = g.call(torch.chunk, g.call(torch.select, b, 0, i), 2, 0)
            weights += [gate_order(g.call(operator.getitem, both, j)) for j in range(2)]
    given = [state for state in states if state is not None]
    if len(given) == 1 and op.kind == "LSTM":
        raise op.unsupported("only one of the initial states")
    found = g.call(runtime.recurrent, op.kind, x, given, weights, hidden, b is not None, direction)
    return tuple(g.call(operator.getitem, found, i) for i in range(len(op.outputs)))


def _check_recurrent(op: Operation, lengths: Value | None, rest: Sequence[Any]) -> None:
    usual = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}[op.kind]
    given = op.get("activations")
    if given and given != usual * (len(given) // len(usual)):
        raise op.unsupported(f"activations {given}")
    if lengths is not None:
        raise op.unsupported("sequence lengths")
    if op.kind == "LSTM" and len(rest) > 3 and rest[3] is not None:
        raise op.unsupported("peepholes")
    for attribute in ("clip", "layout", "input_forget"):
        if op.get(attribute):
            raise op.unsupported(attribute)
    if op.kind == "GRU" and not op.get("linear_before_reset", 0):
        raise op.unsupported("linear_before_reset = 0")


__all__ = ["RULES"]
