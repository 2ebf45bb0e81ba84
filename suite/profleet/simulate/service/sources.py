"""Where profiles come from: result folders, MLflow, and the set that ships with Profleet."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from pydantic import Field, model_validator

from profleet.errors import ConfigError, ManifestError, StoreError
from profleet.execute.settings import Settings, TrackingSettings
from profleet.manifest.reference import NAME, FileReference, parse_reference
from profleet.manifest.versions import SEMVER
from profleet.paths import data_dir
from profleet.profile.schema import Profile, StackRef, Value, name_of
from profleet.profile.store import (
    ENVIRONMENT,
    PROFILE,
    SAMPLES,
    Result,
    find_results,
    json_object,
    load_profile,
    load_result,
    load_samples,
    source_of,
)
from profleet.simulate.service.profiled import Measured, measured
from profleet.tracking.record import host_class
from profleet.tracking.session import EXPERIMENT

SHIPPED, STORE, MLFLOW = "shipped", "store", "mlflow"
"""The sources that have a name: the shipped set, the store in use, the tracking server in use."""

Name = Annotated[str, Field(min_length=1, max_length=200)]


class SourceSettings(Settings):
    """One place to look for profiles, and what the hardware found there shall be called.

    Exactly one of ``path`` (a result folder, or one above several), ``mlflow`` (the id of a run)
    and ``experiment`` (all runs of one, on the tracking server in use). Written as text, a source
    is ``shipped``, ``store`` (the results of ``profleet run`` here), ``mlflow`` (the experiment
    that ``profleet run`` logs to), ``mlflow:RUN_ID`` or a path.
    """

    path: Name | None = None
    mlflow: Name | None = None
    experiment: Name | None = None
    hardware: Name | None = Field(default=None, description="alias of the hardware found there")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value == MLFLOW:
            return {"experiment": EXPERIMENT}
        run = value.removeprefix(f"{MLFLOW}:")
        return {"path": value} if run == value else {"mlflow": run}

    @model_validator(mode="after")
    def _one(self) -> SourceSettings:
        if (self.path, self.mlflow, self.experiment).count(None) != 2:
            raise ValueError("give one of path (a result folder), mlflow (a run id), experiment")
        return self

    @property
    def shown(self) -> str:
        """The source as a user writes it."""
        if self.path is not None:
            return self.path
        if self.mlflow is not None:
            return f"{MLFLOW}:{self.mlflow}"
        return MLFLOW if self.experiment == EXPERIMENT else f"MLflow's '{self.experiment}'"


@dataclass(frozen=True)
class Places:
    """What the named sources mean in this run, and further folders with manifests."""

    store: Path | None = None
    tracking: TrackingSettings | None = None
    manifests: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Candidate:
    """A finished batch sweep that may answer: known by its stack, its files read when needed.

    ``fetch`` brings a file of that name into ``folder`` if it is not there yet.
    """

    folder: Path
    where: str
    run_id: str
    stack: StackRef
    finished_at: datetime
    alias: str | None
    shipped: bool = False
    fetch: Callable[[str], object] = lambda name: None

    @cached_property
    def profile(self) -> Profile:
        """The profile; StoreError where it is damaged or another run's."""
        self.fetch(PROFILE)
        profile = load_profile(self.folder)
        if (profile.run_id, profile.stack) != (self.run_id, self.stack):
            raise StoreError(
                f"{self.where}: profile.json belongs to another run. Restore the folder or "
                "measure again."
            )
        return profile

    @cached_property
    def machine(self) -> str:
        """A name of the kind of machine and the threads in use, such as ``epyc-2c-1t``."""
        threads = self.profile.measurement.framework.threads.get("intra_op")
        count = threads.value if isinstance(threads, Value) else None
        return f"{self.machine_class}-{count}t" if count is not None else self.machine_class

    @cached_property
    def machine_class(self) -> str:
        """A name of the kind of machine, as MLflow's runs carry it, such as ``epyc-2c``."""
        self.fetch(ENVIRONMENT)
        path = self.folder / ENVIRONMENT
        try:
            return host_class(json_object(path)["before"], self.profile)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{self.where}: environment.json is missing or damaged, so the hardware is "
                "unknown. Restore it or measure again."
            ) from error

    @property
    def hardware(self) -> str:
        """The hardware's name for people: its alias, or machine and threads."""
        return self.alias or self.machine

    @property
    def title(self) -> str:
        """The stack for people."""
        stack = self.stack
        return f"{name_of(stack.model)} under {name_of(stack.framework)} on {self.hardware}"

    @property
    def manifest(self) -> str | None:
        """The hardware manifest; None where it says ``local`` of a machine that is elsewhere."""
        reference = self.stack.hardware
        return None if self.shipped and name_of(reference) == "local" else reference

    def answers(self, hardware: str) -> bool:
        """Tell whether the hardware goes by a name: alias, manifest, or kind of machine.

        The kind of machine may be given with the threads in use (``epyc-2c-1t``) or without.
        """
        if hardware == self.alias or accepts(hardware, self.manifest):
            return True
        return hardware in {self.machine_class, self.machine}

    def measured(self) -> Measured:
        """Read the samples; StoreError where the folder is damaged or holds no batch sweep."""
        self.fetch(SAMPLES)
        samples = load_samples(self.folder)
        return measured(self.profile, samples, self.title, self.machine, self.where)


@dataclass
class Source:
    """The candidates of one source; ``passed_over`` says what could not be read there."""

    settings: SourceSettings
    places: Places
    passed_over: list[str] = field(default_factory=list)

    @cached_property
    def _scratch(self) -> TemporaryDirectory[str]:
        """Where files from MLflow are kept, as long as the source is."""
        return TemporaryDirectory(prefix="profleet-profiles-")

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every finished batch sweep there, newest first.

        Raises:
            ConfigError: the source is not there, or holds nothing.
            TrackingError: MLflow does not answer.
        """
        found = {candidate.run_id: candidate for candidate in self._found()}
        return tuple(sorted(found.values(), key=lambda each: each.finished_at, reverse=True))

    def _found(self) -> Iterator[Candidate]:
        settings = self.settings
        if settings.path is None:
            from profleet.simulate.service.tracked import tracked_runs

            for known in tracked_runs(
                self.places.tracking,
                Path(self._scratch.name),
                run=settings.mlflow,
                experiment=settings.experiment,
            ):
                yield Candidate(**known, alias=settings.hardware)
            return
        if settings.path == SHIPPED:
            yield from self._below(data_dir("profiles"))
        elif settings.path == STORE:
            if self.places.store is not None and self.places.store.is_dir():
                yield from self._below(self.places.store)
        else:
            path = Path(settings.path).expanduser()
            if not path.is_dir():
                raise ConfigError(
                    f"fleet.profiles: {settings.path} is not a folder. Name a folder that "
                    f"`profleet run` wrote, {MLFLOW}:RUN_ID, {STORE} or {SHIPPED}."
                )
            found = list(self._below(path))
            if not found:
                why = f" {self.passed_over[0]}" if self.passed_over else ""
                raise ConfigError(
                    f"fleet.profiles: {settings.path} holds no finished batch sweep.{why} Name a "
                    "folder that `profleet run` wrote."
                )
            yield from found

    def _below(self, folder: Path) -> Iterator[Candidate]:
        for each in find_results(folder):
            yield from self._read(each, str(each))

    def _read(self, folder: Path, where: str) -> Iterator[Candidate]:
        try:
            result = load_result(folder)
            if result.reused_from is not None:
                folder = source_of(folder, result)
                result = load_result(folder)
            if result.status == "finished" and not is_exact(result.stack):
                raise StoreError(f"{where}: result.json does not name a stack by exact references.")
        except StoreError as error:
            self.passed_over.append(str(error))
            return
        if result.status == "finished" and _is_sweep(result):
            yield Candidate(
                folder=folder,
                where=where,
                run_id=result.run_id,
                stack=result.stack,
                finished_at=datetime.fromisoformat(result.finished_at),
                alias=self.settings.hardware,
                shipped=self.settings.path == SHIPPED,
            )


def is_exact(stack: StackRef) -> bool:
    """Tell whether all parts of a stack are exact references, ``NAME@VERSION``."""
    parts = (each.partition("@") for each in (stack.model, stack.framework, stack.hardware))
    return all(NAME.match(name) and SEMVER.match(version) for name, _, version in parts)


def accepts(asked: str, exact: str | None) -> bool:
    """Tell whether a reference such as ``resnet50`` or ``resnet50@>=1,<2`` means an exact one."""
    try:
        reference = parse_reference(asked)
    except ManifestError:
        return False
    if exact is None or isinstance(reference, FileReference):
        return False
    name, _, version = exact.partition("@")
    return reference.name == name and reference.constraint.allows(version)


def _is_sweep(result: Result) -> bool:
    """Tell a batch sweep from a LoadGen scenario by the batch sizes its metrics are stated for."""
    return any(re.fullmatch(r"latency_mean_ms/b\d+", name) for name in result.metrics)
