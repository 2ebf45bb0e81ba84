"""The build context: one tar with all that a Dockerfile copies, the same bytes every time."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from profleet.container.recipe import DOCKERFILE, REQUIREMENTS, Recipe

EPOCH: Final = 315532800
"""1980-01-01, the time of every file in a context: no build shows when its context was made."""


@contextmanager
def open_context(recipe: Recipe, wheels: Iterable[Path]) -> Iterator[IO[bytes]]:
    """Yield the context of ``recipe`` as an uncompressed tar at its start.

    It holds the Dockerfile, the lock, every wheel below ``wheels/`` and the runner's sources, in
    that order, owned by root. Equal content gives equal bytes, so a builder finds its own layers
    again. Wheels pass through a file on disk, not through memory.
    """
    with tempfile.TemporaryFile(prefix="profleet-context-") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            _add(archive, DOCKERFILE, recipe.dockerfile)
            _add(archive, REQUIREMENTS, recipe.requirements_text)
            for wheel in sorted(wheels, key=lambda path: path.name):
                with wheel.open("rb") as content:
                    member = _member(f"wheels/{wheel.name}", wheel.stat().st_size)
                    archive.addfile(member, content)
            for path in sorted(recipe.runner):
                _add(archive, path, recipe.runner[path])
        file.seek(0)
        yield file


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    archive.addfile(_member(name, len(content)), io.BytesIO(content))


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mtime = EPOCH
    member.mode = 0o644
    return member
