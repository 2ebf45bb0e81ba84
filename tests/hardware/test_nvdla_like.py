"""Convolution engines: SMAUG's cycles, system terms and findings; SushiAccel's measured layers."""

from __future__ import annotations

from dataclasses import replace
from math import exp
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_cases import convs, denses, ofa_points, smaug_networks, smv, sushi
from profleet.errors import HardwareError
from profleet.hardware.calibration import fit
from profleet.hardware.catalog import device_of
from profleet.hardware.devices.nvdla_like import NvdlaLike
from profleet.hardware.devices.soc import SoC
from profleet.hardware.layers import Gemm, chain, conv_layer, dense_layer, vector_layer
from profleet.hardware.predict import predict
from profleet.manifest.library import Library

# -- the engine ----------------------------------------------------------------------------------


def test_the_published_cycle_count_of_smaug_is_met():
    layer = conv_layer("c", channels=1, filters=32, kernel=(3, 3), image=(28, 28), dtype="float16")
    cycles = smv().cycles(layer.dims)
    assert cycles == 1008 * (2 * 28 + 33)
    assert cycles == pytest.approx(89_771, rel=1e-3)


def test_a_matrix_product_waits_for_every_weight_from_the_scratchpad():
    dims = dense_layer("fc", inputs=784, outputs=256).dims
    assert smv().cycles(dims) == 32 * (32 * 25 + 33)  # 256 weights through a port of 8
    assert replace(smv(), port=None).cycles(dims) == 32 * (2 * 25 + 33)


def test_a_kernel_of_one_position_gives_its_taps_to_channels():
    three = conv_layer("c", channels=81, filters=16, kernel=(3, 3), image=(10, 10))
    one = conv_layer("c", channels=81, filters=16, kernel=(1, 1), image=(10, 10))
    assert sushi().weight_tiles(three.dims) == 9
    assert sushi().weight_tiles(one.dims) == 1


def test_an_engine_that_sweeps_its_input_gains_nothing_from_strides():
    strided = conv_layer("c", channels=9, filters=16, kernel=(3, 3), image=(10, 10), strides=(2, 2))
    assert sushi().cycles(strided.dims) == 100
    assert replace(sushi(), sweep="output").cycles(strided.dims) == 25


@settings(deadline=None)
@given(convs() | denses())
def test_an_engine_is_never_faster_than_its_multipliers(layer):
    for engine in (smv(), sushi()):
        at_once = engine.kernels * engine.channels * engine.taps
        seconds = engine.compute_s(layer)
        outputs = layer.dims.product.rows if engine.sweep == "output" else 0
        assert seconds * engine.clock_hz >= outputs * layer.macs / layer.dims.product.rows / at_once


# -- SushiAccel ----------------------------------------------------------------------------------


def test_sushi_accel_predicts_subnets_it_has_not_seen():
    points = ofa_points()
    assert len(points) == 108
    fitted = fit(sushi(), points, ("clock_hz", "layer_s", "weight_tile_s"), source="OFA-ResNet50")
    device, errors = fitted.device, [abs(exp(-one) - 1) for one in fitted.residuals]
    assert fitted.held_out
    assert mean(errors) <= 0.03
    assert max(errors) <= 0.07
    assert 1 / device.clock_hz == pytest.approx(11.6e-9, rel=0.01)
    assert device.layer_s == pytest.approx(88.7e-6, rel=0.01)
    assert device.weight_tile_s == pytest.approx(0.372e-6, rel=0.01)
    for subnet in {point.group for point in points}:
        mine = [index for index, point in enumerate(points) if point.group == subnet]
        measured = sum(points[index].seconds for index in mine)
        predicted = sum(points[index].seconds * exp(-fitted.residuals[index]) for index in mine)
        assert predicted == pytest.approx(measured, rel=0.006)


# -- in a system on a chip -----------------------------------------------------------------------


def test_the_accelerator_is_a_quarter_to_two_fifths_of_the_time_over_smaugs_networks():
    """A fit, no check: the costs of software and `unpack` were chosen so."""
    for network in smaug_networks():
        shares = predict(network, smv()).shares
        assert 0.25 <= shares["accelerator"] <= 0.40, network.model
        assert sum(shares.values()) == pytest.approx(1)


def test_software_and_interface_alone_make_smaugs_networks_two_to_five_times_faster():
    fast = smv(SoC(interface="acp", accelerators=8, threads=8))
    gains = {
        network.model: predict(network, smv()).seconds / predict(network, fast).seconds
        for network in smaug_networks()
    }
    assert min(gains.values()) >= 1.8, gains
    assert max(gains.values()) <= 5.0, gains


def test_the_catalogued_device_has_smaugs_finding():
    document = Library.standard().resolve("hardware", "smaug-soc").document
    device = device_of(document)
    assert isinstance(device, NvdlaLike)
    assert device.soc is not None
    fast = replace(device, soc=replace(device.soc, interface="acp", accelerators=8, threads=8))
    for network in smaug_networks():
        found = predict(network, device, "float16")
        assert 0.25 <= found.shares["accelerator"] <= 0.40, network.model
        gain = found.seconds / predict(network, fast, "float16").seconds
        assert 1.8 <= gain <= 5.0, network.model


def test_each_option_helps_where_it_should():
    network = next(one for one in smaug_networks() if one.model == "vgg")
    base = predict(network, smv()).parts
    coherent = predict(network, smv(SoC(interface="acp"))).parts
    assert coherent.movement < base.movement / 3
    assert (coherent.accelerator, coherent.framework) == (base.accelerator, base.framework)
    threaded = predict(network, smv(SoC(threads=8))).parts
    assert threaded.framework < base.framework
    assert (threaded.accelerator, threaded.movement) == (base.accelerator, base.movement)
    several = predict(network, smv(SoC(accelerators=8))).parts
    assert several.accelerator < base.accelerator / 3
    assert several.movement <= base.movement


def test_a_layer_of_one_tile_is_not_copied_and_moves_once():
    layer = conv_layer("c", channels=8, filters=8, kernel=(3, 3), image=(16, 16), dtype="float16")
    soc = SoC(pipelined=False)
    parts = smv(soc).cost(layer).parts
    moved = (layer.input_bytes, layer.weight_bytes, layer.output_bytes)
    lines = [-(-size // 32) for size in moved]
    assert parts.movement == pytest.approx(
        sum(100e-9 + size / 12.8e9 + line * 12e-9 for size, line in zip(moved, lines, strict=True))
    )
    assert parts.framework == pytest.approx(soc.operator_s + soc.invoke_s)


def test_data_movement_by_software_is_never_free():
    moved = vector_layer("t", "Transpose", reads=10_000, writes=10_000, ops=0, dtype="float16")
    parts = smv().cost(moved).parts
    assert parts.accelerator == 0
    assert parts.framework > 20_000 / SoC().memcpy_bandwidth


def test_two_activations_multiplied_are_costed_for_every_product():
    layer = dense_layer("a", inputs=64, outputs=128, batch=128, dtype="float16")
    heads = replace(layer, dims=Gemm(12, 128, 64, 128), macs=12 * layer.macs)
    one, twelve = smv().cost(layer), smv().cost(heads)
    assert twelve.parts.accelerator == pytest.approx(12 * one.parts.accelerator)


def test_a_layer_that_fits_no_scratchpad_is_named():
    deep = conv_layer("deep", channels=64, filters=64, kernel=(65, 1), image=(200, 4))
    with pytest.raises(HardwareError, match=r"Layer 'deep' \(Conv\) does not run on 'smaug-smv'"):
        smv().layer(deep)


@settings(max_examples=40, deadline=None)
@given(convs() | denses(), st.sampled_from(("dma", "acp")), st.integers(1, 8))
def test_more_engines_threads_and_bandwidth_never_cost_time(layer, interface, count):
    base = SoC(interface=interface)
    alone = smv(base).cost(layer).seconds
    for other in (
        replace(base, accelerators=count),
        replace(base, threads=count),
        replace(base, dma_bandwidth=2 * base.dma_bandwidth, acp_bandwidth=2 * base.acp_bandwidth),
    ):
        assert smv(other).cost(layer).seconds <= alone * (1 + 1e-9)


@pytest.mark.parametrize(
    "wrong", [{"threads": 0}, {"dma_bandwidth": 0.0}, {"flush_s": -1.0}, {"interface": "usb"}]
)
def test_an_impossible_system_is_refused(wrong):
    with pytest.raises(HardwareError, match=next(iter(wrong))):
        SoC(**wrong)


def test_views_are_free():
    view = replace(vector_layer("v", "Reshape", reads=0, writes=0, ops=0), view=True)
    assert predict(chain("v", 1, [view]), smv()).seconds == 0
