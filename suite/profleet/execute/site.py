"""Where jobs are executed: on this machine, or in containers of an engine.

A site is settled when jobs are planned: it tells which machine, image and packages a framework
will really have there, and gives the executor that starts its runners.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from profleet.errors import ConfigError
from profleet.execute.executor import Executor, Failure
from profleet.execute.process import ProcessExecutor
from profleet.execute.settings import DockerSettings, ProcessSettings, RunSettings
from profleet.hardware.detect import machine_class, snapshot
from profleet.manifest.documents import Framework
from profleet.manifest.lock import Lock, LockedImage, Stack, lock_stack

if TYPE_CHECKING:
    from profleet.container.engine import Engine
    from profleet.container.images import ImageRecord


@dataclass(frozen=True)
class Place:
    """What one framework has at a site; with an ``obstacle`` it cannot execute there.

    ``elsewhere`` says so where the site is another machine, whose settings are not at hand.
    """

    machine: dict[str, Any]
    executor: Executor
    image: LockedImage | None = None
    inside: Mapping[str, str] | None = None
    python: str | None = None
    obstacle: Failure | None = None
    elsewhere: str | None = None

    @classmethod
    def without(cls, obstacle: Failure) -> Place:
        """Return the place of a framework that cannot execute."""
        return cls({}, ProcessExecutor(), inside={}, obstacle=obstacle)

    def lock(self, stack: Stack) -> Lock:
        """Lock a stack with what it will execute in."""
        return lock_stack(stack, self.python, self.image, self.inside)


class Site(Protocol):
    """A machine or an engine."""

    def place(self, framework: Framework) -> Place:
        """Return what ``framework`` has here.

        Raises:
            ProfleetError: the site cannot be used.
        """
        ...


def site_of(settings: RunSettings) -> Site:
    """Return the site that the settings name.

    Raises:
        EngineError: the container engine cannot be used.
        ConfigError: this machine is to be prepared, and the engine is on another one.
    """
    executor = settings.executor
    if isinstance(executor, ProcessSettings):
        return ProcessSite(executor.python)
    engine, cpus = _engine(), settings.measure.cpus
    if settings.setup == "apply" and not engine.local:
        raise ConfigError(
            "setup=apply changes this machine, and the containers execute on that of "
            f"{engine.endpoint}. Say setup=off, and prepare that machine there: profleet hardware "
            "setup."
        )
    return DockerSite(engine, executor, None if cpus is None else tuple(cpus))


@dataclass(frozen=True)
class ProcessSite:
    """This machine, with an interpreter on it."""

    python: str | None

    def place(self, framework: Framework) -> Place:
        """Return this machine and its interpreter; they are the same for every framework."""
        machine = machine_class(snapshot(self.python))
        return Place(machine, ProcessExecutor(self.python), python=self.python)


@dataclass(frozen=True)
class DockerSite:
    """A container engine, here or elsewhere."""

    engine: Engine
    settings: DockerSettings
    cpus: tuple[int, ...] | None

    def place(self, framework: Framework) -> Place:
        """Return the image of ``framework`` with its packages, and the machine seen from inside.

        Raises:
            EngineError: the engine, or another image than is wanted.
        """
        from profleet.container import images
        from profleet.container.hermetic import confine
        from profleet.execute.docker import DockerExecutor, surroundings

        if (missing := self._missing_devices(framework)) is not None:
            return Place.without(missing)
        wanted = self.settings
        image = images.find(self.engine, framework, wanted.image, wanted.image_id)
        confinement = confine(
            self.settings,
            framework.container,
            cpus=self.cpus,
            engine_cpus=self.engine.cpus,
            engine_memory_bytes=self.engine.memory_bytes,
            swap_limit=self.engine.swap_limit,
        )
        return Place(
            machine_class(surroundings(self.engine, image.id, confinement)),
            DockerExecutor(self.engine, image, confinement, self.settings.weights),
            locked(image),
            images.packages(self.engine, image),
            elsewhere=self._elsewhere(),
        )

    def _elsewhere(self) -> str | None:
        if self.engine.local and self.engine.kernel == os.uname().release:
            return None
        return "the container engine is on another machine or has a kernel of its own"

    def _missing_devices(self, framework: Framework) -> Failure | None:
        needs = framework.container
        if needs.gpus and not self.engine.gpus:
            return Failure(
                "unsupported",
                f"{framework.name} needs NVIDIA GPUs, and the container engine has no runtime for "
                "them.",
                "Install the NVIDIA Container Toolkit beside the engine, or use executor=process.",
            )
        if needs.devices and not self.engine.cdi:
            return Failure(
                "unsupported",
                f"{framework.name} names devices by CDI, which the container engine does not do.",
                "Use an engine with CDI: Docker 25 or newer with it enabled, or Podman.",
            )
        return None


def locked(image: ImageRecord) -> LockedImage:
    """Return what a lock says of an image."""
    from profleet.container import labels

    label = image.labels
    return LockedImage(
        ref=image.ref,
        id=image.id,
        digest=image.digest,
        architecture=image.architecture,
        requirements=label.get(labels.REQUIREMENTS),
        base=label.get(labels.BASE_DIGEST) or label.get(labels.BASE_ID),
    )


@cache
def _engine() -> Engine:
    """Connect once, and clear what dead processes left there."""
    from profleet.container import owner
    from profleet.container.engine import connect

    engine = connect()
    owner.clear(engine)
    return engine
