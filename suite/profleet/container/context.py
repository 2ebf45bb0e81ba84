"""The build context: one tar with all that a Dockerfile copies, the same bytes every time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from profleet.container.archive import Entry, pack
from profleet.container.recipe import DOCKERFILE, REQUIREMENTS, Recipe

WHEELS = "wheels"


def entries(recipe: Recipe, wheels: Iterable[Path]) -> Iterator[Entry]:
    """Yield the files of the context: Dockerfile, lock, wheels and runner, each part sorted."""
    yield Entry(DOCKERFILE, recipe.dockerfile)
    yield Entry(REQUIREMENTS, recipe.requirements_text)
    for wheel in sorted(wheels, key=lambda path: path.name):
        yield Entry(f"{WHEELS}/{wheel.name}", wheel)
    for path in sorted(recipe.runner):
        yield Entry(path, recipe.runner[path])


@contextmanager
def open_context(recipe: Recipe, wheels: Iterable[Path]) -> Iterator[IO[bytes]]:
    """Yield the context of ``recipe`` as an uncompressed tar at its start.

    Equal content gives equal bytes, whenever and wherever it is made, so a builder finds its own
    layers again. Wheels pass through a file on disk, not through memory.
    """
    with tempfile.TemporaryFile(prefix="profleet-context-") as file:
        file.writelines(pack(entries(recipe, wheels)))
        file.seek(0)
        yield file
