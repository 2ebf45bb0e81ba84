"""Rooflines: the equation by hand, bounds, energy, and refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_cases import convs, denses, gpu
from profleet.errors import HardwareError
from profleet.hardware.layers import conv_layer, dense_layer, vector_layer

HEAVY = conv_layer("heavy", channels=512, filters=512, kernel=(3, 3), image=(64, 64))
THIN = dense_layer("thin", inputs=8192, outputs=8192)
TINY = dense_layer("tiny", inputs=8, outputs=8)
COPY = vector_layer("copy", "Transpose", reads=10**7, writes=10**7, ops=0)


def test_a_layer_takes_the_higher_roof_and_the_launch():
    device = gpu()
    heavy = 2 * HEAVY.macs / (0.6 * 20e12)
    assert device.layer(HEAVY).seconds == pytest.approx(heavy + 5e-6)
    thin = 4 * (8192 + 8192**2 + 8192) / (0.8 * 2e12)
    assert device.layer(THIN).seconds == pytest.approx(thin + 5e-6)
    assert device.layer(COPY).seconds == pytest.approx(8e7 / (0.8 * 2e12) + 5e-6)


@pytest.mark.parametrize(
    ("layer", "bound"),
    [(HEAVY, "compute"), (THIN, "memory"), (COPY, "memory"), (TINY, "overhead")],
)
def test_the_bound_is_what_takes_longest(layer, bound):
    assert gpu().layer(layer).bound == bound


def test_parts_are_what_is_computed_what_is_waited_for_and_the_launch():
    parts = gpu().layer(THIN).parts
    assert parts.accelerator == pytest.approx(2 * THIN.macs / (0.6 * 20e12))
    assert parts.accelerator + parts.movement == pytest.approx(THIN.bytes / (0.8 * 2e12), rel=1e-12)
    assert parts.framework == 5e-6
    assert gpu().layer(HEAVY).parts.movement == 0


def test_pointwise_work_has_a_roof_of_its_own():
    layer = vector_layer("gelu", "Gelu", reads=1000, writes=1000, ops=10**9)
    device = gpu(vector_peak=1e12)
    assert device.layer(layer).seconds == pytest.approx(1e9 / 1e12 / 0.6 + 5e-6)
    faster = gpu().layer(layer).seconds
    assert faster == pytest.approx(1e9 / 20e12 / 0.6 + 5e-6)


def test_lower_precision_has_its_own_peak_and_fewer_bytes():
    half = HEAVY.cast("float16")
    assert gpu().layer(half).seconds == pytest.approx(2 * half.macs / (0.6 * 300e12) + 5e-6)
    assert half.bytes * 2 == HEAVY.bytes


def test_energy_is_idle_power_plus_what_the_busy_time_adds():
    device = gpu(idle_w=50.0, peak_w=300.0)
    cost = device.layer(HEAVY)
    busy = cost.seconds - 5e-6
    assert cost.energy_j == pytest.approx(50 * cost.seconds + 250 * busy)
    assert gpu().layer(HEAVY).energy_j is None
    events = gpu(joule_per_mac=1e-12, joule_per_byte=2e-11).layer(HEAVY)
    assert events.energy_j == pytest.approx(HEAVY.macs * 1e-12 + HEAVY.bytes * 2e-11)


def test_a_missing_peak_is_an_error_that_names_what_there_is():
    with pytest.raises(HardwareError, match=r"'gpu' has no peak for int8.*float16, float32"):
        gpu().layer(HEAVY.cast("int8"))
    assert gpu().layer(COPY.cast("int8")).seconds > 0  # nothing is multiplied


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"bandwidth": 0.0}, "bandwidth is 0.0 and must be above 0"),
        ({"bandwidth": float("nan")}, "bandwidth is nan"),
        ({"peak_w": -5.0}, "peak_w is -5.0"),
        ({"idle_w": 90.0, "peak_w": 50.0}, r"idle_w \(90.0\) is above peak_w \(50.0\)"),
        ({"compute_efficiency": 1.5}, "compute_efficiency is 1.5"),
        ({"peaks": {}}, "no peak for any dtype"),
        ({"peaks": {"float32": 0.0}}, "the peak for float32 is 0.0"),
        ({"op_s": -1.0}, "op_s is -1.0 and must not be negative"),
        ({"joule_per_mac": 1e-12}, "joule_per_mac and joule_per_byte belong together"),
    ],
)
def test_impossible_hardware_is_refused(wrong, said):
    with pytest.raises(HardwareError, match=f"'gpu' is impossible: .*{said}"):
        gpu(**wrong)


ANY = convs() | denses()
FACTORS = st.floats(1.0, 100.0)


@settings(deadline=None)
@given(ANY, FACTORS)
def test_more_of_anything_never_costs_time(layer, factor):
    device, seconds = gpu(), gpu().cost(layer).seconds
    faster = {name: peak * factor for name, peak in device.peaks.items()}
    assert replace(device, peaks=faster).cost(layer).seconds <= seconds
    assert replace(device, bandwidth=device.bandwidth * factor).cost(layer).seconds <= seconds


@settings(deadline=None)
@given(ANY)
def test_no_layer_is_faster_than_either_roof(layer):
    cost, device = gpu().cost(layer), gpu()
    assert cost.seconds >= 2 * layer.macs / device.peaks[layer.dtype]
    assert cost.seconds >= layer.bytes / device.bandwidth


@settings(deadline=None)
@given(st.integers(1, 64), st.integers(2, 8))
def test_a_larger_batch_costs_more_in_all_and_no_more_an_item(batch, factor):
    small = gpu().cost(dense_layer("fc", inputs=512, outputs=512, batch=batch)).seconds
    large = gpu().cost(dense_layer("fc", inputs=512, outputs=512, batch=batch * factor)).seconds
    assert small <= large <= factor * small
