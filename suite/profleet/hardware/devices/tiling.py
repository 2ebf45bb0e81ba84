"""How a convolution is cut into tiles that fit three scratchpads: SMAUG's tiling optimizer.

Xi et al.: "SMAUG: End-to-End Full-Stack Simulation Infrastructure for Deep Learning Workloads"
(ACM TACO 17(4), 2020), its documentation of tiling, and the ten golden cases of its test for
convolutions, which this module answers alike.

1. Every tensor gets the first strategy that fits: whole; by images; by channels; by rows; by
   channels and rows. Weights are never cut by rows. Filters cut mean outputs cut by channels, rows
   cut in the input mean rows cut in the output.
2. All tile shapes of that strategy are enumerated in steps of the engine: channels by the
   multipliers of a processing element, filters by the processing elements, rows by the stride.
3. The combination that fills the scratchpads most is taken, the first among equals.

Images too wide for one row of tiles, which SMAUG refuses, are cut into bands of columns first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import Literal

from profleet.hardware.layers import Conv

Strategy = Literal["none", "n", "nc", "nh", "nch"]
Shape = tuple[int, int, int, int]
"""Batch, rows, columns, channels; of weights: filters, rows, columns, channels."""


@dataclass(frozen=True)
class Scratchpads:
    """The limits of a tile: elements a scratchpad, and the granularity of the engine.

    Channels in memory are padded to a multiple of ``alignment``.
    """

    elements: int = 16_384
    kernels: int = 8
    channels: int = 32
    alignment: int = 8

    def storage(self, shape: Shape) -> int:
        """Elements that a tensor occupies."""
        padded = ceil(shape[3] / self.alignment) * self.alignment
        return shape[0] * shape[1] * shape[2] * padded


@dataclass(frozen=True)
class Tiling:
    """The tile shapes of a convolution and how many tiles there are.

    ``channel_tiles`` and ``depth_tiles``: how often the channels of the input and of the weights
    are cut. ``bands``: parts of the image, by columns, that are convolved one after the other; the
    counts are of one band.
    """

    inputs: Shape
    weights: Shape
    outputs: Shape
    batches: int
    row_tiles: int
    channel_tiles: int
    depth_tiles: int
    filter_tiles: int
    filters: int
    bands: int = 1

    @property
    def input_tiles(self) -> int:
        """Tiles of the input of one band."""
        return self.batches * self.row_tiles * self.channel_tiles

    @property
    def weight_tiles(self) -> int:
        """Tiles of the weights."""
        return ceil(self.filters / self.weights[0]) * self.depth_tiles

    @property
    def output_tiles(self) -> int:
        """Tiles of the output of one band: each is an independent piece of work."""
        return self.batches * self.row_tiles * self.filter_tiles


@dataclass(frozen=True)
class _Case:
    """One ungrouped convolution as shapes."""

    inputs: Shape
    weights: Shape
    outputs: Shape
    stride: int
    same: bool


@lru_cache(maxsize=65_536)
def tile(dims: Conv, stride: int, pads: Scratchpads) -> Tiling | None:
    """Return the tiling of one group of a convolution, or None where not even one tile fits.

    Args:
        dims: the convolution; of several groups one is tiled.
        stride: of rows.
        pads: the scratchpads.
    """
    for bands in range(1, dims.image[1] + 1):
        case = _case(dims, stride, bands)
        if found := _best(case, pads):
            return replace(found, bands=bands)
        if case.inputs[2] <= dims.kernel[1]:
            break
    return None


def _case(dims: Conv, stride: int, bands: int) -> _Case:
    channels, filters = dims.channels // dims.groups, dims.filters // dims.groups
    (reach_r, reach_c), (rows, columns) = dims.kernel, dims.result
    same = rows >= ceil(dims.image[0] / stride)
    width = ceil(columns / bands)
    seen = (
        dims.image[1] if bands == 1 else min(dims.image[1], ceil(dims.image[1] / bands) + reach_c)
    )
    return _Case(
        (dims.batch, dims.image[0], seen, channels),
        (filters, reach_r, reach_c, channels),
        (dims.batch, rows, width, filters),
        stride,
        same,
    )


def _best(case: _Case, pads: Scratchpads) -> Tiling | None:
    strategies = _strategies(case, pads)
    if strategies is None:
        return None
    best: tuple[Shape, Shape, Shape] | None = None
    most = 0
    for shapes in _combinations(case, strategies, pads):
        total = sum(map(pads.storage, shapes))
        if total > most:
            best, most = shapes, total
    if best is None:
        return None
    inputs, weights, outputs = best
    step = (inputs[1] - case.weights[1]) // case.stride * case.stride + case.stride
    return Tiling(
        inputs,
        weights,
        outputs,
        batches=ceil(case.inputs[0] / inputs[0]),
        row_tiles=ceil(max(0, case.inputs[1] - inputs[1]) / max(step, 1)) + 1,
        channel_tiles=ceil(case.inputs[3] / inputs[3]),
        depth_tiles=ceil(case.weights[3] / weights[3]),
        filter_tiles=ceil(case.outputs[3] / outputs[3]),
        filters=case.weights[0],
    )


def _strategies(case: _Case, pads: Scratchpads) -> tuple[Strategy, Strategy, Strategy] | None:
    reach = case.weights[1]
    inputs = _strategy(case.inputs, (1, reach, case.inputs[2], pads.channels), pads)
    weights = _strategy(case.weights, (pads.kernels, *case.weights[1:3], pads.channels), pads)
    outputs = _strategy(case.outputs, (1, 1, case.outputs[2], pads.kernels), pads)
    if inputs is None or weights not in {"none", "n", "nc"} or outputs is None:
        return None
    if weights in {"n", "nc"}:
        outputs = "nc"
    if inputs in {"nh", "nch"}:
        outputs = "nch" if outputs in {"nc", "nch"} else "nh"
    assert weights is not None
    return inputs, weights, outputs


def _strategy(shape: Shape, least: Shape, pads: Scratchpads) -> Strategy | None:
    """Return how a tensor is cut so that its least tile fits, in order of preference."""
    images, rows, _, channels = shape
    whole = pads.storage(shape)
    if whole <= pads.elements:
        return "none"
    one = whole // images
    row_share = min(rows, least[1]) / rows
    channel_share = min(channels, least[3]) / channels
    choices: list[tuple[Strategy, float]] = [
        ("n", one * min(images, least[0])),
        ("nc", one * channel_share),
        ("nh", one * row_share),
        ("nch", one * channel_share * row_share),
    ]
    return next((name for name, needed in choices if needed <= pads.elements), None)


def _combinations(
    case: _Case, strategies: tuple[Strategy, Strategy, Strategy], pads: Scratchpads
) -> Iterator[tuple[Shape, Shape, Shape]]:
    how_inputs, how_weights, how_outputs = strategies
    for inputs in _input_tiles(case, how_inputs, pads):
        for weights in _weight_tiles(case, how_inputs, how_weights, inputs, pads):
            for outputs in _output_tiles(case, how_weights, how_outputs, inputs, weights, pads):
                if pads.storage(outputs) <= pads.elements:
                    yield inputs, weights, outputs


def _input_tiles(case: _Case, how: Strategy, pads: Scratchpads) -> Iterator[Shape]:
    images, rows, columns, channels = case.inputs
    if how == "none":
        yield case.inputs
        return
    by_rows, by_channels = how in {"nh", "nch"}, how in {"nc", "nch"}
    for n in range(1, images + 1):
        for c in _steps(channels, pads.channels, pads.channels if by_channels else 0):
            for h in _steps(rows, case.weights[1], case.stride if by_rows else 0):
                if pads.storage((n, h, columns, c)) > pads.elements:
                    break
                yield n, h, columns, c


def _weight_tiles(
    case: _Case, how_inputs: Strategy, how: Strategy, inputs: Shape, pads: Scratchpads
) -> Iterator[Shape]:
    filters, rows, columns, channels = case.weights
    cut = how_inputs in {"nc", "nch"}  # then the weights must have the same channels
    if how == "none":
        yield filters, rows, columns, inputs[3] if cut else channels
        return
    for n in _steps(filters, pads.kernels, pads.kernels):
        if how == "n" or cut:
            depths = iter((inputs[3],))
        else:
            depths = _steps(channels, pads.channels, pads.channels)
        fits = False
        for c in depths:
            if pads.storage((n, rows, columns, c)) > pads.elements:
                break
            fits = True
            yield n, rows, columns, c
        if not fits:
            return


def _output_tiles(
    case: _Case,
    how_weights: Strategy,
    how: Strategy,
    inputs: Shape,
    weights: Shape,
    pads: Scratchpads,
) -> Iterator[Shape]:
    _, rows, columns, filters = case.outputs
    if how in {"nh", "nch"}:
        reach = weights[1]
        padding = ceil((reach - 1) / 2) if case.same else 0
        yield inputs[0], (inputs[1] - reach + padding) // case.stride + 1, columns, weights[0]
    elif how_weights != "none":
        yield inputs[0], rows, columns, weights[0]
    elif how == "none":
        yield inputs[0], rows, columns, filters
    else:
        for c in _steps(filters, pads.kernels, pads.kernels):
            yield inputs[0], rows, columns, c


def _steps(size: int, least: int, step: int) -> Iterator[int]:
    """Return the sizes to try: from ``least`` in steps, or all of it where ``step`` is 0."""
    return iter(range(min(least, size), size + 1, step) if step else (size,))
