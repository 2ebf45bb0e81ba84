"""What a container costs: until its runner says something, and while it measures.

Ratios and differences inside one run, alternating the two sides, so that a machine that drifts does
not decide. Run by `make bench`; leave the machine alone meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from pathlib import Path

import numpy as np
import pytest

import containers
from profleet.container.engine import Engine
from profleet.container.hermetic import confine
from profleet.container.images import ImageRecord
from profleet.execute.docker import DockerExecutor
from profleet.execute.executor import Executor
from profleet.execute.plan import Job, plan
from profleet.execute.process import ProcessExecutor
from profleet.execute.settings import DockerSettings, check, parse
from profleet.model.artifact import obtain
from profleet.paths import data_dir

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

STARTS = 10
ROUNDS = 16
MEASURE = {
    "processes": 1, "min_seconds": 3, "min_samples": 30, "max_samples": 1000000,
    "target_interval": 0.5, "idle_gaps_ms": "[]", "intra_op_threads": 1, "budget_seconds": 60,
}  # fmt: skip


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory):
    """A function that makes a folder with a job of ResNet-50, batch 1, one thread."""
    root = tmp_path_factory.mktemp("bench")
    (planned,) = plan(_settings(root), frozenset({"batch_sizes"}))
    stack = planned.stack.model
    artifact = obtain(stack.document, stack.path.parent, progress=print)
    return lambda: _folder(root, planned, artifact)


def _settings(root: Path):
    from hydra import compose, initialize_config_dir

    overrides = [
        "model=resnet50", f"store={root / 'store'}", "batch_sizes=[1]",
        *(f"measure.{key}={value}" for key, value in MEASURE.items()),
    ]  # fmt: skip
    with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
        return parse(compose("run", overrides))


def _folder(root: Path, job: Job, artifact: Path) -> Path:
    folder = root / f"job-{len(list(root.glob('job-*')))}"
    (folder / "artifact").mkdir(parents=True)
    (folder / "artifact" / "model.onnx").symlink_to(artifact)
    document = {**job.document(), "run_id": folder.name + job.run_id}
    (folder / "job.json").write_text(json.dumps(document))
    return folder


def _docker(engine: Engine, image: ImageRecord, **changes: object) -> DockerExecutor:
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(OmegaConf.load(data_dir("conf") / "executor" / "docker.yaml"))
    assert isinstance(plain, dict)
    settings = check(DockerSettings, {**plain, **changes})
    confinement = confine(
        settings, containers.framework("onnxruntime").container, cpus=None,
        engine_cpus=engine.cpus, engine_memory_bytes=engine.memory_bytes,
    )  # fmt: skip
    return DockerExecutor(engine, image, confinement, settings.weights)


class _First(Exception):  # noqa: N818 -- it ends a run that has told enough
    """The runner's first event."""


def _first_event(executor: Executor, folder: Path) -> float:
    """Seconds until the runner's first event; the run ends with it."""
    seen: list[float] = []

    def note(event: dict) -> None:
        if event["phase"] == "cold_start":
            seen.append(time.perf_counter())
            raise _First

    start = time.perf_counter()
    with contextlib.suppress(_First):
        executor.execute(folder, timeout_seconds=120, on_event=note)
    return seen[0] - start


def test_start_of_a_container(resnet50, docker_engine, runner_image):
    """Bar: the runner's first event at most 1.5 s later than from a process, all caches warm."""
    inside, outside = _docker(docker_engine, runner_image), ProcessExecutor()
    _first_event(inside, resnet50())
    times: dict[str, list[float]] = {"container": [], "process": []}
    for _ in range(STARTS):
        times["container"].append(_first_event(inside, resnet50()))
        times["process"].append(_first_event(outside, resnet50()))
    extra = [a - b for a, b in zip(times["container"], times["process"], strict=True)]
    print(
        f"\nfirst event of the runner: container {statistics.median(times['container']):.3f} s, "
        f"process {statistics.median(times['process']):.3f} s; container later by "
        f"{statistics.median(extra):.3f} s (min {min(extra):.3f}, max {max(extra):.3f}, "
        f"{STARTS} pairs); bar 1.5 s"
    )


@pytest.mark.parametrize("seccomp", ["default", "unconfined"])
def test_latency_in_a_container(resnet50, docker_engine, runner_image, seccomp):
    """Bar: p50 within 1 % of the process executor, a model of at least 5 ms."""
    inside = _docker(docker_engine, runner_image, seccomp=seccomp)
    p50: dict[bool, list[float]] = {True: [], False: []}
    for number in range(ROUNDS):
        for contained in (True, False) if number % 2 else (False, True):
            executor: Executor = inside if contained else ProcessExecutor()
            folder = resnet50()
            ended = executor.execute(folder, timeout_seconds=120, on_event=lambda _: None)
            assert ended.code == 0, ended.log.read_text()
            data = np.load(folder / "samples.npz")
            p50[contained].append(float(np.median(data["latency_ns"][data["phase"] == 1])) / 1e6)
    ratios = sorted(a / b for a, b in zip(p50[True], p50[False], strict=True))
    print(
        f"\np50 of resnet50, seccomp {seccomp}: container {statistics.median(p50[True]):.3f} ms, "
        f"process {statistics.median(p50[False]):.3f} ms; median ratio "
        f"{statistics.median(ratios):.4f} (min {ratios[0]:.4f}, max {ratios[-1]:.4f}, "
        f"{ROUNDS} pairs); bar 0.99 to 1.01"
    )
