"""Compute-in-memory: NeuroSim's conversion times, duplications and tiles of VGG8, exactly."""

from __future__ import annotations

from dataclasses import replace
from math import exp
from statistics import median

import pytest
from hypothesis import given, settings

from device_cases import convs, denses
from profleet.errors import HardwareError
from profleet.hardware.calibration import Point, fit
from profleet.hardware.catalog import device_of
from profleet.hardware.devices.cim import Cim
from profleet.hardware.layers import conv_layer, dense_layer, vector_layer
from profleet.manifest.library import Library

CLOCK = 1 / 2.0389e-9

# image, channels, filters; conversion us, latency us, dynamic energy uJ; duplication, tiles
CONVS = [
    (32, 3, 128, "7.340", 379.8, 1.218, 16, 1),
    (32, 128, 128, "29.361", 566.4, 13.371, 4, 1),
    (16, 128, 256, "6.394", 119.2, 5.640, 4, 2),
    (16, 256, 256, "12.788", 193.4, 10.588, 2, 2),
    (8, 256, 512, "2.349", 35.4, 3.820, 2, 4),
    (8, 512, 512, "4.698", 61.2, 7.399, 1, 4),
]
DENSE = [
    (8192, 1024, "0.130", 2.60, 0.672, 1, 32),
    (1024, 10, "0.016", 1.25, 0.006, 8, 1),
]
VGG8 = [
    conv_layer(
        f"conv{index}", channels=channels, filters=filters, kernel=(3, 3), image=(side, side),
        padding="valid", dtype="int8",
    )
    for index, (side, channels, filters, *_) in enumerate(CONVS)
] + [
    dense_layer(f"fc{index}", inputs=inputs, outputs=outputs, dtype="int8")
    for index, (inputs, outputs, *_) in enumerate(DENSE)
]  # fmt: skip
GOLDEN = [case[-5:] for case in (*CONVS, *DENSE)]


def chip(**other):
    given = {
        "name": "chip", "clock_hz": CLOCK, "buffer_bandwidth": 4e9, "joule_per_read": 46e-12,
    }  # fmt: skip
    return Cim(**(given | other))


@pytest.mark.parametrize(("layer", "golden"), list(zip(VGG8, GOLDEN, strict=True)))
def test_conversion_time_mapping_and_duplication_are_neurosims(layer, golden):
    microseconds, _, _, duplication, tiles = golden
    mapping = chip().mapping(layer.dims)
    # NeuroSim prints 29.361 where its clock, rounded to 2.0389 ns, gives 29.360
    assert chip().adc_s(layer.dims) * 1e6 == pytest.approx(float(microseconds), abs=1.1e-3)
    assert (mapping.duplication, mapping.tiles) == (duplication, tiles)


def test_energy_by_array_read_is_within_a_sixth_of_neurosims_on_full_arrays():
    for layer, (_, _, microjoule, *_) in zip(VGG8[:-1], GOLDEN[:-1], strict=True):
        assert chip().layer(layer).energy_j * 1e6 == pytest.approx(microjoule, rel=1 / 6)


def test_buffer_terms_are_fitted_and_claim_their_held_out_error():
    points = [
        Point(layer, golden[1] * 1e-6, group=index)
        for index, (layer, golden) in enumerate(zip(VGG8, GOLDEN, strict=True))
    ]
    fitted = fit(chip(), points, ("vector_s", "buffer_bandwidth"), source="NeuroSim VGG8")
    errors = [abs(exp(-one) - 1) for one in fitted.residuals]
    assert fitted.held_out
    assert median(errors) <= 0.25
    assert fitted.device.calibration.median == pytest.approx(median(errors))
    chip_s = sum(fitted.device.cost(layer).seconds for layer in VGG8)
    assert chip_s == pytest.approx(1.359e-3, rel=0.25)
    movement = sum(fitted.device.cost(layer).parts.movement for layer in VGG8)
    assert movement / chip_s > 0.6  # data movement dominates, as NeuroSim finds


def test_the_catalogue_claims_the_error_of_layers_that_the_fit_had_not_seen():
    document = Library.standard().resolve("hardware", "cim-rram-22nm").document
    points = [
        Point(layer, golden[1] * 1e-6, group=index)
        for index, (layer, golden) in enumerate(zip(VGG8, GOLDEN, strict=True))
    ]
    found = fit(device_of(document), points, ("vector_s", "buffer_bandwidth")).device.calibration
    stated = document.calibration.error
    for name in ("median", "p90", "low", "high", "coverage"):
        assert getattr(stated, name) == pytest.approx(getattr(found, name), rel=0.01), name
    assert (document.calibration.models, document.calibration.dtypes) == ((), ("int8",))


def test_products_of_two_activations_run_on_the_digital_unit():
    weights = dense_layer("fc", inputs=128, outputs=128, batch=64, dtype="int8")
    attention = replace(
        weights, input_bytes=weights.input_bytes + weights.weight_bytes, weight_bytes=0
    )
    seconds = attention.macs / 64 / CLOCK
    assert chip(lanes=64).layer(attention).seconds == pytest.approx(seconds)


def test_other_layers_wait_for_the_buffer():
    layer = vector_layer("relu", "Relu", reads=10**6, writes=10**6, ops=10**6, dtype="int8")
    cost = chip(buffer_bandwidth=1e6).layer(layer)
    assert (cost.bound, cost.seconds) == ("memory", pytest.approx(2.0))


@settings(deadline=None)
@given(convs() | denses())
def test_slower_clocks_and_buffers_never_save_time(layer):
    seconds = chip().cost(layer).seconds
    assert seconds > 0
    assert chip(clock_hz=CLOCK / 2).cost(layer).seconds >= seconds
    assert chip(buffer_bandwidth=2e9).cost(layer).seconds >= seconds
    assert chip(weight_bits=16).mapping(layer.dims).arrays >= chip().mapping(layer.dims).arrays


@pytest.mark.parametrize("wrong", [{"cell_bits": 0}, {"joule_per_read": -1.0}])
def test_impossible_chips_are_refused(wrong):
    with pytest.raises(HardwareError, match=next(iter(wrong))):
        chip(**wrong)
