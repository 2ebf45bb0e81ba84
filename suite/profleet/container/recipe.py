"""What an image is made from: a folder of ``containers/`` and the sources of the runner."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from profleet import __version__
from profleet.container import labels
from profleet.container.requirements import Requirement, parse
from profleet.errors import EngineError, did_you_mean
from profleet.paths import data_dir

RUNNER: Final = "profleet_runner"
DOCKERFILE: Final = "Dockerfile"
REQUIREMENTS: Final = "requirements.txt"
INSTALLER: Final = "installer.txt"


@dataclass(frozen=True)
class Recipe:
    """Dockerfile, locks and runner sources of one image.

    ``requirements`` is what the image holds, ``installer`` the pip that installs it and does not
    stay; ``runner`` maps the path of each source file below ``runners/`` to its bytes.
    """

    name: str
    dockerfile: bytes
    requirements_text: bytes
    installer_text: bytes
    runner: Mapping[str, bytes]

    @cached_property
    def requirements(self) -> tuple[Requirement, ...]:
        """The locked packages of the image."""
        return parse(self.requirements_text.decode(), f"containers/{self.name}/{REQUIREMENTS}")

    @cached_property
    def installer(self) -> tuple[Requirement, ...]:
        """What the build itself needs: pip."""
        return parse(self.installer_text.decode(), f"containers/{INSTALLER}")

    @cached_property
    def requirements_sha256(self) -> str:
        """Digest of the lock as it is written."""
        return hashlib.sha256(self.requirements_text).hexdigest()

    @cached_property
    def runner_sha256(self) -> str:
        """Digest of the runner's sources; see :func:`tree_sha256`."""
        return tree_sha256(self.runner)

    @cached_property
    def revision(self) -> str:
        """Digest of all of it: equal recipes are equal revisions, on every machine."""
        return tree_sha256(
            {
                DOCKERFILE: self.dockerfile,
                REQUIREMENTS: self.requirements_text,
                INSTALLER: self.installer_text,
                **self.runner,
            }
        )

    def framework_version(self, runner: str) -> str:
        """Return the locked version of the package a runner is named after, variants included.

        Raises:
            EngineError: the lock does not hold one: neither ``torch`` nor ``torch-…``, say.
        """
        for each in self.requirements:
            if each.name == runner or each.name.startswith(f"{runner}-"):
                return each.version
        raise EngineError(
            f"containers/{self.name}/{REQUIREMENTS} does not hold {runner}. Add it to "
            "requirements.in and lock again with containers/lock.",
            "build",
        )

    def labels(self, version: str, description: str) -> dict[str, str]:
        """Return the labels of the image but those that tell its base."""
        return {
            labels.TITLE: f"Profleet runner: {self.name}",
            labels.DESCRIPTION: description,
            labels.VERSION: __version__,
            labels.REVISION: self.revision,
            labels.KIND: "runner",
            labels.PROFLEET_VERSION: __version__,
            labels.PROFLEET_REVISION: self.revision,
            labels.FRAMEWORK: self.name,
            labels.FRAMEWORK_VERSION: version,
            labels.REQUIREMENTS: self.requirements_sha256,
            labels.RUNNER: self.runner_sha256,
        }


def recipes() -> tuple[str, ...]:
    """Return the names of all recipes, sorted."""
    return tuple(sorted(path.parent.name for path in data_dir("containers").glob("*/Dockerfile")))


def load(name: str) -> Recipe:
    """Read the recipe ``name``.

    Raises:
        EngineError: there is none, or a file of it is missing.
    """
    if name not in recipes():
        raise EngineError(f"No image is called '{name}'. {did_you_mean(name, recipes())}", "build")
    folder = data_dir("containers")
    try:
        return Recipe(
            name=name,
            dockerfile=(folder / name / DOCKERFILE).read_bytes(),
            requirements_text=(folder / name / REQUIREMENTS).read_bytes(),
            installer_text=(folder / INSTALLER).read_bytes(),
            runner=_sources(data_dir("runners")),
        )
    except OSError as error:
        raise EngineError(
            f"{error.filename} cannot be read: {error.strerror}. Reinstall profleet, or lock with "
            "containers/lock.",
            "build",
        ) from None


def tree_sha256(files: Mapping[str, bytes]) -> str:
    """Return the digest of a set of files: of their sorted ``sha256  path`` lines."""
    lines = (f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _sources(runners: Path) -> dict[str, bytes]:
    """Read the runner's files; what Python leaves beside its sources is none of them."""
    return {
        path.relative_to(runners).as_posix(): path.read_bytes()
        for path in sorted((runners / RUNNER).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
