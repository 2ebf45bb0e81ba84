"""Whether an image is what its lock says: labels, base, packages, every installed file, runner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from profleet.container import installed, labels
from profleet.container.engine import Engine
from profleet.container.images import ImageRecord, inspect, packages
from profleet.container.recipe import Recipe
from profleet.container.requirements import Note, fetch
from profleet.errors import EngineError

if TYPE_CHECKING:
    from profleet.manifest.lock import Lock, LockedImage

Outcome = Literal["passed", "failed", "not checked"]
SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """One thing that was compared, and what came of it."""

    what: str
    outcome: Outcome
    detail: str


def verify_recipe(engine: Engine, record: ImageRecord, recipe: Recipe, note: Note) -> list[Finding]:
    """Compare an image with the recipe that Profleet has now.

    Packages are asked of the image's own interpreter; files are read without executing anything
    and compared with the locked wheels, which are fetched where the cache lacks one.

    Raises:
        EngineError: the engine does not answer, or the image cannot be read.
    """
    found = installed.read(engine, record)
    return [
        _labels(record, recipe),
        _base(engine, record),
        _packages(packages(engine, record, cached=False), recipe),
        _files(engine, found, recipe, note),
        _runner(found, recipe),
    ]


def verify_lock(engine: Engine, record: ImageRecord, lock: Lock) -> list[Finding]:
    """Compare an image with the image and the packages that a run's lock holds.

    Raises:
        EngineError: the lock is one of a local process, or the engine does not answer.
    """
    image = image_of(lock)
    same = image.id == record.id or (image.digest is not None and image.digest == record.digest)
    locked = {name: package.version for name, package in lock.packages.items()}
    inside = packages(engine, record, cached=False)
    return [
        Finding(
            "image",
            "passed" if same else "failed",
            record.id if same else f"it is {record.pin}, the lock has {image.digest or image.id}",
        ),
        _compared("packages", {k: v for k, v in locked.items() if v is not None}, inside),
    ]


def image_of(lock: Lock) -> LockedImage:
    """Return the image that a lock pins.

    Raises:
        EngineError: it is the lock of a local process.
    """
    if lock.image is None:
        raise EngineError(
            "The lock is one of a run in a local process: it names no image. Name the lock.json "
            "of a run with executor=docker.",
            "image",
        )
    return lock.image


def _labels(record: ImageRecord, recipe: Recipe) -> Finding:
    wanted = {
        labels.FRAMEWORK: recipe.name,
        labels.PROFLEET_REVISION: recipe.revision,
        labels.REQUIREMENTS: recipe.requirements_sha256,
        labels.RUNNER: recipe.runner_sha256,
    }
    wrong = [
        f"{key} is {str(record.labels.get(key, 'missing'))[:12]}, not {value[:12]}"
        for key, value in wanted.items()
        if record.labels.get(key) != value
    ]
    if wrong:
        return Finding("labels", "failed", _shown(wrong))
    return Finding("labels", "passed", f"revision {recipe.revision[:12]}")


def _base(engine: Engine, record: ImageRecord) -> Finding:
    base_id = record.labels.get(labels.BASE_ID)
    if not base_id:
        return Finding("base", "failed", f"the label {labels.BASE_ID} is missing")
    base = inspect(engine, base_id)
    name = record.labels.get(labels.BASE_NAME, "its base")
    if base is None:
        return Finding("base", "not checked", f"{name} ({base_id[:19]}) is not on this engine")
    if not base.layers or record.layers[: len(base.layers)] != base.layers:
        return Finding("base", "failed", f"its first layers are not those of {name}")
    layers = "1 layer" if len(base.layers) == 1 else f"{len(base.layers)} layers"
    return Finding("base", "passed", f"{name}, {layers}")


def _packages(inside: Mapping[str, str], recipe: Recipe) -> Finding:
    return _compared("packages", {each.name: each.version for each in recipe.requirements}, inside)


def _compared(what: str, locked: Mapping[str, str], inside: Mapping[str, str]) -> Finding:
    wrong = [f"{name} {locked[name]} is missing" for name in sorted(locked.keys() - inside.keys())]
    wrong += [f"{name} {inside[name]} is extra" for name in sorted(inside.keys() - locked.keys())]
    wrong += [
        f"{name} is {inside[name]}, not {locked[name]}"
        for name in sorted(locked.keys() & inside.keys())
        if locked[name] != inside[name]
    ]
    if wrong:
        return Finding(what, "failed", _shown(wrong))
    return Finding(what, "passed", f"{len(locked)}, exactly the locked versions")


def _files(engine: Engine, found: installed.Found, recipe: Recipe, note: Note) -> Finding:
    try:
        wheels = fetch(recipe.requirements, engine.architecture, note)
    except EngineError as error:
        return Finding("files", "not checked", str(error))
    wrong = installed.differences(installed.expected(wheels), found)
    if wrong:
        return Finding("files", "failed", _shown(wrong))
    return Finding("files", "passed", f"{len(found.files)}, all as in {len(wheels)} locked wheels")


def _runner(found: installed.Found, recipe: Recipe) -> Finding:
    if found.runner_sha256 == recipe.runner_sha256:
        return Finding("runner", "passed", f"{len(found.runner)} files, equal to those here")
    paths = sorted(found.runner.keys() | recipe.runner.keys())
    wrong = [path for path in paths if found.runner.get(path) != recipe.runner.get(path)]
    return Finding("runner", "failed", f"differs: {_shown(wrong)}")


def _shown(said: list[str]) -> str:
    more = f" and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
    return ", ".join(said[:SHOWN]) + more
