"""``profleet simulate``: the Hydra application that simulates fleets."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from profleet import __version__
from profleet.application import launch
from profleet.errors import ConfigError, ProfleetError, StoreError
from profleet.execute.collect import now
from profleet.execute.invocation import say
from profleet.execute.settings import TrackingSettings, check, resolved, tracking_of
from profleet.profile.store import Tracking
from profleet.simulate.progress import Progress
from profleet.simulate.recording import Recording
from profleet.simulate.results import (
    INVOCATION,
    find_simulations,
    finish,
    load_simulation,
    note_tracking,
    write_simulation,
)
from profleet.simulate.schema import InvocationRecord, SimulationResult
from profleet.simulate.settings import SimulateSettings
from profleet.simulate.simulation import Scene, Simulation, prepare, simulate_scene


@dataclass
class Invocation:
    """What this process knows of the command it carries out."""

    root: Path | None = None
    tracking: TrackingSettings | None = None
    sweep: bool = False
    interrupted: bool = False
    mistake: ProfleetError | None = None
    unrecorded: bool = False


COMMAND = Invocation()
"""Hydra builds the callback and calls the task by itself; this is where the three meet."""


class Watch(Callback):  # type: ignore[misc]  # hydra is not typed
    """Hydra callback: notes where the results go, before the first job starts."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Note the folder of a single simulation."""
        _note(config, Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Note the folder of a sweep."""
        COMMAND.sweep = True
        _note(config, Path(config.hydra.sweep.dir))


def main(arguments: Sequence[str]) -> int:
    """Run the application with the arguments after ``profleet simulate``; return the exit code."""
    try:
        launch(_task, "simulate", arguments)
        if COMMAND.mistake is not None:
            raise COMMAND.mistake
    except KeyboardInterrupt:
        COMMAND.interrupted = True
    finally:
        code = _close()
    return code


def _task(config: DictConfig) -> None:
    """Simulate one composed configuration; a mistake fails this job, not the sweep around it."""
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    multirun = hydra_config.mode == RunMode.MULTIRUN
    number = f"[{hydra_config.job.num}] " if multirun else ""
    begun = _begin(
        [str(each) for each in hydra_config.overrides.task],
        Path(hydra_config.sweep.dir).name if multirun else None,
    )
    try:
        settings = check(SimulateSettings, resolved(config))
        _check_store(settings.store)
        interrupted = _simulate(settings, folder, begun, number)
    except ProfleetError as error:
        if multirun:
            say(f"{number}{error}")
            _record(folder, begun, error)
        else:
            COMMAND.mistake = error  # raised in main, past what Hydra prints of exceptions
        return
    if interrupted:
        raise KeyboardInterrupt


def _simulate(
    settings: SimulateSettings, folder: Path, begun: InvocationRecord, title: str
) -> bool:
    """Simulate, write and log; return whether the user interrupted it."""
    scene = prepare(settings)
    for note in scene.fleet.notes:
        say(f"{title}{note}")
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    simulation = _executed(scene, folder, title)
    wall = time.perf_counter() - started
    result = write_simulation(folder, simulation)
    invocation = begun.model_copy(update={"finished_at": now(), "wall_s": round(wall, 6)})
    result = finish(folder, result, invocation)
    if result.metrics:
        _present(folder, result, invocation)
    _track(folder, settings.tracking)
    return simulation.interrupted


def _executed(scene: Scene, folder: Path, title: str) -> Simulation:
    settings = scene.settings
    with Progress(title, settings.replications) as progress:
        if not (settings.per_request or settings.trace):
            return simulate_scene(scene, on_replication=progress.finished)
        start, end = settings.trace_window_ms
        window = (round(start * 1e6), round(end * 1e6)) if settings.trace else None
        with Recording(
            folder, scene.fleet, per_request=settings.per_request, timeline_ns=window
        ) as recording:
            return simulate_scene(scene, recording=recording, on_replication=progress.finished)


def _present(folder: Path, result: SimulationResult, invocation: InvocationRecord) -> None:
    from profleet.report.simulation_html import write_simulation_report
    from profleet.report.simulation_plots import write_simulation_plots

    with suppress(OSError):  # a picture is not worth a failed job
        write_simulation_plots(folder)
        write_simulation_report(folder)
    finish(folder, result, invocation)  # again: now the pictures are among its paths


def _track(folder: Path, tracking: TrackingSettings) -> None:
    """Send the finished folder to MLflow; what goes wrong there never loses the result."""
    if tracking.uri is None:
        return
    from profleet.tracking import log_simulation

    try:
        logged = log_simulation(folder, tracking)
        state = Tracking(status="logged", mlflow_run_id=logged.run_id)
    except ProfleetError as error:
        say(str(error))
        state = Tracking(status="not_logged", detail=str(error))
    try:
        note_tracking(folder, state)
    except StoreError as error:
        say(f"The result is whole, but its tracking state could not be noted: {error}")


def _begin(overrides: list[str], sweep_id: str | None) -> InvocationRecord:
    return InvocationRecord(
        run_id=uuid.uuid4().hex,
        profleet_version=__version__,
        started_at=now(),
        finished_at=now(),
        wall_s=0.0,
        sweep_id=sweep_id,
        overrides=overrides,
    )


def _record(folder: Path, begun: InvocationRecord, error: ProfleetError) -> None:
    """Write down a job of a sweep that failed."""
    COMMAND.unrecorded = True
    if (folder / INVOCATION).exists():
        return
    with suppress(StoreError, OSError):
        folder.mkdir(parents=True, exist_ok=True)
        failed = SimulationResult(status="failed", reason=str(error))
        finish(folder, failed, begun.model_copy(update={"finished_at": now()}))


def _close() -> int:
    """Print what was produced, write the report of a sweep, return the exit code."""
    root = COMMAND.root
    if root is None or not root.is_dir():
        return _code([])
    if {entry.name for entry in root.iterdir()} <= {".hydra"}:
        shutil.rmtree(root, ignore_errors=True)  # a mistake before the first job: no litter
        return _code([])
    folders = list(find_simulations(root))
    _show(root, folders)
    if COMMAND.interrupted:
        say("Interrupted. What is finished stays; finished replications count.")
    return _code([load_simulation(folder) for folder in folders])


def _show(root: Path, folders: list[Path]) -> None:
    from profleet.report.simulation_html import write_sweep_report
    from profleet.report.simulation_tables import print_simulation, print_simulations

    if COMMAND.sweep and folders:
        print_simulations(folders)
        with suppress(OSError):
            write_sweep_report(root)
        _log_sweep(root)
    elif folders:
        print_simulation(folders[0])
    if folders:
        say(f"Results: {root}")


def _log_sweep(root: Path) -> None:
    if COMMAND.tracking is None or COMMAND.tracking.uri is None:
        return
    from profleet.tracking import log_simulations

    try:
        log_simulations(root, COMMAND.tracking)
    except ProfleetError as error:
        say(str(error))


def _code(results: list[SimulationResult]) -> int:
    if COMMAND.interrupted:
        return 130
    failed = COMMAND.unrecorded or any(result.status == "failed" for result in results)
    return 1 if failed else 0


def _note(config: DictConfig, root: Path) -> None:
    COMMAND.root = root.absolute()
    with suppress(ConfigError):  # the job says it
        COMMAND.tracking = tracking_of(config)


def _check_store(store: Path) -> None:
    store.mkdir(parents=True, exist_ok=True)
    if not os.access(store, os.W_OK | os.X_OK):
        raise StoreError(f"{store}: the folder cannot be written. Choose another one: store=DIR.")
