"""From manifests to device models."""

from __future__ import annotations

import dataclasses

import pytest

from profleet.errors import HardwareError
from profleet.hardware.catalog import MODELS, device_of, evidence_of, parameters
from profleet.hardware.devices.roofline import Roofline
from profleet.hardware.devices.soc import SoC
from profleet.hardware.layers import chain, conv_layer, dense_layer
from profleet.hardware.predict import predict
from profleet.manifest.library import Library

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
    assert h100.calibration is not None
    assert h100.calibration.p90 == 0.4
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
