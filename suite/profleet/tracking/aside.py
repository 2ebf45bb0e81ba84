"""MLflow in a process of its own, started early: importing it and opening its store take about as
long as a whole simulation, and meanwhile the simulation computes.

A parallel launcher's worker has processors to share and its own way of starting processes: it logs
by itself.
"""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import cache
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING

from profleet.errors import TrackingError

if TYPE_CHECKING:
    from profleet.execute.settings import TrackingSettings
    from profleet.tracking.log import Logged


def start(tracking: TrackingSettings) -> None:
    """Start the process, which gets ready to log there; returns at once."""
    if parent_process() is None:
        with suppress(BrokenProcessPool):  # logging says so
            _pool().submit(_get_ready, tracking)


def abandon() -> None:
    """End the process, if it was started: there is nothing to log, so nobody waits for it."""
    if _pool.cache_info().currsize:
        for child in active_children():
            child.kill()
        _pool().shutdown(wait=False, cancel_futures=True)
        _pool.cache_clear()


def finish() -> None:
    """Let the process, if it was started, leave as soon as it has logged all it was given.

    Unloading its libraries first would take it most of a second.
    """
    if _pool.cache_info().currsize:
        with suppress(BrokenProcessPool):
            _pool().submit(os._exit, 0)
        _pool.cache_clear()


def log_simulation(folder: Path, tracking: TrackingSettings) -> Logged:
    """Log in that process; otherwise as ``profleet.tracking.log_simulation``.

    Raises:
        StoreError: the folder is not that of a simulation, or it is damaged.
        TrackingError: MLflow did not take it; says why, and how to log it later.
    """
    from profleet.tracking.log import log_simulation as log

    if parent_process() is not None:
        return log(folder, tracking)
    try:
        return _pool().submit(log, folder, tracking).result()
    except BrokenProcessPool:
        _pool.cache_clear()
        raise TrackingError(
            f"{folder} was not logged: the process that logs was killed. Log it later with: "
            f"profleet log {folder}"
        ) from None


@cache
def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_ignore_interrupts)


def _ignore_interrupts() -> None:
    """Ctrl-C at a terminal reaches every process; what is finished is still logged."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _get_ready(tracking: TrackingSettings) -> None:
    """Import what logging imports, and open a database that is there; a server is not asked."""
    from profleet.tracking import log, simulation  # noqa: F401  # to have them
    from profleet.tracking.session import Destination, find_experiment, quiet_mlflow

    with quiet_mlflow():
        from mlflow import MlflowClient  # noqa: F401  # to have it
    destination = Destination.of(tracking)
    if destination.database is not None and destination.database.is_file():
        with quiet_mlflow(), suppress(Exception):  # logging says what is wrong
            find_experiment(destination)
