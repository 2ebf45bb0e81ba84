"""What any runner must do. PROFLEET_RUNNER_COMMAND="my runner" tests another one.

The command gets the job's folder as its last argument; jobs ask for the framework that
PROFLEET_RUNNER_FRAMEWORK names (``onnxruntime`` if unset).
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jobs
from profleet.paths import data_dir
from profleet.profile.samples import IDLE, SCENARIO, STEADY, WARMUP, Samples
from profleet.profile.schema import Measurement, Unavailable, Value

FRAMEWORK = os.environ.get("PROFLEET_RUNNER_FRAMEWORK", "onnxruntime")
PHASES = {"cold_start", "check", "warmup", "measure", "idle", "scenario", "write"}


def command(folder: Path) -> list[str]:
    default = f"{shlex.quote(sys.executable)} -m profleet_runner"
    return [*shlex.split(os.environ.get("PROFLEET_RUNNER_COMMAND", default)), str(folder)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(data_dir("runners"))}


def write(folder: Path, change=None, **measure: Any) -> dict[str, Any]:
    def chosen(job: dict[str, Any]) -> None:
        job["framework"] |= {"name": FRAMEWORK, "runner": FRAMEWORK, "packages": {FRAMEWORK: ">=0"}}
        if change is not None:
            change(job)

    return jobs.write_job(folder, chosen, **measure)


def execute(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder),
        capture_output=True, text=True, timeout=240, check=False, env=environment(),
    )  # fmt: skip


def processes_of(folder: Path) -> list[int]:
    """Processes that name the folder on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if str(folder).encode() in words and not zombie:
                found.append(int(entry.name))
    return found


def events_of(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith('{"event"')]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A job that was executed: folder, job, process."""
    folder = tmp_path_factory.mktemp("job")
    job = write(folder)
    done = execute(folder)
    assert done.returncode == 0, done.stderr
    return folder, job, done


@pytest.fixture(scope="module")
def samples(finished):
    return Samples.from_npz(finished[0] / "samples.npz")


@pytest.fixture(scope="module")
def measured(finished):
    return Measurement.model_validate_json((finished[0] / "profile.json").read_text("utf-8"))


# -- a job that succeeds -------------------------------------------------------------------------


def test_leaves_its_results_and_no_failure(finished):
    folder, _, _ = finished
    names = {path.name for path in folder.iterdir()}
    assert names == {"artifact", "job.json", "profile.json", "samples.npz", "environment.json"}


def test_profile_belongs_to_the_job(finished, measured):
    _, job, _ = finished
    assert measured.schema_ == "profleet/measurement/v1"
    assert measured.run_id == job["run_id"]
    assert measured.framework.name == FRAMEWORK
    assert measured.framework.packages[FRAMEWORK]
    assert measured.settings["seed"] == job["measure"]["seed"]
    assert measured.started_at < measured.finished_at


def test_threads_are_read_back(measured):
    for name in ("intra_op", "inter_op"):
        reading = measured.framework.threads[name]
        assert isinstance(reading, Unavailable) or reading.value == 1


def test_every_process_started_cold(finished, measured):
    _, job, _ = finished
    assert [cold.process for cold in measured.cold_start] == [0, 1]
    for cold in measured.cold_start:
        assert cold.first_run_batch in job["batch_sizes"]
        assert min(cold.start_s, cold.import_s, cold.load_s, cold.init_s, cold.first_run_s) > 0


def test_points_are_the_batch_sizes_in_order(finished, measured):
    _, job, _ = finished
    assert [point.batch_size for point in measured.points] == job["batch_sizes"]
    for point in measured.points:
        assert point.processes == 2
        assert (point.status == "steady") == (not point.reasons)
        assert point.input_bytes == point.output_bytes == 4 * jobs.WIDTH * point.batch_size
        assert sorted(warm.process for warm in point.warm_up) == [0, 1]
        assert isinstance(point.energy_j, Unavailable) == (point.energy_source is None)
        if isinstance(point.peak_rss_bytes, Value):
            assert point.peak_rss_bytes.value > 2**20


def test_check_covers_every_reference_and_passed(finished, measured):
    _, job, _ = finished
    assert measured.check.status == "passed"
    assert measured.check.outputs.keys() == job["model"]["check"]["outputs"].keys()
    for output in measured.check.outputs.values():
        assert 0 <= output.max_error <= output.allowed_error


def test_sample_counts(finished, samples, measured):
    _, job, _ = finished
    settings = job["measure"]
    for point in measured.points:
        here = samples.where(samples.batch_size == point.batch_size)
        for process in (0, 1):
            mine = here.where(here.process == process)
            steady = int((mine.phase == STEADY).sum())
            assert 1 <= steady <= settings["max_samples"]
            if point.status == "steady":
                assert steady >= settings["min_samples"]
            (warm,) = [warm for warm in point.warm_up if warm.process == process]
            assert int((mine.phase == WARMUP).sum()) == warm.runs >= 2
    assert not (samples.phase == SCENARIO).any()


def test_samples_are_real_times(samples):
    assert (samples.latency_ns > 0).all()
    for process in (0, 1):
        mine = samples.where(samples.process == process)
        order = np.argsort(mine.start_ns, kind="stable")
        ends = mine.start_ns[order] + mine.latency_ns[order]
        assert (mine.start_ns[order][1:] >= ends[:-1]).all(), "closed loop: no two at once"
        assert mine.start_ns.min() >= 0


def test_idle_gaps_were_slept(samples):
    idle = samples.where(samples.phase == IDLE)
    assert set(idle.gap_ms.tolist()) == {0.0, 1.0, 2.0}
    assert len({(idle.gap_ms == gap).sum() for gap in (0.0, 1.0, 2.0)}) == 1
    assert (samples.gap_ms[samples.phase != IDLE] == 0).all()
    for process in np.unique(idle.process):
        mine = samples.where(samples.process == process)
        order = np.argsort(mine.start_ns, kind="stable")
        start, end = mine.start_ns[order], (mine.start_ns + mine.latency_ns)[order]
        rest_ms = np.diff(start, prepend=start[0]) / 1e6
        assert (rest_ms[1:] >= (end - start)[:-1] / 1e6 - 1e-9).all()
        gaps = mine.gap_ms[order]
        assert (rest_ms[gaps > 0] >= gaps[gaps > 0]).all()


def test_environment_has_a_value_or_a_reason_for_each_field(finished):
    folder, _, _ = finished
    environment = json.loads((folder / "environment.json").read_text("utf-8"))
    for side in ("before", "after"):
        assert len(environment[side]) >= 10
        for name, field in environment[side].items():
            assert field.keys() in ({"value"}, {"unavailable"}), name
            assert field.get("unavailable", "why") != ""
    assert all(isinstance(text, str) for text in environment["warnings"])


def test_progress_lines(finished):
    _, job, done = finished
    events = events_of(done.stdout)
    assert {event["event"] for event in events} == {"state"}
    phases = [event["phase"] for event in events]
    assert set(phases) <= PHASES
    assert {"cold_start", "check", "warmup", "measure"} <= set(phases)
    assert phases.index("check") < phases.index("measure"), "checked before it is measured"
    times = [event["elapsed_s"] for event in events]
    assert times == sorted(times)
    for event in events:
        assert event["budget_s"] == job["measure"]["budget_seconds"]
        assert 1 <= event["process"] <= event["processes"] == 2
        if event["phase"] == "measure":
            assert event["batch_size"] in job["batch_sizes"]
            assert 1 <= event["point"] <= event["points"] == 2


def test_each_batch_size_comes_first_in_some_process(measured):
    assert {cold.first_run_batch for cold in measured.cold_start} == {1, 3}


def test_executes_again_over_an_earlier_failure(tmp_path):
    write(tmp_path, processes=1, idle_gaps_ms=[])
    (tmp_path / "failure.json").write_text("{}")
    assert execute(tmp_path).returncode == 0
    assert not (tmp_path / "failure.json").exists()
    assert not (Samples.from_npz(tmp_path / "samples.npz").phase == IDLE).any()


def test_spent_budget_still_measures_every_point(tmp_path):
    write(tmp_path, budget_seconds=0.001, min_seconds=5.0, max_samples=10**9)
    done = execute(tmp_path)
    assert done.returncode == 0, done.stderr
    measured = Measurement.model_validate_json((tmp_path / "profile.json").read_text("utf-8"))
    samples = Samples.from_npz(tmp_path / "samples.npz")
    for point in measured.points:
        assert point.status == "unstable"
        assert any("budget" in reason for reason in point.reasons)
        steady = samples.where((samples.phase == STEADY) & (samples.batch_size == point.batch_size))
        assert set(steady.process.tolist()) == {0, 1}


# -- jobs that fail ------------------------------------------------------------------------------


def flip_artifact(folder: Path) -> None:
    path = folder / "artifact" / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def unreadable_graph(folder: Path) -> None:
    """Bytes of the right digest that are not a network."""
    garbage = b"not a network"
    (folder / "artifact" / "model.onnx").write_bytes(garbage)
    job = json.loads((folder / "job.json").read_text("utf-8"))
    job["model"]["artifact"] |= {
        "sha256": hashlib.sha256(garbage).hexdigest(),
        "bytes": len(garbage),
    }
    (folder / "job.json").write_text(json.dumps(job), "utf-8")


def edit(change):
    def apply(folder: Path) -> None:
        job = json.loads((folder / "job.json").read_text("utf-8"))
        change(job)
        (folder / "job.json").write_text(json.dumps(job), "utf-8")

    return apply


FAILURES = {
    "not json": (lambda folder: (folder / "job.json").write_text("{"), 2, "invalid_job", "JSON"),
    "no job": (lambda folder: (folder / "job.json").unlink(), 2, "invalid_job", "job.json"),
    "unknown key": (
        edit(lambda job: job["measure"].update(repeats=3)), 2, "invalid_job", "measure.repeats",
    ),
    "missing key": (
        edit(lambda job: job["measure"].pop("seed")), 2, "invalid_job", "measure.seed",
    ),
    "wrong type": (
        edit(lambda job: job["batch_sizes"].append("4")), 2, "invalid_job", "batch_sizes[2]",
    ),
    "not a number": (
        edit(lambda job: job["measure"].update(min_seconds=float("nan"))), 2, "invalid_job", "NaN",
    ),
    "unknown option": (
        edit(lambda job: job["framework"]["options"].update(warp=9)), 2, "invalid_job", "warp",
    ),
    "unknown framework": (
        edit(lambda job: job["framework"].update(runner="abacus")), 3, "unsupported", "abacus",
    ),
    "package out of range": (
        edit(lambda job: job["framework"].update(packages={FRAMEWORK: ">=9999"})),
        3, "unsupported", "9999",
    ),
    "changed artifact": (flip_artifact, 4, "artifact", "sha256"),
    "missing artifact": (
        lambda folder: (folder / "artifact" / "model.onnx").unlink(), 4, "artifact", "model.onnx",
    ),
    "other outputs": (
        edit(lambda job: job["model"]["check"]["outputs"]["y"]["values"].__setitem__(1, 7.0)),
        5, "check", "'y'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
def test_failure(tmp_path, case):
    spoil, code, kind, said = FAILURES[case]
    write(tmp_path)
    spoil(tmp_path)
    done = execute(tmp_path)
    failure = json.loads((tmp_path / "failure.json").read_text("utf-8"))
    assert failure.keys() == {"schema", "kind", "message", "hint"}
    assert (done.returncode, failure["kind"]) == (code, kind), failure
    assert failure["schema"] == "profleet/failure/v1"
    assert said in failure["message"]
    assert not (tmp_path / "profile.json").exists()


def test_artifact_that_is_no_network(tmp_path):
    """Whether the framework refuses it or fails at it is its own affair."""
    write(tmp_path)
    unreadable_graph(tmp_path)
    done = execute(tmp_path)
    failure = json.loads((tmp_path / "failure.json").read_text("utf-8"))
    assert (done.returncode, failure["kind"]) in {(3, "unsupported"), (7, "framework")}, failure


def test_memory_limit(tmp_path):
    def change(job: dict[str, Any]) -> None:
        job["memory_limit_bytes"] = 512 * 2**20
        job["batch_sizes"] = [64 * 2**20]

    write(tmp_path, change)
    done = execute(tmp_path)
    failure = json.loads((tmp_path / "failure.json").read_text("utf-8"))
    assert (done.returncode, failure["kind"]) == (6, "out_of_memory"), failure
    assert "512 MiB" in failure["message"]


# -- the end of processes ------------------------------------------------------------------------


@pytest.fixture
def endless(tmp_path):
    """A job that measures for minutes, started and measuring: its process."""
    write(tmp_path, min_seconds=300.0, budget_seconds=600.0, max_samples=10**9)
    process = subprocess.Popen(
        command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if '"phase": "measure"' in line:
            break
    assert len(processes_of(tmp_path)) >= 2, "the runner and the process that measures"
    yield process
    process.kill()
    process.communicate()


def gone(folder: Path, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while processes_of(folder) and time.monotonic() < end:
        time.sleep(0.05)
    return not processes_of(folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_everything(tmp_path, endless, number):
    endless.send_signal(number)
    _, log = endless.communicate(timeout=30)
    failure = json.loads((tmp_path / "failure.json").read_text("utf-8"))
    assert (endless.returncode, failure["kind"]) == (130, "interrupted"), log
    assert gone(tmp_path)


def test_killed_runner_leaves_no_process(tmp_path, endless):
    endless.kill()
    endless.communicate(timeout=30)
    assert gone(tmp_path)


def test_killed_worker_is_reported(tmp_path, endless):
    (worker,) = [pid for pid in processes_of(tmp_path) if pid != endless.pid]
    os.kill(worker, signal.SIGKILL)
    endless.communicate(timeout=30)
    failure = json.loads((tmp_path / "failure.json").read_text("utf-8"))
    assert (endless.returncode, failure["kind"]) == (9, "worker_died")
    assert "SIGKILL" in failure["message"]


# -- reproducible inputs -------------------------------------------------------------------------


def test_check_depends_on_the_seed(tmp_path):
    """The reference belongs to seed 1; inputs of another seed must disagree with it."""
    write(tmp_path, lambda job: job["model"]["check"].update(seed=2))
    done = execute(tmp_path)
    assert done.returncode == 5


def test_scenario_has_samples_but_no_points(tmp_path):
    pytest.importorskip("mlperf_loadgen")

    def change(job: dict[str, Any]) -> None:
        seeds = {"qsl": 1, "sample_index": 2, "schedule": 3}
        job["scenario"] = {
            "kind": "single_stream", "min_seconds": 0.2, "min_queries": 100, "seeds": seeds,
        }  # fmt: skip

    write(tmp_path, change)
    done = execute(tmp_path)
    assert done.returncode == 0, done.stderr
    measured = Measurement.model_validate_json((tmp_path / "profile.json").read_text("utf-8"))
    assert measured.points == []
    assert measured.scenario is not None
    assert measured.scenario.kind == "single_stream"
    assert measured.check.status == "passed"
    samples = Samples.from_npz(tmp_path / "samples.npz")
    assert (samples.phase == SCENARIO).all()
    assert len(samples) >= 100
    assert set(samples.batch_size.tolist()) == {1}
    assert any((tmp_path / "loadgen").iterdir())
