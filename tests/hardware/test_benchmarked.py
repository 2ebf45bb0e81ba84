"""Rooflines calibrated with MLPerf results: made-up points for the rules, published ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from profleet.errors import HardwareError
from profleet.hardware.benchmarked import (
    BATCH,
    Held,
    Study,
    calibrated,
    held_rounds,
    held_server,
    held_single_stream,
    main,
    rows_by_device,
    shipped_networks,
)
from profleet.hardware.calibration import seconds_of
from profleet.hardware.catalog import device_of
from profleet.hardware.devices.roofline import Roofline
from profleet.hardware.layers import chain, conv_layer
from profleet.hardware.stack import modelled_stack
from profleet.manifest.library import Library
from profleet.profile.importers.devices import hardware_by_alias
from profleet.profile.importers.dlperf import read_dlperf
from profleet.profile.importers.mlperf import import_mlperf
from profleet.profile.points import PointRow, SourceFile, make_points, write_points
from workloads import shared_data

LIBRARY = Library.standard()
HARDWARE = {
    entry.name: LIBRARY.resolve("hardware", entry.name).document
    for entry in LIBRARY.entries("hardware")
}


def network(batch):
    """One layer that computing bounds on every device."""
    layer = conv_layer(
        "c", channels=512, filters=512, kernel=(3, 3), image=(56, 56), batch=batch, dtype="int8"
    )
    return chain("resnet50", batch, [layer])


def truth(name, efficiency, invoke_s, **changed):
    device = device_of(HARDWARE[name], "int8")
    assert isinstance(device, Roofline)
    return replace(
        device, compute_efficiency=efficiency, memory_efficiency=1.0, op_s=0.0, invoke_s=invoke_s,
        **changed,
    )  # fmt: skip


def row(device, scenario, round_, noise=1.0):
    batch = BATCH if scenario == "offline" else 1
    seconds = seconds_of(device, network(batch)) * noise
    value = batch / seconds if scenario == "offline" else seconds
    return PointRow(
        device=device.name, hardware=device.name, model="resnet50", dtype=None, batch_size=None,
        scenario=scenario, quantity="throughput" if scenario == "offline" else "latency",
        unit="samples/s" if scenario == "offline" else "s", value=value, low=value, high=value,
        count=1, round=round_,
    )  # fmt: skip


def rows(device, rounds=("v1.0", "v2.0"), noise=(1.0, 1.0)):
    return [
        row(device, scenario, round_, factor)
        for round_, factor in zip(rounds, noise, strict=True)
        for scenario in ("offline", "single_stream")
    ]


def test_efficiency_and_overhead_are_found_again():
    device = truth("nvidia-t4", 0.4, 5e-4)
    found = calibrated(HARDWARE["nvidia-t4"], rows(device), network)
    assert found.compute_efficiency == pytest.approx(0.4, rel=1e-4)
    assert found.invoke_s == pytest.approx(5e-4, rel=1e-3)
    assert found.evidence == "calibrated"


def test_where_roofs_contradict_the_measurement_the_bandwidth_is_effective():
    """Faster than computing and memory allow: what is fitted is what caches make of bandwidth."""

    def copying(batch):
        layer = conv_layer(
            "c", channels=8, filters=8, kernel=(1, 1), image=(112, 112), batch=batch, dtype="int8"
        )
        return chain("resnet50", batch, [layer])

    device = truth("nvidia-l4", 1.0, 1e-6, bandwidth=900e9)
    fast = BATCH / seconds_of(device, copying(BATCH))
    offline = replace(row(device, "offline", "v1.0"), value=fast, low=fast, high=fast)
    found = calibrated(HARDWARE["nvidia-l4"], [offline], copying)
    assert found.bandwidth == pytest.approx(900e9, rel=0.01)
    assert found.compute_efficiency == 1.0


def test_nothing_is_fitted_without_throughput():
    device = truth("nvidia-t4", 0.4, 5e-4)
    with pytest.raises(HardwareError, match="'nvidia-t4' has no Offline result"):
        calibrated(HARDWARE["nvidia-t4"], [row(device, "single_stream", "v1.0")], network)
    with pytest.raises(HardwareError, match="calibrate a roofline"):
        calibrated(HARDWARE["mit-lightning"], [], network)


def test_a_round_is_predicted_without_having_been_seen():
    device = truth("nvidia-t4", 0.4, 5e-4)
    study = held_rounds(HARDWARE, {"nvidia-t4": rows(device, noise=(1.0, 1.25))}, network)
    residuals = {(each.round, each.scenario): each.residual for each in study.held}
    assert len(residuals) == 4
    assert residuals["v2.0", "offline"] == pytest.approx(0.2231, abs=1e-3)  # log 1.25
    assert residuals["v1.0", "offline"] == pytest.approx(-0.2231, abs=1e-3)


def test_a_scenario_that_no_other_round_has_is_not_predicted():
    device = truth("nvidia-t4", 0.4, 5e-4)
    found = [*rows(device)[:2], row(device, "offline", "v2.0")]
    study = held_rounds(HARDWARE, {"nvidia-t4": found}, network)
    assert {(each.round, each.scenario) for each in study.held} == {
        ("v1.0", "offline"), ("v2.0", "offline"),
    }  # fmt: skip


def test_latency_is_predicted_with_the_overhead_of_other_devices():
    given = {
        name: rows(truth(name, 0.4, overhead), rounds=("v1.0",), noise=(1.0,))
        for name, overhead in (("nvidia-t4", 1e-3), ("nvidia-a30", 2e-3), ("nvidia-a10", 2e-3))
    }
    study = held_single_stream(HARDWARE, given, network)
    predicted = {each.hardware: each.predicted for each in study.held}
    own = {name: each[1].value for name, each in given.items()}
    assert predicted["nvidia-t4"] == pytest.approx(own["nvidia-t4"] + 1e-3, rel=0.02)
    assert predicted["nvidia-a30"] == pytest.approx(own["nvidia-a30"] - 0.5e-3, rel=0.02)


def test_coverage_is_counted_with_intervals_from_other_devices():
    narrow = [Held("a", "", "offline", 1.0, 1.0 + index / 1000) for index in range(1, 10)]
    wide = [Held("b", "", "offline", 1.0, 1.5) for _ in range(9)]
    covered, stated = Study((*narrow, *wide)).covered()
    assert covered == 0.5  # b's errors cover all of a, a's none of b
    assert stated == pytest.approx(0.9)
    with pytest.raises(HardwareError, match="at least two devices"):
        Study(tuple(narrow)).covered()


# -- the published results ---------------------------------------------------------------------

SERVER = {
    "nvidia-a30": 17_670, "nvidia-l4": 12_200, "nvidia-l40s": 44_040, "nvidia-a100-sxm": 37_510,
    "nvidia-h100-pcie": 47_140, "nvidia-h100-sxm": 76_260, "nvidia-h200-sxm": 79_030,
}  # fmt: skip
"""Median Server throughput an accelerator, samples/s, rounds v2.0 to v4.1 (not in the table)."""


SAME = {
    "bvlc-alexnet": "BVLC_AlexNet", "densenet121": "DenseNet-121", "inception-v2": "Inception-v2",
    "resnet18": "ResNet018-v1", "resnet50": "ResNet050-v1", "shufflenet": "Shufflenet",
    "vgg16": "VGG16", "vgg19": "VGG19", "zfnet512": "Zfnet512",
}  # fmt: skip
"""Shipped models that Benanza has, too."""


@pytest.fixture(scope="module")
def published():
    points = import_mlperf(shared_data("mlperf-inference-closed.csv.gz"), hardware_by_alias())
    return rows_by_device(points, HARDWARE), shipped_networks()


def test_other_rounds_are_predicted_with_the_error_that_is_claimed(published):
    study = held_rounds(HARDWARE, *published).plain()
    assert study["predictions"] >= 40
    assert study["error_median"] <= 0.03
    assert study["error_p90"] <= 0.12
    assert study["covered"] >= study["stated"] - 0.05


def test_latency_is_predicted_from_throughput_with_the_error_that_is_claimed(published):
    study = held_single_stream(HARDWARE, *published).plain()
    assert study["devices"] >= 8
    assert study["error_median"] <= 0.15
    assert study["covered"] >= study["stated"] - 0.05


def test_server_throughput_is_predicted_with_the_error_that_is_claimed(published):
    rows, networks = published
    study = held_server(HARDWARE, rows, SERVER, networks)
    figures = study.plain()
    assert figures["error_median"] <= 0.10
    assert figures["error_p90"] <= 0.20
    assert figures["covered"] >= figures["stated"] - 0.15  # one of seven is 0.14
    assert all(each.predicted <= each.measured * 1.1 for each in study.held)


def test_calibrations_in_the_catalogue_are_those_fitted(published):
    rows, networks = published
    for name in ("nvidia-t4", "nvidia-a10", "nvidia-a30", "nvidia-h100-pcie"):
        fitted = calibrated(HARDWARE[name], rows[name], networks)
        shipped = device_of(HARDWARE[name], "int8")
        assert isinstance(shipped, Roofline)
        assert shipped.compute_efficiency == pytest.approx(fitted.compute_efficiency, abs=0.002)
        assert shipped.invoke_s == pytest.approx(fitted.invoke_s, rel=0.01)


def test_resnet50_on_devices_fitted_to_matrix_products_is_as_the_readme_says(published):
    """Their error is of bfloat16 products; MLPerf shows how far off a network in int8 is."""
    rows, networks = published
    inside = []
    for name in ("nvidia-a100-sxm", "nvidia-h100-sxm", "nvidia-h200-sxm", "nvidia-l40s"):
        device, error = device_of(HARDWARE[name], "int8"), HARDWARE[name].calibration.error
        for each in rows[name]:
            if each.scenario in {"offline", "single_stream"}:
                batch = BATCH if each.scenario == "offline" else 1
                measured = BATCH / each.value if each.scenario == "offline" else each.value
                ratio = measured / seconds_of(device, networks(batch))
                inside.append(error.low <= ratio <= error.high)
    assert len(inside) == 15
    assert sum(inside) == 13  # not the Offline results of the L40S


def test_layers_beyond_a_calibration_are_off_as_the_manifest_of_the_t4_says():
    """Layers against layers: fitted to ResNet-50 in int8, asked of nine networks in float32."""
    data = read_dlperf(shared_data("dlperf-assets.tar.gz"))
    ratios = []
    for name, theirs in SAME.items():
        for batch in (1, 2, 4, 8, 16, 32):
            if ("Tesla_T4", theirs, batch) not in data.incomplete:
                prediction = modelled_stack(name, "nvidia-t4", "float32").predict(batch)
                predicted = prediction.seconds - prediction.invocation.seconds
                ratios.append(data.bounds("Tesla_T4", theirs, batch).sequential / predicted)
    assert min(ratios) == pytest.approx(0.5, abs=0.01)
    assert max(ratios) == pytest.approx(17.9, abs=0.1)
    assert sum(ratio > 1 for ratio in ratios) == 38
    assert len(ratios) == 51
    assert "took 0.5 to 18 times as long" in HARDWARE["nvidia-t4"].calibration.beyond.replace(
        "\n", " "
    )


def test_the_program_prints_the_studies(published, tmp_path, capsys):
    rows, _ = published
    source = SourceFile(name="x", sha256=None, title="x", license="x", references=[])
    every = [each for found in rows.values() for each in found]
    write_points(tmp_path, make_points("mlperf", source, every, notes=[]))
    assert main([str(tmp_path)]) == 0
    assert '"error_p90"' in capsys.readouterr().out
    assert main([str(tmp_path / "none")]) == 2
    assert main([]) == 2
