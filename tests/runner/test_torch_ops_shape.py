"""Operators that make, move and index data in torch compute what ONNX defines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from torch_cases import Arrays, Values, by_onnxruntime, check

VALUES = Values(13)
normal = VALUES.normal


def everywhere(kind: str, x: Any, weights: Arrays, **attributes: Any) -> None:
    """Check with the weights as constants, as run-time tensors, and with no rank declared."""
    check(kind, {"x": x}, weights, **attributes)
    check(kind, {"x": x, **weights}, **attributes)
    check(kind, {"x": x}, weights, declared=False, **attributes)
    check(kind, {"x": x}, weights, declared=None, **attributes)


@pytest.mark.parametrize("target", [[2, 12], [0, -1], [-1, 0, 2], [4, 0, 2], [0, 0, 0, 1], [24]])
def test_reshape(target: list[int]) -> None:
    x = normal(4, 3, 2) if target == [-1, 0, 2] else normal(2, 3, 4)
    everywhere("Reshape", x, {"shape": np.array(target)})


def test_reshape_may_ask_for_zero() -> None:
    x = np.zeros((0, 3), np.float32)
    everywhere("Reshape", x, {"shape": np.array([3, 0])}, allowzero=1)


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -2])
@pytest.mark.parametrize("declared", [True, False, None])
def test_flatten(axis: int, declared: bool | None) -> None:
    check("Flatten", {"x": normal(2, 3, 4)}, axis=axis, declared=declared)


@pytest.mark.parametrize("declared", [True, None])
def test_transpose(declared: bool | None) -> None:
    check("Transpose", {"x": normal(2, 3, 4)}, declared=declared)
    check("Transpose", {"x": normal(2, 3, 4)}, perm=[1, 2, 0], declared=declared)


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axes", [[0], [-1], [0, 3], [3, 0], [-1, 1]])
def test_unsqueeze_and_squeeze(opset: int, axes: list[int]) -> None:
    x = normal(2, 3)
    shape = np.expand_dims(x, tuple(axes)).shape
    if opset < 13:
        check("Unsqueeze", {"x": x}, opset=opset, axes=axes, oracle=by_onnxruntime)
        check("Squeeze", {"x": normal(*shape)}, opset=opset, axes=axes, oracle=by_onnxruntime)
        return
    everywhere("Unsqueeze", x, {"axes": np.array(axes)}, opset=opset)
    everywhere("Squeeze", normal(*shape), {"axes": np.array(axes)}, opset=opset)


def test_squeeze_everything() -> None:
    check("Squeeze", {"x": normal(1, 3, 1)})


@settings(max_examples=80, deadline=None)
@given(data=st.data(), size=st.integers(1, 7), steps=st.booleans(), opset=st.sampled_from([10, 13]))
def test_slice(data: st.DataObject, size: int, steps: bool, opset: int) -> None:
    x = normal(size, 5, 4)
    bound = st.one_of(
        st.integers(-9, 9), st.sampled_from([2**31 - 1, 2**63 - 1, -(2**31), -(2**63)])
    )
    axes = data.draw(st.sampled_from([[0], [1, 0], [-1], [2, -2], [0, 1, 2]]))
    count = len(axes)
    draw = [data.draw(st.lists(bound, min_size=count, max_size=count)) for _ in range(2)]
    weights = {"starts": np.array(draw[0]), "ends": np.array(draw[1]), "axes": np.array(axes)}
    if steps:
        step = st.sampled_from([1, 2, 3, -1, -2])
        weights["steps"] = np.array(data.draw(st.lists(step, min_size=count, max_size=count)))
    everywhere("Slice", x, weights, opset=opset)  # onnxruntime bends INT_MAX for negative steps


def test_slice_by_attributes_and_without_axes() -> None:
    x = normal(4, 5)
    check("Slice", {"x": x}, opset=9, starts=[1, -2], ends=[1000, 5], oracle=by_onnxruntime)
    check("Slice", {"x": x}, opset=9, starts=[1], ends=[-1], axes=[1], oracle=by_onnxruntime)
    everywhere("Slice", x, {"starts": np.array([1, 0]), "ends": np.array([3, 4])})


@pytest.mark.parametrize("declared", [True, False, None])
def test_split(declared: bool | None) -> None:
    x = {"x": normal(4, 6)}
    check("Split", x, outputs=3, axis=1, declared=declared)
    check("Split", x, {"s": np.array([1, 3, 2])}, outputs=3, axis=-1, declared=declared)
    check("Split", x, outputs=2, axis=1, opset=11, split=[2, 4], declared=declared)
    check("Split", x, outputs=4, axis=1, opset=18, num_outputs=4, declared=declared)
    check("Split", {**x, "s": np.array([1, 3])}, outputs=2, declared=declared)


def test_concatenation() -> None:
    check("Concat", {"a": normal(2, 3), "b": normal(2, 1)}, {"c": normal(2, 2)}, axis=-1)
    check("Concat", {"a": normal(2, 3)}, axis=0)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3)])
def test_gather(axis: int, shape: tuple[int, ...]) -> None:
    indices = np.asarray(VALUES.rng.integers(-3, 3, shape), np.int64)
    everywhere("Gather", normal(3, 4, 3), {"indices": indices}, axis=axis)


def test_gather_rows_of_a_weight() -> None:
    ids = VALUES.rng.integers(0, 7, (2, 5))
    check("Gather", {"ids": ids}, {"table": normal(7, 3)}, names=["table", "ids"])
    check("Gather", {"ids": ids.astype(np.int32)}, {"t": normal(7, 3)}, names=["t", "ids"])


def test_gather_and_scatter_elements() -> None:
    x, indices = normal(3, 4), VALUES.rng.integers(-3, 3, (2, 4))
    everywhere("GatherElements", x, {"indices": indices}, axis=0)
    unique = np.array([[0, 2, -1], [1, 0, 3]])
    weights = {"indices": unique, "updates": normal(2, 3)}
    everywhere("ScatterElements", x, weights, axis=1)
    everywhere("ScatterElements", x, weights, axis=1, reduction="add")


def test_gather_and_scatter_by_tuples() -> None:
    x = normal(3, 4, 2)
    everywhere("GatherND", x, {"indices": np.array([[0, 1], [-1, 3]])})
    everywhere("GatherND", x, {"indices": np.array([[[2]], [[0]]])})
    weights = {"indices": np.array([[0, 1], [2, -1]]), "updates": normal(2, 2)}
    everywhere("ScatterND", x, weights)
    repeated = {"indices": np.array([[1], [1]]), "updates": normal(2, 4, 2)}
    everywhere("ScatterND", x, repeated, reduction="add")


@pytest.mark.parametrize("target", [[3, 4], [2, 3, 4], [1, 1], [2, 1, 1]])
def test_expand_is_mutual(target: list[int]) -> None:
    everywhere("Expand", normal(3, 1), {"shape": np.array(target)})


def test_tile() -> None:
    everywhere("Tile", normal(2, 3), {"repeats": np.array([2, 3])})


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [[0, 1, 2, 0], [2, 0, 1, 2], [0, -1, 0, 2], [0, 0, 0, 0]])
def test_pad(mode: str, pads: list[int]) -> None:
    x = normal(4, 5)
    check("Pad", {"x": x}, {"pads": np.array(pads)}, mode=mode, opset=19, oracle=by_onnxruntime)
    check(
        "Pad", {"x": x}, {"pads": np.array(pads)},
        mode=mode, opset=19, oracle=by_onnxruntime, declared=None,
    )  # fmt: skip


def test_pad_with_a_value_axes_and_attributes() -> None:
    x, value = normal(2, 3, 4), np.array(-1.5, np.float32)
    check("Pad", {"x": x}, {"pads": np.array([1, 2]), "v": value, "a": np.array([-2])}, opset=18)
    check("Pad", {"x": x, "v": value}, {"p": np.array([0, 1, 0, 0, 0, 2])}, names=["x", "p", "v"])
    check("Pad", {"x": x}, opset=10, pads=[0, 1, 0, 0, 0, 2], value=2.5, oracle=by_onnxruntime)


@pytest.mark.parametrize("declared", [True, False, None])
@pytest.mark.parametrize("span", [{}, {"start": 1}, {"end": -1}, {"start": -2, "end": 9}])
def test_shape_and_size(declared: bool | None, span: dict[str, int]) -> None:
    check("Shape", {"x": normal(2, 3, 4)}, declared=declared, **span)
    check("Size", {"x": normal(2, 3, 4)}, declared=declared)


def test_constants() -> None:
    for attributes in (
        {"value": numpy_helper.from_array(normal(2, 2))},
        {"value_float": 1.5},
        {"value_floats": [1.5, 2.5]},
        {"value_int": 3},
        {"value_ints": [3, 4]},
    ):
        check("Constant", {}, **attributes)


def test_constant_of_a_shape() -> None:
    fill = numpy_helper.from_array(np.array([7], np.int32))
    check("ConstantOfShape", {"shape": np.array([2, 3])}, value=fill)
    check("ConstantOfShape", {}, {"shape": np.array([2, 3])})


@pytest.mark.parametrize("bounds", [(0, 5, 1), (9, 2, -3), (1, 1, 1), (2, 9, 4)])
@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_range(bounds: tuple[int, int, int], dtype: Any) -> None:
    arrays = {n: np.array(v, dtype) for n, v in zip("abc", bounds, strict=True)}
    check("Range", arrays)
    check("Range", {"b": arrays["b"]}, arrays, names=["a", "b", "c"])


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(axis: int) -> None:
    indices, values = np.array([[0, 2, -1], [3, 5, -5]]), np.array([0.5, 2.0], np.float32)
    depth = np.array([4])
    check(
        "OneHot", {"i": indices}, {"depth": depth, "values": values},
        axis=axis, oracle=by_onnxruntime,
    )  # fmt: skip
    check("OneHot", {"i": indices, "d": depth}, {"v": values}, axis=axis, oracle=by_onnxruntime)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [None, -1, 0, 2])
def test_triangles(upper: int, k: int | None) -> None:
    weights = {} if k is None else {"k": np.array(k)}
    everywhere("Trilu", normal(2, 4, 5), weights, upper=upper)


def test_eye_like_and_non_zero() -> None:
    check("EyeLike", {"x": normal(3, 4)}, k=1)
    check("NonZero", {"x": (normal(3, 4) > 0).astype(np.float32)})
