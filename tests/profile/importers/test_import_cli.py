"""``profleet import``."""

from __future__ import annotations

import json

import pytest
import yaml

from profleet.cli import main
from profleet.profile.points import load_points

MODELS = {"net": {"layers": 1, "parameters_in": 1, "parameters_out": [1], "mem_MB": [1.0]}}
DEVICES = {
    "Board": {
        "model_profiles": {"net": [{"dtype": "torch.float32", "batch_size": 2, "time_s": [0.5]}]}
    }
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models.yml").write_text(yaml.safe_dump(MODELS))
    (tmp_path / "device_types.yml").write_text(yaml.safe_dump(DEVICES))
    return tmp_path


def test_import_writes_into_the_store_and_says_so(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PROFLEET_STORE", str(tmp_path / "store"))
    assert main(["import", "pipeedge", str(folder)]) == 0
    written = tmp_path / "store" / "points" / "pipeedge"
    assert str(written) in capsys.readouterr().out
    assert [row.value for row in load_points(written).rows] == [0.5]


def test_json_is_all_there_is_on_standard_output(folder, tmp_path, capsys):
    output = tmp_path / "out"
    assert main(["import", "pipeedge", str(folder), "--output", str(output), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about == json.loads((output / "points.json").read_text())


@pytest.mark.parametrize("source", ["dlperf", "mlperf", "pipeedge"])
def test_a_path_that_is_not_there_is_a_mistake(source, tmp_path, capsys):
    output = tmp_path / "out"
    missing = str(tmp_path / "none")
    assert main(["import", source, missing, "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("profleet: ")
    assert str(tmp_path) in error
    assert not output.exists()
