"""MLPerf results: made-up rows for the traps, the shared table for known medians."""

from __future__ import annotations

import pytest

from profleet.errors import StoreError
from profleet.profile.importers.devices import hardware_by_alias
from profleet.profile.importers.mlperf import COLUMNS, import_mlperf
from workloads import shared_data

ROW = {
    "round": "v4.1", "suite": "datacenter", "submitter": "A", "platform": "P",
    "accelerator": "Chip", "accelerators": "8", "processor": "CPU", "model": "resnet50",
    "scenario": "Offline", "result": "800", "units": "Samples/s", "software": "S",
    "location": "closed/A",
}  # fmt: skip


def imported(tmp_path, *rows, hardware=None):
    path = tmp_path / "table.csv"
    lines = [",".join(COLUMNS)]
    lines += [",".join(f'"{(ROW | row)[name]}"' for name in COLUMNS) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return import_mlperf(path, hardware or {})


def one(tmp_path, *rows, **more):
    (row,) = imported(tmp_path, *rows, **more).rows
    return row


def test_throughput_is_per_accelerator(tmp_path):
    row = one(tmp_path, {}, hardware={"Chip": "nvidia-t4"})
    assert (row.value, row.unit, row.quantity) == (100, "samples/s", "throughput")
    assert (row.hardware, row.batch_size, row.bound) == ("nvidia-t4", None, "exact")


def test_latency_of_a_single_stream_is_not_divided(tmp_path):
    row = one(tmp_path, {"scenario": "SingleStream", "result": "4", "units": "Latency (ms)"})
    assert (row.value, row.unit, row.batch_size) == (0.004, "s", 1)


@pytest.mark.parametrize("name", ["", "-", "N/A", "None"])
def test_a_system_without_accelerators_is_its_processors(tmp_path, name):
    row = one(tmp_path, {"accelerator": name, "accelerators": "0"})
    assert (row.device, row.value) == ("CPU", 800)


def test_an_integrated_accelerator_that_is_not_counted_is_one(tmp_path):
    assert one(tmp_path, {"accelerators": "0"}).value == 800


def test_names_of_a_model_and_of_a_device_are_joined(tmp_path):
    rows = imported(
        tmp_path,
        {"model": "resnet"},
        {"accelerator": "Chip CTS", "result": "880"},
        hardware={"Chip": "chip", "Chip CTS": "chip"},
    ).rows
    assert [(row.model, row.hardware, row.count, row.value) for row in rows] == [
        ("resnet50", "chip", 2, 105)
    ]


@pytest.mark.parametrize(
    ("round_", "model", "unit"),
    [("v3.1", "gptj-99", "samples/s"), ("v4.0", "gptj-99", "samples/s"),
     ("v4.1", "gptj-99", "tokens/s"), ("v4.0", "llama2-70b-99.9", "tokens/s"),
     ("v4.1", "bert-99", "samples/s")],
)  # fmt: skip
def test_language_models_count_tokens_whatever_the_label(tmp_path, round_, model, unit):
    assert one(tmp_path, {"round": round_, "model": model}).unit == unit


def test_a_result_listed_twice_under_two_labels_counts_once(tmp_path):
    points = imported(
        tmp_path,
        {"model": "gptj-99"},
        {"model": "gptj-99", "units": "Tokens/s"},
        {"model": "gptj-99", "submitter": "B"},
    )
    assert [row.count for row in points.rows] == [2]
    assert [(left.why, left.count) for left in points.about.left_out] == [("listed twice", 1)]


def test_results_far_off_do_not_count_and_rounds_do_not_mix(tmp_path):
    points = imported(
        tmp_path,
        {"result": "800"}, {"result": "720", "submitter": "B"}, {"result": "80", "submitter": "C"},
        {"result": "3200", "submitter": "D"}, {"result": "760", "submitter": "E"},
        {"result": "200", "round": "v4.0"},
    )  # fmt: skip
    rows = {row.round: row for row in points.rows}
    assert (rows["v4.1"].value, rows["v4.1"].count) == (95, 3)
    assert (rows["v4.1"].low, rows["v4.1"].high) == (90, 100)
    assert rows["v4.0"].value == 25
    assert [(left.why, left.count) for left in points.about.left_out] == [
        ("more than 2x off the median of its round", 2)
    ]


def test_reference_code_does_not_count_however_much_of_it_there_is(tmp_path):
    slow = {"result": "8", "software": "MLCommons reference implementation, Onnxruntime"}
    points = imported(tmp_path, {}, slow, {**slow, "submitter": "B"}, {**slow, "submitter": "C"})
    assert [row.value for row in points.rows] == [100]
    assert points.about.left_out[0].why == "untuned reference code"
    assert points.about.left_out[0].count == 3


def test_mixed_systems_are_left_out(tmp_path):
    points = imported(tmp_path, {}, {"accelerator": "Chip (x32), Other (x16)"})
    assert points.about.points == 1
    assert points.about.left_out[0].why == "the system mixes accelerators"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"result": "fast"}, "line 3: result is 'fast', not a number above 0"),
        ({"accelerators": "some"}, "line 3: accelerators is 'some'"),
        ({"accelerator": "", "accelerators": "4"}, "line 3: 4 accelerators without a name"),
        ({"scenario": "Batch"}, "line 3: scenario is 'Batch', not one of Offline"),
        ({"units": "Latency (ms)"}, r"line 3: units 'Latency \(ms\)' do not fit Offline"),
        ({"scenario": "SingleStream"}, "line 3: units 'Samples/s' do not fit SingleStream"),
        ({"round": "5"}, "line 3: round is '5', not such as v4.1"),
    ],
)
def test_wrong_values_are_one_error_with_the_line(tmp_path, row, message):
    with pytest.raises(StoreError, match=message) as error:
        imported(tmp_path, {}, row)
    assert "table.csv" in str(error.value)


def test_wrong_columns(tmp_path):
    (tmp_path / "t.csv").write_text("round,device\nv1,x\n")
    with pytest.raises(StoreError, match=r"t.csv: the column 'suite' is missing"):
        import_mlperf(tmp_path / "t.csv", {})


# -- the published results ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def published():
    return import_mlperf(shared_data("mlperf-inference-closed.csv.gz"), hardware_by_alias())


KNOWN = [  # device, model, scenario, round or None for the median of all, value
    ("nvidia-h100-sxm", "resnet50", "offline", 88_380),
    ("nvidia-a30", "resnet50", "offline", 20_000),
    ("nvidia-l4", "resnet50", "offline", 12_800),
    ("nvidia-l40s", "resnet50", "offline", 43_960),
    ("nvidia-h200-sxm", "resnet50", "offline", 94_680),
    ("nvidia-a10", "bert-99", "offline", 1_077),
    ("nvidia-h100-sxm", "bert-99", "offline", 8_881),
    ("nvidia-l4", "bert-99", "single_stream", 2.52e-3),
    ("nvidia-a10", "resnet50", "single_stream", 0.50e-3),
    ("nvidia-t4", "resnet50", "single_stream", 0.83e-3),
]


@pytest.mark.parametrize(("device", "model", "scenario", "value"), KNOWN)
def test_medians_are_those_known(published, device, model, scenario, value):
    """The rounds' medians lie around the median over all rounds, within 5 %."""
    found = published.of(hardware=device, model=model, scenario=scenario)
    assert found
    middle = sorted(row.value for row in found)[len(found) // 2]
    assert middle == pytest.approx(value, rel=0.05)


def test_software_of_a_round_doubles_the_speed_of_a_chip(published):
    rates = {
        row.round: row.value
        for row in published.of(hardware="nvidia-h100-sxm", model="gptj-99", scenario="offline")
    }
    assert rates["v3.1"] == pytest.approx(13.1, rel=0.05)
    assert rates["v4.0"] == pytest.approx(29.6, rel=0.05)
    assert rates["v4.1"] == pytest.approx(2472, rel=0.05)


def test_language_models_are_in_tokens_everywhere(published):
    assert {row.unit for row in published.of(model="llama2-70b-99", quantity="throughput")} == {
        "tokens/s"
    }
    rates = published.of(
        hardware="nvidia-h100-sxm", model="llama2-70b-99", scenario="offline", round="v4.1"
    )
    assert [row.value for row in rates] == [pytest.approx(3017, rel=0.01)]


def test_what_was_left_out_is_told(published):
    left = {each.why.partition(":")[0]: each.count for each in published.about.left_out}
    assert left["listed twice"] > 100
    assert left["the system mixes accelerators"] == 4
    assert sum(left.values()) + sum(row.count for row in published.rows) == 2415
