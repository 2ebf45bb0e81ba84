from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from profleet.execute.settings import TrackingSettings
from profleet.tracking.session import Destination, find_experiment, quiet_mlflow
from support import make_profile_dir


@pytest.fixture(autouse=True)
def plain_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's MLflow, and no default store outside the test."""
    for name in list(os.environ):
        if name.startswith("MLFLOW_") or name == "DO_NOT_TRACK":
            monkeypatch.delenv(name)
    monkeypatch.setenv("PROFLEET_STORE", str(tmp_path / "store"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("template") / "profleet.db"
    uri = f"sqlite:///{path}"
    with quiet_mlflow():
        find_experiment(Destination(uri, None, "none"))
    return path


@pytest.fixture
def sqlite(store: Path, empty_database: Path) -> TrackingSettings:
    store.mkdir(exist_ok=True)
    shutil.copyfile(empty_database, store / "profleet.db")
    return TrackingSettings(
        uri=f"sqlite:///{store}/profleet.db",
        artifacts=str(store / "artifacts"),
        experiment="profiles",
    )


@pytest.fixture
def result(store: Path) -> Path:
    return drawn(make_profile_dir(store / "runs" / "a", samples=40, processes=2))


def drawn(folder: Path) -> Path:
    """Give the folder a picture, so that logging need not spend its time on drawing some."""
    (folder / "plots").mkdir()
    (folder / "plots" / "latency.svg").write_text("<svg/>", "utf-8")
    return folder


@pytest.fixture
def sweep(store: Path) -> Path:
    """Three finished jobs, a failed one and an unsupported one."""
    root, identity = store / "sweeps" / "day" / "time", "day/time"
    stacks = [("squeezenet", "onnxruntime"), ("squeezenet", "openvino"), ("resnet50", "torch")]
    for number, (model, framework) in enumerate(stacks):
        folder = make_profile_dir(
            root / str(number), model=model, framework=framework, sweep_id=identity,
            samples=40, processes=2, base_ms=1.0 + number, seed=number,
        )  # fmt: skip
        drawn(folder)
    make_profile_dir(root / "3", status="failed", reason="out of luck", sweep_id=identity, seed=3)
    make_profile_dir(
        root / "4", status="unsupported", reason="no such operator", hint="Use torch.",
        error_kind="unsupported", sweep_id=identity, seed=4,
    )  # fmt: skip
    return root
