from __future__ import annotations

import os
from pathlib import Path

import pytest

from profleet.execute.settings import TrackingSettings
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


@pytest.fixture
def sqlite(store: Path) -> TrackingSettings:
    return TrackingSettings(
        uri=f"sqlite:///{store}/profleet.db",
        artifacts=str(store / "artifacts"),
        experiment="profiles",
    )


@pytest.fixture
def result(store: Path) -> Path:
    return make_profile_dir(store / "runs" / "a", samples=40, processes=2)


@pytest.fixture
def sweep(store: Path) -> Path:
    """Three finished jobs, a failed one and an unsupported one."""
    root, identity = store / "sweeps" / "day" / "time", "day/time"
    stacks = [("squeezenet", "onnxruntime"), ("squeezenet", "openvino"), ("resnet50", "torch")]
    for number, (model, framework) in enumerate(stacks):
        make_profile_dir(
            root / str(number), model=model, framework=framework, sweep_id=identity,
            samples=40, processes=2, base_ms=1.0 + number, seed=number,
        )  # fmt: skip
    make_profile_dir(root / "3", status="failed", reason="out of luck", sweep_id=identity, seed=3)
    make_profile_dir(
        root / "4", status="unsupported", reason="no such operator", hint="Use torch.",
        error_kind="unsupported", sweep_id=identity, seed=4,
    )  # fmt: skip
    return root
