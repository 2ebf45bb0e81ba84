"""From which commit a run was made: Profleet's own, and those of the manifests it executed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import profleet

if TYPE_CHECKING:
    from profleet.manifest.lock import Stack

GIT_SECONDS = 10.0

Fields = dict[str, dict[str, Any]]
"""Field -> ``{"value": ...}`` or ``{"unavailable": reason}``."""


class _UnknownError(Exception):
    """Why there is no commit."""


def provenance(stack: Stack | None = None) -> Fields:
    """Return ``profleet_commit`` and ``profleet_dirty``, and the same for each manifest of a stack.

    Profleet is dirty when any tracked file of its checkout differs from the commit; a manifest is
    when its own file does. A file that is not in the commit has none.
    """
    fields = dict(_fields("profleet", Path(profleet.__file__), whole_checkout=True))
    if stack is not None:
        for kind in ("model", "framework", "hardware"):
            fields |= _fields(f"{kind}_manifest", getattr(stack, kind).path, whole_checkout=False)
    return fields


def _fields(name: str, file: Path, *, whole_checkout: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        commit, blob = _committed(file)
        dirty = _checkout_changed(file) if whole_checkout else _file_changed(file, blob)
    except _UnknownError as error:
        for field in ("commit", "dirty"):
            yield f"{name}_{field}", {"unavailable": str(error)}
    else:
        yield f"{name}_commit", {"value": commit}
        yield f"{name}_dirty", {"value": dirty}


def _committed(file: Path) -> tuple[str, str]:
    """Return the commit that is checked out around a file, and what it holds of that file."""
    told, commit = _git(file, "rev-parse", "--verify", "HEAD")
    if told:
        owner = "dubious ownership" in told
        raise _UnknownError(
            "git does not trust the owner of the checkout (see its setting safe.directory)"
            if owner
            else "not in a git checkout"
        )
    told, blob = _git(file, "rev-parse", "--verify", f"HEAD:./{file.name}")
    if told:
        raise _UnknownError("in a git checkout, but not committed")
    return commit, blob


def _checkout_changed(file: Path) -> bool:
    told, changes = _git(file, "status", "--porcelain", "--untracked-files=no")
    if told:
        raise _UnknownError("git does not tell whether the checkout was changed")
    return changes != ""


def _file_changed(file: Path, blob: str) -> bool:
    """Compare one file, without the filters that a stranger's repository may bring along."""
    told, found = _git(file, "hash-object", "--no-filters", "--", file.name)
    if told:
        raise _UnknownError("git cannot read the file")
    return found != blob


def _git(file: Path, *words: str) -> tuple[str, str]:
    """Execute git beside a file; return what it complained of (if it failed) and its answer."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(file.parent), *words],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            env={**own, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"},
            timeout=GIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _UnknownError(f"git did not answer within {GIT_SECONDS:g} s") from None
    except OSError:
        raise _UnknownError("git is not installed") from None
    return (done.stderr or "it failed") if done.returncode else "", done.stdout.strip()
