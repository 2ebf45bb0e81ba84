"""``profleet simulate``: the Hydra application that simulates fleets."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from profleet.application import launch
from profleet.errors import ConfigError, ProfleetError, StoreError
from profleet.execute.collect import now
from profleet.execute.invocation import say
from profleet.execute.settings import TrackingSettings, check, resolved, tracking_of
from profleet.profile.store import Tracking
from profleet.simulate.invocation import COMMAND, check_store
from profleet.simulate.progress import Progress
from profleet.simulate.recording import simulate_into
from profleet.simulate.results import (
    INVOCATION,
    find_simulations,
    finish,
    load_simulation,
    new_invocation,
    note_tracking,
    save,
)
from profleet.simulate.schema import InvocationRecord, SimulationResult
from profleet.simulate.settings import SimulateSettings
from profleet.simulate.simulation import prepare
from profleet.simulate.study.ratios import is_study
from profleet.simulate.study.schedule import schedules_to_sweep
from profleet.tracking import aside

if TYPE_CHECKING:
    from profleet.tracking import Logged


def main(arguments: Sequence[str]) -> int:
    """Run the application with the arguments after ``profleet simulate``; return the exit code."""
    OmegaConf.register_new_resolver("lightning_traces", schedules_to_sweep, replace=True)
    try:
        launch(_task, "simulate", arguments)
        if COMMAND.mistake is not None:
            aside.abandon()
            raise COMMAND.mistake
    except KeyboardInterrupt:
        COMMAND.interrupted = True
    finally:
        try:
            code = _close()
        finally:
            aside.finish()
    return code


def _task(config: DictConfig) -> None:
    """Simulate one composed configuration; a mistake fails this job, not the sweep around it."""
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    multirun = hydra_config.mode == RunMode.MULTIRUN
    number = f"[{hydra_config.job.num}] " if multirun else ""
    begun = new_invocation(
        [str(each) for each in hydra_config.overrides.task],
        Path(hydra_config.sweep.dir).name if multirun else None,
    )
    try:
        settings = check(SimulateSettings, resolved(config))
        check_store(settings.store)
        interrupted = _simulate(settings, folder, begun, number)
    except ProfleetError as error:
        if not multirun:
            COMMAND.mistake = error  # raised in main, past what Hydra prints of exceptions
            return
        say(f"{number}{error}")
        _record(folder, begun, error)
        with suppress(ConfigError):  # it may be what is wrong
            track(folder, tracking_of(config))
        return
    if interrupted:
        raise KeyboardInterrupt


def _simulate(
    settings: SimulateSettings, folder: Path, begun: InvocationRecord, title: str
) -> bool:
    """Simulate, write and log; return whether the user interrupted it."""
    if settings.study.kind == "lightspeed":
        from profleet.simulate.study.record import study_into

        study_into(settings, folder, begun, title, alone=not COMMAND.sweep)
        track(folder, settings.tracking)
        return False
    if settings.tracking.uri is not None:
        aside.start(settings.tracking)
    scene = prepare(settings)
    if COMMAND.sweep:  # the table of a sweep has no room for them
        for note in scene.fleet.notes:
            COMMAND.tell_once(note)
    started = time.perf_counter()
    with Progress(title, settings.replications) as progress:
        simulation = simulate_into(scene, folder, on_replication=progress.finished)
    wall = round(time.perf_counter() - started, 6)
    save(folder, simulation, begun.model_copy(update={"finished_at": now(), "wall_s": wall}))
    track(folder, settings.tracking)
    return simulation.interrupted


def track(
    folder: Path,
    tracking: TrackingSettings,
    log: Callable[[Path, TrackingSettings], Logged] = aside.log_simulation,
) -> None:
    """Send the finished folder to MLflow; what goes wrong there never loses the result."""
    if tracking.uri is None or not (folder / INVOCATION).exists():
        return
    try:
        logged = log(folder, tracking)
        state = Tracking(status="logged", mlflow_run_id=logged.run_id)
    except ProfleetError as error:
        say(str(error))
        state = Tracking(status="not_logged", detail=str(error))
    try:
        note_tracking(folder, state)
    except StoreError as error:
        say(f"The result is whole, but its tracking state could not be noted: {error}")


def _record(folder: Path, begun: InvocationRecord, error: ProfleetError) -> None:
    """Write down a job of a sweep that failed."""
    COMMAND.failed = True
    if (folder / INVOCATION).exists():
        return
    with suppress(StoreError, OSError):
        failed = SimulationResult(status="failed", reason=str(error))
        finish(folder, failed, begun.model_copy(update={"finished_at": now()}))


def _close() -> int:
    """Print what was produced, write the report of a sweep, return the exit code."""
    root = COMMAND.root
    folders = list(find_simulations(root)) if root is not None and COMMAND.tidy() else []
    if root is not None and folders:
        _show(root, folders)
    if COMMAND.interrupted:
        kept = " What is finished stays." if folders else ""
        say(f"Interrupted.{kept}")
        return 130
    results = [load_simulation(folder) for folder in folders]
    return int(COMMAND.failed or any(result.status == "failed" for result in results))


def _show(root: Path, folders: list[Path]) -> None:
    from profleet.report.simulation_html import write_sweep_report
    from profleet.report.simulation_tables import print_simulation, print_simulations

    if any(is_study(load_simulation(folder)) for folder in folders):
        _show_study(root, folders)
    elif COMMAND.sweep:
        print_simulations(folders)
        with suppress(OSError):  # a picture is not worth a failed sweep
            write_sweep_report(root)
        _log_sweep(root)
    else:
        print_simulation(folders[0])
    say(f"Results: {root}")


def _show_study(root: Path, folders: list[Path]) -> None:
    from profleet.report.study_tables import print_study
    from profleet.simulate.study.ratios import load_study
    from profleet.simulate.study.record import write_study_page

    study = load_study(folders)
    print_study(folders, study)
    if study is not None and COMMAND.sweep:  # a single one has its page already
        write_study_page(root, folders)
        _log_sweep(root)


def _log_sweep(root: Path) -> None:
    if COMMAND.tracking is None or COMMAND.tracking.uri is None:
        return
    from profleet.tracking import log_simulations

    try:
        log_simulations(root, COMMAND.tracking)
    except ProfleetError as error:
        say(str(error))
