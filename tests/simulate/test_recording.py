"""Every request and the timeline: what is in the files, and when there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from profleet.errors import StoreError
from profleet.simulate import recording, simulation
from profleet.simulate.api import configure
from profleet.simulate.recording import REQUESTS, TIMELINE, simulate_into
from profleet.simulate.simulation import prepare


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")


def scene(fleet: Any = "theory", load: float = 0.8, **settings: Any) -> simulation.Scene:
    own = {"batching": "none", "replications": 2, "requests": 600, "warmup": 0, **settings}
    kept = {"per_request": True, "trace": True, **own}
    return prepare(configure({"fleet": fleet, "workload": {"load": load}}, kept))


def test_every_request_of_the_first_replication_is_there(tmp_path):
    done = simulate_into(scene(), tmp_path)
    table = pd.read_parquet(tmp_path / REQUESTS)
    assert sorted(table.request) == list(range(600))
    assert table.completed_ns.is_monotonic_increasing, "in the order in which they left"
    for earlier, later in zip(
        ("arrived_ns", "ready_ns", "start_ns", "end_ns"),
        ("ready_ns", "start_ns", "end_ns", "completed_ns"),
        strict=True,
    ):
        assert (table[earlier] <= table[later]).all()
    assert table.dropped.isna().all()
    assert set(table.model) == {"any"}
    assert set(table.group) == {"servers"}
    latency = (table.completed_ns - table.arrived_ns).to_numpy()
    assert int(latency.sum()) == int(done.outcomes[0].total_ns[0, 0])
    assert len(done.outcomes) == 2


def test_why_a_request_was_dropped_is_named(tmp_path):
    simulate_into(scene(load=3.0, queue={"limit": 2}), tmp_path)
    table = pd.read_parquet(tmp_path / REQUESTS)
    assert len(table) == 600
    dropped = table[table.dropped.notna()]
    assert set(dropped.dropped) == {"queue_full"}
    assert len(dropped) > 100


def test_the_table_is_written_in_blocks_with_names_that_agree(tmp_path, monkeypatch):
    from profleet.simulate import run

    monkeypatch.setattr(run, "TABLE_ROWS", 64)
    groups = [
        {"name": name, "count": count, "service": {"dist": "exponential", "mean_ms": 1}}
        for name, count in (("first", 1), ("second", 3))
    ]
    fleet = {"preset": "assumed", "groups": groups}
    simulate_into(scene(fleet, router="round_robin"), tmp_path)
    table = pd.read_parquet(tmp_path / REQUESTS)
    assert sorted(table.request) == list(range(600))
    assert table.group.value_counts().to_dict() == {"second": 450, "first": 150}
    assert set(table[table.group == "first"].replica) == {0}


def test_the_timeline_has_a_slice_for_every_batch_in_the_window(tmp_path):
    simulate_into(scene({"preset": "theory", "servers": 3}, trace_window_ms=(20, 60)), tmp_path)
    timeline = json.loads((tmp_path / TIMELINE).read_text("utf-8"))
    slices = [event for event in timeline["traceEvents"] if event["ph"] == "X"]
    table = pd.read_parquet(tmp_path / REQUESTS)
    inside = table[(table.end_ns >= 20_000_000) & (table.start_ns <= 60_000_000)]
    starts = sorted(round(event["ts"] * 1000) for event in slices)
    assert starts == sorted(inside.start_ns)
    assert all(event["name"] == "any x1" for event in slices)
    names = [e["args"]["name"] for e in timeline["traceEvents"] if e["name"] == "thread_name"]
    assert names == ["replica 0", "replica 1", "replica 2"]
    by_replica: dict[int, list[tuple[float, float]]] = {}
    for event in slices:
        by_replica.setdefault(event["tid"], []).append((event["ts"], event["ts"] + event["dur"]))
    for spans in by_replica.values():
        ordered = np.array(sorted(spans))
        assert (ordered[1:, 0] >= ordered[:-1, 1] - 1e-6).all(), "one batch at a time"


def test_loading_a_model_is_a_slice_of_its_own(tmp_path):
    service = {"dist": "deterministic", "mean_ms": 2}
    group = {"name": "cold", "count": 1, "service": service, "warm": False, "load_ms": 30}
    simulate_into(scene({"preset": "assumed", "groups": [group]}), tmp_path)
    events = json.loads((tmp_path / TIMELINE).read_text("utf-8"))["traceEvents"]
    (load,) = [event for event in events if event["name"] == "load any"]
    assert load["dur"] == 30_000


def test_a_timeline_that_no_viewer_opens_is_cut_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "MAX_BATCHES", 50)
    done = simulate_into(scene(trace_window_ms=(0, 1e6)), tmp_path)
    events = json.loads((tmp_path / TIMELINE).read_text("utf-8"))["traceEvents"]
    assert sum(event["ph"] == "X" for event in events) == 50
    assert any("first 50 batches" in note for note in done.result().notes)


def test_nothing_is_written_unless_it_is_asked_for(tmp_path):
    simulate_into(scene(per_request=False, trace=False), tmp_path)
    assert list(tmp_path.iterdir()) == []


def failing(error: BaseException, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let replication ``at`` fail after it has handed over requests."""
    real, calls = simulation.simulate_once, []

    def once(*arguments: Any, **settings: Any) -> Any:
        outcome = real(*arguments, **settings)
        calls.append(1)
        if len(calls) == at + 1:
            raise error
        return outcome

    monkeypatch.setattr(simulation, "simulate_once", once)


def test_a_part_of_a_replication_is_not_kept(tmp_path, monkeypatch):
    failing(KeyboardInterrupt(), 0, monkeypatch)
    done = simulate_into(scene(), tmp_path)
    assert done.interrupted
    assert done.outcomes == []
    assert list(tmp_path.iterdir()) == []
    assert done.result().status == "interrupted"
    assert done.result().metrics == {}


def test_a_whole_first_replication_is_kept_when_a_later_one_is_interrupted(tmp_path, monkeypatch):
    failing(KeyboardInterrupt(), 1, monkeypatch)
    done = simulate_into(scene(), tmp_path)
    assert done.interrupted
    assert sorted(path.name for path in tmp_path.iterdir()) == [REQUESTS, TIMELINE]
    assert len(pd.read_parquet(tmp_path / REQUESTS)) == 600


def test_an_error_leaves_no_file(tmp_path, monkeypatch):
    failing(RuntimeError("broken"), 0, monkeypatch)
    with pytest.raises(RuntimeError, match="broken"):
        simulate_into(scene(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(StoreError, match="file"):
        simulate_into(scene(), tmp_path / "file")
