"""The simulator from Python."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import profleet
from profleet.errors import ConfigError
from profleet.simulate import api
from profleet.simulate.api import Interrupted
from profleet.simulate.recording import simulate_into
from profleet.simulate.simulation import prepare

SMALL: dict[str, Any] = {"batching": "none", "replications": 2, "requests": 800}


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    monkeypatch.chdir(tmp_path)


def simulate(**settings: Any) -> Any:
    given = {"workload": {"load": 0.6}, **SMALL, **settings}
    return profleet.simulate("theory", **given)


def test_the_package_is_the_function_too():
    from profleet.simulate import simulate as function

    assert function is api.simulate
    assert profleet.simulate.api is api
    one = profleet.simulate("theory", {"load": 0.5}, **SMALL)
    two = function("theory", {"load": 0.5}, **SMALL)
    assert one.result() == two.result()


def test_importing_profleet_imports_nothing_heavy():
    code = (
        "import sys, profleet; assert callable(profleet.simulate)\n"
        "print(sorted({'pandas', 'numba', 'matplotlib', 'hydra', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_example_of_the_documentation_works(tmp_path):
    documented = inspect.getdoc(api.simulate)
    assert documented is not None
    block = documented.partition("::\n")[2].partition("\nArgs:")[0]
    space: dict[str, Any] = {}
    exec(compile(textwrap.dedent(block), "example", "exec"), space)
    assert space["simulation"].summary().verdict == "stable"
    assert (tmp_path / "plots" / "latency.svg").is_file()
    assert (tmp_path / "eight-servers" / "report.html").is_file()


def test_metrics_and_tables_are_pandas():
    simulation = simulate()
    metrics = simulation.metrics()
    assert list(metrics.columns) == ["value", "low", "high", "unit", "evidence"]
    row = metrics.loc["latency_p50_ms"]
    assert 0 < row["low"] <= row["value"] <= row["high"]
    assert row["unit"] == "ms"
    assert set(metrics["evidence"]) == {"assumed"}
    for name in ("latencies", "levels", "replicas", "batches", "replications"):
        table = simulation.table(name)
        assert isinstance(table, pd.DataFrame)
        assert len(table)
    counted = simulation.table("latencies").query("span == 'latency'")["count"].sum()
    assert counted == 2 * 720, "both replications, without the warm-up"
    per_replication = simulation.table("replications")["latency_mean_ms"]
    assert per_replication.mean() == pytest.approx(metrics.loc["latency_mean_ms", "value"])
    with pytest.raises(ConfigError, match="Did you mean 'levels'"):
        simulation.table("level")


def test_numbers_of_numpy_and_pandas_are_numbers():
    loads = pd.Series([0.5])
    one = simulate(
        workload={"load": loads[0]}, seed=np.int64(3), requests=np.int32(300),
        slo={"p50_ms": np.float32(2.0)}, queue={"limit": np.int64(9)}, router={"kind": "jsq"},
    )  # fmt: skip
    two = simulate(
        workload={"load": 0.5}, seed=3, requests=300, slo={"p50_ms": 2.0}, queue={"limit": 9}
    )
    assert one.result() == two.result()


def test_a_mapping_goes_over_its_preset_or_its_kind_or_the_default():
    kept = api.configure({"fleet": {"preset": "theory", "servers": 3}}, {"workload": {"rate": 1}})
    assert kept.fleet.servers == 3
    assert kept.fleet.service.dist == "exponential"
    kept = api.configure({"workload": {"kind": "gamma", "rate": 1}, "fleet": "theory"}, {})
    assert kept.workload.kind == "gamma"
    kept = api.configure({"fleet": {"count": 3}}, {"workload": {"rate": 1}})
    assert (kept.fleet.kind, kept.fleet.count) == ("profiles", 3)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"workload": {"load": float("nan")}}, "workload.load"),
        ({"workload": {"lode": 1}}, "Did you mean 'load'"),
        ({"workload": 5}, "workload: give the name of an option"),
        ({"workload": {"load": object()}}, "not a supported"),
        ({"router": "jqs"}, "Did you mean 'jsq'"),
        ({"router": {"kind": "power_of_d"}}, "router.d"),
        ({"router": {"kind": "jqs"}}, "Did you mean 'jsq'"),
        ({"reqests": 5}, "Did you mean 'requests'"),
        ({"queue": {"limt": 5}}, "Did you mean 'limit'"),
        ({"queue": 5}, "queue: must be a group"),
        ({"plugins": "mine.py"}, "must be a list"),
        ({"per_request": True}, "folder=FOLDER"),
        ({"trace": True}, "folder=FOLDER"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_mistake_is_one_sentence(settings, said):
    with pytest.raises(ConfigError, match=said) as raised:
        simulate(**settings)
    assert str(raised.value).count("\n") == 0


def test_a_folder_holds_what_the_command_writes(desk, tmp_path):
    folder = tmp_path / "mine"
    simulation = simulate(folder=folder, per_request=True, trace=True, seed=4)
    done = desk.simulate(
        "workload.load=0.6", "requests=800", "seed=4", "per_request=true", "trace=true",
        "fleet.servers=16",
    )  # fmt: skip
    assert done.code == 0, done
    (written,) = desk.folders()
    assert (folder / "result.json").read_bytes() == (written / "result.json").read_bytes()
    ours = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    theirs = {str(path.relative_to(written)) for path in written.rglob("*")}
    others = (".hydra", "plots/")
    assert {name for name in ours ^ theirs if not name.startswith(others)} == set()
    later = simulation.save(tmp_path / "later")
    assert later.metrics == simulation.summary().metrics
    assert "requests" not in later.paths, "they were not kept"


def test_the_same_requests_come_under_every_router(tmp_path):
    tables = {}
    for router in ("jsq", "random", "round_robin", "power_of_two"):
        groups = {"fleet": "theory", "workload": {"load": 0.6}, "router": router}
        settings = {**SMALL, "replications": 1, "per_request": True}
        simulate_into(prepare(api.configure(groups, settings)), tmp_path / router)
        table = pd.read_parquet(tmp_path / router / "requests.parquet").sort_values("request")
        tables[router] = table.assign(service=table.end_ns - table.start_ns)
    jsq = tables.pop("jsq")
    for table in tables.values():
        assert (table.arrived_ns.to_numpy() == jsq.arrived_ns.to_numpy()).all()
        assert (table.service.to_numpy() == jsq.service.to_numpy()).all()
        assert (table.replica.to_numpy() != jsq.replica.to_numpy()).any()


def test_another_seed_and_another_replication_are_other_random_numbers():
    values = simulate(seed=1).table("replications")["latency_mean_ms"].tolist()
    values += simulate(seed=2).table("replications")["latency_mean_ms"].tolist()
    assert len(set(values)) == 4
    more = simulate(seed=1, replications=3).table("replications")["latency_mean_ms"].tolist()
    assert more[:2] == values[:2], "more replications leave the first ones as they are"


def test_ctrl_c_is_an_interrupt_that_holds_what_was_finished(monkeypatch):
    from profleet.simulate import simulation

    real, calls = simulation.simulate_once, []

    def once(*arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **settings)

    monkeypatch.setattr(simulation, "simulate_once", once)
    with pytest.raises(Interrupted) as raised:
        simulate(replications=9)
    kept = raised.value.simulation
    assert isinstance(raised.value, KeyboardInterrupt)
    assert len(kept.outcomes) == 2
    assert kept.result().status == "interrupted"
    assert kept.result().reason == "Interrupted after 2 of 9 replications."
    assert kept.metrics().loc["completed", "value"] == 720


def test_the_settings_that_are_stated_are_plain_json():
    result = simulate().result()
    text = json.dumps(result.model_dump(mode="json", by_alias=True), allow_nan=False)
    assert json.loads(text)["configuration"]["fleet"]["servers"] == 16
