"""``profleet log`` and ``profleet ui`` as a user starts them."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from profleet.cli import main
from profleet.execute.settings import TrackingSettings
from profleet.profile.store import load_result
from profleet.tracking import log_result
from profleet.tracking.server import free_port
from support import make_profile_dir

PROFLEET = [sys.executable, "-c", "import sys; from profleet.cli import main; sys.exit(main())"]

# -- log -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("sqlite")
def test_every_result_below_a_folder_is_logged_once(
    sweep: Path, result: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["log", str(store)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7  # one result, five jobs, the summary of their sweep
    assert all(": logged as " in line for line in lines)
    assert lines[-1].startswith(f"{sweep}: logged as sweep-day-time")
    assert load_result(result).tracking.status == "logged"
    assert load_result(result).tracking.mlflow_run_id in lines[0]
    assert main(["log", str(store)]) == 0
    assert all(": already logged as " in line for line in capsys.readouterr().out.splitlines())


def test_a_result_goes_to_the_store_that_it_lies_in(
    result: Path,
    store: Path,
    sqlite: TrackingSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PROFLEET_STORE", str(tmp_path / "default"))
    monkeypatch.chdir(store)
    assert main(["log", "runs"]) == 0
    assert log_result(result, sqlite).run_id in capsys.readouterr().out
    assert not (tmp_path / "default").exists()


@pytest.mark.usefixtures("sqlite")
def test_one_job_of_a_sweep_does_not_bring_the_summary(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["log", str(sweep / "3"), str(sweep / "4"), str(sweep / "3")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.usefixtures("sqlite")
def test_a_damaged_result_does_not_stop_the_others(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep / "3" / "result.json").write_text("{", "utf-8")
    assert main(["log", str(sweep / "3"), str(sweep / "4")]) == 1
    told = capsys.readouterr()
    assert [line.split(": ")[1][:10] for line in told.out.splitlines()] == [
        "not logged", "logged as ",
    ]  # fmt: skip
    assert "result.json is damaged: it is not JSON" in told.err


@pytest.mark.parametrize("make", [True, False])
def test_a_folder_without_results_is_a_mistake(
    tmp_path: Path, make: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "other"
    if make:
        folder.mkdir()
    assert main(["log", str(folder)]) == 2
    assert str(folder) in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--tracking-uri", "--store"])
def test_a_place_that_takes_no_run_is_a_mistake(
    option: str, sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "results.txt"
    wrong.touch()
    assert main(["log", str(sweep), option, str(wrong)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert f"{option} " in told.err
    assert "later" not in told.err, "the same command would fail again"


def test_an_absent_server_is_tried_once(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = f"http://127.0.0.1:{free_port('127.0.0.1', 0)}"
    assert main(["log", str(sweep), "--tracking-uri", address]) == 1
    told = capsys.readouterr()
    assert told.out == f"{sweep / '0'}: not logged\n"
    assert "nothing listens there" in told.err
    assert told.err.endswith("5 more were not tried.\n")


@pytest.mark.usefixtures("sqlite")
def test_a_read_only_result_is_logged(
    result: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from profleet.errors import StoreError
    from profleet.profile import store

    def refuse(*_: object) -> None:
        raise StoreError("read-only")

    monkeypatch.setattr(store, "write_json", refuse)
    assert main(["log", str(result)]) == 0
    assert ": logged as " in capsys.readouterr().out


# -- ui ------------------------------------------------------------------------------------------


def session_of(pid: int) -> set[int]:
    """All living processes of the sessions of ``pid`` and of what it started."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return family & set(parents)


def gone(pids: set[int], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while alive := {pid for pid in pids if pid in session_of(pid)}:
        if time.monotonic() > end:
            print("still alive:", alive)
            return False
        time.sleep(0.1)
    return True


@pytest.fixture
def ui(
    result: Path, store: Path, sqlite: TrackingSettings
) -> Iterator[tuple[subprocess.Popen[str], str, set[int]]]:
    """The command, the link that it printed, and all its processes."""
    log_result(result, sqlite)
    process = subprocess.Popen(
        [*PROFLEET, "ui", "--store", str(store), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    link = process.stdout.readline().strip()
    family = session_of(process.pid)
    yield process, link, family
    process.kill()
    process.communicate()
    assert gone(family), "the UI outlived its command"


def test_the_ui_serves_the_store_and_stops_on_ctrl_c(
    ui: tuple[subprocess.Popen[str], str, set[int]], sqlite: TrackingSettings, result: Path
) -> None:
    process, link, family = ui
    address, _, fragment = link.partition("/#/")
    logged = log_result(result, sqlite)
    assert fragment == f"experiments/{logged.experiment_id}/runs?workflowType=machine_learning"
    query = f"path=tables/points.json&run_uuid={logged.run_id}"
    with urllib.request.urlopen(f"{address}/get-artifact?{query}", timeout=20) as answer:
        assert b"latency_p50_ms" in answer.read()
    assert len(family) >= 3  # the command, mlflow, its worker
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "")
    assert errors.endswith("Stopped.\n")
    assert gone(family)


def test_a_killed_ui_leaves_no_server(
    ui: tuple[subprocess.Popen[str], str, set[int]],
) -> None:
    process, _, family = ui
    process.kill()
    process.wait()
    assert gone(family)


def test_a_taken_port(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.mkdir()
    (store / "profleet.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["ui", "--port", str(port)]) == 2
    message = capsys.readouterr().err
    assert f"Port {port} on 127.0.0.1 is taken" in message
    assert f"profleet ui --port {port + 1}" in message


def test_an_address_of_another_machine(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.mkdir()
    (store / "profleet.db").touch()
    assert main(["ui", "--host", "192.0.2.1", "--port", "0"]) == 2
    assert "cannot listen on '192.0.2.1'" in capsys.readouterr().err


def test_a_store_without_a_database(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ui"]) == 2
    message = capsys.readouterr().err
    assert str(store / "profleet.db") in message
    assert "profleet log DIR" in message


def test_a_database_that_mlflow_refuses(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.mkdir()
    (store / "profleet.db").write_text("not a database " * 100, "utf-8")
    assert main(["ui", "--port", "0"]) == 2
    assert "not an SQLite database" in capsys.readouterr().err


def test_a_server_elsewhere_only_gets_its_link(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"http://127.0.0.1:{free_port('127.0.0.1', 0)}"
    assert main(["ui", "--tracking-uri", address]) == 1
    assert "nothing listens there" in capsys.readouterr().err
    assert main(["ui", "--tracking-uri", "sqlite:///x.db"]) == 2
    assert "--store DIR" in capsys.readouterr().err


def test_the_default_store_is_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROFLEET_STORE", str(tmp_path / "chosen"))
    folder = make_profile_dir(tmp_path / "r", status="failed")
    assert main(["log", str(folder)]) == 0
    assert (tmp_path / "chosen" / "profleet.db").is_file()
    assert not Path("mlruns").exists()
    assert capsys.readouterr().err == ""
