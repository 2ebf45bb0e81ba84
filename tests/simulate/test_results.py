"""Result folders of simulations: whole, in order, and told apart from others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from profleet.errors import StoreError
from profleet.profile.store import Tracking, find_results
from profleet.simulate import results
from profleet.simulate.api import configure
from profleet.simulate.results import (
    find_simulations,
    finish,
    load_invocation,
    load_simulation,
    new_invocation,
    note_tracking,
    save,
    write_pictures,
    write_simulation,
)
from profleet.simulate.schema import SimulationResult
from profleet.simulate.simulation import Simulation, prepare, simulate_scene
from profleet.simulate.tables import TABLES
from simulated_jobs import make_failure, make_simulation
from support import make_profile_dir


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_DISABLE_JIT", "1")
        groups = {"fleet": "theory", "workload": {"load": 0.6}}
        settings = {"batching": "none", "replications": 2, "requests": 500}
        return simulate_scene(prepare(configure(groups, settings)))


def test_the_result_is_the_last_file_and_names_all_others(simulation, tmp_path, monkeypatch):
    order = []
    real = results.write_json
    monkeypatch.setattr(
        results, "write_json", lambda path, content: (order.append(path.name), real(path, content))
    )
    result = finish(tmp_path, write_simulation(tmp_path, simulation), new_invocation())
    assert order == ["invocation.json", "result.json"]
    assert {f"tables/{name}" for name in TABLES} | {"invocation"} == set(result.paths)
    assert load_simulation(tmp_path) == result
    for name in TABLES:
        frame = pd.read_parquet(tmp_path / "tables" / f"{name}.parquet")
        pd.testing.assert_frame_equal(frame, simulation.table(name))


def test_a_picture_that_cannot_be_drawn_costs_no_result(simulation, tmp_path, monkeypatch):
    from profleet.report import simulation_plots

    def full(folder: Path) -> list[Path]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(simulation_plots, "write_simulation_plots", full)
    result = save(tmp_path, simulation, new_invocation())
    assert result.status == "finished"
    assert "plots" not in result.paths
    assert load_simulation(tmp_path).metrics == result.metrics


def test_pictures_alone_leave_nothing_else(simulation, tmp_path):
    drawn = write_pictures(tmp_path / "pictures", simulation)
    assert {path.name for path in drawn} == {path.name for path in tmp_path.rglob("*.*")}
    assert all(path.stat().st_size > 1000 for path in drawn)


def test_a_result_that_cannot_be_written_is_an_error(simulation, tmp_path):
    (tmp_path / "tables").write_text("in the way", "utf-8")
    with pytest.raises(StoreError, match="tables"):
        save(tmp_path, simulation, new_invocation())
    assert not (tmp_path / "result.json").exists()


def test_simulations_and_runs_are_told_apart(tmp_path):
    make_simulation(tmp_path / "store" / "simulations" / "day" / "10")
    make_simulation(tmp_path / "store" / "simulations" / "day" / "9")
    make_failure(tmp_path / "store" / "simulations" / "day" / "11", "No luck.")
    make_profile_dir(tmp_path / "store" / "runs" / "a", samples=40, processes=2)
    found = [path.name for path in find_simulations(tmp_path)]
    assert found == ["9", "10", "11"], "in order of number"
    assert [path.name for path in find_results(tmp_path)] == ["a"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda text: text.replace("simulation/v1", "simulation/v2"), "newer profleet"),
        (lambda text: text.replace("profleet/simulation/v1", "profleet/result/v1"), "schema"),
        (lambda text: text.replace('"finished"', '"perfect"'), "status"),
        (lambda text: text.replace('"value":', '"velue":', 1), "metrics"),
    ],
)
def test_a_damaged_result_is_named(tmp_path, change, said):
    make_simulation(tmp_path)
    path = tmp_path / "result.json"
    path.write_text(change(path.read_text("utf-8")), "utf-8")
    with pytest.raises(StoreError, match=said) as raised:
        load_simulation(tmp_path)
    assert str(path) in str(raised.value)


def test_where_it_was_logged_leaves_the_result_as_it_is(tmp_path):
    make_simulation(tmp_path)
    before = (tmp_path / "result.json").read_bytes()
    note_tracking(tmp_path, Tracking(status="logged", mlflow_run_id="abc"))
    assert load_invocation(tmp_path).tracking.mlflow_run_id == "abc"
    assert (tmp_path / "result.json").read_bytes() == before


def test_a_result_describes_every_field(simulation):
    document: dict[str, Any] = json.loads(
        json.dumps(simulation.result().model_dump(mode="json", by_alias=True))
    )
    assert document["behavior"] == "1"
    assert document["fleet"][0]["capacity_rps"] == pytest.approx(16_000)
    assert document["offered_rps"] == pytest.approx(9_600)
    assert document["configuration"]["seed"] == 0
    assert document["events"] == sum(outcome.events for outcome in simulation.outcomes)
    assert SimulationResult.model_validate(document).metrics == simulation.summary().metrics
