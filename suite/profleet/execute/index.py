"""Which run keys a store already holds: ``STORE/index/<run key>.json`` points to the folder."""

from __future__ import annotations

import json
from pathlib import Path

from profleet.errors import StoreError
from profleet.profile.store import Result, load_result, write_json


def remember(store: Path, run_key: str, folder: Path) -> None:
    """Note that ``folder`` holds the finished run of ``run_key``."""
    try:
        path = str(folder.relative_to(store))
    except ValueError:
        path = str(folder)
    write_json(store / "index" / f"{run_key}.json", {"path": path})


def finished(store: Path, run_key: str) -> Path | None:
    """Return the folder of a finished run of ``run_key``, if it is still there and whole."""
    entry = store / "index" / f"{run_key}.json"
    try:
        folder = store / json.loads(entry.read_text("utf-8"))["path"]
        result = load_result(folder)
    except (OSError, ValueError, KeyError, TypeError, StoreError):
        return None
    return folder if result.status == "finished" and result.run_key == run_key else None


def holds(store: Path, folder: Path) -> Result | None:
    """Return the result in ``folder`` if it is what the index names for its run key."""
    try:
        result = load_result(folder)
    except StoreError:
        return None
    known = finished(store, result.run_key)
    return result if known is not None and known.samefile(folder) else None
