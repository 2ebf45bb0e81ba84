"""Simulations in MLflow: a run for each, one for a sweep, in an experiment of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from profleet.cli import main
from profleet.errors import StoreError, TrackingError
from profleet.execute.settings import TrackingSettings
from profleet.profile.store import write_json
from profleet.simulate.results import load_invocation
from profleet.tracking import log_simulation, log_simulations, session
from profleet.tracking.simulation import simulation_record, sweep_of_simulations
from simulated_jobs import Made, make_failure, make_simulation
from support import make_profile_dir


def made(folder: Path, number: int = 0, sweep: str | None = None, **what: Any) -> Path:
    """Write the folder of a simulation with an identity of its own."""
    if "reason" in what:
        make_failure(folder, **what)
    else:
        make_simulation(folder, Made(**what))
    invocation = load_invocation(folder).model_copy(
        update={"run_id": f"{number:032x}", "sweep_id": sweep}
    )
    write_json(folder / "invocation.json", invocation.model_dump(mode="json", by_alias=True))
    return folder


@pytest.fixture
def simulated(store: Path) -> Path:
    """Two routers, a failed job and an interrupted one."""
    root = store / "simulations" / "day" / "12-00"
    for number, router in enumerate(("jsq", "random")):
        made(root / str(number), number, root.name, router=router)
    made(root / "2", 2, root.name, reason="Configuration: workload.load: no.")
    made(root / "3", 3, root.name, reason="Interrupted.", status="interrupted")
    return root


def runs(tracking: TrackingSettings) -> list[Any]:
    from mlflow import MlflowClient

    with session.quiet_mlflow():
        client = MlflowClient(tracking.uri)
        experiment = client.get_experiment_by_name(f"{tracking.experiment}-simulations")
        assert experiment is not None
        assert client.get_experiment_by_name(tracking.experiment) is None, "profiles stay apart"
        return list(client.search_runs([experiment.experiment_id]))


def test_a_simulation_is_a_run_with_metrics_parameters_tags_and_files(
    simulated: Path, sqlite: TrackingSettings
) -> None:
    folder = simulated / "0"
    (folder / "report.html").write_text("<html></html>", "utf-8")
    (folder / "requests.parquet").write_bytes(b"large")
    logged = log_simulation(folder, sqlite)
    (run,) = runs(sqlite)
    assert run.info.run_id == logged.run_id
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "a-poisson-jsq"
    assert run.info.end_time - run.info.start_time == 61_000
    result = json.loads((folder / "result.json").read_text("utf-8"))
    for name, metric in result["metrics"].items():
        assert run.data.metrics[name] == pytest.approx(metric["value"])
    assert run.data.params["router.kind"] == "jsq"
    assert run.data.params["workload.load"] == "0.5"
    assert run.data.params["served.a.squeezenet"].startswith("2 x squeezenet under onnxruntime")
    tags = run.data.tags
    assert tags["profleet.kind"] == "simulation"
    assert tags["profleet.verdict"] == "stable"
    assert tags["profleet.sweep"] == "12-00"

    from mlflow import MlflowClient

    files = {each.path for each in MlflowClient(sqlite.uri).list_artifacts(logged.run_id)}
    assert {"result.json", "invocation.json", "report.html", "tables", "overrides.txt"} <= files
    assert "requests.parquet" not in files, "it may be of any size, and stays where it is"


def test_logging_again_changes_nothing(simulated: Path, sqlite: TrackingSettings) -> None:
    first = log_simulation(simulated / "0", sqlite)
    again = log_simulation(simulated / "0", sqlite)
    assert (again.run_id, again.already, first.already) == (first.run_id, True, False)
    assert len(runs(sqlite)) == 1


def test_failed_and_interrupted_simulations_are_runs_too(simulated: Path) -> None:
    failed = simulation_record(simulated / "2")
    assert failed.status == "FAILED"
    assert failed.tags["profleet.reason"] == "Configuration: workload.load: no."
    assert failed.numbers == []
    assert simulation_record(simulated / "3").status == "KILLED"


def test_a_sweep_is_summed_up_in_a_table(simulated: Path, sqlite: TrackingSettings) -> None:
    record = sweep_of_simulations(simulated)
    assert record.status == "FAILED"
    assert record.tags["profleet.status"] == "1 failed, 2 finished, 1 interrupted"
    rows = record.tables["tables/simulations.json"]
    assert [row["status"] for row in rows] == ["finished", "finished", "failed", "interrupted"]
    assert rows[0]["overrides"] == "router=jsq workload.load=0.5"
    assert rows[0]["latency_p99_ms"] > rows[0]["latency_p50_ms"] > 0
    assert rows[2]["latency_p99_ms"] is None
    first = log_simulations(simulated, sqlite)
    assert log_simulations(simulated, sqlite).already
    made(simulated / "4", 4, simulated.name, router="least_work")
    later = log_simulations(simulated, sqlite)
    assert not later.already, "the sweep has changed"
    assert later.run_id != first.run_id
    assert len(runs(sqlite)) == 1


def test_where_results_and_servers_are_is_not_told(store: Path) -> None:
    overrides = ("router=jsq", "store=/home/me", "tracking.uri=http://me:secret@host")
    record = simulation_record(made(store / "one", overrides=overrides))
    assert "secret" not in str(record)
    assert "/home/me" not in str([record.texts, record.params, record.tags])
    assert record.texts["overrides.txt"] == "router=jsq\n"


def test_a_fleet_and_a_workload_of_any_size_are_logged(
    store: Path, sqlite: TrackingSettings
) -> None:
    groups = {f"group {number} ä/ö": 2 for number in range(150)}
    arrivals = {"kind": "poisson", "rate": 1.0, "deadline_ms": None, "priority": 3}
    clients = {f"client-{number}": {"arrivals": arrivals} for number in range(60)}
    workload = {"kind": "mixture", "clients": clients, "models": {"m" * 400: 1.0}}
    folder = made(store / "one", groups=groups, configuration={"workload": workload})
    log_simulation(folder, sqlite)
    (run,) = runs(sqlite)
    assert run.data.tags["profleet.logged"] == "complete"
    assert run.data.params["workload.kind"] == "mixture"
    assert run.data.metrics["throughput_rps"] == 500


@pytest.mark.usefixtures("sqlite")
def test_the_command_logs_simulations_beside_runs(
    simulated: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_profile_dir(store / "runs" / "a", samples=40, processes=2)
    (store / "runs" / "a" / "plots").mkdir()
    assert main(["log", str(store)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [": logged as " in line for line in lines] == [True] * 6
    assert lines[-1].startswith(f"{simulated}: logged as sweep-12-00")
    for number in range(4):
        tracking = load_invocation(simulated / str(number)).tracking
        assert tracking.status == "logged"
        assert str(tracking.mlflow_run_id) in lines[number + 1]
    assert main(["log", str(simulated)]) == 0
    again = capsys.readouterr().out.splitlines()
    assert [": already logged as " in line for line in again] == [True] * 5
    assert main(["log", str(simulated / "1")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1, "a part of a sweep is not the sweep"


def test_a_damaged_simulation_is_named_and_the_others_are_logged(
    simulated: Path, sqlite: TrackingSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    (simulated / "1" / "result.json").write_text("{", "utf-8")
    assert main(["log", str(simulated)]) == 1
    printed = capsys.readouterr()
    assert f"{simulated / '1'}: not logged" in printed.out
    assert "damaged" in printed.err
    assert str(simulated / "0") in printed.out
    assert len(runs(sqlite)) == 3
    with pytest.raises(StoreError, match="damaged"):
        simulation_record(simulated / "1")


def test_a_server_that_is_down_says_how_to_log_later(simulated: Path, store: Path) -> None:
    tracking = TrackingSettings(uri="http://127.0.0.1:9", artifacts=None, experiment="mine")
    with pytest.raises(TrackingError, match="profleet log") as raised:
        log_simulation(simulated / "0", tracking)
    assert "--experiment mine" in str(raised.value)
    assert "mine-simulations" not in str(raised.value)
