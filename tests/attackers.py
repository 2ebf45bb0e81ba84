"""Runners that misbehave, in a real container: an image whose runner executes what its job says."""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from docker.errors import NotFound

import containers
from profleet.container import labels
from profleet.container.engine import Engine
from profleet.container.hermetic import Confinement, confine
from profleet.container.images import ImageRecord
from profleet.execute.docker import DockerExecutor
from profleet.execute.executor import Exit
from profleet.execute.settings import DockerSettings, check
from profleet.manifest.documents import Container

RUNNER = b"""
import json, os, pathlib, sys, time
job = json.loads(pathlib.Path(sys.argv[1], "job.json").read_text())
os.chdir(sys.argv[1])
exec(job["attack"])
"""
SETTINGS = {
    "kind": "docker", "image": None, "image_id": None, "memory_limit_mb": None,
    "memory_mb": 256, "pids": 64, "user": None, "network": "none", "writable_root": False,
    "cap_add": (), "seccomp": "default", "numa_nodes": None, "tmp_mb": 32, "results_mb": 16,
    "weights": "volume",
}  # fmt: skip


@pytest.fixture(scope="session")
def attacker_image(docker_engine: Engine, runner_image: ImageRecord) -> Iterator[ImageRecord]:
    """An image whose runner executes the Python in its job's ``attack``."""
    step = "COPY main.py /opt/profleet/runners/profleet_runner/__main__.py"
    with containers.temporary_ref(docker_engine) as ref:
        yield containers.derive(docker_engine, ref, runner_image.id, step, **{"main.py": RUNNER})


@pytest.fixture
def attack(docker_engine: Engine, attacker_image: ImageRecord, tmp_path: Path) -> Iterator[Attack]:
    """Executes an attack; nothing of it may be left on the engine afterwards."""
    attack = Attack(docker_engine, attacker_image, tmp_path)
    yield attack
    try:
        for run in attack.runs:
            assert things_of(docker_engine, run) == []
    finally:
        for volume in attack.volumes:
            with contextlib.suppress(NotFound):
                docker_engine.client.api.remove_volume(volume, force=True)


class Attack:
    """A job folder and the executor to execute it."""

    def __init__(self, engine: Engine, image: ImageRecord, root: Path) -> None:
        self.engine = engine
        self.image = image
        self.root = root
        self.runs: list[str] = []
        self.volumes: set[str] = set()
        self.events: list[dict[str, Any]] = []
        self.weights = uuid.uuid4().bytes * 1000

    def job(self, code: str) -> Path:
        """Write the folder of a job whose runner executes ``code``."""
        run, digest = uuid.uuid4().hex, hashlib.sha256(self.weights).hexdigest()
        self.runs.append(run)
        self.volumes.add(f"profleet-artifact-{digest}")
        folder = self.root / run
        (folder / "artifact").mkdir(parents=True)
        (self.root / "model.onnx").write_bytes(self.weights)
        (folder / "artifact" / "model.onnx").symlink_to(self.root / "model.onnx")
        artifact = {
            "path": "artifact/model.onnx", "sha256": digest, "bytes": len(self.weights),
        }  # fmt: skip
        named = {"name": "attack", "version": "1.0.0"}
        model = {**named, "artifact": artifact}
        job = {"run_id": run, "model": model, "framework": named, "attack": dedent(code)}
        (folder / "job.json").write_text(json.dumps(job))
        return folder

    def executor(self, *, weights: str = "volume", **settings: Any) -> DockerExecutor:
        """The executor with some other settings."""
        asked = check(DockerSettings, {**SETTINGS, "weights": weights, **settings})
        return DockerExecutor(self.engine, self.image, self.confine(asked), asked.weights)

    def confine(self, asked: DockerSettings) -> Confinement:
        return confine(
            asked, Container(), cpus=None,
            engine_cpus=self.engine.cpus, engine_memory_bytes=self.engine.memory_bytes,
        )  # fmt: skip

    def __call__(
        self, code: str, *, timeout_seconds: float = 30.0, **settings: Any
    ) -> tuple[Exit, Path]:
        folder = self.job(code)
        ended = self.executor(**settings).execute(
            folder, timeout_seconds=timeout_seconds, on_event=self.events.append
        )
        return ended, folder


def told(folder: Path) -> dict[str, Any]:
    """What the executor tells of the container."""
    found: dict[str, Any] = json.loads((folder / "container.json").read_text("utf-8"))
    return found


def things_of(engine: Engine, run: str, *, pid: int | None = None) -> list[str]:
    """Containers and volumes of one run (of one process) that are on the engine."""
    wanted = {labels.RUN: run} | ({} if pid is None else {labels.PID: str(pid)})
    filters = {"label": [f"{name}={value}" for name, value in wanted.items()]}
    found = engine.client.api.containers(all=True, filters=filters)
    volumes = engine.client.api.volumes(filters=filters)["Volumes"] or []
    return [each["Id"] for each in found] + [each["Name"] for each in volumes]


def result(folder: Path) -> Any:
    """What the runner said in its ``profile.json``."""
    return json.loads((folder / "profile.json").read_text("utf-8"))


def taken(folder: Path) -> list[str]:
    """Paths of what came out of the container."""
    mine = {"job.json", "runner.log", "container.json", "artifact"}
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if not path.is_dir() and path.relative_to(folder).parts[0] not in mine
    )
