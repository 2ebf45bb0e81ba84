import json
import shutil
from pathlib import Path

import pytest

from profleet.profile.store import load_result
from profleet.simulate.service import export
from profleet.simulate.service.catalog import Catalog, Wanted
from profleet.simulate.service.sources import Places, SourceSettings
from support import make_profile_dir


@pytest.fixture
def store(tmp_path):
    top = tmp_path / "store"
    folder = make_profile_dir(top / "sweeps" / "0", samples=20, processes=2, sweep_id="a/b")
    (folder / "plots").mkdir()
    (folder / "runner.log").write_text("measured in /home/somebody")
    make_profile_dir(top / "sweeps" / "1", model="resnet50", samples=20, processes=2)
    make_profile_dir(top / "sweeps" / "2", model="vgg19", status="failed")
    return top


def test_the_record_of_every_stack_is_copied_and_can_be_used(store, tmp_path, capsys):
    target = tmp_path / "set"
    assert export.main([str(store), str(target)]) == 0
    folders = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert folders == [
        target / "example-2c-2t" / "resnet50-onnxruntime",
        target / "example-2c-2t" / "squeezenet-onnxruntime",
    ]
    assert sorted(path.name for path in folders[1].iterdir()) == [
        "environment.json", "job.json", "lock.json", "profile.json", "result.json",
        "samples.parquet",
    ]  # fmt: skip
    result = load_result(folders[1])
    assert (result.sweep_id, result.tracking.status) == (None, "off")
    assert all((folders[1] / path).is_file() for path in result.paths.values())
    found = Catalog((SourceSettings(path=str(target)),), Places())
    (candidate,) = found.find(Wanted("squeezenet", None, "example-2c-2t", "f")).values()
    assert found.measured(candidate).sizes == (1, 2, 4, 8)


def test_exporting_again_replaces_what_was_there(store, tmp_path, capsys):
    target = tmp_path / "set"
    export.main([str(store), str(target)])
    stale = target / "example-2c-2t" / "squeezenet-onnxruntime" / "stale"
    stale.write_text("")
    assert export.main([str(store), str(target)]) == 0
    assert not stale.exists()


@pytest.mark.parametrize("private", ["/home/ann/x", "/root/x", "HOST", "CWD"])
def test_nothing_that_names_the_machine_is_shipped(store, tmp_path, capsys, monkeypatch, private):
    monkeypatch.setattr("socket.gethostname", lambda: "box7")
    text = {"HOST": "measured on box7 today", "CWD": f"{Path.cwd()}/x"}.get(private, private)
    path = store / "sweeps" / "0" / "environment.json"
    content = json.loads(path.read_text())
    content["before"]["governor"] = {"unavailable": text}
    path.write_text(json.dumps(content))
    assert export.main([str(store), str(tmp_path / "set")]) == 2
    assert "cannot be shipped" in capsys.readouterr().err
    assert not (tmp_path / "set" / "example-2c-2t" / "squeezenet-onnxruntime").exists()


def test_a_store_without_sweeps_is_one_sentence(store, tmp_path, capsys):
    shutil.rmtree(store / "sweeps" / "0")
    shutil.rmtree(store / "sweeps" / "1")
    assert export.main([str(store), str(tmp_path / "set")]) == 2
    assert "no finished batch sweep" in capsys.readouterr().err
