"""Reading what a runner left behind: bounded, regular files only, never trusted."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path
from typing import Any

from profleet.profile.store import MAX_JSON_BYTES, json_object

MAX_FOLDER_BYTES = 256 * 2**20
MAX_FILES = 256
MAX_TEXT = 2000


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: it is missing, unreadable, no regular file, too large, or no JSON object.
    """
    if not is_regular(path):
        raise ValueError(f"{path.name} is missing or no regular file")
    try:
        return json_object(path)
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def text(value: object) -> str:
    """Return one printable line of at most ``MAX_TEXT`` characters."""
    line = " ".join(str(value)[: 4 * MAX_TEXT].split())
    return "".join(char for char in line if char.isprintable())[:MAX_TEXT]


def last_line(path: Path) -> str:
    """Return the last line of a log that says something."""
    if not is_regular(path):
        return "it left no log"
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return text(lines[-1])[:300] if lines else "it printed nothing"


def copy_folder(source: Path, target: Path) -> None:
    """Copy the regular files directly in ``source``; links and what is beyond the limits stay.

    Raises:
        OSError: writing failed.
    """
    if not source.is_dir() or source.is_symlink():
        return
    left, files = MAX_FOLDER_BYTES, sorted(filter(is_regular, source.iterdir()))
    for file in files[:MAX_FILES]:
        left -= file.stat().st_size
        if left < 0:
            return
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target / file.name, follow_symlinks=False)


def copy_file(source: Path, target: Path) -> None:
    """Copy the end of one regular file, at most ``MAX_JSON_BYTES``; an empty one is left out.

    Raises:
        OSError: writing failed.
    """
    if is_regular(source) and (size := source.stat().st_size):
        with source.open("rb") as file:
            file.seek(max(0, size - MAX_JSON_BYTES))
            target.write_bytes(file.read())


def is_regular(path: Path) -> bool:
    """Tell whether ``path`` is a regular file and no link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
