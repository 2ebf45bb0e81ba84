"""One job from plan to result folder: artifact, runner, collection, tracking.

The scratch folder a runner works in is outside the store. If the result cannot be written (a full
disk), the measurement stays there and ``profleet recover`` finishes it later.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from profleet.errors import ArtifactError, ProfleetError, StoreError
from profleet.execute import index
from profleet.execute.collect import (
    FILES,
    SETUP,
    Ticket,
    clear,
    collect,
    finish,
    keep,
    now,
)
from profleet.execute.executor import Failure
from profleet.execute.invocation import say
from profleet.execute.plan import Job
from profleet.execute.progress import Progress
from profleet.execute.provenance import provenance
from profleet.execute.settings import RunSettings
from profleet.hardware.setup import prepared
from profleet.model.artifact import obtain
from profleet.profile.schema import StackRef
from profleet.profile.store import Result, load_result, write_json, write_result

TICKET = "ticket.json"
INTERRUPTED = Failure("interrupted", "The job was interrupted.", None)


def execute_job(job: Job, folder: Path, sweep_id: str | None, progress: Progress) -> Result:
    """Execute one job; its folder then holds the result, whatever happened.

    Raises:
        StoreError: the result folder cannot be written.
        KeyboardInterrupt: after the runner was stopped and the interruption recorded.
    """
    ticket = _ticket(job, sweep_id)
    folder.mkdir(parents=True, exist_ok=True)
    make_room(job.settings, folder)
    write_json(folder / FILES["job"], job.document())
    write_json(folder / FILES["lock"], job.lock.document())
    if (obstacle := job.obstacle) is not None:
        return finish(folder, ticket, obstacle)
    progress.note("preparing the artifact")
    try:
        stack = job.stack.model
        artifact = obtain(stack.document, stack.path.parent, progress=progress.note)
    except ArtifactError as error:
        return finish(folder, ticket, Failure("artifact", str(error), None))
    except KeyboardInterrupt:
        finish(folder, ticket, INTERRUPTED)
        raise
    scratch = Path(tempfile.mkdtemp(prefix="profleet-job-"))
    try:
        _prepare(scratch, job, artifact, folder, ticket)
        wanted = job.stack.hardware.document.setup
        elsewhere = job.place.elsewhere
        with prepared(wanted, job.settings.setup, say=say, elsewhere=elsewhere) as setup:
            ended = job.executor.execute(
                scratch,
                timeout_seconds=job.settings.measure.timeout_seconds,
                on_event=progress.event,
            )
    except KeyboardInterrupt:
        keep(scratch, folder)
        shutil.rmtree(scratch, ignore_errors=True)
        finish(folder, ticket, INTERRUPTED)
        raise
    except ProfleetError:
        shutil.rmtree(scratch, ignore_errors=True)
        raise

    def complete() -> Result:
        write_json(scratch / SETUP, setup.document())
        return collect(scratch, folder, ticket, ended)

    result = _or_keep(complete, scratch)
    if result.status == "finished":
        index.remember(job.settings.store, job.run_key, folder)
    shutil.rmtree(scratch, ignore_errors=True)
    return result


def reuse(job: Job, folder: Path, finished: Path, sweep_id: str | None) -> Result:
    """Record in ``folder`` that an earlier run already answers this job (``resume=true``)."""
    earlier = load_result(finished)
    folder.mkdir(parents=True, exist_ok=True)
    if folder.samefile(finished):
        return earlier
    make_room(job.settings, folder)
    write_json(folder / FILES["job"], job.document())
    write_json(folder / FILES["lock"], job.lock.document())
    paths = {name: os.path.relpath(finished / path, folder) for name, path in earlier.paths.items()}
    result = earlier.model_copy(
        update={
            "sweep_id": sweep_id,
            "paths": paths,
            "reused_from": os.path.relpath(finished, folder),
        }
    )
    write_result(folder, result)
    return result


def make_room(settings: RunSettings, folder: Path) -> None:
    """Remove what an earlier run left in a folder that is used again.

    Raises:
        StoreError: with ``resume=true``, it is the finished run of another job: this sweep may
            still need it, or refer to it already.
    """
    if settings.resume and (other := index.holds(settings.store, folder)) is not None:
        raise StoreError(
            f"{folder} holds the finished run of another job ({other.stack.model} under "
            f"{other.stack.framework}), which stays. Resume in another folder (by default each "
            "sweep has its own): what is finished is found there, too."
        )
    clear(folder)


def recover(scratch: Path) -> tuple[Path, Result]:
    """Finish a measurement that was kept because its result folder could not be written.

    Raises:
        StoreError: ``scratch`` holds no kept measurement, or writing fails again.
    """
    try:
        kept: dict[str, Any] = json.loads((scratch / TICKET).read_text("utf-8"))
        folder = Path(kept.pop("folder"))
        store = Path(kept.pop("store"))
        stack = StackRef.model_validate(kept["stack"])
        sizes, notes = tuple(kept["batch_sizes"]), tuple(kept["notes"])
        ticket = Ticket(**{**kept, "stack": stack, "batch_sizes": sizes, "notes": notes})
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError(
            f"{scratch} holds no kept measurement: it has no {TICKET} of a failed write."
        ) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (FILES["job"], FILES["lock"]):
            shutil.copyfile(scratch / name, folder / name)
    except OSError as error:
        raise StoreError(
            f"{folder}: {error.strerror or error}. Free space and try again."
        ) from None
    result = _or_keep(lambda: collect(scratch, folder, ticket, None), scratch)
    if result.status == "finished":
        index.remember(store, ticket.run_key, folder)
    shutil.rmtree(scratch, ignore_errors=True)
    return folder, result


def _ticket(job: Job, sweep_id: str | None) -> Ticket:
    return Ticket(
        run_id=job.run_id,
        run_key=job.run_key,
        lock_sha256=job.lock.sha256,
        executor=job.settings.executor.kind,
        stack=job.reference,
        sweep_id=sweep_id,
        suite=job.settings.suite,
        timeout_seconds=job.settings.measure.timeout_seconds,
        started_at=now(),
        batch_sizes=job.batch_sizes,
        notes=job.notes,
        image=_image(job),
        provenance=provenance(job.stack),
    )


def _image(job: Job) -> str | None:
    image = job.lock.image
    return None if image is None else f"{image.ref} {image.digest or image.id}"


def _prepare(scratch: Path, job: Job, artifact: Path, folder: Path, ticket: Ticket) -> None:
    (scratch / "artifact").mkdir()
    (scratch / "artifact" / f"model.{artifact.suffix.lstrip('.')}").symlink_to(artifact)
    write_json(scratch / FILES["job"], job.document())
    write_json(scratch / FILES["lock"], job.lock.document())
    store = job.settings.store
    kept = {**asdict(ticket), "stack": ticket.stack.model_dump(), "folder": str(folder)}
    write_json(scratch / TICKET, {**kept, "store": str(store)})


def _or_keep(write: Callable[[], Result], scratch: Path) -> Result:
    try:
        return write()
    except (OSError, StoreError) as error:
        raise StoreError(
            f"The result could not be written ({error}) The measurement is kept: free space, then "
            f"run `profleet recover {scratch}`."
        ) from None
    except KeyboardInterrupt:
        say(f"The measurement is kept: `profleet recover {scratch}` finishes it.")
        raise
