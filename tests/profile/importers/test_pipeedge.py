"""PipeEdge's YAML files: made-up ones for the rules, the shared ones for known sums."""

from __future__ import annotations

import copy

import pyarrow.parquet as pq
import pytest
import yaml

from profleet.errors import StoreError
from profleet.profile.importers.pipeedge import import_pipeedge
from profleet.profile.points import write_points
from workloads import shared_data

MODELS = {
    "net": {"layers": 3, "parameters_in": 10, "parameters_out": [5, 7], "mem_MB": [1.5, 2.0, 3.0]},
    "DummyModel": {"layers": 0, "mem_MB": [], "parameters_in": 0, "parameters_out": []},
}
DEVICES = {
    "Board": {
        "bw_Mbps": 100, "mem_MB": 64,
        "model_profiles": {
            "net": [{"dtype": "torch.float32", "batch_size": 8, "time_s": [0.1, 0.2, 0.3]}]
        },
    },
    "DummyDeviceType": {"bw_Mbps": 0, "mem_MB": 0, "model_profiles": None},
}  # fmt: skip


def write(folder, models=MODELS, devices=DEVICES):
    (folder / "models.yml").write_text(yaml.safe_dump(models))
    (folder / "device_types.yml").write_text(yaml.safe_dump(devices))
    return folder


def changed(document, *path, value):
    result = copy.deepcopy(document)
    here = result
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    return result


@pytest.mark.parametrize("name", ["", "models.yml", "device_types.yml"])
def test_a_point_is_the_sum_of_the_layers(tmp_path, name):
    points = import_pipeedge(write(tmp_path) / name, {"Board": "board"})
    (row,) = points.rows
    assert row.value == pytest.approx(0.6)
    assert (row.dtype, row.batch_size, row.scenario) == ("float32", 8, "stages")
    assert (row.device, row.hardware) == ("Board", "board")


def test_layers_are_kept_with_outputs_repeated(tmp_path):
    write_points(tmp_path / "out", import_pipeedge(write(tmp_path), {}))
    layers = pq.read_table(tmp_path / "out" / "layers.parquet")
    assert layers["latency_s"].to_pylist() == [0.1, 0.2, 0.3]
    assert layers["elements_out"].to_pylist() == [5, 7, 5]
    assert layers["memory_mib"].to_pylist() == [1.5, 2.0, 3.0]


PROFILE = ("Board", "model_profiles", "net", 0)
WRONG = [
    (MODELS, changed(DEVICES, *PROFILE, "time_s", value=[0.1, 0.2]),
     "Board.model_profiles.net.0.time_s: 2 times, but models.yml says the model has 3 layers"),
    (MODELS, changed(DEVICES, *PROFILE, "time_s", value=[0.1, -0.2, 0.3]),
     "Board.model_profiles.net.0.time_s.1: -0.2 is not a number above 0"),
    (MODELS, changed(DEVICES, *PROFILE, "time_s", value="fast"), "time_s: must be a list"),
    (MODELS, changed(DEVICES, *PROFILE, "batch_size", value=0), "net.0.batch_size: 0 is not"),
    (MODELS, changed(DEVICES, *PROFILE, value={"dtype": "x"}), "net.0: 'batch_size' is missing"),
    (MODELS, changed(DEVICES, "Board", value=[1]), "device_types.yml: Board: must be a mapping"),
    (changed(MODELS, "net", "mem_MB", value=[1.0]), DEVICES, "1 entries of mem_MB for 3 layers"),
    ({"nets": MODELS["net"]}, DEVICES, "models.yml has no such model. Did you mean 'nets'?"),
    (MODELS, {"DummyDeviceType": DEVICES["DummyDeviceType"]}, "holds nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("models", "devices", "message"), WRONG)
def test_wrong_files_are_one_error_with_the_place(tmp_path, models, devices, message):
    with pytest.raises(StoreError) as error:
        import_pipeedge(write(tmp_path, models, devices), {})
    assert message in str(error.value)


def test_a_missing_file_and_one_that_is_no_yaml(tmp_path):
    with pytest.raises(StoreError, match=r"models.yml cannot be read"):
        import_pipeedge(tmp_path, {})
    write(tmp_path)
    (tmp_path / "models.yml").write_text("a: [1")
    with pytest.raises(StoreError, match=r"models.yml"):
        import_pipeedge(tmp_path, {})
    (tmp_path / "models.yml").write_text("a: &x 1\nb: *x")
    with pytest.raises(StoreError, match=r"models.yml"):
        import_pipeedge(tmp_path, {})


SUMS = {
    ("Minnowboard-E3845", "base"): 13.058, ("Minnowboard-E3845", "large"): 44.518,
    ("RCC-VE-C2000", "base"): 10.386, ("RCC-VE-C2000", "large"): 35.840,
}  # fmt: skip


def test_the_published_profiles():
    points = import_pipeedge(shared_data("pipeedge"), {})
    found = {(row.device, row.model.split("-")[1]): row.value for row in points.rows}
    assert found == {key: pytest.approx(value, abs=5e-4) for key, value in SUMS.items()}


def test_what_is_no_folder_of_pipeedges_is_named(tmp_path):
    write(tmp_path)
    other = tmp_path / "notes.txt"
    other.write_text("x")
    with pytest.raises(StoreError, match=r"notes\.txt is no PipeEdge file; name the folder"):
        import_pipeedge(other, {})
    with pytest.raises(StoreError, match=r"There is no file or folder .*nowhere"):
        import_pipeedge(tmp_path / "nowhere", {})
