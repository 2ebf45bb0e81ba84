"""Elementwise operators, reductions and products in torch compute what ONNX defines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from torch_cases import Values, by_onnxruntime, check

VALUES = Values(11)
normal, integers = VALUES.normal, VALUES.integers


UNARY = [
    "Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "HardSwish", "Neg", "Reciprocal", "Relu",
    "Round", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Tan", "Tanh", "Atan", "Asinh",
    "Sinh", "Cosh", "Mish", "IsNaN", "Identity", "Elu", "Selu", "Celu", "ThresholdedRelu",
    "LeakyRelu", "HardSigmoid",
]  # fmt: skip


@pytest.mark.parametrize("kind", UNARY)
def test_unary(kind: str) -> None:
    x = np.concatenate([normal(20) * 3, np.array([0.0, 0.5, 1.5, 2.5, -0.5, -3.0, 3.0])])
    check(kind, {"x": x.astype(np.float32)}, opset=18, tolerance=1e-4)


@pytest.mark.parametrize("kind", ["Sqrt", "Log", "Acosh"])
def test_unary_of_positive_numbers(kind: str) -> None:
    check(kind, {"x": np.abs(normal(20)) + 1})


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate: str) -> None:
    check("Gelu", {"x": normal(3, 7) * 3}, opset=20, approximate=approximate)


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("LeakyRelu", {"alpha": 0.3}),
        ("Elu", {"alpha": 0.7}),
        ("Selu", {"alpha": 1.5, "gamma": 0.8}),
        ("Celu", {"alpha": 0.7}),
        ("ThresholdedRelu", {"alpha": 0.4}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    ],
)
def test_activations_with_parameters(kind: str, attributes: dict[str, float]) -> None:
    check(kind, {"x": normal(40) * 4}, **attributes)


@pytest.mark.parametrize("slope", [(4,), (1, 4, 1, 1), (4, 1, 1), (1,), (4, 2, 3), (5, 1, 1, 1)])
def test_prelu(slope: tuple[int, ...]) -> None:
    x = normal(5, 4, 2, 3) if slope != (4,) else normal(5, 4)
    check("PRelu", {"x": x}, {"slope": np.abs(normal(*slope))})


@pytest.mark.parametrize("shape", [(3, 4), (4,), (1,), (), (2, 1, 4), (1, 1, 1, 1)])
@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"])
@pytest.mark.parametrize("constant_first", [False, True])
def test_arithmetic_with_constants(kind: str, shape: tuple[int, ...], constant_first: bool) -> None:
    x, c = np.abs(normal(3, 4)) + 0.5, np.abs(normal(*shape)) + np.float32(0.5)
    names = ["c", "x"] if constant_first else ["x", "c"]
    check(kind, {"x": x}, {"c": np.asarray(c, np.float32)}, names=names)


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div", "Mod"])
@pytest.mark.parametrize("declared", [True, None])
def test_integer_arithmetic(kind: str, declared: bool | None) -> None:
    a, b = integers(3, 5, dtype=np.int32), integers(5, low=1, dtype=np.int32)
    check(
        kind, {"a": a, "b": b}, declared=declared, oracle=by_onnxruntime
    )  # Div truncates toward zero


def test_floating_modulo_and_negative_integer_modulo() -> None:
    check("Mod", {"a": normal(9) * 5, "b": np.full(9, -1.5, np.float32)}, fmod=1)
    check("Mod", {"a": integers(9), "b": np.full(9, -4)})


def test_power_keeps_the_type_of_the_base() -> None:
    check("Pow", {"a": normal(4), "b": np.array([2, 3, 2, 1])})
    check("Pow", {"a": integers(4, low=1), "b": np.array(2.0, np.float32)})
    check("Pow", {"a": normal(4)}, {"b": np.array(3, np.int64)})


@pytest.mark.parametrize("kind", ["Max", "Min", "Sum", "Mean"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_variadic(kind: str, count: int) -> None:
    shapes = [(3, 4), (4,), (3, 1)][:count]
    check(
        kind,
        {f"x{i}": normal(*s) for i, s in enumerate(shapes)},
        declared=True if count != 2 else None,
    )


@pytest.mark.parametrize("kind", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
def test_comparisons(kind: str) -> None:
    a = integers(4, 5, low=0, high=3)
    check(kind, {"a": a, "b": integers(5, low=0, high=3)})
    check(kind, {"a": a}, {"b": np.array(1)})
    check(kind, {"a": a}, {"b": np.array([1])}, names=["b", "a"])


@pytest.mark.parametrize("kind", ["And", "Or", "Xor"])
def test_logic(kind: str) -> None:
    a, b = integers(4, 4, low=0, high=2, dtype=bool), integers(4, low=0, high=2, dtype=bool)
    check(kind, {"a": a, "b": b})
    check("Not", {"a": a})


def test_where() -> None:
    c, a, b = normal(3, 4) > 0, normal(3, 1), normal(4)
    check("Where", {"c": c, "a": a, "b": b})
    check("Where", {"c": c, "b": b}, {"a": np.array(-3e38, np.float32)}, names=["c", "a", "b"])
    check("Where", {"c": c}, {"a": np.array([1.0], np.float32), "b": np.array(0, np.float32)})


@pytest.mark.parametrize("opset", [10, 13])
def test_clip(opset: int) -> None:
    x = normal(4, 5) * 3
    if opset < 11:
        check("Clip", {"x": x}, opset=opset, min=-0.5, max=1.25)
        check("Clip", {"x": x}, opset=opset, oracle=by_onnxruntime, max=1.25)
        return
    low, high = np.array(-0.5, np.float32), np.array(1.25, np.float32)
    check("Clip", {"x": x}, {"low": low, "high": high}, opset=opset)
    check("Clip", {"x": x}, {"high": high}, names=["x", "", "high"], opset=opset)
    check("Clip", {"x": x, "low": low}, {"high": high}, opset=opset)
    check("Clip", {"x": x}, opset=opset)


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(
    ("opset", "axis"), [(o, a) for o in (9, 11, 13) for a in (0, 1, 2, None)] + [(11, -1), (13, -1)]
)
@pytest.mark.parametrize("declared", [True, None])
def test_softmax_by_opset(kind: str, axis: int | None, opset: int, declared: bool | None) -> None:
    attributes = {} if axis is None else {"axis": axis}
    check(
        kind,
        {"x": normal(2, 3, 4)},
        opset=opset,
        declared=declared,
        oracle=by_onnxruntime,
        **attributes,
    )


def test_old_softmax_over_trailing_ones() -> None:
    check("Softmax", {"x": normal(2, 5, 1, 1)}, opset=9, oracle=by_onnxruntime)
    check("Softmax", {"x": normal(2, 5, 2, 1)}, opset=9, oracle=by_onnxruntime)


@settings(max_examples=40, deadline=None)
@given(
    trans_a=st.booleans(),
    trans_b=st.booleans(),
    alpha=st.sampled_from([1.0, 0.5]),
    beta=st.sampled_from([1.0, 2.0]),
    c=st.sampled_from([None, (), (5,), (1, 5), (3, 1), (3, 5)]),
    constant=st.booleans(),
)
def test_gemm(
    trans_a: bool,
    trans_b: bool,
    alpha: float,
    beta: float,
    c: tuple[int, ...] | None,
    constant: bool,
) -> None:
    inputs = {"a": normal(*((4, 3) if trans_a else (3, 4)))}
    others = {"b": normal(*((5, 4) if trans_b else (4, 5)))}
    if c is not None:
        others["c"] = np.asarray(normal(*c), np.float32)
    check(
        "Gemm", inputs if constant else inputs | others, others if constant else None,
        transA=int(trans_a), transB=int(trans_b), alpha=alpha, beta=beta,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("a", "b"), [((4,), (4,)), ((3, 4), (4,)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (3, 4, 2))]
)
def test_matrix_product(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    check("MatMul", {"a": normal(*a), "b": normal(*b)})


def test_einsum() -> None:
    check("Einsum", {"a": normal(2, 3, 4), "b": normal(2, 4, 5)}, equation="bij,bjk->bki")


REDUCTIONS = [
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
    "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare",
]  # fmt: skip


@pytest.mark.parametrize("kind", REDUCTIONS)
@pytest.mark.parametrize("opset", [12, 18])
@pytest.mark.parametrize("axes", [None, [1], [-1, 0]])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("declared", [True, None])
def test_reductions(
    kind: str, opset: int, axes: list[int] | None, keepdims: int, declared: bool | None
) -> None:
    x = {"x": np.abs(normal(2, 3, 4)) + np.float32(0.1)}
    if axes is None:
        check(kind, x, opset=opset, keepdims=keepdims, declared=declared)
    elif opset < 13:
        check(kind, x, opset=opset, keepdims=keepdims, declared=declared, axes=axes)
    else:
        check(kind, x, {"axes": np.array(axes)}, opset=opset, keepdims=keepdims, declared=declared)


def test_reductions_by_input_and_of_integers() -> None:
    x = integers(2, 3, dtype=np.int32)
    check("ReduceSum", {"x": x, "axes": np.array([1])}, keepdims=0)
    check("ReduceMax", {"x": x}, {"axes": np.array([0])}, opset=18)
    check("ReduceSum", {"x": x}, noop_with_empty_axes=1)


@pytest.mark.parametrize("kind", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_arg_max_with_ties(kind: str, last: int, keepdims: int) -> None:
    x = integers(3, 8, low=0, high=3).astype(np.float32)
    check(kind, {"x": x}, axis=1, select_last_index=last, keepdims=keepdims)


def test_top_k() -> None:
    x = VALUES.rng.permutation(40).reshape(4, 10).astype(np.float32)
    check("TopK", {"x": x}, {"k": np.array([3])}, outputs=2)
    check("TopK", {"x": x, "k": np.array([2])}, outputs=2, axis=0, largest=0)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_cumulative_sum(exclusive: int, reverse: int) -> None:
    axis = {"axis": np.array(1)}
    check("CumSum", {"x": normal(3, 5)}, axis, exclusive=exclusive, reverse=reverse)
    check("CumSum", {"x": normal(3, 5), **axis}, exclusive=exclusive, reverse=reverse)


@pytest.mark.parametrize(
    ("to", "x"),
    [
        (TensorProto.INT64, np.array([-1.7, 0.2, 2.9], np.float32)),
        (TensorProto.FLOAT16, np.array([1.1, -2.3], np.float32)),
        (TensorProto.BOOL, np.array([0.0, -0.4, 2.0], np.float32)),
        (TensorProto.FLOAT, np.array([True, False])),
        (TensorProto.DOUBLE, np.array([1, -2], np.int32)),
        (TensorProto.INT32, np.array([3, 200], np.uint8)),
    ],
)
def test_cast(to: int, x: Any) -> None:
    check("Cast", {"x": x}, to=to)
    check("CastLike", {"x": x}, {"like": np.zeros(1, helper.tensor_dtype_to_np_dtype(to))})


@pytest.mark.parametrize("opset", [9, 13])
def test_dropout_is_the_identity(opset: int) -> None:
    check("Dropout", {"x": normal(3, 4)}, opset=opset, oracle=by_onnxruntime)
    if opset >= 12:
        check("Dropout", {"x": normal(3, 4)}, {"ratio": np.array(0.7, np.float32)}, outputs=2)
