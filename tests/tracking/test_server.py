"""Logging to real servers: one that works, one that dies, and ones that answer nonsense."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from profleet.errors import StoreError, TrackingError
from profleet.execute.settings import TrackingSettings
from profleet.tracking import log, log_result, log_sweep
from profleet.tracking.server import database_of, free_port, serving
from support import make_profile_dir


def server_at(uri: str, experiment: str = "profiles") -> TrackingSettings:
    return TrackingSettings(uri=uri, artifacts=None, experiment=experiment)


def runs_of(uri: str, experiment: str = "profiles") -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id]))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with serving(folder / "profleet.db", "127.0.0.1", free_port("127.0.0.1", 0)) as (address, _):
        yield address


def test_a_run_arrives_whole_and_once(
    result: Path, server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    logged = log_result(result, server_at(server))
    assert log_result(result, server_at(server)).already
    assert capfd.readouterr() == ("", "")
    (run,) = runs_of(server)
    assert run.info.run_id == logged.run_id
    assert run.data.tags["profleet.logged"] == "complete"
    client = MlflowClient(server)
    assert [m.step for m in client.get_metric_history(logged.run_id, "throughput_rps")] == [
        1, 2, 4, 8,
    ]  # fmt: skip
    copy = Path(client.download_artifacts(logged.run_id, "samples.parquet"))
    assert copy.read_bytes() == (result / "samples.parquet").read_bytes()
    assert {entry.path for entry in client.list_artifacts(logged.run_id, "tables")} == {
        "tables/points.json", "tables/idle.json", "tables/cold_start.json", "tables/samples.json",
    }  # fmt: skip


def test_more_values_than_a_request_may_hold(tmp_path: Path, server: str) -> None:
    folder = make_profile_dir(
        tmp_path, batch_sizes=tuple(range(1, 61)), samples=8, processes=2, idle_gaps_ms=()
    )
    logged = log_result(folder, server_at(server, "many"))
    (run,) = runs_of(server, "many")
    assert run.info.run_id == logged.run_id
    assert run.data.tags["profleet.logged"] == "complete"

    from mlflow import MlflowClient

    history = MlflowClient(server).get_metric_history(logged.run_id, "latency_p50_ms_high")
    assert [point.step for point in history] == list(range(1, 61))


def test_a_sweep_arrives(sweep: Path, server: str) -> None:
    for number in range(5):
        log_result(sweep / str(number), server_at(server, "sweeps"))
    log_sweep(sweep, server_at(server, "sweeps"))
    runs = runs_of(server, "sweeps")
    assert sorted(run.data.tags["profleet.kind"] for run in runs) == ["run"] * 5 + ["sweep"]
    assert {run.data.tags["profleet.sweep"] for run in runs} == {"day/time"}


def test_a_server_that_dies_half_way_loses_nothing(
    result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    port = free_port("127.0.0.1", 0)
    original = log._values
    with serving(folder / "profleet.db", "127.0.0.1", port) as (address, process):

        def values_then_death(*arguments: Any) -> None:
            original(*arguments)
            process.terminate()
            process.wait()

        with monkeypatch.context() as patch:
            patch.setattr(log, "_values", values_then_death)
            with pytest.raises(TrackingError, match="Log it later with: profleet log") as caught:
                log_result(result, server_at(address))
        assert f"{result} --tracking-uri {address}" in str(caught.value)
    with serving(folder / "profleet.db", "127.0.0.1", port) as (address, _):
        (half,) = runs_of(address)
        assert half.info.status == "RUNNING"
        logged = log_result(result, server_at(address))
        (whole,) = runs_of(address)
        assert whole.info.run_id == logged.run_id != half.info.run_id
        assert whole.info.status == "FINISHED"


def test_no_server(result: Path) -> None:
    address = f"http://127.0.0.1:{free_port('127.0.0.1', 0)}"
    with pytest.raises(log.UnreachableError, match="nothing listens there") as caught:
        log_result(result, server_at(address))
    assert str(caught.value) == (
        f"squeezenet-onnxruntime-example-2c was not logged to {address}: nothing listens there. "
        f"Log it later with: profleet log {result} --tracking-uri {address}"
    )


@contextmanager
def answering(status: int, body: bytes = b"", wait: threading.Event | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if wait is not None:
                wait.wait(30)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Retry-After", "3600")
            with suppress(ConnectionError):  # who asked may be tired of waiting
                self.end_headers()
                self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 -- the name http.server calls

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            if wait is not None:
                wait.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", [500, 503, 429, 403, 404])
def test_a_server_that_refuses(result: Path, status: int) -> None:
    with (
        answering(status) as address,
        pytest.raises(TrackingError, match=f"it answered with HTTP {status}"),
    ):
        log_result(result, server_at(address))


def test_a_server_that_is_not_mlflow(result: Path) -> None:
    with (
        answering(200, b"<html>Please sign in</html>") as address,
        pytest.raises(TrackingError, match="not what an MLflow server answers"),
    ):
        log_result(result, server_at(address))


def test_a_server_that_never_answers(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with (
        answering(200, wait=threading.Event()) as address,
        pytest.raises(TrackingError, match="did not answer in time"),
    ):
        log_result(result, server_at(address))


def test_a_database_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "profleet.db").touch()

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StoreError, match=r"profleet\.db cannot be read: Permission denied"):
        database_of(tmp_path)
