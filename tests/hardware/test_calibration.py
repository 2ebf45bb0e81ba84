"""Calibration: parameters that are recovered, and errors that hold what they claim."""

from __future__ import annotations

from math import exp, log
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_cases import gpu, sushi
from profleet.errors import HardwareError
from profleet.hardware.calibration import Point, calibration_of, fit, seconds_of
from profleet.hardware.layers import conv_layer, dense_layer, vector_layer
from profleet.hardware.predict import predict
from zoo_cases import of_zoo

FREE = ("compute_efficiency", "memory_efficiency", "op_s")


def shapes(count, seed=0):
    """Matrix products and copies, tiny to large, so that every roof and the launch are seen."""
    random = np.random.default_rng(seed)
    sizes = np.exp2(random.integers(4, 14, (count, 3))).astype(int)
    return [
        dense_layer(f"{index}", batch=int(rows), inputs=int(inner), outputs=int(columns))
        for index, (rows, inner, columns) in enumerate(sizes)
    ] + [
        vector_layer(f"copy {size}", "Transpose", reads=2**size, writes=2**size, ops=0)
        for size in range(16, 28)
    ]


def measured(truth, layers, noise=0.0, seed=1, groups=10):
    random = np.random.default_rng(seed)
    return [
        Point(layer, truth.cost(layer).seconds * exp(random.normal(0, noise)), index % groups)
        for index, layer in enumerate(layers)
    ]


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.floats(1e-6, 1e-4))
def test_what_made_the_measurements_is_found_again(compute, memory, launch):
    truth = gpu(compute_efficiency=compute, memory_efficiency=memory, op_s=launch)
    fitted = fit(gpu(), measured(truth, shapes(80)), FREE).device
    assert fitted.compute_efficiency == pytest.approx(compute, rel=0.01)
    assert fitted.memory_efficiency == pytest.approx(memory, rel=0.01)
    assert fitted.op_s == pytest.approx(launch, rel=0.01)


def test_the_claimed_interval_covers_new_measurements_as_often_as_it_says():
    truth = gpu(compute_efficiency=0.35, memory_efficiency=0.6, op_s=9e-6)
    fitted = fit(gpu(), measured(truth, shapes(60), noise=0.2), FREE, source="60 products").device
    claimed = fitted.calibration
    assert fitted.evidence == "calibrated"
    assert (claimed.points, claimed.source) == (72, "60 products")
    assert claimed.low < 1 < claimed.high
    new = measured(truth, shapes(2000, seed=5), noise=0.2, seed=6)
    inside = [
        claimed.low <= point.seconds / fitted.cost(point.work).seconds <= claimed.high
        for point in new
    ]
    assert sum(inside) / len(inside) == pytest.approx(claimed.coverage, abs=0.07)
    errors = [abs(fitted.cost(point.work).seconds / point.seconds - 1) for point in new]
    assert median(errors) == pytest.approx(claimed.median, abs=0.05)


def test_networks_calibrate_too():
    truth = gpu(compute_efficiency=0.4, op_s=7e-6, invoke_s=3e-4)
    networks = [of_zoo(name) for name in ("squeezenet", "inception-v1", "densenet121")]
    points = [Point(one, predict(one, truth).seconds, one.model) for one in networks]
    points += [
        Point(one.cast("float16"), predict(one, truth, "float16").seconds, one.model)
        for one in networks
    ]
    fitted = fit(gpu(), points, ("compute_efficiency", "op_s", "invoke_s")).device
    assert fitted.op_s == pytest.approx(7e-6, rel=0.05)
    assert fitted.invoke_s == pytest.approx(3e-4, rel=0.05)
    for point in points:
        assert predict(point.work, fitted).seconds == pytest.approx(point.seconds, rel=0.01)


def test_the_fast_path_of_rooflines_equals_the_prediction():
    network, device = of_zoo("resnet50"), gpu(vector_peak=5e12)
    assert seconds_of(device, network) == pytest.approx(predict(network, device).seconds)
    layer = dense_layer("d", inputs=100, outputs=100)
    assert seconds_of(device, layer) == pytest.approx(device.layer(layer).seconds)


def test_errors_are_of_held_out_groups():
    """One group is off by a factor: a fit that saw it would not know."""
    layers = shapes(20)
    truth = gpu()
    points = [
        Point(layer, truth.cost(layer).seconds * (3 if index < 5 else 1), index < 5)
        for index, layer in enumerate(layers)
    ]
    fitted = fit(gpu(), points, ("invoke_s",))  # nothing that could explain it
    assert fitted.held_out
    assert fitted.residuals[0] == pytest.approx(log(3), rel=1e-3)
    alone = fit(gpu(), points[5:], ("op_s",))
    assert not alone.held_out
    assert alone.device.calibration is None


@settings(deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=1, max_size=40), st.floats(0.5, 0.99))
def test_few_points_claim_less_instead_of_more(residuals, coverage):
    claimed = calibration_of(residuals, coverage)
    assert claimed.coverage <= min(coverage, len(residuals) / (len(residuals) + 1))
    inside = sum(claimed.low <= exp(one) * (1 + 1e-9) and exp(one) <= claimed.high * (1 + 1e-9)
                 for one in residuals)  # fmt: skip
    assert inside >= claimed.coverage * len(residuals) - 1e-9
    assert claimed.median <= claimed.p90 + 1e-12 or len(residuals) < 3


def test_mistakes_are_named():
    layer = conv_layer("c", channels=9, filters=16, kernel=(3, 3), image=(8, 8))
    point = Point(layer, 1e-3)
    with pytest.raises(HardwareError, match=r"'peaks' of 'gpu' cannot be fitted\. Possible: comp"):
        fit(gpu(), [point], ("peaks",))
    with pytest.raises(HardwareError, match=r"'interval'.*cannot be fitted"):
        fit(gpu(), [point], ("interval",))
    with pytest.raises(HardwareError, match="3 parameters need at least as many"):
        fit(sushi(), [point, point], ("clock_hz", "layer_s", "weight_tile_s"))
    with pytest.raises(HardwareError, match="above 0 s, not 0"):
        Point(layer, 0.0)


def test_a_fit_claims_no_error_of_the_points_it_saw():
    truth = gpu(compute_efficiency=0.4, op_s=7e-6)
    layers = shapes(2)[:2]
    points = [Point(layer, truth.cost(layer).seconds) for layer in layers]
    fitted = fit(gpu(), points, ("compute_efficiency", "op_s"))
    assert not fitted.held_out
    assert max(map(abs, fitted.residuals)) < 1e-3
    assert (fitted.device.evidence, fitted.device.calibration) == ("calibrated", None)
    third = Point(shapes(3)[2], truth.cost(shapes(3)[2]).seconds)
    more = fit(gpu(), [*points, third], ("compute_efficiency", "op_s")).device
    assert more.calibration is None  # one degree of freedom leaves next to nothing of an error
