"""``profleet run``: the Hydra application that plans and executes jobs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from profleet.application import Refused, launch
from profleet.errors import ConfigError, EngineError, ProfleetError, StoreError
from profleet.execute import index
from profleet.execute.collect import Ticket, clear, finish, now
from profleet.execute.executor import GO_ON, Failure
from profleet.execute.invocation import Invocation, say
from profleet.execute.job import execute_job, make_room, reuse
from profleet.execute.mistakes import PARALLEL_LAUNCHERS, override_key, quote_ranges
from profleet.execute.plan import Job, plan
from profleet.execute.progress import Progress
from profleet.execute.settings import (
    TrackingSettings,
    parse,
    store_of,
    tracking_of,
    unresolved,
)
from profleet.profile.schema import StackRef
from profleet.profile.store import RESULT, load_profile, load_samples, set_tracking

INVOCATION = Invocation()
"""Hydra builds the callback and calls the task by itself; this is where the three meet."""


class Watch(Callback):  # type: ignore[misc]  # hydra is not typed
    """Hydra callback: notes where the results go, before the first job starts."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Note the folder of a single run."""
        _note(config, "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Note the folder of a sweep; warn when its jobs would disturb each other."""
        _note(config, "hydra.sweep.dir")
        launcher = str(config.hydra.runtime.choices.get("hydra/launcher", "basic"))
        if any(name in launcher for name in PARALLEL_LAUNCHERS):
            say(
                f"hydra/launcher={launcher} executes jobs at the same time: on one machine they "
                "disturb each other, and latencies will be too high. Use the basic launcher to "
                "measure; parallel launchers are for several machines and for simulation."
            )


def main(arguments: Sequence[str]) -> int:
    """Run the application with the arguments after ``profleet run``; return the exit code."""
    try:
        launch(_task, "run", quote_ranges(arguments))
        if INVOCATION.mistake is not None:
            raise INVOCATION.mistake
    except KeyboardInterrupt:
        INVOCATION.interrupted = True
    finally:
        code = INVOCATION.close()
    return code


def _task(config: DictConfig) -> None:
    """Execute one composed configuration; a mistake fails this job, not the sweep around it."""
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    multirun = hydra_config.mode == RunMode.MULTIRUN
    try:
        _execute_all(config, folder, Path(hydra_config.sweep.dir) if multirun else None)
    except ProfleetError as error:
        if multirun:
            sweep = Path(hydra_config.sweep.dir)
            sweep_id = _sweep_id(sweep, Path(config.store).expanduser().absolute())
            resume = _may_resume(config)
            if _record(folder, *_asked(config), sweep_id, error, resume=resume):
                with suppress(ConfigError):  # it may be what is wrong
                    _track(folder, tracking_of(config))
        else:
            INVOCATION.mistake = error  # raised in main, past what Hydra prints of exceptions


def _execute_all(config: DictConfig, folder: Path, sweep: Path | None) -> None:
    """Execute every job of a configuration: one stack, or a whole suite."""
    overrides = HydraConfig.get().overrides.task
    settings = parse(config)
    _check_store(settings.store)
    jobs = list(plan(settings, frozenset(map(override_key, overrides))))
    if settings.suite is not None:
        make_room(settings, folder)  # its jobs have folders of their own
    is_sweep = sweep is not None or settings.suite is not None
    sweep_id = _sweep_id(sweep or folder, settings.store) if is_sweep else None
    for number, job in enumerate(jobs):
        place = folder if settings.suite is None else folder / f"{number:02d}-{_slug(job)}"
        counter = f"[{number + 1}/{len(jobs)}] " if len(jobs) > 1 else ""
        try:
            _execute(job, place, sweep_id, counter)
        except ProfleetError as error:
            if not is_sweep:
                raise
            asked = (job.reference, settings.executor.kind, settings.suite)
            _record(place, *asked, sweep_id, error, resume=settings.resume)


def _execute(job: Job, folder: Path, sweep_id: str | None, counter: str) -> None:
    settings = job.settings
    if settings.resume and (earlier := index.finished(settings.store, job.run_key)) is not None:
        reuse(job, folder, earlier, sweep_id)
        say(f"{counter}{job.title}: finished before, in {earlier}")
    else:
        with Progress(f"{counter}{job.title}", settings.measure.budget_seconds) as progress:
            result = execute_job(job, folder, sweep_id, progress)
        if result.status == "finished":
            _plot(folder)
        else:
            why = f"{result.reason} {result.hint or ''}".strip()
            say(f"{counter}{job.title}: {result.status}: {why}")
    _track(folder, settings.tracking)


def _plot(folder: Path) -> None:
    from profleet.report.plots import write_plots

    with suppress(OSError):  # a picture is not worth a failed job
        write_plots(load_profile(folder), load_samples(folder), folder / "plots")


def _track(folder: Path, tracking: TrackingSettings) -> None:
    """Send the finished folder to MLflow; what goes wrong there never loses the result."""
    try:
        if tracking.uri is None:
            set_tracking(folder, "off", None, None)
            return
        from profleet.tracking import log_result

        try:
            logged = log_result(folder, tracking)
        except ProfleetError as error:
            say(str(error))
            set_tracking(folder, "not_logged", str(error), None)
        else:
            set_tracking(folder, "logged", None, logged.run_id)
    except StoreError as error:
        say(f"The result is whole, but its tracking state could not be noted: {error}")


def _record(
    folder: Path,
    stack: StackRef,
    executor: str,
    suite: str | None,
    sweep_id: str | None,
    error: ProfleetError,
    *,
    resume: bool,
) -> bool:
    """Write down a job of a sweep that could not be planned or whose result was not written.

    In a folder that is used again, that is now the answer; but what a sweep that is resumed has
    finished stays. Tells whether it was written.
    """
    say(str(error))
    INVOCATION.unrecorded = True
    if resume and ((folder / RESULT).exists() or any(folder.glob(f"*/{RESULT}"))):
        return False
    ticket = Ticket(
        run_id="", run_key="", lock_sha256="", executor=executor, stack=stack, sweep_id=sweep_id,
        suite=suite, timeout_seconds=0.0, started_at=now(), batch_sizes=(), notes=(),
    )  # fmt: skip
    with suppress(StoreError, OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / RESULT).exists():
            clear(folder)  # or the files of an earlier run would pass for this one's
        failure = Failure("configuration", str(error), None)
        if isinstance(error, EngineError):
            gone = error.kind in {"absent", "lost"}
            failure = Failure("engine", str(error), GO_ON if gone else None)
        finish(folder, ticket, failure)
        return True
    return False


def _asked(config: DictConfig) -> tuple[StackRef, str, str | None]:
    """Return stack, executor and suite as they were written: they may be what is wrong."""
    written: Any = OmegaConf.to_container(config, resolve=False)
    suite, executor = written.get("suite"), written.get("executor")
    stack = {key: str(written.get(key)) for key in ("model", "framework", "hardware")}
    if written.get("model") is None:
        stack["model"] = "no model" if suite is None else f"suite:{suite}"
    kind = executor.get("kind", "") if isinstance(executor, dict) else ""
    return StackRef(**stack), str(kind), suite


def _note(config: DictConfig, key: str) -> None:
    try:
        store_of(config)
        root = Path(OmegaConf.select(config, key)).absolute()
    except ConfigError as error:
        raise Refused(error) from None
    except OmegaConfBaseException as error:
        raise Refused(unresolved(error)) from None
    INVOCATION.begin(root, resume=_may_resume(config))
    INVOCATION.allow_unsupported = bool(config.get("allow_unsupported"))
    with suppress(ConfigError):  # the job says it
        INVOCATION.tracking = tracking_of(config)


def _may_resume(config: DictConfig) -> bool:
    """Whether ``resume`` is set, if only perhaps: it may be what is wrong."""
    return config.get("resume") not in (False, None)


def _check_store(store: Path) -> None:
    store.mkdir(parents=True, exist_ok=True)
    if not os.access(store, os.W_OK | os.X_OK):
        raise StoreError(f"{store}: the folder cannot be written. Choose another one: store=DIR.")


def _sweep_id(root: Path, store: Path) -> str:
    """Return where a sweep is below ``STORE/sweeps``; elsewhere, the name of its folder."""
    try:
        below = root.absolute().relative_to(store).parts[1:]
    except ValueError:
        below = ()
    return "/".join(below) or root.absolute().name


def _slug(job: Job) -> str:
    return f"{job.stack.model.document.name}-{job.stack.framework.document.name}"
