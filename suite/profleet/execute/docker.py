"""The executor that starts a runner in a container, hermetic unless settings say otherwise.

Nothing of this machine's file system is mounted, so the engine may be a remote one. What the
runner leaves is read from its folder in memory, with everything in the container frozen.
"""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from profleet.container import labels, layout, owner, volumes
from profleet.container.archive import Entry, Limits, Link
from profleet.container.engine import Engine
from profleet.container.hermetic import MIB, RESULT_FILES, Confinement, create_arguments
from profleet.container.images import ImageRecord
from profleet.container.session import Session
from profleet.errors import EngineError, ProfleetError, StoreError
from profleet.execute.executor import (
    CONTAINER,
    GO_ON,
    KILLED,
    LOG,
    MORE_MEMORY,
    Exit,
    Failure,
    OnEvent,
)
from profleet.execute.invocation import say
from profleet.execute.output import Output

HOST_FILES: Final = frozenset(
    {"job.json", "artifact", "lock.json", "ticket.json", "setup.json", CONTAINER, LOG}
)
"""What this side put into the job's folder: no result of a runner has these names."""
MAX_SURROUNDINGS: Final = MIB
LOOK_SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 1.0
"""A container that is killed may be told as running for a moment after its runner has ended."""
WRONG_ARTIFACT: Final = 4
"""The protocol's exit code for an artifact with another digest: the cached one is damaged."""


@dataclass(frozen=True)
class DockerExecutor:
    """Executes the image's runner in one container a job."""

    engine: Engine
    image: ImageRecord
    confinement: Confinement
    weights: Literal["volume", "archive"] = "volume"

    def execute(self, job_dir: Path, *, timeout_seconds: float, on_event: OnEvent) -> Exit:
        """Execute the job in ``job_dir``; see :class:`profleet.execute.executor.Executor`.

        Raises:
            EngineError: the container cannot be made or started.
            StoreError: the result cannot be written into ``job_dir``.
        """
        told: dict[str, Any] = self._described()
        with _recorded(job_dir, told):
            job = json.loads((job_dir / "job.json").read_bytes())
            try:
                return self._execute(job_dir, job, timeout_seconds, on_event, told)
            except EngineError as error:
                if error.kind not in {"absent", "lost"}:
                    raise
                failure = Failure("engine", str(error), GO_ON)
                return Exit(KILLED, timed_out=False, log=job_dir / LOG, failure=failure)

    def _execute(
        self,
        job_dir: Path,
        job: dict[str, Any],
        timeout_seconds: float,
        on_event: OnEvent,
        told: dict[str, Any],
    ) -> Exit:
        session, artifact = self._session(job_dir, job)
        with session:
            on_event({"event": "state", "phase": "container"})
            if self.weights == "volume" and not volumes.is_filled(session, artifact):
                on_event({"event": "state", "phase": "copy"})
                volumes.fill(self.engine, self.image.id, artifact, job["run_id"])
            session.start()
            session.put(self._inputs(job_dir, job, artifact))
            ended = _Run(self, session, job_dir, on_event, told).until(timeout_seconds)
        if session.left is not None:
            say(session.left)
        damaged = ended.code == WRONG_ARTIFACT and self.weights == "volume"
        if damaged and volumes.discard(self.engine, artifact):
            say(f"The volume {artifact.volume} was damaged and is removed; run the job again.")
        return ended

    def _session(self, job_dir: Path, job: dict[str, Any]) -> tuple[Session, volumes.Artifact]:
        """The container of a job, to be made, and what it needs mounted."""
        described = job["model"]["artifact"]
        path = (job_dir / described["path"]).resolve()
        artifact = volumes.Artifact(path, described["sha256"], described["bytes"])
        stack = [f"{job[part]['name']}@{job[part]['version']}" for part in ("model", "framework")]
        label = {**owner.mine("job", job["run_id"]), labels.MANIFEST: " ".join(stack)}
        inside = artifact.bytes if self.weights == "archive" else 0
        arguments = create_arguments(self.confinement, label=label, extra_results_bytes=inside)
        if self.weights == "volume":
            arguments["mounts"].append(volumes.mount(artifact))
        session = Session(
            self.engine,
            self.image.id,
            name=f"profleet-job-{job['run_id'][:12]}",
            label=label,
            user=self.confinement.user,
            host_config=arguments,
        )
        return session, artifact

    def _inputs(
        self, job_dir: Path, job: dict[str, Any], artifact: volumes.Artifact
    ) -> list[Entry | Link]:
        name = job["model"]["artifact"]["path"]
        weights: Entry | Link = (
            Entry(name, artifact.path) if self.weights == "archive" else Link(name, artifact.place)
        )
        return [weights, Entry("job.json", job_dir / "job.json")]

    def _described(self) -> dict[str, Any]:
        limits = asdict(self.confinement)
        return {
            "engine": self.engine.describe(),
            "image": self.image.describe(),
            "loosened": limits.pop("loosened"),
            "limits": limits,
            "weights": self.weights,
            "memory_peak_bytes": None,
            "refused": [],
        }


@contextlib.contextmanager
def _recorded(job_dir: Path, told: dict[str, Any]) -> Iterator[None]:
    """Write what is told of the container in the end; what has ended it before counts more."""
    try:
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                _write(job_dir, told)
            raise
        _write(job_dir, told)
    except OSError as error:
        raise StoreError(
            f"{error.filename or job_dir}: {error.strerror or error}. See that there is room and "
            "that it may be read and written, then run again with resume=true."
        ) from None


def _write(job_dir: Path, told: dict[str, Any]) -> None:
    (job_dir / CONTAINER).write_text(json.dumps(told, indent=1), encoding="utf-8")


class _Run:
    """The runner of one job in its started container."""

    def __init__(
        self,
        executor: DockerExecutor,
        session: Session,
        job_dir: Path,
        on_event: OnEvent,
        told: dict[str, Any],
    ) -> None:
        self._confinement = executor.confinement
        self._session = session
        self._job_dir = job_dir
        self._on_event = on_event
        self._told = told
        self._timed_out = threading.Event()

    def until(self, timeout_seconds: float) -> Exit:
        """Execute the runner, stop it when its time is over, and take what it left.

        Of what ends it from outside (Ctrl-C) the exception passes, after what was measured until
        then has been taken.

        Raises:
            EngineError: the engine does not answer any more.
        """
        log_path = self._job_dir / LOG
        timer = threading.Timer(min(timeout_seconds, threading.TIMEOUT_MAX), self._expire)
        timer.daemon = True
        try:
            with log_path.open("wb", buffering=0) as log, Output(log, self._on_event) as output:
                timer.start()
                code = self._session.execute((*layout.COMMAND, layout.OUT), output)
            timer.cancel()
            failure = self._after(code)
        except EngineError:
            if not self._timed_out.is_set():
                raise
            return Exit(KILLED, timed_out=True, log=log_path)
        except BaseException:
            with contextlib.suppress(ProfleetError, OSError):
                self._session.freeze()
                self._take()
            raise
        finally:
            timer.cancel()
        code = KILLED if code is None else code
        return Exit(code, self._timed_out.is_set(), log_path, failure)

    def _expire(self) -> None:
        self._timed_out.set()
        with contextlib.suppress(EngineError):
            self._session.freeze()
        self._session.hang_up()

    def _after(self, code: int | None) -> Failure | None:
        """Read what is to be read; say what the runner cannot have said itself."""
        session = self._session
        if code is None and not self._timed_out.is_set():
            raise EngineError("The engine stopped telling what the runner does.", "lost")
        memory = session.memory()
        peak = self._told["memory_peak_bytes"] = memory.peak_bytes
        stopped = code == KILLED and session.ends_within(SETTLE_SECONDS)
        if alive := not stopped and session.freeze():
            self._take()
        if code == 0 or self._timed_out.is_set() or (self._job_dir / "failure.json").exists():
            return None
        if session.end().get("OOMKilled") or (code == KILLED and memory.kills):
            return self._out_of_memory(peak)
        if not alive:
            return Failure(
                "engine",
                "The container was stopped from outside, or the engine was, while the runner "
                "measured.",
                GO_ON,
            )
        return None

    def _take(self) -> None:
        size = self._confinement.results_bytes
        unpacked = self._session.get(
            self._job_dir, Limits(size, size, RESULT_FILES), known=HOST_FILES
        )
        self._told["refused"] = unpacked.refused

    def _out_of_memory(self, peak: int | None) -> Failure:
        limit = self._confinement.memory_bytes
        under = "" if limit is None else f" under the limit of {limit / MIB:.0f} MiB"
        used = "" if peak is None else f"; at most {peak / MIB:.0f} MiB were in use"
        return Failure(
            "out_of_memory",
            f"The memory of the container ran out{under}: the kernel killed the runner{used}.",
            MORE_MEMORY,
        )


@cache
def surroundings(engine: Engine, image: str, confinement: Confinement) -> dict[str, dict[str, Any]]:
    """Return what the runner's environment capture sees in such a container.

    Args:
        engine: where.
        image: id of the image.
        confinement: what the container may do.

    Raises:
        EngineError: the container cannot be made, or the image has no such capture.
    """
    try:
        printed = _look(engine, image, confinement)
    except EngineError as error:
        if error.kind != "refused":
            raise
        raise EngineError(
            f"{error} Change the setting that this is about: measure.cpus, or one of executor "
            "(profleet run executor=docker --cfg job --package executor shows them).",
            "refused",
        ) from error
    try:
        fields = json.loads(printed)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not all(isinstance(each, dict) for each in fields.values()):
        raise EngineError(
            f"The image {image} does not tell its environment: it has no working "
            "profleet_runner, or too little memory for it. Build it again (profleet image build), "
            "or raise executor.memory_mb.",
            "image",
        )
    return fields


def _look(engine: Engine, image: str, confinement: Confinement) -> bytes:
    """What the runner's environment capture prints in such a container, cut off at its limit."""
    label = owner.mine("job", "surroundings")
    command = (layout.PYTHON, "-P", "-m", "profleet_runner.environment")
    with Session(
        engine,
        image,
        name=f"profleet-look-{uuid.uuid4().hex[:12]}",
        label=label,
        user=confinement.user,
        host_config=create_arguments(confinement, label=label),
    ) as session:
        session.start()
        return session.ask(command, seconds=LOOK_SECONDS, at_most=MAX_SURROUNDINGS).output
