"""The engine compiled and as plain Python: the files of a simulation are the same, byte by byte."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from profleet.execute.collect import now
from profleet.simulate.api import configure
from profleet.simulate.recording import Recording
from profleet.simulate.results import INVOCATION, finish, write_simulation
from profleet.simulate.schema import InvocationRecord
from profleet.simulate.simulation import prepare, simulate_scene

SMALL = {"requests": 3000, "seed": 5}
ONCE: dict[str, Any] = {"replications": 1, "per_request": True, "trace": True}
"""Only the first replication is recorded, and one that is not needs an engine of its own."""
MIXED_CLIENTS = {
    "kind": "mixture",
    "load": 0.9,
    "clients": {
        "urgent": {"weight": 1.0, "arrivals": {"kind": "poisson", "priority": 0}},
        "bulk": {"weight": 3.0, "arrivals": {"kind": "gamma", "cv": 3.0, "priority": 1}},
    },
}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "profiles": (
        {"fleet": "quickstart", "workload": {"kind": "poisson", "load": 0.8}, "router": "jsq"},
        {"batching": {"kind": "dynamic"}, "slo": {"p99_ms": 50.0}, **ONCE},
    ),
    "central": (
        {
            "fleet": {"preset": "theory", "servers": 4},
            "workload": {"kind": "poisson", "load": 0.8},
            "router": "central_queue",
        },
        {"batching": "none", "replications": 3},
    ),
    "closed": (
        {
            "fleet": {"preset": "theory", "servers": 4},
            "workload": {"kind": "closed_loop", "users": 12},
            "router": "central_queue",
        },
        {"batching": "none", "replications": 2},
    ),
    "mixed": (
        {"fleet": "assumed", "workload": MIXED_CLIENTS, "router": "shortest_expected"},
        {
            "batching": {"kind": "dynamic", "size": 4, "max_delay_ms": 2.0},
            "queue": {"order": "priority", "limit": 50, "on_full": "retry"},
            **ONCE,
        },
    ),
}


def write(root: Path) -> None:
    """Simulate every case and write it as ``profleet simulate`` does."""
    for name, (groups, settings) in CASES.items():
        folder = root / name
        folder.mkdir(parents=True)
        scene = prepare(configure(groups, {**SMALL, **settings}))
        if scene.settings.per_request:
            window = (0, 10**9)
            with Recording(folder, scene.fleet, per_request=True, timeline_ns=window) as recording:
                simulation = simulate_scene(scene, recording=recording)
        else:
            simulation = simulate_scene(scene)
        begun = InvocationRecord(
            run_id="0", profleet_version="0", started_at=now(), finished_at=now(), wall_s=0.0
        )
        finish(folder, write_simulation(folder, simulation), begun)


def files(root: Path) -> dict[str, bytes]:
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*")}
    return {
        name: path.read_bytes()
        for name, path in sorted(found.items())
        if path.is_file() and path.name != INVOCATION
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    roots = {mode: tmp_path_factory.mktemp("jit") / mode for mode in ("compiled", "plain", "again")}
    for mode, root in roots.items():
        environment = {**os.environ, "NUMBA_DISABLE_JIT": "1" if mode == "plain" else "0"}
        command = [sys.executable, __file__, str(root)]
        subprocess.run(command, env=environment, check=True, timeout=500)
    return {mode: files(root) for mode, root in roots.items()}


@pytest.mark.parametrize("mode", ["plain", "again"])
def test_the_files_are_the_same(written, mode):
    assert list(written[mode]) == list(written["compiled"])
    different = [name for name, data in written[mode].items() if data != written["compiled"][name]]
    assert different == []


@pytest.mark.parametrize("case", list(CASES))
def test_all_kinds_of_files_were_compared(written, case):
    names = {name.removeprefix(f"{case}/") for name in written["plain"] if name.startswith(case)}
    tables = {f"tables/{name}.parquet" for name in ("latencies", "levels", "replicas", "batches")}
    recorded = {"requests.parquet", "timeline.json"} if "per_request" in CASES[case][1] else set()
    assert names >= {"result.json", *recorded, *tables}


if __name__ == "__main__":
    write(Path(sys.argv[1]))
