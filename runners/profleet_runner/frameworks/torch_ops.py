"""Elementwise operators, reductions and matrix products for torch."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from profleet_runner.frameworks import torch_runtime as runtime
from profleet_runner.frameworks.torch_lowering import RULES, Lowering, Operation, Value, rule
from profleet_runner.frameworks.torch_model import DTYPES

_UNARY: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs, "Acos": torch.acos, "Acosh": torch.acosh, "Asin": torch.asin,
    "Asinh": torch.asinh, "Atan": torch.atan, "Atanh": torch.atanh, "Ceil": torch.ceil,
    "Cos": torch.cos, "Cosh": torch.cosh, "Erf": torch.erf, "Exp": torch.exp,
    "Floor": torch.floor, "HardSwish": functional.hardswish, "IsNaN": torch.isnan,
    "Log": torch.log, "Mish": functional.mish, "Neg": torch.neg, "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal, "Relu": torch.relu, "Round": torch.round,
    "Sigmoid": torch.sigmoid, "Sign": torch.sign, "Sin": torch.sin, "Sinh": torch.sinh,
    "Softplus": functional.softplus, "Softsign": functional.softsign, "Sqrt": torch.sqrt,
    "Tan": torch.tan, "Tanh": torch.tanh,
}  # fmt: skip

_BINARY: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "Add": (operator.add, operator.add),
    "Sub": (operator.sub, operator.sub),
    "Mul": (operator.mul, operator.mul),
    "Equal": (torch.eq, operator.eq),
    "Greater": (torch.gt, operator.gt),
    "GreaterOrEqual": (torch.ge, operator.ge),
    "Less": (torch.lt, operator.lt),
    "LessOrEqual": (torch.le, operator.le),
    "And": (torch.logical_and, operator.and_),
    "Or": (torch.logical_or, operator.or_),
    "Xor": (torch.logical_xor, operator.xor),
}
"""Operator: the function of tensors and the function of Python numbers."""

_COMPARISONS = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})


@rule(*_UNARY)
def _unary(g: Lowering, op: Operation, x: Value) -> Any:
    dims = g.all_dims(x)
    if dims and op.kind in {"Neg", "Not", "Abs"}:
        numbers: dict[str, Any] = {
            "Neg": operator.neg,
            "Not": operator.not_,
            "Abs": operator.abs,
        }
        return g.dims_call(numbers[op.kind], *dims)
    return g.call(_UNARY[op.kind], x)


@rule(*_BINARY)
def _binary(g: Lowering, op: Operation, a: Value, b: Value) -> Any:
    tensors, numbers = _BINARY[op.kind]
    dims = g.all_dims(a, b)
    if dims:
        return g.dims_call(numbers, *dims, dtype=torch.bool if op.kind in _COMPARISONS else None)
    if op.kind in _COMPARISONS:
        return g.call(tensors, a, g.scalars(a, b)[1])
    return g.call(tensors, *g.scalars(a, b))


@rule("Div")
def _div(g: Lowering, op: Operation, a: Value, b: Value) -> Any:
    dims = g.all_dims(a, b)
    if dims:
        return g.dims_call(runtime.truncated_division, *dims)
    dtype = g.dtype(a) or g.dtype(b)
    if dtype is None:
        return g.call(runtime.divide, a, b)
    if dtype.is_floating_point:
        return g.call(torch.div, a, g.scalars(a, b)[1])
    return g.call(torch.div, a, b, rounding_mode="trunc")


@rule("Mod")
def _mod(g: Lowering, op: Operation, a: Value, b: Value) -> Any:
    if op.get("fmod", 0):
        return g.call(torch.fmod, a, b)
    dims = g.all_dims(a, b)
    return g.dims_call(operator.mod, *dims) if dims else g.call(torch.remainder, a, b)


@rule("Pow")
def _pow(g: Lowering, op: Operation, a: Value, b: Value) -> Any:
    dtypes = g.dtype(a), g.dtype(b)
    if None not in dtypes and dtypes[0] == dtypes[1]:
        return g.call(torch.pow, a, g.scalars(a, b)[1])
    return g.call(runtime.power, a, g.scalars(a, b)[1])


@rule("Max", "Min", "Sum", "Mean")
def _variadic(g: Lowering, op: Operation, *values: Value) -> Any:
    dims = g.all_dims(*values)
    if dims and op.kind in {"Max", "Min"} and len(dims) > 1:
        return g.dims_call(max if op.kind == "Max" else min, *dims)
    folded = {"Max": torch.maximum, "Min": torch.minimum}.get(op.kind, torch.add)
    total = functools.reduce(functools.partial(g.call, folded), values)
    return g.call(torch.div, total, len(values)) if op.kind == "Mean" else total


@rule("Where")
def _where(g: Lowering, op: Operation, condition: Value, a: Value, b: Value) -> Any:
    dims = g.all_dims(condition, a, b)
    if dims:
        return g.dims_call(runtime.select, *dims, dtype=dims[1].dtype)
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return g.call(torch.where, condition, a, b)
    return g.call(torch.where, condition, *g.scalars(condition, a, b)[1:])


@rule("Clip")
def _clip(
    g: Lowering, op: Operation, x: Value, low: Value | None = None, high: Value | None = None
) -> Any:
    bounds = {"min": low, "max": high} if op.opset >= 11 else {
        "min": op.get("min"), "max": op.get("max")
    }  # fmt: skip
    bounds = {key: bound for key, bound in bounds.items() if bound is not None}
    if all(isinstance(bound, float | torch.Tensor) for bound in bounds.values()):
        bounds = {k: b.item() if isinstance(b, torch.Tensor) else b for k, b in bounds.items()}
    return g.call(torch.clamp, x, **bounds) if bounds else x


@rule("LeakyRelu")
def _leaky_relu(g: Lowering, op: Operation, x: Value) -> Any:
    return g.call(functional.leaky_relu, x, op.get("alpha", 0.01))


@rule("PRelu")
def _prelu(g: Lowering, op: Operation, x: Value, slope: Value) -> Any:
    shape, rank = g.known_shape(slope), g.rank(x)
    if shape is not None and rank is not None and rank >= 2:
        aligned = (1,) * (rank - len(shape)) + shape
        if math.prod(aligned) == aligned[1]:
            return g.call(functional.prelu, x, g.call(torch.reshape, slope, (aligned[1],)))
    return g.call(torch.where, g.call(torch.lt, x, 0), g.call(operator.mul, slope, x), x)


@rule("HardSigmoid")
def _hard_sigmoid(g: Lowering, op: Operation, x: Value) -> Any:
    alpha, beta = op.get("alpha", 0.2), op.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return g.call(functional.hardsigmoid, x)
    return g.call(torch.clamp, g.call(torch.add, g.call(torch.mul, x, alpha), beta), 0.0, 1.0)


@rule("Elu")
def _elu(g: Lowering, op: Operation, x: Value) -> Any:
    return g.call(functional.elu, x, op.get("alpha", 1.0))


@rule("Celu")
def _celu(g: Lowering, op: Operation, x: Value) -> Any:
    return g.call(functional.celu, x, op.get("alpha", 1.0))


@rule("Selu")
def _selu(g: Lowering, op: Operation, x: Value) -> Any:
    if {"alpha", "gamma"} & set(op.attributes):
        alpha, gamma = op.get("alpha", 1.6732632), op.get("gamma", 1.0507010)
        return g.call(torch.mul, g.call(functional.elu, x, alpha), gamma)
    return g.call(functional.selu, x)


@rule("ThresholdedRelu")
def _thresholded_relu(g: Lowering, op: Operation, x: Value) -> Any:
    return g.call(functional.threshold, x, op.get("alpha", 1.0), 0.0)


@rule("Gelu")
def _gelu(g: Lowering, op: Operation, x: Value) -> Any:
    return g.call(functional.gelu, x, approximate=op.get("approximate", "none"))


@rule("Identity")
def _identity(g: Lowering, op: Operation, x: Value) -> Any:
    return x


@rule("Dropout")
def _dropout(
    g: Lowering, op: Operation, x: Value, ratio: Value | None = None, training: Value | None = None
) -> Any:
    if training is not None and not (isinstance(training, torch.Tensor) and not training.item()):
        raise op.unsupported("training mode")
    if len(op.outputs) > 1:
        return x, g.call(torch.ones_like, x, dtype=torch.bool)
    return x


@rule("Cast")
def _cast(g: Lowering, op: Operation, x: Value) -> Any:
    if op.get("to") not in DTYPES:
        raise op.unsupported(f"data type {op.get('to')}")
    dtype = DTYPES[op.get("to")]
    dims = g.all_dims(x)
    if dims and dtype in {torch.int64, torch.int32}:
        return g.dims_call(int, *dims, dtype=dtype) if dims[0].dtype == torch.bool else type(
            dims[0]
        )(dims[0].cells, dtype)  # fmt: skip
    return x if g.dtype(x) == dtype else g.call(torch.Tensor.to, x, dtype)


@rule("CastLike")
def _cast_like(g: Lowering, op: Operation, x: Value, like: Value) -> Any:
    return g.call(torch.Tensor.type_as, x, like)


@rule("Softmax", "LogSoftmax")
def _softmax(g: Lowering, op: Operation, x: Value) -> Any:
    log = op.kind == "LogSoftmax"
    apply = torch.log_softmax if log else torch.softmax
    if op.opset >= 13:
        return g.call(apply, x, op.get("axis", -1))
    axis, shape = op.get("axis", 1), g.shape(x)
    if shape is not None and all(size == 1 for size in shape[axis % len(shape) + 1 :]):
        return g.call(apply, x, axis)
    return g.call(runtime.softmax_2d, x, axis, log)


@rule("MatMul")
def _matmul(g: Lowering, op: Operation, a: Value, b: Value) -> Any:
    return g.call(torch.matmul, a, b)


@rule("Gemm")
def _gemm(g: Lowering, op: Operation, a: Value, b: Value, c: Value | None = None) -> Any:
    alpha, beta = op.get("alpha", 1.0), op.get("beta", 1.0)
    a = g.call(torch.t, a) if op.get("transA", 0) else a
    plain = alpha == 1 and (c is None or (beta == 1 and g.rank(c) == 1))
    if op.get("transB", 0) and plain:
        return g.call(functional.linear, a, b, c)
    b = g.call(torch.t, b) if op.get("transB", 0) else b
    if c is not None:
        return g.call(torch.addmm, c, a, b, beta=beta, alpha=alpha)
    product = g.call(torch.mm, a, b)
    return product if alpha == 1 else g.call(torch.mul, product, alpha)


@rule("Einsum")
def _einsum(g: Lowering, op: Operation, *values: Value) -> Any:
    return g.call(torch.einsum, op.get("equation"), *values)


_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceMean": torch.mean,
    "ReduceSum": torch.sum,
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
    "ReduceLogSumExp": torch.logsumexp,
    "ReduceProd": runtime.product,
    "ReduceLogSum": runtime.log_sum,
    "ReduceL1": runtime.norm_1,
    "ReduceL2": runtime.norm_2,
    "ReduceSumSquare": runtime.sum_square,
}


@rule(*_REDUCTIONS)
def _reduce(g: Lowering, op: Operation, x: Value, axes: Value | None = None) -> Any:
    if op.opset >= (13 if op.kind == "ReduceSum" else 18):
        chosen = g.numbers(axes) or []
        if not chosen and op.get("noop_with_empty_axes", 0):
            return x
    else:
        chosen = op.get("axes", [])
    keepdims = bool(op.get("keepdims", 1))
    dims = g.all_dims(x)
    if dims and dims[0].cells.ndim == 1 and op.kind in {"ReduceProd", "ReduceSum"}:
        fold = operator.mul if op.kind == "ReduceProd" else operator.add
        total = functools.reduce(functools.partial(g.call, fold), dims[0].cells)
        cells = dims[0].cells[:1].copy()
        cells[0] = total
        return type(dims[0])(cells if keepdims else cells.reshape(()), dims[0].dtype)
    if op.kind == "ReduceProd":
        return g.call(runtime.product, x, chosen, keepdims)
    if isinstance(chosen, list) and not chosen:
        rank = g.rank(x)
        chosen = (
            list(range(rank))
            if rank is not None
            else g.call(runtime.reduce_axes, g.graph.call_method("dim", (x,)), [])
        )
    dtype = g.dtype(x)
    if op.kind == "ReduceSum" and (dtype is None or not dtype.is_floating_point):
        return g.call(runtime.sum_typed, x, chosen, keepdims)
    return g.call(_REDUCTIONS[op.kind], x, chosen, keepdims)


@rule("ArgMax", "ArgMin")
def _arg_max(g: Lowering, op: Operation, x: Value) -> Any:
    x = g.call(torch.neg, x) if op.kind == "ArgMin" else x
    return g.call(
        runtime.arg_max,
        x,
        op.get("axis", 0),
        bool(op.get("keepdims", 1)),
        bool(op.get("select_last_index", 0)),
    )


@rule("TopK")
def _top_k(g: Lowering, op: Operation, x: Value, k: Value | None = None) -> Any:
    count = op.get("k") if k is None else g.numbers(k)
    if isinstance(count, list):
        count = count[0]
    elif k is not None:
        count = g.call(operator.getitem, count, 0)
    largest, in_order = bool(op.get("largest", 1)), bool(op.get("sorted", 1))
    found = g.call(torch.topk, x, count, op.get("axis", -1), largest, in_order)
    return g.call(operator.getitem, found, 0), g.call(operator.getitem, found, 1)


@rule("CumSum")
def _cumsum(g: Lowering, op: Operation, x: Value, axis: Value) -> Any:
    along = axis.item() if isinstance(axis, torch.Tensor) else axis
    return g.call(
        runtime.cumsum, x, along, bool(op.get("exclusive", 0)), bool(op.get("reverse", 0))
    )


__all__ = ["RULES"]
