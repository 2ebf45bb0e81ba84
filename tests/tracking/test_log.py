"""Logging to a real SQLite store."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from profleet.cli import main
from profleet.errors import TrackingError
from profleet.execute.settings import TrackingSettings
from profleet.profile.store import load_result, load_samples, write_result
from profleet.tracking import log, log_result, log_sweep, session
from support import make_profile_dir


def runs_of(tracking: TrackingSettings) -> list[Any]:
    from mlflow import MlflowClient

    with session.quiet_mlflow():
        client = MlflowClient(tracking.uri)
        experiment = client.get_experiment_by_name(tracking.experiment)
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id]))


def test_a_run_holds_everything(
    result: Path, sqlite: TrackingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sqlite.uri is not None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite.uri)  # where load_table looks
    shutil.rmtree(result / "plots")  # then they are drawn
    (result / "loadgen").mkdir()
    (result / "loadgen" / "summary.txt").write_text("VALID", "utf-8")
    (result / "loadgen" / "empty.txt").touch()
    logged = log_result(result, sqlite)
    (run,) = runs_of(sqlite)
    assert run.info.run_id == logged.run_id
    assert run.info.run_name == "squeezenet-onnxruntime-example-2c"
    assert run.info.status == "FINISHED"
    assert run.info.end_time - run.info.start_time == 61_000
    assert run.data.tags["profleet.logged"] == "complete"
    assert run.data.params["model.name"] == "squeezenet"

    from mlflow import MlflowClient

    client = MlflowClient(sqlite.uri)
    history = client.get_metric_history(logged.run_id, "latency_p50_ms")
    assert [point.step for point in history] == [1, 2, 4, 8]
    artifacts = {entry.path for entry in client.list_artifacts(logged.run_id)}
    assert artifacts == {
        "job.json", "lock.json", "profile.json", "samples.parquet", "environment.json",
        "result.json", "tables", "plots", "loadgen",
    }  # fmt: skip
    plots = {Path(entry.path).suffix for entry in client.list_artifacts(logged.run_id, "plots")}
    assert plots == {".svg", ".png"}
    loadgen = [entry.path for entry in client.list_artifacts(logged.run_id, "loadgen")]
    assert loadgen == ["loadgen/summary.txt"]
    assert not (result / "plots").exists()  # a result folder is only read
    table = client.load_table(run.info.experiment_id, "tables/points.json", [logged.run_id])
    assert list(table["batch_size"]) == [1, 2, 4, 8]
    samples = client.load_table(run.info.experiment_id, "tables/samples.json", [logged.run_id])
    assert len(samples) == len(load_samples(result))
    shown = json.loads(run.data.tags["mlflow.loggedArtifacts"])
    assert {"path": "tables/samples.json", "type": "table"} in shown


def test_logging_again_changes_nothing(result: Path, sqlite: TrackingSettings) -> None:
    first = log_result(result, sqlite)
    again = log_result(result, sqlite)
    assert (first.already, again.already) == (False, True)
    assert again.run_id == first.run_id
    assert len(runs_of(sqlite)) == 1


def test_a_half_written_run_is_written_anew(
    result: Path, sqlite: TrackingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(log, "_values", stop)
        with pytest.raises(KeyboardInterrupt):
            log_result(result, sqlite)
    (half,) = runs_of(sqlite)
    assert half.info.status == "RUNNING"
    logged = log_result(result, sqlite)
    (whole,) = runs_of(sqlite)
    assert whole.info.run_id == logged.run_id != half.info.run_id
    assert whole.info.status == "FINISHED"
    assert not logged.already


def test_a_failed_job_is_a_failed_run(tmp_path: Path, sqlite: TrackingSettings) -> None:
    log_result(make_profile_dir(tmp_path / "f", status="failed", reason="out of luck"), sqlite)
    (run,) = runs_of(sqlite)
    assert run.info.status == "FAILED"
    assert run.data.tags["profleet.reason"] == "out of luck"
    assert run.data.metrics == {}


def test_a_sweep_has_one_summary_that_follows_its_results(
    sweep: Path, sqlite: TrackingSettings
) -> None:
    from mlflow import MlflowClient

    first = log_sweep(sweep, sqlite)
    assert log_sweep(sweep, sqlite).already
    make_profile_dir(sweep / "3", sweep_id="day/time", samples=40, processes=2, seed=3)
    second = log_sweep(sweep, sqlite)
    (run,) = runs_of(sqlite)
    assert run.info.run_id == second.run_id != first.run_id
    assert run.data.tags["profleet.kind"] == "sweep"
    assert run.data.metrics["sweep_jobs_finished"] == 4
    client = MlflowClient(sqlite.uri)
    assert client.list_artifacts(second.run_id, "plots")
    tables = [entry.path for entry in client.list_artifacts(second.run_id, "tables")]
    assert tables == ["tables/jobs.json"]


def test_a_surrounding_mlflow_run_is_left_alone(
    result: Path,
    sqlite: TrackingSettings,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "not-ours")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    seen: dict[str, str | None] = {}
    original = log._values

    def spy(*arguments: Any) -> None:
        for name in ("RUN_ID", "DISABLE_TELEMETRY", "HTTP_REQUEST_MAX_RETRIES"):
            seen[name] = os.environ.get(f"MLFLOW_{name}")
        original(*arguments)

    monkeypatch.setattr(log, "_values", spy)
    before = dict(os.environ)
    log_result(result, sqlite)
    assert dict(os.environ) == before
    assert seen == {
        "RUN_ID": None, "DISABLE_TELEMETRY": "true", "HTTP_REQUEST_MAX_RETRIES": "3",
    }  # fmt: skip
    (run,) = runs_of(sqlite)
    assert "mlflow.parentRunId" not in run.data.tags
    assert capfd.readouterr() == ("", "")


LOG_ONE = """
import sys
from pathlib import Path
from profleet.execute.settings import TrackingSettings
from profleet.tracking import log_result
folder, store = map(Path, sys.argv[1:])
assert "mlflow" not in sys.modules
log_result(folder, TrackingSettings(
    uri=f"sqlite:///{store}/profleet.db", artifacts=str(store / "artifacts"), experiment="profiles"
))
"""


def test_parallel_jobs_create_one_database_and_one_experiment_and_print_nothing(
    store: Path, sqlite: TrackingSettings
) -> None:
    folders = [make_profile_dir(store / str(seed), status="failed", seed=seed) for seed in range(3)]
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", LOG_ONE, folder, store],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for folder in folders
    ]
    for job in jobs:
        printed, _ = job.communicate(timeout=120)
        assert (job.returncode, printed.decode()) == (0, "")
    assert len(runs_of(sqlite)) == 3


# -- where nothing can be written ------------------------------------------------------------------


def test_a_locked_database(
    result: Path, sqlite: TrackingSettings, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CONNECT_SECONDS", 0.2)
    with closing(sqlite3.connect(store / "profleet.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match="another process keeps it locked") as caught:
            log_result(result, sqlite)
    assert str(caught.value).endswith(f"Log it later with: profleet log {result} --store {store}")


def test_a_file_that_is_no_database(result: Path, sqlite: TrackingSettings, store: Path) -> None:
    (store / "profleet.db").write_text("not a database " * 100, "utf-8")
    with pytest.raises(TrackingError, match="not an SQLite database"):
        log_result(result, sqlite)


def test_the_suggested_command_logs_to_the_same_place(
    result: Path, tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "another store"
    other.mkdir()
    shutil.copyfile(empty_database, other / "profleet.db")
    tracking = TrackingSettings(
        uri=f"sqlite:///{other}/profleet.db", artifacts=None, experiment="night shift"
    )
    with monkeypatch.context() as patch:
        patch.setattr(log, "open_experiment", lambda _: 1 / 0)
        with pytest.raises(TrackingError) as caught:
            log_result(result, tracking)
    command = shlex.split(str(caught.value).partition("Log it later with: ")[2])
    monkeypatch.chdir(tmp_path)
    assert main(command[1:]) == 0
    assert len(runs_of(tracking)) == 1


def reusing(folder: Path, earlier: Path, sweep_id: str) -> Path:
    path = os.path.relpath(earlier, folder)
    changes = {"sweep_id": sweep_id, "reused_from": path}
    write_result(folder, load_result(earlier).model_copy(update=changes))
    return folder


def test_a_reused_job_makes_the_earlier_run_a_member_of_the_sweep(
    result: Path, store: Path, sqlite: TrackingSettings
) -> None:
    tuesday = reusing(store / "sweeps" / "tue" / "0", result, "tue")
    wednesday = reusing(store / "sweeps" / "wed" / "0", result, "wed/../wed")
    first = log_result(tuesday, sqlite)  # it was never logged before
    again = [log_result(folder, sqlite) for folder in (wednesday, tuesday, result)]
    assert not first.already
    assert all(logged.already and logged.run_id == first.run_id for logged in again)
    (run,) = runs_of(sqlite)
    members = {key: value for key, value in run.data.tags.items() if ".sweep" in key}
    assert members == {"profleet.sweep.tue": "member", "profleet.sweep.wed": "member"}


def test_a_run_that_is_written_anew_stays_a_member(
    result: Path, store: Path, sqlite: TrackingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(log, "_values", stop)
        with pytest.raises(KeyboardInterrupt):
            log_result(reusing(store / "sweeps" / "tue" / "0", result, "tue"), sqlite)
    log_result(result, sqlite)
    (run,) = runs_of(sqlite)
    assert run.data.tags["profleet.sweep.tue"] == "member"


def test_a_folder_where_nothing_can_be_created(result: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    uri = f"sqlite:///{tmp_path}/file/profleet.db"
    tracking = TrackingSettings(uri=uri, artifacts=None, experiment="profiles")
    with pytest.raises(TrackingError, match="was not logged to sqlite:") as caught:
        log_result(result, tracking)
    assert f"profleet log {result} --store {tmp_path}/file" in str(caught.value)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Act as a user who may not write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_read_only_database(result: Path, sqlite: TrackingSettings) -> None:
    log_result(result, sqlite)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "profleet.db").touch(0o444)
        (folder / "profleet.db").chmod(0o444)
        later = make_profile_dir(folder / "r", status="failed", seed=1)
        folder.chmod(0o755)
        tracking = TrackingSettings(
            uri=f"sqlite:///{folder}/profleet.db", artifacts=None, experiment="profiles"
        )
        with unprivileged(), pytest.raises(TrackingError, match="it is read-only"):
            log_result(later, tracking)


def test_a_folder_of_runs_is_refused_with_the_alternative(result: Path) -> None:
    tracking = TrackingSettings(uri="./mlruns", artifacts=None, experiment="profiles")
    with pytest.raises(TrackingError, match=r"use a URI such as sqlite:///"):
        log_result(result, tracking)


def test_a_deleted_experiment(result: Path, sqlite: TrackingSettings) -> None:
    logged = log_result(result, sqlite)

    from mlflow import MlflowClient

    MlflowClient(sqlite.uri).delete_experiment(logged.experiment_id)
    with pytest.raises(TrackingError, match="was deleted in MLflow; restore it"):
        log_result(result, sqlite)


def test_another_process_at_the_same_folder(result: Path) -> None:
    with (
        session.locked(result),
        pytest.raises(session.RefusedError, match="another process"),
        session.locked(result, seconds=0.1),
    ):
        pass


def test_credentials_are_not_shown(result: Path) -> None:
    uri = "http://user:sec@ret@127.0.0.1:9"
    tracking = TrackingSettings(uri=uri, artifacts=None, experiment="profiles")
    with pytest.raises(TrackingError) as caught:
        log_result(result, tracking)
    assert "sec" not in str(caught.value)
    assert "ret@" not in str(caught.value)
    assert "nothing listens there" in str(caught.value)
