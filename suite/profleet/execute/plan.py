"""From a configuration to jobs: which stacks, under which settings, with which run keys."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from omegaconf import OmegaConf

from profleet.errors import ConfigError, EngineError, did_you_mean
from profleet.execute.executor import Executor, Failure
from profleet.execute.settings import MeasureSettings, RunSettings, check
from profleet.execute.site import Place, Site, site_of
from profleet.manifest.canonical import sha256_of
from profleet.manifest.documents import Framework, Suite
from profleet.manifest.library import Library
from profleet.manifest.lock import Lock, Stack, expand_suite, stack_of
from profleet.paths import data_dir
from profleet.profile.schema import StackRef

JOB_SCHEMA = "profleet/job/v1"

# A run that finished did not reach it, so it does not tell two runs apart.
LIMITS = {"timeout_seconds"}


@dataclass(frozen=True)
class Job:
    """One stack with its measurement settings: the unit a runner executes."""

    stack: Stack
    lock: Lock
    settings: RunSettings
    batch_sizes: tuple[int, ...]
    run_id: str
    place: Place
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Name for people."""
        return f"{self.stack.model.document.name} · {self.stack.framework.document.name}"

    @property
    def reference(self) -> StackRef:
        """The exact references of the stack."""
        parts = (self.stack.model, self.stack.framework, self.stack.hardware)
        model, framework, hardware = (f"{p.document.name}@{p.document.version}" for p in parts)
        return StackRef(model=model, framework=framework, hardware=hardware)

    @cached_property
    def run_key(self) -> str:
        """sha256 of everything that makes two runs the same job: lock, settings, machine class."""
        return sha256_of(
            {
                "lock": self.lock.sha256,
                "batch_sizes": list(self.batch_sizes),
                "measure": self.settings.measure.model_dump(mode="json", exclude=LIMITS),
                "scenario": self.settings.scenario.model_dump(mode="json"),
                "executor": self.settings.executor.model_dump(mode="json"),
                "machine": self.place.machine,
                **({"setup": "apply"} if self.applies_setup else {}),
            }
        )

    @property
    def applies_setup(self) -> bool:
        """Whether settings of the machine are changed while it is measured."""
        return self.settings.setup == "apply" and bool(self.stack.hardware.document.setup)

    @property
    def executor(self) -> Executor:
        """What starts its runner."""
        return self.place.executor

    @property
    def obstacle(self) -> Failure | None:
        """Why the stack cannot execute and what to do, as far as planning tells."""
        if (reason := self._unsupported()) is not None:
            return Failure("unsupported", reason[0], reason[1] or None)
        return self.place.obstacle or self._wrong_packages()

    def _unsupported(self) -> tuple[str, str] | None:
        model, framework = self.stack.model.document, self.stack.framework.document
        hardware = self.stack.hardware.document
        if hardware.detect != "local":
            reason = f"{hardware.name} is not this machine, and only this machine can be measured."
            return reason, "Say hardware=local."
        if framework.runner not in model.frameworks:
            reason = model.not_supported.get(
                framework.runner, f"its manifest claims only {', '.join(model.frameworks)}"
            )
            return f"{model.name} does not execute under {framework.runner}: {reason}.", ""
        if not self.batch_sizes:
            allowed = list(model.batch_sizes or ())
            return f"{model.name} takes only batch sizes {allowed}.", ""
        return None

    def _wrong_packages(self) -> Failure | None:
        framework, image = self.stack.framework.document, self.lock.image
        where = "" if image is None else f" in the image {image.ref}"
        build = f"Build the image again: profleet image build {framework.name}."
        for package, wanted in framework.packages.items():
            found = self.lock.packages[package]
            if found.version is None:
                said = f"{package} {wanted} is not installed{where}."
                return Failure("unsupported", said, build if image else _install_hint(framework))
            if not found.satisfies(wanted):
                return Failure(
                    "unsupported",
                    f"{package} {found.version}{where} is outside the range {wanted} of the "
                    "manifest.",
                    build
                    if image
                    else "Install a release in that range, or name another framework version.",
                )
        return None

    def document(self) -> dict[str, Any]:
        """Return ``job.json``: what a runner reads, and nothing about this machine."""
        model, framework = self.stack.model.document, self.stack.framework.document
        dumped = model.model_dump(mode="json", include={"inputs", "outputs", "check"})
        limit = self.settings.executor.memory_limit_mb
        return {
            "schema": JOB_SCHEMA,
            "run_id": self.run_id,
            "run_key": self.run_key,
            "model": {
                "name": model.name,
                "version": model.version,
                "artifact": {
                    "path": f"artifact/model.{model.artifact.format}",
                    **model.artifact.model_dump(mode="json"),
                },
                **dumped,
            },
            "framework": framework.model_dump(
                mode="json",
                include={"name", "version", "runner", "accelerator", "packages", "options"},
            ),
            "batch_sizes": list(self.batch_sizes),
            "measure": self.settings.measure.model_dump(mode="json", exclude={"timeout_seconds"}),
            "memory_limit_bytes": None if limit is None else limit * 2**20,
            "scenario": self.settings.scenario.model_dump(mode="json"),
        }


def plan(settings: RunSettings, overridden: frozenset[str]) -> Iterator[Job]:
    """Yield the jobs of one configuration, in order.

    Args:
        settings: the configuration.
        overridden: keys the user set on the command line (``measure``, ``batch_sizes``,
            ``measure.processes`` ...); they win over what a suite asks for.

    Raises:
        ProfleetError: a reference, a suite or this machine cannot be used.
    """
    library = Library.standard(settings.manifests)
    if settings.suite is None:
        assert settings.model is not None
        stack = stack_of(library, settings.model, settings.framework, settings.hardware)
        _refuse_batches(stack, settings.batch_sizes)
        place = site_of(settings).place(stack.framework.document)
        yield _job(stack, settings, settings.batch_sizes, place)
        return
    found = library.resolve("suite", settings.suite)
    suite = found.document
    settings = _with_suite(settings, suite, overridden)
    site = site_of(settings)
    for stack, own_sizes in expand_suite(library, suite, found.path.parent):
        wanted = settings.batch_sizes
        if own_sizes is not None and "batch_sizes" not in overridden:
            wanted = own_sizes
        allowed = stack.model.document.batch_sizes
        sizes = tuple(size for size in wanted if allowed is None or size in allowed)
        dropped = [size for size in wanted if size not in sizes]
        note = f"Batch {', '.join(map(str, dropped))}: the model does not take it; left out."
        place = _place(site, stack)
        yield _job(stack, settings, sizes, place, (note,) if dropped else ())


def _job(
    stack: Stack,
    settings: RunSettings,
    sizes: tuple[int, ...],
    place: Place,
    notes: tuple[str, ...] = (),
) -> Job:
    if settings.scenario.kind != "sweep":
        sizes = sizes[:1]  # a scenario executes with one batch size
    return Job(stack, place.lock(stack), settings, sizes, uuid.uuid4().hex, place, notes)


def _place(site: Site, stack: Stack) -> Place:
    """Return what a framework has at a site; an image that is missing fails only its own stacks."""
    try:
        return site.place(stack.framework.document)
    except EngineError as error:
        if error.kind != "image":
            raise
        return Place.without(Failure("image", str(error), None))


def _refuse_batches(stack: Stack, sizes: tuple[int, ...]) -> None:
    allowed = stack.model.document.batch_sizes
    if allowed is not None and (bad := [size for size in sizes if size not in allowed]):
        raise ConfigError(
            f"batch_sizes: {stack.model.document.name} takes only {list(allowed)}, not {bad}. "
            f"Use batch_sizes={list(allowed)}."
        )


def _with_suite(settings: RunSettings, suite: Suite, overridden: frozenset[str]) -> RunSettings:
    """Apply the suite's measurement settings below what the user set on the command line."""
    measure: dict[str, Any] = settings.measure.model_dump()
    mine = {key.split(".", 1)[1] for key in overridden if key.startswith("measure.")}
    if "measure" not in overridden:
        kept = {key: measure[key] for key in mine}
        measure = {**_preset(suite), **kept}
    for key, value in suite.measure.overrides.items():
        if key not in MeasureSettings.model_fields:
            known = did_you_mean(key, MeasureSettings.model_fields)
            raise ConfigError(f"Suite {suite.name}: measure.overrides.{key}: unknown key. {known}")
        if key not in mine and "measure" not in overridden:
            measure[key] = value
    updates: dict[str, Any] = {"measure": check(MeasureSettings, measure)}
    if "batch_sizes" not in overridden:
        updates["batch_sizes"] = suite.measure.batch_sizes
    return settings.model_copy(update=updates)


def _preset(suite: Suite) -> dict[str, Any]:
    folder = data_dir("conf") / "measure"
    path = folder / f"{suite.measure.preset}.yaml"
    if not path.is_file():
        known = did_you_mean(suite.measure.preset, (entry.stem for entry in folder.glob("*.yaml")))
        raise ConfigError(f"Suite {suite.name}: measure.preset: no such preset. {known}")
    plain = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _install_hint(framework: Framework) -> str:
    if framework.runner == "torch":
        return (
            "Install the build of torch that fits this machine; the README says how to keep "
            "gigabytes of CUDA libraries off one without an NVIDIA GPU."
        )
    extra = "cuda" if framework.accelerator == "cuda" else framework.runner
    return f"Install it: pip install 'profleet[{extra}]'."
