"""From manifests to device models."""

from __future__ import annotations

import dataclasses
import json
from statistics import mean

import pytest

from profleet.errors import HardwareError
from profleet.hardware.catalog import (
    MODELS,
    device_of,
    energy_evidence_of,
    evidence_of,
    parameters,
)
from profleet.hardware.devices.roofline import Roofline
from profleet.hardware.devices.soc import SoC
from profleet.hardware.layers import chain, conv_layer, dense_layer
from profleet.hardware.predict import predict
from profleet.manifest.library import Library
from workloads import shared_data

LIBRARY = Library.standard()
HARDWARE = {
    entry.name: LIBRARY.resolve("hardware", entry.name).document
    for entry in LIBRARY.entries("hardware")
}
MODELLED = [name for name, document in HARDWARE.items() if document.kind != "measured"]


@pytest.mark.parametrize("name", MODELLED)
def test_every_device_of_the_catalogue_predicts(name):
    """A small network in whatever precision the device has takes some time, and no eternity."""
    hardware = HARDWARE[name]
    device = device_of(hardware)
    dtype = next(iter(hardware.peaks), "float32")
    network = chain("net", 2, [
        conv_layer("a", channels=3, filters=64, kernel=(3, 3), image=(56, 56), batch=2),
        dense_layer("b", inputs=256, outputs=1000, batch=2),
    ])  # fmt: skip
    seconds = predict(network, device, dtype).seconds
    assert 1e-9 < seconds < 1


def test_every_key_of_a_section_is_a_parameter():
    for name in MODELLED:
        hardware = HARDWARE[name]
        section = getattr(hardware, hardware.kind, None)
        if section is None:
            continue
        names = {field.name for field in dataclasses.fields(MODELS[hardware.kind])}
        keys = set(type(section).model_fields) - {"soc"}
        full = section.model_copy(update=dict.fromkeys(keys, 1))
        assert {name for name, _ in parameters(full, MODELS[hardware.kind])} <= names
        if (soc := getattr(section, "soc", None)) is not None:
            full = soc.model_copy(update=dict.fromkeys(type(soc).model_fields, 1))
            assert len(dict(parameters(full, SoC))) == len(type(soc).model_fields)


def test_numbers_arrive_in_base_units():
    h100 = device_of(HARDWARE["nvidia-h100-sxm"])
    assert isinstance(h100, Roofline)
    assert h100.peaks["int8"] == 1979e12
    assert (h100.bandwidth, h100.memory_bytes, h100.peak_w) == (3.35e12, 80e9, 700)
    assert (h100.compute_efficiency, h100.memory_efficiency, h100.op_s) == (0.8, 0.85, 4e-6)
    assert h100.calibration is None  # its error is of the points it was fitted to
    t4 = device_of(HARDWARE["nvidia-t4"])
    assert t4.calibration is not None
    assert t4.calibration.p90 == 0.09
    smaug = device_of(HARDWARE["smaug-soc"])
    assert (smaug.pad_bytes, smaug.soc.line_bytes) == (32768, 32)
    assert isinstance(smaug.pad_bytes, int)


def test_evidence_is_the_weakest_of_what_is_used():
    uncalibrated = HARDWARE["nvidia-t4"].model_copy(update={"calibration": None})
    assert evidence_of(uncalibrated) == "assumed"
    assert evidence_of(uncalibrated, "int8") == "modelled"
    assert evidence_of(uncalibrated, "float32") == "assumed"
    assert evidence_of(HARDWARE["smaug-soc"]) == "assumed"  # what its software costs
    assert evidence_of(HARDWARE["nvidia-h100-sxm"]) == "calibrated"


@pytest.mark.parametrize(
    ("name", "evidence"),
    [("nvidia-t4", "modelled"), ("nvidia-a10", "assumed"), ("intel-xeon-8592", "assumed")],
)
def test_energy_was_never_compared_with_a_joule(name, evidence):
    """Of the A10 and the Xeon the power is recalled."""
    assert energy_evidence_of(HARDWARE[name], "calibrated") == evidence
    assert energy_evidence_of(HARDWARE[name], "assumed") == "assumed"


def test_an_error_of_a_network_is_of_networks_that_were_compared():
    """What was fitted to matrix products or to single layers says nothing of any network."""
    for name in MODELLED:
        fitted = HARDWARE[name].calibration
        if fitted is not None and fitted.models:
            assert (fitted.models, fitted.dtypes) == (("resnet50",), ("int8",)), name
            assert fitted.error.held_out, name


def test_a_dtype_without_a_peak_is_one_error_with_what_there_is():
    layers = chain("net", 1, [dense_layer("b", inputs=8, outputs=8)])
    with pytest.raises(HardwareError, match=r"'google-tpu-v5e' has no peak for float32.*bfloat16"):
        predict(layers, device_of(HARDWARE["google-tpu-v5e"]), "float32")


def test_this_machine_is_measured_not_modelled():
    with pytest.raises(HardwareError, match="'local' is measured, not modelled"):
        device_of(HARDWARE["local"])


def test_overheads_that_no_parameter_takes_are_refused():
    hardware = HARDWARE["mit-lightning"].model_copy(
        update={"overheads": {"layer": HARDWARE["sushi-zcu104"].overheads["layer"]}}
    )
    with pytest.raises(HardwareError, match=r"overheads.layer is not for kind core_array"):
        device_of(hardware)


# -- golden numbers, with the parameters that are shipped --------------------------------------


def test_sushi_meets_the_layers_measured_on_its_board():
    device = device_of(HARDWARE["sushi-zcu104"])
    errors = []
    for row in json.loads(shared_data("ofa-resnet50-subnets.json").read_text()):
        if row["measured_s"] is None:
            continue
        layer = conv_layer(
            "", channels=row["C"], filters=row["K"], kernel=(row["R"], row["S"]),
            image=(row["X"], row["Y"]), strides=(row["stride"],) * 2, dtype="int8",
        )  # fmt: skip
        errors.append(abs(device.cost(layer).seconds / row["measured_s"] - 1))
    assert len(errors) == 108
    assert mean(errors) == pytest.approx(0.015, abs=0.002)
    assert max(errors) < 0.08


def test_smaug_meets_its_published_cycles():
    device = device_of(HARDWARE["smaug-soc"])
    layer = conv_layer("", channels=1, filters=32, kernel=(3, 3), image=(28, 28), dtype="float16")
    assert device.compute_s(layer) * 1e9 == pytest.approx(89_771, rel=1e-3)


VGG8 = [  # rows and columns, channels, kernel, filters, conversion us
    (32, 3, 3, 128, 7.340), (32, 128, 3, 128, 29.361), (16, 128, 3, 256, 6.394),
    (16, 256, 3, 256, 12.788), (8, 256, 3, 512, 2.349), (8, 512, 3, 512, 4.698),
    (1, 8192, 1, 1024, 0.130), (1, 1024, 1, 10, 0.016),
]  # fmt: skip


def test_cim_meets_the_run_of_neurosim():
    device = device_of(HARDWARE["cim-rram-22nm"])
    total_s, total_j = 0.0, 0.0
    for size, channels, kernel, filters, conversion in VGG8:
        layer = conv_layer(
            "", channels=channels, filters=filters, kernel=(kernel, kernel), image=(size, size),
            padding="valid", dtype="int8",
        )  # fmt: skip
        assert device.adc_s(layer.dims) * 1e6 == pytest.approx(conversion, rel=0.03)
        cost = device.cost(layer)
        total_s += cost.seconds
        total_j += cost.energy_j
    assert total_s == pytest.approx(1.359e-3, rel=0.05)
    assert total_j == pytest.approx((42.71 + 1.48) * 1e-6, rel=0.01)
