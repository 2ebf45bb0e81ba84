"""Predictions: sums, shares, precision, memory, evidence and intervals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from device_cases import gpu
from profleet.errors import HardwareError
from profleet.hardware.devices.base import Calibration
from profleet.hardware.devices.systolic import Systolic
from profleet.hardware.layers import (
    Network,
    chain,
    conv_layer,
    dense_layer,
    from_plain,
    to_plain,
    vector_layer,
)
from profleet.hardware.predict import predict
from zoo_cases import of_zoo

NET = of_zoo("resnet50")


def test_a_prediction_is_the_sum_of_its_layers_and_the_invocation():
    prediction = predict(NET, gpu())
    layers = sum(cost.seconds for _, cost in prediction.layers())
    assert prediction.seconds == pytest.approx(layers + 1e-4)
    assert prediction.items_per_second == pytest.approx(1 / prediction.seconds)
    assert sum(prediction.shares.values()) == pytest.approx(1)
    assert sum(prediction.by_bound.values()) == pytest.approx(prediction.seconds)
    assert prediction.shares["framework"] > 0.1


def test_a_device_that_fuses_launches_fewer_kernels():
    fused, plain = predict(NET, gpu()), predict(NET, gpu(fused=False))
    assert len(fused.network.layers) < len(plain.network.layers)
    assert fused.seconds < plain.seconds
    assert fused.network.macs == plain.network.macs == NET.macs


def test_precision_is_that_of_the_network_unless_asked_for():
    assert predict(NET, gpu()).seconds > predict(NET, gpu(), dtype="float16").seconds
    assert predict(NET, gpu(), dtype="float16").network.layers[0].dtype == "float16"
    with pytest.raises(HardwareError, match=r"no peak for int8\. .*float16, float32"):
        predict(NET, gpu(), dtype="int8")
    with pytest.raises(HardwareError, match=r"Unknown dtype 'float17'\. Did you mean 'float16'"):
        predict(NET, gpu(), dtype="float17")


def test_a_network_that_does_not_fit_is_refused():
    with pytest.raises(HardwareError, match="light_resnet50 at batch size 1 needs at least"):
        predict(NET, gpu(memory_bytes=2.0**26))
    assert predict(NET, gpu(memory_bytes=2.0**28)).seconds > 0


def test_evidence_and_interval_come_from_the_device():
    assert predict(NET, gpu()).evidence == "modelled"
    assert predict(NET, gpu()).interval is None
    known = Calibration(20, 0.1, 0.3, 0.8, 1.25, 0.9, "measurements")
    prediction = predict(NET, gpu(evidence="calibrated", source="here", calibration=known))
    assert (prediction.evidence, prediction.source) == ("calibrated", "here")
    assert prediction.calibration is known
    low, high = prediction.interval
    assert (low, high) == pytest.approx((0.8 * prediction.seconds, 1.25 * prediction.seconds))


def test_energy_is_known_where_power_is():
    assert predict(NET, gpu()).energy_j is None
    prediction = predict(NET, gpu(idle_w=50.0, peak_w=300.0))
    assert 50 * prediction.seconds < prediction.energy_j < 300 * prediction.seconds


def test_every_layer_of_real_networks_has_a_cost_that_is_bound_by_something():
    array = Systolic(
        name="array", rows=128, columns=128, dataflow="weight", clock_hz=1e9, bandwidth=1e12
    )
    for device in (gpu(), array):
        for layer, cost in predict(NET, device).layers():
            assert (cost.seconds > 0) == (not layer.view)


def test_equal_layers_are_costed_once_and_names_do_not_matter():
    device = gpu()
    one = dense_layer("one", inputs=64, outputs=64)
    assert one == replace(one, name="two")
    assert device.layer(one) is device.layer(replace(one, name="two"))


# -- networks as such ----------------------------------------------------------------------------


def test_networks_survive_being_stored():
    mixed = chain(
        "mixed",
        2,
        [
            conv_layer("c", channels=4, filters=8, kernel=(3, 1), image=(9, 9), strides=(2, 1)),
            dense_layer("d", inputs=8, outputs=2, batch=2),
            vector_layer("v", "Relu", reads=4, writes=4, ops=4),
        ],
    )
    for network in (mixed, NET):
        again = from_plain(to_plain(network))
        assert (again.layers, again.after) == (network.layers, network.after)
        assert [one.name for one in again.layers] == [one.name for one in network.layers]
        assert again.macs == network.macs
    with pytest.raises((ValueError, KeyError, TypeError)):
        from_plain({"model": "x"})


def test_impossible_networks_are_refused():
    layer = dense_layer("d", inputs=8, outputs=2)
    with pytest.raises(HardwareError, match="at least one item"):
        Network("n", 0, (layer,), ((),))
    with pytest.raises(HardwareError, match="not in the order"):
        Network("n", 1, (layer, layer), ((1,), ()))
    with pytest.raises(HardwareError, match="negative size"):
        replace(layer, ops=-1)
    with pytest.raises(HardwareError, match="no convolution has these sizes"):
        conv_layer("c", channels=3, filters=4, kernel=(9, 9), image=(4, 4), padding="valid")
    with pytest.raises(HardwareError, match="no convolution has these sizes"):
        conv_layer("c", channels=3, filters=4, kernel=(1, 1), image=(4, 4), groups=2)
