"""Convolution, pooling, normalization and recurrence in torch compute what ONNX defines."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import torch_cases
from torch_cases import Arrays, Values, by_definition, by_onnxruntime

normal = Values(7).normal
check = partial(torch_cases.check, oracle=by_onnxruntime)


@st.composite
def windows(draw: Any, dims: int = 2) -> dict[str, Any]:
    kernel = draw(st.lists(st.integers(1, 3), min_size=dims, max_size=dims))
    return {
        "kernel_shape": kernel,
        "strides": draw(st.lists(st.integers(1, 3), min_size=dims, max_size=dims)),
        "pads": [draw(st.integers(0, k - 1)) for k in kernel * 2],
    }


@settings(max_examples=40, deadline=None)
@given(
    window=windows(),
    dilations=st.lists(st.integers(1, 2), min_size=2, max_size=2),
    group=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
    declared=st.booleans(),
)
def test_convolution(
    window: dict[str, Any], dilations: list[int], group: int, bias: bool, declared: bool
) -> None:
    weights = {"w": normal(8, 4 // group, *window["kernel_shape"])}
    if bias:
        weights["b"] = normal(8)
    check(
        "Conv", {"x": normal(2, 4, 7, 9)}, weights,
        declared=declared, tolerance=1e-4, dilations=dilations, group=group, **window,
    )  # fmt: skip


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("kind", ["Conv", "MaxPool", "AveragePool"])
def test_automatic_padding(kind: str, auto_pad: str, declared: bool) -> None:
    weights = {"w": normal(3, 3, 4, 3)} if kind == "Conv" else None
    check(
        kind, {"x": normal(1, 3, 8, 11)}, weights,
        declared=declared, kernel_shape=[4, 3], strides=[3, 2], auto_pad=auto_pad,
    )  # fmt: skip


@pytest.mark.parametrize("dims", [1, 3])
def test_convolution_and_pooling_in_other_dimensions(dims: int) -> None:
    x = normal(2, 3, *(6, 5, 7)[:dims])
    pads = [1, 0, 1, 0, 1, 1][: 2 * dims]
    check("Conv", {"x": x}, {"w": normal(4, 3, *[3] * dims)}, pads=pads)
    for kind in ("MaxPool", "AveragePool"):
        check(kind, {"x": x}, kernel_shape=[2] * dims, pads=pads)


@settings(max_examples=40, deadline=None)
@given(
    window=windows(),
    group=st.sampled_from([1, 2]),
    extra=st.booleans(),
    dilations=st.lists(st.integers(1, 2), min_size=2, max_size=2),
)
def test_transposed_convolution(
    window: dict[str, Any], group: int, extra: bool, dilations: list[int]
) -> None:
    padding = [s - 1 if extra else 0 for s in window["strides"]]
    check(
        "ConvTranspose", {"x": normal(1, 4, 4, 5)},
        {"w": normal(4, 3, *window["kernel_shape"]), "b": normal(3 * group)},
        group=group, output_padding=padding, dilations=dilations, tolerance=1e-4, **window,
    )  # fmt: skip


@pytest.mark.parametrize("strides", [[2, 3], [1, 2]])
@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_transposed_convolution_with_automatic_padding(auto_pad: str, strides: list[int]) -> None:
    check(
        "ConvTranspose", {"x": normal(1, 2, 4, 5)}, {"w": normal(2, 3, 4, 3)},
        auto_pad=auto_pad, strides=strides, declared=False,
    )  # fmt: skip


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
def test_transposed_convolution_to_a_given_size(auto_pad: str) -> None:
    check(
        "ConvTranspose", {"x": normal(1, 2, 4, 5)}, {"w": normal(2, 3, 4, 3)},
        output_shape=[7, 8], strides=[2, 2], auto_pad=auto_pad,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(window=windows(), ceil_mode=st.integers(0, 1), declared=st.booleans(), data=st.data())
def test_max_pooling(
    window: dict[str, Any], ceil_mode: int, declared: bool, data: st.DataObject
) -> None:
    size = data.draw(st.lists(st.integers(4, 8), min_size=2, max_size=2))
    x = normal(1, 2, *size) - 3  # padding by zeros would win
    check("MaxPool", {"x": x}, ceil_mode=ceil_mode, declared=declared, opset=22, **window)


@settings(max_examples=60, deadline=None)
@given(
    window=windows(),
    ceil_mode=st.integers(0, 1),
    count_include_pad=st.integers(0, 1),
    data=st.data(),
)
def test_average_pooling(
    window: dict[str, Any], ceil_mode: int, count_include_pad: int, data: st.DataObject
) -> None:
    size = data.draw(st.lists(st.integers(4, 8), min_size=2, max_size=2))
    check(
        "AveragePool", {"x": normal(1, 2, *size)}, opset=22,
        ceil_mode=ceil_mode, count_include_pad=count_include_pad, **window,
    )  # fmt: skip


def test_dilated_max_pooling() -> None:
    check(
        "MaxPool", {"x": normal(1, 2, 9, 9)},
        kernel_shape=[3, 2], dilations=[2, 3], strides=[2, 1], pads=[0, 1, 2, 0],
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (1, 2, 3, 2, 2)])
def test_global_pooling(kind: str, shape: tuple[int, ...]) -> None:
    check(kind, {"x": normal(*shape)})


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_local_response_normalization(size: int) -> None:
    # onnxruntime refuses even sizes, and the reference evaluator of onnx stops after as many
    # channels as the batch has items: the definition, written out.
    def definition(_: bytes, inputs: Arrays) -> list[Any]:
        x = inputs["x"]
        squares = np.zeros_like(x)
        for c in range(7):
            window = x[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1]
            squares[:, c] = (window**2).sum(1)
        return [(x / (1.5 + 0.3 / size * squares) ** 0.6).astype(np.float32)]

    x = normal(2, 7, 3, 4) * 3
    check("LRN", {"x": x}, oracle=definition, size=size, alpha=0.3, beta=0.6, bias=1.5)


@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 5), (2, 4, 3, 3)])
def test_batch_normalization(shape: tuple[int, ...]) -> None:
    statistics = {"s": normal(4), "b": normal(4), "m": normal(4), "v": np.abs(normal(4)) + 0.1}
    check("BatchNormalization", {"x": normal(*shape)}, statistics, epsilon=1e-3)


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(("axis", "size"), [(-1, (5,)), (1, (4, 5)), (-2, (4, 5)), (2, (5,))])
@pytest.mark.parametrize("outputs", [1, 3])
def test_layer_normalization(
    axis: int, size: tuple[int, ...], outputs: int, declared: bool
) -> None:
    check(
        "LayerNormalization", {"x": normal(3, 4, 5)}, {"s": normal(*size), "b": normal(*size)},
        axis=axis, epsilon=1e-3, outputs=outputs, declared=declared, oracle=by_definition,
    )  # fmt: skip


@pytest.mark.parametrize("declared", [True, False])
def test_layer_normalization_with_a_single_scale(declared: bool) -> None:
    x = normal(3, 4, 5)
    check("LayerNormalization", {"x": x}, {"s": normal(1)}, declared=declared, oracle=by_definition)


def test_instance_and_lp_normalization() -> None:
    x = normal(2, 3, 4, 5)
    check("InstanceNormalization", {"x": x}, {"s": normal(3), "b": normal(3)}, epsilon=1e-2)
    check("LpNormalization", {"x": x}, axis=1, p=1)
    check("LpNormalization", {"x": x}, axis=-1, p=2)


def test_group_normalization() -> None:
    check(
        "GroupNormalization", {"x": normal(2, 6, 3, 4)}, {"s": normal(6), "b": normal(6)},
        opset=21, num_groups=3, oracle=by_definition,
    )  # fmt: skip


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("factors", [(2.0, 3.0), (1.5, 0.6), (0.5, 2.7)])
def test_nearest_resize(coordinates: str, rounding: str, factors: tuple[float, float]) -> None:
    scales = np.array([1, 1, *factors], np.float32)
    check(
        "Resize", {"x": normal(1, 2, 6, 10)}, {"r": np.zeros(0, np.float32), "scales": scales},
        mode="nearest", coordinate_transformation_mode=coordinates, nearest_mode=rounding,
    )  # fmt: skip


@pytest.mark.parametrize(
    "coordinates", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
)
@pytest.mark.parametrize("size", [[1, 2, 12, 30], [1, 2, 4, 7], [1, 2, 1, 13]])
def test_linear_resize_to_a_size(coordinates: str, size: list[int]) -> None:
    empty = np.zeros(0, np.float32)
    check(
        "Resize", {"x": normal(1, 2, 6, 10)},
        {"r": empty, "scales": empty, "sizes": np.array(size)},
        mode="linear", coordinate_transformation_mode=coordinates,
    )  # fmt: skip


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
def test_linear_resize_by_a_scale(coordinates: str) -> None:
    scales = np.array([1, 1, 2.5, 1.3], np.float32)
    check(
        "Resize", {"x": normal(1, 2, 6, 10)}, {"r": np.zeros(0, np.float32), "scales": scales},
        mode="linear", coordinate_transformation_mode=coordinates, tolerance=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_and_upsample_of_old_opsets(mode: str) -> None:
    scales = {"scales": np.array([1, 1, 2, 3], np.float32)}
    check("Upsample", {"x": normal(1, 2, 4, 5)}, scales, opset=9, mode=mode)
    check("Resize", {"x": normal(1, 2, 4, 5)}, scales, opset=10, mode=mode)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space_and_back(mode: str) -> None:
    check("DepthToSpace", {"x": normal(2, 8, 3, 4)}, blocksize=2, mode=mode)
    check("SpaceToDepth", {"x": normal(2, 2, 4, 6)}, blocksize=2)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("given_states", [False, True])
def test_recurrence(kind: str, direction: str, given_states: bool) -> None:
    gates, count = (4 if kind == "LSTM" else 3), (2 if direction == "bidirectional" else 1)
    hidden, width, batch = 5, 3, 2
    weights = {
        "w": normal(count, gates * hidden, width),
        "r": normal(count, gates * hidden, hidden),
        "b": normal(count, 2 * gates * hidden),
    }
    names, inputs = ["x", "w", "r", "b"], {"x": normal(6, batch, width)}
    if given_states:
        states = ["h", "c"] if kind == "LSTM" else ["h"]
        names += ["", *states]
        inputs |= {state: normal(count, batch, hidden) for state in states}
    more = {"linear_before_reset": 1} if kind == "GRU" else {}
    check(
        kind, inputs, weights, names=names, outputs=3 if kind == "LSTM" else 2,
        hidden_size=hidden, direction=direction, **more,
    )  # fmt: skip
