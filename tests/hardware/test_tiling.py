"""The tiling optimizer: SMAUG's golden cases, and limits that always hold."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profleet.hardware.devices.tiling import Scratchpads, tile
from profleet.hardware.layers import Conv, conv_layer

WHOLE = None
# input rows, columns, channels; kernel; filters; input tile and count; weight tile and count;
# output tile and count
GOLDEN = [
    ((32, 32, 8), 5, 8, (WHOLE, 1), ((8, 5, 5, 8), 1), ((1, 32, 32, 8), 1)),
    ((32, 64, 16), 3, 8, ((1, 16, 64, 16), 3), ((8, 3, 3, 16), 1), ((1, 15, 64, 8), 3)),
    ((16, 16, 128), 3, 16, ((1, 16, 16, 64), 2), ((16, 3, 3, 64), 2), ((1, 16, 16, 16), 1)),
    ((32, 32, 192), 4, 32, ((1, 16, 32, 32), 18), ((32, 4, 4, 32), 6), ((1, 15, 32, 32), 3)),
    ((64, 64, 192), 2, 32, ((1, 8, 64, 32), 54), ((32, 2, 2, 32), 6), ((1, 8, 64, 32), 9)),
    ((128, 128, 192), 2, 32, ((1, 4, 128, 32), 258), ((32, 2, 2, 32), 6), ((1, 4, 128, 32), 43)),
    ((8, 8, 192), 3, 256, (WHOLE, 1), ((8, 3, 3, 192), 32), ((1, 8, 8, 8), 32)),
    ((8, 8, 256), 3, 256, (WHOLE, 1), ((56, 3, 3, 32), 40), ((1, 8, 8, 56), 5)),
    ((32, 32, 8), 1, 128, (WHOLE, 1), (WHOLE, 1), ((1, 32, 32, 16), 8)),
    ((32, 64, 32), 2, 1024, ((1, 2, 64, 32), 31), ((128, 2, 2, 32), 8), ((1, 2, 64, 128), 248)),
]


@pytest.mark.parametrize(("image", "kernel", "filters", "inputs", "weights", "outputs"), GOLDEN)
def test_tiles_are_those_of_smaug(image, kernel, filters, inputs, weights, outputs):
    rows, columns, channels = image
    layer = conv_layer(
        "c", channels=channels, filters=filters, kernel=(kernel, kernel), image=(rows, columns)
    )
    found = tile(layer.dims, 1, Scratchpads())
    assert (found.inputs, found.input_tiles) == (inputs[0] or (1, *image), inputs[1])
    whole = (filters, kernel, kernel, channels)
    assert (found.weights, found.weight_tiles) == (weights[0] or whole, weights[1])
    assert (found.outputs, found.output_tiles) == outputs
    assert found.bands == 1


@st.composite
def cases(draw):
    kernel = draw(st.integers(1, 5))
    return conv_layer(
        "c",
        channels=draw(st.integers(1, 300)),
        filters=draw(st.integers(1, 300)),
        kernel=(kernel, kernel),
        image=(draw(st.integers(kernel, 120)), draw(st.integers(kernel, 120))),
        batch=draw(st.integers(1, 3)),
    )


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from((4096, 16_384)))
def test_every_tile_fits_and_all_tiles_cover_the_layer(layer, elements):
    pads, dims = Scratchpads(elements), layer.dims
    found = tile(dims, 1, pads)
    if found is None:
        return
    for shape in (found.inputs, found.weights, found.outputs):
        assert pads.storage(shape) <= elements
    assert found.batches * found.inputs[0] >= dims.batch
    assert found.channel_tiles * found.inputs[3] >= dims.channels
    assert found.depth_tiles * found.weights[3] >= dims.channels
    assert found.filter_tiles * found.outputs[3] >= dims.filters
    step = found.inputs[1] - dims.kernel[0] + 1
    assert found.inputs[1] + (found.row_tiles - 1) * step >= dims.image[0]
    assert found.bands * ceil(dims.result[1] / found.bands) >= dims.result[1]


def test_an_image_too_wide_for_smaug_is_cut_into_the_fewest_bands():
    wide = Conv(1, 64, 64, (3, 3), (224, 224), (224, 224))
    pads = Scratchpads()
    found = tile(wide, 1, pads)
    assert pads.elements < 3 * 224 * 32  # not even three rows of 32 channels fit
    assert found.bands == 2
    assert found.inputs[2] == 112 + 3
    assert tile(replace(wide, image=(224, 112), result=(224, 112)), 1, pads).bands == 1


def test_a_kernel_that_fits_no_scratchpad_has_no_tiling():
    assert tile(Conv(1, 32, 8, (64, 64), (64, 64), (1, 1)), 1, Scratchpads()) is None
