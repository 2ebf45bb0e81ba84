"""From what a runner left behind to a finished result folder.

Everything a runner writes is treated as foreign: schemas are checked, sizes are bounded, and the
statistics are computed here from the samples, by one implementation for all runners.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from profleet import __version__
from profleet.errors import StoreError
from profleet.execute.process import Exit
from profleet.profile.metrics import metrics_of
from profleet.profile.samples import Samples
from profleet.profile.schema import Measurement, Profile, StackRef
from profleet.profile.statistics import CONFIDENCE
from profleet.profile.store import Result, Status, write_profile, write_result
from profleet.profile.summary import summarize

MAX_JSON_BYTES = 64 * 2**20
EXIT_KINDS = {
    2: "invalid_job",
    3: "unsupported",
    4: "artifact",
    5: "check",
    6: "out_of_memory",
    7: "framework",
    8: "storage",
    9: "worker_died",
    130: "interrupted",
}
FILES = {
    "job": "job.json",
    "lock": "lock.json",
    "profile": "profile.json",
    "samples": "samples.parquet",
    "environment": "environment.json",
    "log": "runner.log",
    "loadgen": "loadgen",
    "plots": "plots",
}


@dataclass(frozen=True)
class Ticket:
    """What the host knows about a run besides what the runner measured."""

    run_id: str
    run_key: str
    lock_sha256: str
    executor: str
    stack: StackRef
    sweep_id: str | None
    suite: str | None
    timeout_seconds: float
    started_at: str


@dataclass(frozen=True)
class Failure:
    """Why a run has no profile."""

    kind: str
    message: str
    hint: str | None

    @property
    def status(self) -> Status:
        """The status it gives the result."""
        if self.kind == "unsupported":
            return "unsupported"
        return "interrupted" if self.kind == "interrupted" else "failed"


def now() -> str:
    """UTC, ISO 8601, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def collect(scratch: Path, folder: Path, ticket: Ticket, ended: Exit | None) -> Result:
    """Turn the runner's files in ``scratch`` into the result in ``folder``.

    Args:
        scratch: the job folder the runner wrote into.
        folder: the result folder; ``result.json`` is written last.
        ticket: identity of the run.
        ended: how the runner ended; None when a kept measurement is collected again.

    Raises:
        StoreError: the folder cannot be written (``scratch`` stays as it is).
    """
    failure = _failure(scratch, ticket, ended)
    if failure is not None:
        _keep_log(scratch, folder)
        return finish(folder, ticket, failure)
    try:
        measurement = Measurement.model_validate(_json(scratch / "profile.json"))
        if measurement.run_id != ticket.run_id:
            raise ValueError("it belongs to another run")
        samples = Samples.from_npz(scratch / "samples.npz")
        environment = _json(scratch / "environment.json")
        summary = summarize(measurement, samples)
    except (ValidationError, ValueError, StoreError) as error:
        _keep_log(scratch, folder)
        detail = str(error).replace("\n", " ")[:300]
        broken = Failure("protocol", f"the runner's result cannot be used: {detail}", None)
        return finish(folder, ticket, broken)
    unstable = any(point.status == "unstable" for point in measurement.points)
    profile = Profile(
        run_id=ticket.run_id,
        run_key=ticket.run_key,
        lock_sha256=ticket.lock_sha256,
        profleet_version=__version__,
        executor=ticket.executor,
        stack=ticket.stack,
        status="unstable" if unstable else "steady",
        warnings=[*summary.warnings, *map(str, environment.get("warnings", []))],
        measurement=measurement,
        points=summary.points,
        idle=summary.idle,
        cold_start=summary.cold_start,
        scenario=summary.scenario,
        confidence=CONFIDENCE,
    )
    write_profile(folder, profile, samples, environment)
    if (scratch / "loadgen").is_dir():
        shutil.copytree(scratch / "loadgen", folder / "loadgen", dirs_exist_ok=True)
    return finish(folder, ticket, profile=profile)


def finish(
    folder: Path,
    ticket: Ticket,
    failure: Failure | None = None,
    *,
    profile: Profile | None = None,
) -> Result:
    """Write ``result.json``, the last file of every run, and return it."""
    result = Result(
        status=failure.status if failure else "finished",
        error_kind=failure.kind if failure else None,
        reason=failure.message if failure else None,
        hint=failure.hint if failure else None,
        run_id=ticket.run_id,
        run_key=ticket.run_key,
        stack=ticket.stack,
        sweep_id=ticket.sweep_id,
        suite=ticket.suite,
        metrics=metrics_of(profile) if profile else {},
        paths={name: path for name, path in FILES.items() if (folder / path).exists()},
        started_at=ticket.started_at,
        finished_at=now(),
    )
    write_result(folder, result)
    return result


def _failure(scratch: Path, ticket: Ticket, ended: Exit | None) -> Failure | None:
    if ended is None:
        return None
    if ended.timed_out:
        return Failure(
            "timeout",
            f"the job ran longer than measure.timeout_seconds={ticket.timeout_seconds:g} "
            "and was stopped",
            "Raise the timeout, or measure fewer batch sizes.",
        )
    if ended.code == 0:
        return None
    path = scratch / "failure.json"
    if path.is_file():
        try:
            told = _json(path)
            hint = told.get("hint")
            return Failure(str(told["kind"]), str(told["message"]), str(hint) if hint else None)
        except (KeyError, ValueError, StoreError):
            pass
    if ended.code < 0:
        return Failure(
            "runner_died",
            f"the runner was killed by signal {-ended.code}",
            "If nobody killed it, the machine ran out of memory: see the kernel log.",
        )
    kind = EXIT_KINDS.get(ended.code, "bug")
    last = _last_line(ended.log)
    return Failure(kind, f"the runner ended with code {ended.code}: {last}", "See runner.log.")


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"{path.name} is larger than {MAX_JSON_BYTES >> 20} MiB")
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.name} is missing") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is not an object")  # noqa: TRY004 -- foreign data
    return content


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][:300] if lines else "it printed nothing"


def _keep_log(scratch: Path, folder: Path) -> None:
    log = scratch / "runner.log"
    if log.is_file() and log.stat().st_size:
        try:
            shutil.copyfile(log, folder / "runner.log")
        except OSError as error:
            raise StoreError(f"{folder}: {error.strerror or error}") from None
