"""Networks and devices of published experiments, in the terms of the device models."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from profleet.hardware.calibration import Point
from profleet.hardware.devices.nvdla_like import NvdlaLike
from profleet.hardware.devices.roofline import Roofline
from profleet.hardware.devices.soc import SoC
from profleet.hardware.layers import (
    LayerSignature,
    Network,
    chain,
    conv_layer,
    dense_layer,
    vector_layer,
)
from workloads import shared_data

HALF = "float16"

# -- SMAUG: layer shapes of yaoyuannnn/experiments, models/ --------------------------------------

_POOL, _NORM = ("pool",), ("norm",)


def _conv(filters: int, kernel: int = 3, padding: str = "same") -> tuple[Any, ...]:
    return ("conv", filters, kernel, padding)


def _dense(outputs: int) -> tuple[Any, ...]:
    return ("dense", outputs)


_SMAUG: dict[str, tuple[tuple[int, int, int], list[tuple[Any, ...]]]] = {
    "minerva": ((1, 1, 784), [_dense(256), _dense(256), _dense(256), _dense(10)]),
    "lenet5": (
        (28, 28, 1),
        [_conv(32, 3, "valid"), _conv(32, 3, "valid"), _POOL, _dense(128), _dense(10)],
    ),
    "cnn10": (
        (32, 32, 3),
        [
            _conv(32), _NORM, _conv(32), _POOL, _NORM, _conv(64), _conv(64), _POOL, _NORM,
            _dense(512), _dense(10),
        ],
    ),
    "vgg": (
        (32, 32, 3),
        [
            _conv(64), _conv(128), _POOL, _conv(128), _conv(128), _POOL, _conv(256), _conv(256),
            _conv(256), _POOL, _conv(512), _conv(512), _conv(512), _POOL, _dense(512), _dense(10),
        ],
    ),
    "elu": (
        (32, 32, 3),
        [
            _conv(192, 5), _POOL, _conv(192, 1), _conv(240), _POOL, _conv(240, 1), _conv(260, 2),
            _POOL, _conv(260, 1), _conv(280, 2), _POOL, _conv(280, 1), _conv(300, 2), _POOL,
            _conv(300, 1), _conv(100, 1),
        ],
    ),
    "large-elu": (
        (32, 32, 3),
        [
            _conv(384), _POOL, _conv(384, 1), _conv(384, 2), _conv(640, 2), _conv(640, 2), _POOL,
            _conv(640, 1), _conv(768, 2), _conv(768, 2), _conv(768, 2), _POOL, _conv(768, 1),
            _conv(896, 2), _conv(896, 2), _POOL, _conv(896), _conv(1024, 2), _conv(1024, 2), _POOL,
            _conv(1024, 1), _conv(1152, 2), _conv(1152, 1), _conv(100, 1),
        ],
    ),
}  # fmt: skip


def smaug_networks() -> list[Network]:
    """The feed-forward networks of SMAUG's experiments, half precision, one item."""
    return [_smaug(name, *case) for name, case in _SMAUG.items()] + [_resnet50()]


def _smaug(name: str, image: tuple[int, int, int], spec: list[tuple[Any, ...]]) -> Network:
    rows, columns, channels = image
    layers = []
    for index, (kind, *sizes) in enumerate(spec):
        label, elements = f"{kind}{index}", rows * columns * channels
        if kind == "conv":
            filters, kernel, padding = sizes
            layer = conv_layer(
                label, channels=channels, filters=filters, kernel=(kernel, kernel),
                image=(rows, columns), padding=padding, dtype=HALF,
            )  # fmt: skip
            (rows, columns), channels = layer.dims.result, filters
        elif kind == "dense":
            layer = dense_layer(label, inputs=elements, outputs=sizes[0], dtype=HALF)
            rows, columns, channels = 1, 1, sizes[0]
        elif kind == "pool":
            layer = vector_layer(
                label, "MaxPool", reads=elements, writes=elements // 4, ops=elements, dtype=HALF
            )
            rows, columns = rows // 2, columns // 2
        else:
            layer = normalization(label, elements)
        layers.append(layer)
    return chain(name, 1, layers)


def normalization(name: str, elements: int) -> LayerSignature:
    return vector_layer(
        name, "BatchNormalization", reads=elements, writes=elements, ops=2 * elements, dtype=HALF
    )


def _resnet50() -> Network:
    stem = conv_layer(
        "stem", channels=3, filters=64, kernel=(7, 7), image=(224, 224), strides=(2, 2), dtype=HALF
    )
    area = 112 * 112 * 64
    pool = vector_layer(
        "pool", "MaxPool", reads=area, writes=area // 4, ops=9 * area // 4, dtype=HALF
    )
    layers = [stem, normalization("stem norm", area), pool]
    size, channels = 56, 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            small = size // stride
            shapes = [
                (channels, width, 1, stride, size),
                (width, width, 3, 1, small),
                (width, 4 * width, 1, 1, small),
            ]
            if not block:
                shapes.append((channels, 4 * width, 1, stride, size))
            for part, (inputs, filters, kernel, step, side) in enumerate(shapes):
                label = f"stage {stage} block {block} part {part}"
                layer = conv_layer(
                    label, channels=inputs, filters=filters, kernel=(kernel, kernel),
                    image=(side, side), strides=(step, step), dtype=HALF,
                )  # fmt: skip
                layers += [layer, normalization(f"{label} norm", layer.dims.pixels * filters)]
            size, channels = small, 4 * width
            total = size * size * channels
            layers.append(
                vector_layer("add", "Add", reads=2 * total, writes=total, ops=total, dtype=HALF)
            )
    last = vector_layer(
        "mean", "GlobalAveragePool", reads=49 * 2048, writes=2048, ops=49 * 2048, dtype=HALF
    )
    return chain("resnet50", 1, [*layers, last, dense_layer("fc", inputs=2048, outputs=1000)])


def smv(soc: SoC | None = None) -> NvdlaLike:
    """SMAUG's engine; by default in the SoC of its experiments."""
    return NvdlaLike(
        name="smaug-smv", clock_hz=1e9, bandwidth=12.8e9, port=8, unpack=0.375, fused=False,
        soc=soc or SoC(),
    )  # fmt: skip


# -- SushiAccel ----------------------------------------------------------------------------------


def sushi(**fitted: float) -> NvdlaLike:
    """The 16 x 9 x 9 array on a ZCU104; what is fitted starts from round numbers."""
    start = {"clock_hz": 100e6, "layer_s": 1e-4, "weight_tile_s": 1e-6}
    return NvdlaLike(
        name="sushi-accel-zcu104", bandwidth=19.2e9, kernels=16, channels=9, taps=9, sweep="input",
        interval=1.0, drain=0.0, **(start | fitted),
    )  # fmt: skip


def ofa_points() -> list[Point]:
    """The 108 layers of OFA-ResNet50 subnets that were measured on a ZCU104, by subnet."""
    rows = json.loads(shared_data("ofa-resnet50-subnets.json").read_bytes())
    return [
        Point(
            conv_layer(
                f"{row['subnet']}/{row['layer']}", channels=row["C"], filters=row["K"],
                kernel=(row["R"], row["S"]), image=(row["X"], row["Y"]),
                strides=(row["stride"], row["stride"]), dtype="int8",
            ),
            row["measured_s"],
            group=row["subnet"],
        )
        for row in rows
        if row["measured_s"] is not None
    ]  # fmt: skip


# -- any -----------------------------------------------------------------------------------------


def gpu(**other: Any) -> Roofline:
    """A GPU-like roofline."""
    given: dict[str, Any] = {
        "name": "gpu", "peaks": {"float32": 20e12, "float16": 300e12}, "bandwidth": 2e12,
        "compute_efficiency": 0.6, "memory_efficiency": 0.8, "op_s": 5e-6, "invoke_s": 1e-4,
    }  # fmt: skip
    return Roofline(**(given | other))


@st.composite
def convs(draw: st.DrawFn) -> LayerSignature:
    """Any small convolution."""
    groups = draw(st.sampled_from((1, 1, 2, 4)))
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    return conv_layer(
        "conv",
        channels=groups * draw(st.integers(1, 80)),
        filters=groups * draw(st.integers(1, 80)),
        kernel=kernel,
        image=(draw(st.integers(kernel[0], 60)), draw(st.integers(kernel[1], 60))),
        strides=(draw(st.integers(1, 2)),) * 2,
        padding=draw(st.sampled_from(("same", "valid"))),
        batch=draw(st.integers(1, 4)),
        groups=groups,
        dtype=draw(st.sampled_from(("float32", "float16"))),
    )


def denses() -> st.SearchStrategy[LayerSignature]:
    """Any small fully connected layer."""
    return st.builds(
        dense_layer,
        st.just("dense"),
        inputs=st.integers(1, 5000),
        outputs=st.integers(1, 5000),
        batch=st.integers(1, 64),
        dtype=st.sampled_from(("float32", "float16")),
    )
