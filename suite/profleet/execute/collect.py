"""From what a runner left behind to a finished result folder.

Everything a runner writes is treated as foreign: schemas are checked, sizes are bounded, and the
statistics are computed here from the samples, by one implementation for all runners.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from profleet import __version__
from profleet.errors import StoreError
from profleet.execute.executor import CONTAINER, LOG, MORE_MEMORY, Exit, Failure
from profleet.execute.foreign import copy_file, copy_folder, last_line, read_object, text
from profleet.execute.provenance import Fields, provenance
from profleet.profile.metrics import metrics_of
from profleet.profile.samples import Samples
from profleet.profile.schema import Container, Measurement, Profile, StackRef
from profleet.profile.statistics import CONFIDENCE
from profleet.profile.store import RESULT, Result, write_profile, write_result
from profleet.profile.summary import status_of, summarize

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
SETUP = "setup.json"
"""What became of the machine's settings: written by the host when the runner has ended."""
FILES = {
    "job": "job.json",
    "lock": "lock.json",
    "profile": "profile.json",
    "samples": "samples.parquet",
    "environment": "environment.json",
    "container": CONTAINER,
    "log": "runner.log",
    "partial": "partial",
    "loadgen": "loadgen",
    "plots": "plots",
}


@dataclass(frozen=True)
class Ticket:
    """What the host knows about a run besides what the runner measured.

    ``provenance`` is taken when the ticket is made: a checkout may change while a job executes.
    """

    run_id: str
    run_key: str
    lock_sha256: str
    executor: str
    stack: StackRef
    sweep_id: str | None
    suite: str | None
    timeout_seconds: float
    started_at: str
    batch_sizes: tuple[int, ...]
    notes: tuple[str, ...]
    provenance: Fields = field(default_factory=provenance)
    image: str | None = None


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
        keep(scratch, folder)
        return finish(folder, ticket, failure)
    try:
        measurement = Measurement.model_validate(read_object(scratch / "profile.json"))
        if measurement.run_id != ticket.run_id:
            raise ValueError("it belongs to another run")
        _refuse_other_points(measurement, ticket)
        samples = Samples.from_npz(scratch / "samples.npz")
        environment = read_object(scratch / "environment.json")
        summary = summarize(measurement, samples)
        setup = read_object(scratch / SETUP) if (scratch / SETUP).exists() else {}
        container = _container(scratch)
    except (ValidationError, ValueError, TypeError, RecursionError, StoreError) as error:
        keep(scratch, folder)
        said = f"The runner's result cannot be used: {text(error)[:300]}{_refused(scratch)}"
        return finish(folder, ticket, Failure("protocol", said, None))
    told = environment.get("warnings")
    warnings = [text(warning) for warning in told] if isinstance(told, list) else []
    profile = Profile(
        run_id=ticket.run_id,
        run_key=ticket.run_key,
        lock_sha256=ticket.lock_sha256,
        profleet_version=__version__,
        executor=ticket.executor,
        stack=ticket.stack,
        status=status_of(measurement),
        container=container,
        warnings=[
            *ticket.notes,
            *setup.get("warnings", ()),
            *_departures(container),
            *summary.warnings,
            *warnings,
        ],
        setup=setup.get("settings", []),
        measurement=measurement,
        points=summary.points,
        idle=summary.idle,
        cold_start=summary.cold_start,
        scenario=summary.scenario,
        confidence=CONFIDENCE,
    )
    environment |= {"provenance": ticket.provenance, "setup": setup.get("settings", [])}
    write_profile(folder, profile, samples, environment)
    copy_folder(scratch / "loadgen", folder / "loadgen")
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
        executor=ticket.executor or None,
        image=ticket.image,
        sweep_id=ticket.sweep_id,
        suite=ticket.suite,
        metrics=metrics_of(profile) if profile else {},
        paths={name: path for name, path in FILES.items() if (folder / path).exists()},
        started_at=ticket.started_at,
        finished_at=now(),
    )
    write_result(folder, result)
    return result


def keep(scratch: Path, folder: Path) -> None:
    """Keep what a run without a profile left: its log and the processes that did finish.

    Raises:
        StoreError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        copy_file(scratch / LOG, folder / FILES["log"])
        copy_file(scratch / CONTAINER, folder / FILES["container"])
        copy_folder(scratch / "processes", folder / FILES["partial"])
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror or error}") from None


def clear(folder: Path) -> None:
    """Remove the files of an earlier run from a result folder that is used again.

    Raises:
        OSError: they cannot be removed.
    """
    for name in (RESULT, *FILES.values()):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _refuse_other_points(measurement: Measurement, ticket: Ticket) -> None:
    """A sweep has a point for each batch size that was asked for, a scenario has none."""
    wanted = sorted(ticket.batch_sizes) if measurement.scenario is None else []
    found = sorted(point.batch_size for point in measurement.points)
    if found != wanted:
        raise ValueError(f"it measured the batch sizes {found}, and should have {wanted}")


def _failure(scratch: Path, ticket: Ticket, ended: Exit | None) -> Failure | None:
    if ended is None or ended.code == 0:
        return None
    if ended.timed_out:
        return Failure(
            "timeout",
            f"The job ran longer than measure.timeout_seconds={ticket.timeout_seconds:g} "
            "and was stopped.",
            "Raise the timeout, or measure fewer batch sizes." + _partial(scratch),
        )
    try:
        told = read_object(scratch / "failure.json")
        kind, message = text(told["kind"]), text(told["message"])
    except (KeyError, ValueError):
        return ended.failure or _untold(scratch, ended)
    hint = text(told["hint"]) if kind == "unsupported" and told.get("hint") else ""
    if kind != "unsupported":
        inside = kind == "out_of_memory" and ticket.executor == "docker"
        advice = MORE_MEMORY if inside else _advice(told.get("hint"))
        hint = f"{advice}{_partial(scratch)}".strip()
    return Failure(kind, message + _refused(scratch), hint or None)


def _untold(scratch: Path, ended: Exit) -> Failure:
    """A runner that ended without saying why."""
    if ended.code < 0:
        return Failure(
            "runner_died",
            f"The runner was killed by {_signal(-ended.code)}.",
            "If nobody killed it, the machine ran out of memory: see the kernel log."
            + _partial(scratch),
        )
    kind = EXIT_KINDS.get(ended.code, "bug")
    said = f"The runner ended with code {ended.code}: {last_line(ended.log)}"
    return Failure(kind, said + _refused(scratch), "See runner.log." + _partial(scratch))


def _container(scratch: Path) -> Container | None:
    path = scratch / CONTAINER
    return Container.model_validate(read_object(path)) if path.exists() else None


def _departures(container: Container | None) -> Iterator[str]:
    """Warnings about what was not hermetic, and about what a runner left beside its result."""
    if container is None:
        return
    if not container.engine.get("local", True):
        where = container.engine.get("endpoint")
        yield f"Measured on the machine of the container engine at {where}, not on this one."
    if container.loosened:
        yield f"The container was not hermetic: {', '.join(container.loosened)}."
    if container.refused:
        yield f"Not taken out of the container: {'; '.join(container.refused)}."


def _refused(scratch: Path) -> str:
    """What was not taken out of a container, to go behind the reason of a failure."""
    try:
        container = _container(scratch)
    except ValueError:
        return ""
    refused = "; ".join(container.refused) if container else ""
    return f" Not taken out of the container: {text(refused)}." if refused else ""


def _advice(hint: object) -> str:
    """A runner's hint, without its own account of what it kept: the folder it names is gone."""
    return "" if hint is None or "processes/" in str(hint) else text(hint)


def _partial(scratch: Path) -> str:
    finished = any((scratch / "processes").glob("*.npz"))
    return " What was measured until then is in partial/." if finished else ""


def _signal(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
