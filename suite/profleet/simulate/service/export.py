"""Copying profiles out of a store, into a set that can be shipped.

``python -m profleet.simulate.service.export STORE FOLDER`` copies the newest finished batch sweep
of every stack to ``FOLDER/HARDWARE/MODEL-FRAMEWORK`` (``make profiles`` fills the shipped set).
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from profleet.errors import ProfleetError, StoreError
from profleet.profile.schema import name_of
from profleet.profile.store import RESULT, load_result, write_result
from profleet.simulate.service.sources import Candidate, Places, Source, SourceSettings

KEPT = ("profile.json", "samples.parquet", "environment.json", "lock.json", "job.json")
"""The record of a run; ``result.json`` comes with it, rewritten."""


def export(store: Path, target: Path) -> Iterator[Path]:
    """Copy the newest sweep of every stack, replacing what was there; yield the new folders.

    Raises:
        ProfleetError: there is no sweep, or a file of one names this machine.
    """
    source = Source(SourceSettings(path=str(store)), Places())
    newest: dict[Path, Candidate] = {}
    for candidate in source.candidates:
        stack = candidate.stack
        name = f"{name_of(stack.model)}-{name_of(stack.framework)}"
        newest.setdefault(target / candidate.machine / name, candidate)
    for folder, candidate in sorted(newest.items()):
        candidate.measured()
        _copy(candidate.folder, folder)
        yield folder


def _copy(source: Path, folder: Path) -> None:
    for name in KEPT:
        _refuse_private(source / name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in KEPT:
        shutil.copyfile(source / name, folder / name)
    result = load_result(source)
    paths = {key: path for key, path in result.paths.items() if path in KEPT}
    alone = {"paths": paths, "sweep_id": None, "suite": None, "tracking": type(result.tracking)()}
    write_result(folder, result.model_copy(update=alone))
    _refuse_private(folder / RESULT)


def _refuse_private(path: Path) -> None:
    """Raise where a text names the host, a user's folder or the place it was measured in."""
    if path.suffix != ".json":
        return
    text = path.read_text("utf-8")
    private = (re.escape(socket.gethostname()), "/home/", "/root/", "/Users/", "/tmp/")  # noqa: S108
    folders = (re.escape(str(Path.cwd())), re.escape(str(Path.home())), re.escape(str(path.parent)))
    for word in (*private, *folders):
        if match := re.search(rf"(?<![\w.-]){word}(?![\w.-])" if word[:1] != "/" else word, text):
            raise StoreError(f"{path} names '{match[0]}': it cannot be shipped. Remove it there.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m profleet.simulate.service.export")
    parser.add_argument("store", type=Path, help="store or folder with results")
    parser.add_argument("folder", type=Path, help="where the set is kept")
    parsed = parser.parse_args(arguments)
    try:
        for folder in export(parsed.store, parsed.folder):
            print(folder)
    except ProfleetError as error:
        print(f"profleet: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
