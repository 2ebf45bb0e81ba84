"""Systolic arrays: SCALE-Sim's total cycles exactly, and memory that behaves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_cases import convs, denses
from profleet.errors import HardwareError
from profleet.hardware.devices.systolic import Systolic, compute_cycles
from profleet.hardware.layers import Gemm, conv_layer, dense_layer


def valid(image, channels, filters, kernel):
    return conv_layer(
        "conv", channels=channels, filters=filters, kernel=(kernel, kernel), image=image,
        padding="valid",
    )  # fmt: skip


LARGE = valid((56, 56), 64, 64, 3)
DENSE = dense_layer("fc", inputs=2048, outputs=1000)
SMALL = valid((14, 14), 20, 50, 3)
POINT = valid((10, 10), 40, 33, 1)


@pytest.mark.parametrize(
    ("layer", "dataflow", "cycles"),
    [
        (LARGE, "weight", 108_359),
        (DENSE, "weight", 194_559),
        (SMALL, "weight", 2_855),
        (SMALL, "output", 2_419),
        (SMALL, "input", 4_319),
        (POINT, "weight", 775),
        (POINT, "output", 815),
        (POINT, "input", 1_015),
    ],
)
def test_cycles_are_those_that_scale_sim_counts_on_32_by_32(layer, dataflow, cycles):
    assert compute_cycles(layer.dims.product, 32, 32, dataflow) == cycles


def array(**other):
    given = {
        "name": "array", "rows": 32, "columns": 32, "dataflow": "weight", "clock_hz": 1e9,
        "bandwidth": 1e18,
    }  # fmt: skip
    return Systolic(**(given | other))


def test_with_memory_out_of_the_way_a_layer_takes_its_cycles():
    cost = array().layer(LARGE)
    assert cost.seconds == pytest.approx(108_359e-9, rel=1e-6)
    assert cost.bound == "compute"


def test_a_slow_memory_decides_and_the_first_tile_is_waited_for():
    cost = array(bandwidth=1e9).layer(DENSE)
    bytes_moved = 4 * (2048 + 2048 * 1000 + 1000)
    assert cost.bound == "memory"
    assert cost.seconds == pytest.approx((bytes_moved + 4 * 32 * 32) / 1e9)
    assert cost.parts.accelerator == pytest.approx(194_559e-9)


def test_what_does_not_fit_the_buffer_is_read_again_in_every_fold():
    roomy = array(bandwidth=1e9).layer(LARGE)
    tight = array(bandwidth=1e9, buffer_bytes=2048).layer(LARGE)
    inputs, weights, outputs = LARGE.input_bytes, LARGE.weight_bytes, LARGE.output_bytes
    first = 4 * 32 * 32
    assert roomy.seconds == pytest.approx((inputs + weights + outputs + first) / 1e9)
    # 64 filters on 32 columns: twice; 576 rows on 32: 18 folds of partial sums out, 17 back
    assert tight.seconds == pytest.approx((2 * inputs + weights + 35 * outputs + first) / 1e9)


def test_output_stationary_never_spills_partial_sums():
    tight = array(bandwidth=1e6, buffer_bytes=64, dataflow="output").layer(LARGE)
    moved = LARGE.input_bytes * 2 + LARGE.weight_bytes * 92 + LARGE.output_bytes  # 2916 / 32 folds
    assert tight.seconds == pytest.approx((moved + 4 * 32 * 32) / 1e6)


def test_groups_follow_one_another():
    grouped = conv_layer(
        "g", channels=64, filters=64, kernel=(3, 3), image=(8, 8), groups=4, padding="valid"
    )
    alone = conv_layer("a", channels=16, filters=16, kernel=(3, 3), image=(8, 8), padding="valid")
    cycles = compute_cycles(alone.dims.product, 32, 32, "weight")
    assert compute_cycles(grouped.dims.product, 32, 32, "weight") == 4 * cycles


@settings(deadline=None)
@given(
    st.builds(Gemm, *[st.integers(1, 3000)] * 4),
    st.integers(1, 256),
    st.integers(1, 256),
    st.sampled_from(("weight", "output", "input")),
)
def test_cycles_are_never_below_what_all_elements_could_do(product, rows, columns, dataflow):
    """But for one cycle a product: SCALE-Sim gives the number of the last one, counted from 0."""
    cycles = compute_cycles(product, rows, columns, dataflow) + product.count
    assert cycles >= product.macs / (rows * columns)


@settings(deadline=None)
@given(convs() | denses(), st.sampled_from((None, 1024.0, 1e6)))
def test_more_bandwidth_and_a_larger_buffer_never_cost_time(layer, buffer):
    slow = array(bandwidth=1e9, buffer_bytes=buffer).cost(layer)
    assert array(bandwidth=2e9, buffer_bytes=buffer).cost(layer).seconds <= slow.seconds
    assert array(bandwidth=1e9, buffer_bytes=buffer and 2 * buffer).cost(layer).seconds <= (
        slow.seconds
    )


@pytest.mark.parametrize(
    "wrong", [{"rows": 0}, {"bandwidth": 0.0}, {"clock_hz": -1.0}, {"dataflow": "row"}]
)
def test_impossible_arrays_are_refused_by_name_and_number(wrong):
    with pytest.raises(HardwareError, match=rf"'array' is impossible: .*{next(iter(wrong))}"):
        array(**wrong)


def test_a_change_of_any_parameter_changes_the_digest():
    one = array()
    assert one.digest == array().digest
    assert one.digest != replace(one, rows=33).digest
