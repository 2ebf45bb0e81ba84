"""One ``profleet simulate`` or ``profleet plan`` from the outside: where its results go."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from profleet.application import Refused
from profleet.errors import ConfigError, ProfleetError, StoreError
from profleet.execute.invocation import say
from profleet.execute.settings import TrackingSettings, store_of, tracking_of, unresolved


@dataclass
class Invocation:
    """What this process knows of the command it carries out.

    ``made`` are the folders that did not exist before, ``root`` and those above it, lowest first.
    """

    root: Path | None = None
    made: tuple[Path, ...] = ()
    tracking: TrackingSettings | None = None
    sweep: bool = False
    interrupted: bool = False
    mistake: ProfleetError | None = None
    failed: bool = False
    told: set[str] = field(default_factory=set)

    def note(self, config: DictConfig, key: str) -> None:
        """Remember where results and logs go.

        Raises:
            Refused: nothing says where.
        """
        try:
            store_of(config)
            self.root = Path(OmegaConf.select(config, key)).absolute()
        except ConfigError as error:
            raise Refused(error) from None
        except OmegaConfBaseException as error:
            raise Refused(unresolved(error)) from None
        around = (self.root, *self.root.parents)
        self.made = tuple(folder for folder in around if not folder.exists())
        if "tracking" in config:
            with suppress(ConfigError):  # the job says it
                self.tracking = tracking_of(config)

    def tell_once(self, note: str) -> None:
        """Print a note for people, unless an earlier job had the same."""
        if note not in self.told:
            self.told.add(note)
            say(note)

    def tidy(self) -> bool:
        """Remove the folder if nothing but Hydra wrote into it; return whether results may be."""
        if self.root is None or not self.root.is_dir():
            return False
        if {entry.name for entry in self.root.iterdir()} - {".hydra"}:
            return True
        for path in (*(self.root / ".hydra").glob("*"), self.root / ".hydra", *self.made):
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        return False


COMMAND = Invocation()
"""Hydra builds the callback and calls the task by itself; this is where the three meet."""


class Watch(Callback):  # type: ignore[misc]  # hydra is not typed
    """Hydra callback: notes where the results go, before the first job starts."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Note the folder of a single job."""
        COMMAND.note(config, "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Note the folder of a sweep."""
        COMMAND.sweep = True
        COMMAND.note(config, "hydra.sweep.dir")


def check_store(store: Path) -> None:
    """Find out before anything is computed that results can be written.

    Raises:
        StoreError: they cannot.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{store}: {error.strerror}. Choose a folder you can write: store=DIR."
        ) from None
    if not os.access(store, os.W_OK | os.X_OK):
        raise StoreError(f"{store}: the folder cannot be written. Choose another one: store=DIR.")
