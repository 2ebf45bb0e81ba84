"""One fresh process of a job: cold start, check (first process only), then every point.

Started by the coordinator as ``python -m profleet_runner.worker JOB_DIR NUMBER``. Events, and the
failure if there is one, go to the coordinator through a pipe; what was measured goes to
``JOB_DIR/processes/NUMBER.npz`` and ``.json``, rewritten after every point, so that a process that
is killed loses at most the point it was at.

Cold start: ``start_s`` is everything from the moment that the coordinator started this process
until the import of the framework begins: the interpreter, numpy, the modules of this package.
``load_s`` reads the artifact through the page cache, which is usually warm; it says what a restart
costs on a machine that ran the model before, not what a first start from cold storage costs.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from profleet_runner import frameworks
from profleet_runner.frameworks import Options, Session, Unsupported
from profleet_runner.host import available_cpus, cpu_quota, default_threads
from profleet_runner.job import Artifact, Job, read_job
from profleet_runner.protocol import (
    ASSIGNMENT,
    PROCESSES,
    Failure,
    Progress,
    send,
    write_atomically,
    write_json,
)
from profleet_runner.resources import (
    die_with_parent,
    limit_memory,
    out_of_memory,
    peak_rss,
    says_out_of_memory,
)
from profleet_runner.sweep import Sweep


@dataclass(frozen=True)
class Assignment:
    """What the coordinator tells a worker beside the job, as JSON in the environment.

    ``started`` (the job), ``spawned`` (this process) and ``deadline`` are on the system's
    monotonic clock, seconds.
    """

    coordinator: int
    events_fd: int
    started: float
    spawned: float
    deadline: float


def main() -> None:
    """Entry point of a worker."""
    given = Assignment(**json.loads(os.environ.pop(ASSIGNMENT)))
    die_with_parent(given.coordinator)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator decides
    os.set_inheritable(given.events_fd, False)
    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    with os.fdopen(given.events_fd, "w", encoding="utf-8") as events:
        try:
            job = read_job(folder)
            with memory_errors(job):
                Worker(job, number, given, events).work()
        except Failure as failure:
            if failure.__cause__ is not None:
                traceback.print_exception(failure.__cause__)
            send(events, {"event": "failure", **failure.document()})
            sys.exit(failure.exit_code)


@contextmanager
def memory_errors(job: Job) -> Iterator[None]:
    """Turn a failed allocation of this process into a failure that states limit and peak."""
    try:
        yield
    except MemoryError as error:
        raise out_of_memory(job.memory_limit_bytes, str(error), peak_rss()) from error


class Worker:
    """One process of a job."""

    def __init__(self, job: Job, number: int, given: Assignment, events: IO[str]) -> None:
        self.job = job
        self.number = number
        self.given = given
        self.progress = Progress(events, given.started, job.measure.budget_seconds)
        self.progress.common = {"process": number + 1, "processes": job.processes}

    def work(self) -> None:
        """Measure, and leave the result in files.

        Raises:
            Failure: of any kind.
        """
        job = self.job
        self.progress(phase="cold_start")
        if job.memory_limit_bytes is not None:
            limit_memory(job.memory_limit_bytes)
        options = self._options()
        framework = self._framework(options)
        start_s = time.monotonic() - self.given.spawned
        began = time.perf_counter()
        with self.framework_errors("importing"):
            framework.import_framework()
        import_s = time.perf_counter() - began
        with self.framework_errors("asking for support"):
            reason = framework.unsupported(options)
        if reason:
            raise Failure("unsupported", reason.rstrip(".") + ".")

        artifact, load_s = read_artifact(job.artifact, verify=self.number == 0)
        began = time.perf_counter()
        with self.framework_errors("building the session"):
            session = framework.open_session(artifact, options)
        init_s = time.perf_counter() - began
        del artifact

        sweep = Sweep(self, session)
        first = sweep.order[0]
        first_run_s = sweep.first_run(first)
        result: dict[str, Any] = {
            "cold_start": {
                "process": self.number,
                "start_s": start_s,
                "import_s": import_s,
                "load_s": load_s,
                "init_s": init_s,
                "first_run_s": first_run_s,
                "first_run_batch": first,
            },
            "framework": self._effective(session, options),
            "check": sweep.check() if self.number == 0 else None,
            "points": [],
            "scenario": None,
        }
        if job.scenario["kind"] == "sweep":
            for point in sweep.points():
                result["points"].append(point)
                self._save(result, sweep)
        else:
            result["scenario"] = sweep.scenario()
            self._save(result, sweep)

    def _options(self) -> Options:
        """Pin if the job says so, and settle the number of threads."""
        measure = self.job.measure
        if measure.cpus is not None:
            try:
                os.sched_setaffinity(0, measure.cpus)
            except OSError as error:
                raise Failure(
                    "unsupported",
                    f"Cannot pin to processors {measure.cpus}: {error.strerror}.",
                    f"This process may use {available_cpus()}.",
                ) from None
        threads = measure.intra_op_threads or default_threads(available_cpus(), cpu_quota())
        asked = self.job.framework
        return Options(asked.accelerator, threads, measure.inter_op_threads, asked.options)

    def _framework(self, options: Options) -> frameworks.Framework:
        asked = self.job.framework
        try:
            framework = frameworks.load(asked.runner)
        except Unsupported as error:
            raise Failure("unsupported", f"{error}.") from None
        unknown = sorted(set(options.options) - framework.OPTIONS)
        if unknown:
            raise Failure(
                "invalid_job",
                f"job.json: framework.options.{unknown[0]}: {asked.runner} has no such option.",
                f"Its options are {', '.join(sorted(framework.OPTIONS)) or 'none'}.",
            )
        return framework

    def _effective(self, session: Session, options: Options) -> dict[str, Any]:
        with self.framework_errors("reading settings back"):
            threads = session.threads()
            return {
                "device": session.device(),
                "options": session.options(),
                "threads": threads,
                "requested": {
                    "intra_op": options.intra_op_threads,
                    "inter_op": options.inter_op_threads,
                },
            }

    def _save(self, result: dict[str, Any], sweep: Sweep) -> None:
        import numpy as np

        folder = self.job.folder / PROCESSES
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **sweep.samples())
        write_atomically(folder / f"{self.number}.npz", lambda file: file.write(buffer.getbuffer()))
        write_json(folder / f"{self.number}.json", result)

    @contextmanager
    def framework_errors(self, doing: str) -> Iterator[None]:
        """Turn what a framework raises into a failure of the kind it deserves."""
        try:
            yield
        except (Failure, MemoryError):
            raise
        except Unsupported as error:
            raise Failure("unsupported", f"{error}".rstrip(".") + ".") from error
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            if says_out_of_memory(said):
                raise out_of_memory(self.job.memory_limit_bytes, said, peak_rss()) from error
            if isinstance(error, ImportError):
                raise Failure(
                    "unsupported",
                    f"{self.job.framework.name} cannot be imported: {error}.",
                    f"Install {', '.join(self.job.framework.packages)} for {sys.executable}.",
                ) from error
            raise Failure(
                "framework",
                f"{self.job.framework.name} failed while {doing}: {said[:600]}",
                "The traceback is in the log.",
            ) from error


def read_artifact(artifact: Artifact, *, verify: bool) -> tuple[bytes, float]:
    """Read the artifact; returns its bytes and how long reading took, verifying left out.

    Raises:
        Failure: kind ``artifact``: missing, or not what the job names.
    """
    began = time.perf_counter()
    try:
        content = artifact.path.read_bytes()
    except OSError as error:
        raise Failure(
            "artifact",
            f"The artifact {artifact.path} cannot be read: {error.strerror or error}.",
            "Fetch or build it again.",
        ) from None
    load_s = time.perf_counter() - began
    if len(content) != artifact.bytes:
        raise Failure(
            "artifact",
            f"The artifact {artifact.path} has {len(content)} bytes, the job says "
            f"{artifact.bytes}.",
            "Fetch or build it again.",
        )
    digest = hashlib.sha256(content).hexdigest() if verify else artifact.sha256
    if digest != artifact.sha256:
        raise Failure(
            "artifact",
            f"The artifact {artifact.path} has the sha256 digest {digest[:12]}..., the "
            f"job says {artifact.sha256[:12]}....",
            "Fetch or build it again.",
        )
    return content, load_s


if __name__ == "__main__":
    main()
