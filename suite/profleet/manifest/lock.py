"""What a set of references resolves to: stacks, and the lock that pins them.

A lock holds exact versions and digests and nothing of where the files were found, so the same
manifests and packages give the same bytes on every machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import Field, ValidationError

from profleet import __version__
from profleet.errors import ManifestError
from profleet.manifest.canonical import canonical_json, sha256_of
from profleet.manifest.documents import (
    Document,
    Framework,
    Hardware,
    Model,
    Semver,
    Sha256,
    Slug,
    Strict,
    Suite,
)
from profleet.manifest.kinds import KINDS, Kind
from profleet.manifest.library import Library, Resolved
from profleet.manifest.loading import kind_of

LOCK_SCHEMA: Final = "profleet/lock/v1"
T = TypeVar("T")


@dataclass(frozen=True)
class Stack:
    """Model x framework x hardware."""

    model: Resolved[Model]
    framework: Resolved[Framework]
    hardware: Resolved[Hardware]


class LockedManifest(Strict):
    """One manifest by exact version and digest of its content."""

    kind: Kind
    name: Slug
    version: Semver
    sha256: Sha256


class LockedArtifact(Strict):
    """The file that a model executes."""

    sha256: Sha256
    bytes: int = Field(gt=0)


class LockedPackage(Strict):
    """A package as installed where the runner executes; without a version, why there is none."""

    version: str | None
    reason: str | None = None

    def satisfies(self, wanted: str) -> bool:
        """Whether the installed version is in a version range."""
        if self.version is None:
            return False
        try:
            return SpecifierSet(wanted).contains(Version(self.version), prereleases=True)
        except InvalidVersion:
            return False


class LockedImage(Strict):
    """The container image that the runner executes in."""

    ref: str = Field(min_length=1)
    id: str = Field(pattern=r"^sha256:[0-9a-f]{64}$", description="of the image on its engine")
    digest: str | None = Field(description="in a registry; null: it was never in one")
    architecture: str = Field(min_length=1)
    requirements: str | None = Field(description="sha256 of the lock its packages are from")
    base: str | None = Field(description="digest, else id, of the image it is built on")


class Lock(Strict):
    """The exact versions and digests a set of references resolved to."""

    schema_: Literal["profleet/lock/v1"] = Field(alias="schema")
    profleet: str = Field(min_length=1, description="version of Profleet that resolved")
    manifests: tuple[LockedManifest, ...] = Field(min_length=1)
    artifacts: dict[str, LockedArtifact] = Field(description="exact model reference -> its file")
    packages: dict[str, LockedPackage] = Field(
        description="distribution -> what is installed; in an image, all that it holds"
    )
    image: LockedImage | None = Field(default=None, description="absent: a local process")

    def document(self) -> dict[str, Any]:
        """Return the lock as it is written; without an image there is no word of one."""
        without = None if self.image else {"image"}
        return self.model_dump(mode="json", by_alias=True, exclude=without)

    def canonical(self) -> bytes:
        """Return the lock as canonical JSON: equal locks are equal bytes."""
        return canonical_json(self.document())

    @property
    def sha256(self) -> str:
        """Digest of the canonical JSON."""
        return sha256_of(self.document())


def stack_of(library: Library, model: str, framework: str, hardware: str) -> Stack:
    """Resolve the three references of a stack.

    Raises:
        ManifestError: one of them does not resolve.
    """
    return Stack(
        library.resolve("model", model),
        library.resolve("framework", framework),
        library.resolve("hardware", hardware),
    )


def expand_suite(
    library: Library, suite: Suite, base: Path | None = None
) -> list[tuple[Stack, tuple[int, ...] | None]]:
    """Return the stacks of a suite in order, each with batch sizes of its own or None.

    The order is that of the matrices; within one, hardware varies fastest, then framework. The
    same stack with the same batch sizes appears once.

    Args:
        library: where references are looked up.
        suite: the suite.
        base: where relative paths in it start; None: the working folder.

    Raises:
        ManifestError: a reference does not resolve; says which, as ``stacks[0].models[2]``.
    """
    expanded: dict[tuple[object, ...], tuple[Stack, tuple[int, ...] | None]] = {}
    for number, matrix in enumerate(suite.stacks):
        place = f"Suite {suite.name}: stacks[{number}]"
        models = _each(
            f"{place}.models", matrix.models, lambda one: library.resolve("model", one, base)
        )
        frameworks = _each(
            f"{place}.frameworks",
            matrix.frameworks,
            lambda one: library.resolve("framework", one, base),
        )
        hardware = _each(
            f"{place}.hardware", matrix.hardware, lambda one: library.resolve("hardware", one, base)
        )
        sizes = matrix.batch_sizes or suite.measure.batch_sizes
        for parts in product(models, frameworks, hardware):
            key = (*(part.sha256 for part in parts), sizes)
            expanded.setdefault(key, (Stack(*parts), matrix.batch_sizes))
    return list(expanded.values())


def _each(place: str, references: Iterable[str], resolve: Callable[[str], T]) -> list[T]:
    resolved = []
    for index, reference in enumerate(references):
        try:
            resolved.append(resolve(reference))
        except ManifestError as error:
            raise ManifestError(f"{place}[{index}]: {error}") from None
    return resolved


def lock(
    resolved: Iterable[Resolved[Document]],
    python: str | None = None,
    image: LockedImage | None = None,
    inside: Mapping[str, str] | None = None,
) -> Lock:
    """Lock a set of resolved manifests.

    Args:
        resolved: in any order; a manifest may appear more than once.
        python: interpreter whose packages count; None: the one that runs this.
        image: the image they execute in, if it is one: then the packages ``inside`` it count.
        inside: canonical name -> version of every distribution in the image.

    Raises:
        ManifestError: two different contents have one name and version, or ``python`` does not
            tell its packages.
    """
    chosen: dict[tuple[int, str, str], Resolved[Document]] = {}
    for each in resolved:
        document = each.document
        key = (KINDS.index(kind_of(document)), document.name, document.version)
        if chosen.setdefault(key, each).sha256 != each.sha256:
            raise ManifestError(
                f"{chosen[key].path} and {each.path} are both {each.reference} and differ. "
                "Give one of them another version."
            )
    ordered = [chosen[key] for key in sorted(chosen)]
    packages = sorted(
        {
            package
            for each in ordered
            if isinstance(each.document, Framework)
            for package in each.document.packages
        }
    )
    return Lock(
        schema_=LOCK_SCHEMA,
        profleet=__version__,
        manifests=tuple(
            LockedManifest(
                kind=kind_of(each.document),
                name=each.document.name,
                version=each.document.version,
                sha256=each.sha256,
            )
            for each in ordered
        ),
        artifacts={
            each.reference: LockedArtifact(
                sha256=each.document.artifact.sha256, bytes=each.document.artifact.bytes
            )
            for each in ordered
            if isinstance(each.document, Model)
        },
        packages=installed_packages(tuple(packages), python)
        if inside is None
        else _packages_inside(packages, inside),
        image=image,
    )


def lock_stack(
    stack: Stack,
    python: str | None = None,
    image: LockedImage | None = None,
    inside: Mapping[str, str] | None = None,
) -> Lock:
    """Lock one stack; see ``lock``."""
    return lock((stack.model, stack.framework, stack.hardware), python, image, inside)


def parse_lock(data: bytes, where: str) -> Lock:
    """Read a lock, however its JSON is laid out.

    Raises:
        ManifestError: it is not one.
    """
    try:
        return Lock.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ManifestError(
            f"{where} is not a lock of schema {LOCK_SCHEMA}: {place + ': ' if place else ''}"
            f"{first['msg']}. Restore it, or make it again: `profleet manifest resolve REF...`."
        ) from None


def verify(locked: Lock, library: Library) -> None:
    """Check that a library still holds what was locked.

    Raises:
        ManifestError: a manifest is missing or its content changed.
    """
    for entry in locked.manifests:
        found = library.find(entry.kind, entry.name, entry.version)
        if found.sha256 != entry.sha256:
            raise ManifestError(
                f"The {entry.kind} manifest {entry.name}@{entry.version} changed: the lock has "
                f"{entry.sha256}, {found.path} has {found.sha256}. Restore the file, or resolve "
                "again for a new lock."
            )


def installed_packages(names: tuple[str, ...], python: str | None) -> dict[str, LockedPackage]:
    """Return the installed version of each distribution, or why there is none.

    Raises:
        ManifestError: ``python`` cannot be executed.
    """
    versions = _installed_here(names) if python is None else _installed_there(names, python)
    return {
        name: LockedPackage(version=found, reason=None if found else "not installed")
        for name, found in versions.items()
    }


def _packages_inside(wanted: Iterable[str], inside: Mapping[str, str]) -> dict[str, LockedPackage]:
    """All packages of an image, and the wanted ones that it lacks, under the names asked for."""
    names = {canonicalize_name(name): name for name in wanted}
    packages = {
        names.get(canonicalize_name(name), name): LockedPackage(version=version)
        for name, version in inside.items()
    }
    for name in names.values():
        packages.setdefault(name, LockedPackage(version=None, reason="not in the image"))
    return dict(sorted(packages.items()))


def _installed_here(names: tuple[str, ...]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


_ASK = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        found[name] = None
print(json.dumps(found))
"""


@cache
def _installed_there(names: tuple[str, ...], python: str) -> dict[str, str | None]:
    try:
        done = subprocess.run(
            [python, "-P", "-c", _ASK, *names],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        found: dict[str, str | None] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ManifestError(
            f"The interpreter {python} does not tell which packages it has: {error}. "
            f"Name another one, such as {sys.executable}."
        ) from None
    return found
