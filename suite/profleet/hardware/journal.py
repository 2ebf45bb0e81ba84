"""What a run changes on the machine, written down before it changes it, and how it is undone.

The journal outlives a crash of the program; the next run, or ``profleet hardware restore``, finds
it and restores what it says. Its name holds the boot id, since a restart of the machine undoes
every setting by itself, and since machines may share a home folder. What it says is not trusted:
only files of known settings are written.

The lock is on the folder ``/sys``, so it holds between all users of a machine and ends with the
process that has it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from profleet.errors import StoreError
from profleet.hardware.settings import SETTINGS, KernelFile
from profleet.profile.store import write_json

SCHEMA = "profleet/setup-journal/v1"
LOCK_SECONDS = 0.5
"""How long to try for the lock: as long as somebody else's restoring after a crash may take."""

_WORD = re.compile(r"[A-Za-z0-9_+.-]{1,64}")


@dataclass(frozen=True)
class Change:
    """One file of the kernel; ``path`` is relative to the root, the words are the kernel's."""

    setting: str
    path: str
    before: str
    wrote: str


@dataclass(frozen=True)
class Outcome:
    """What became of undoing a change; ``detail`` is the same in words."""

    change: Change
    state: Literal["restored", "unchanged", "changed by others", "gone", "not permitted"]
    detail: str


class Journal:
    """The file that says what to restore. It exists exactly while something may be changed."""

    def __init__(self, root: Path, folder: Path) -> None:
        try:
            boot = (root / "proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            boot = "unknown"
        self.path = folder / f"setup-{boot}.json"

    def exists(self) -> bool:
        """Tell whether there is something to restore, or being used."""
        try:
            return self.path.exists()
        except OSError:  # a folder of somebody else: this user cannot have written there
            return False

    def write(self, changes: Iterable[Change]) -> None:
        """Write the changes, on disk when this returns; none removes the journal.

        Raises:
            StoreError: the folder cannot be written.
        """
        planned = [asdict(change) for change in changes]
        try:
            if not planned:
                self.path.unlink(missing_ok=True)
                return
            write_json(self.path, {"schema": SCHEMA, "pid": os.getpid(), "changes": planned})
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the name too, not only the content
            finally:
                os.close(folder)
        except (OSError, StoreError) as error:
            raise StoreError(
                f"The settings of this machine were left alone, since what to restore cannot be "
                f"noted in {self.path.parent}. Name another folder: PROFLEET_STATE=DIR."
            ) from error

    def read(self) -> list[Change]:
        """Return what the run that wrote the journal meant to change.

        Raises:
            StoreError: it is not a journal of this version.
        """
        if not self.exists():
            return []
        try:
            document = json.loads(self.path.read_text("utf-8"))
            if document["schema"] != SCHEMA:
                raise ValueError("another schema")
            return [Change(**item) for item in document["changes"]]
        except (OSError, ValueError, KeyError, TypeError):
            raise StoreError(
                f"{self.path} should say which settings of this machine to restore, and cannot be "
                "read. Check them by hand, then delete the file."
            ) from None


@contextmanager
def exclusive(root: Path) -> Iterator[bool]:
    """Yield whether the settings of the machine are this run's alone while the block lasts."""
    descriptor = os.open(root / "sys", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield _locked(descriptor)
    finally:
        os.close(descriptor)  # which unlocks


def _locked(descriptor: int) -> bool:
    end = time.monotonic() + LOCK_SECONDS
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.02)


def undo(changes: Iterable[Change], root: Path) -> list[Outcome]:
    """Undo changes, the last one first; what others changed since stays as they left it."""
    return [_undo(change, root) for change in reversed(list(changes))]


def remaining(outcomes: Iterable[Outcome]) -> list[Change]:
    """Return what could not be undone and must be tried again, in the order of the journal."""
    return [item.change for item in outcomes if item.state == "not permitted"][::-1]


def sentences(outcomes: Iterable[Outcome]) -> list[str]:
    """Say what became of undoing, one sentence for the files of a setting that went alike."""
    alike: dict[tuple[str, ...], list[Outcome]] = {}
    for item in outcomes:
        key = (item.change.setting, item.state, item.change.before, item.change.wrote)
        alike.setdefault(key, []).append(item)
    return [
        f"{group[0].change.setting}: {group[0].detail}"
        + (f" (and {len(group) - 1} more files like it)." if len(group) > 1 else ".")
        for group in alike.values()
    ]


def _undo(change: Change, root: Path) -> Outcome:
    file = _file(change, root)
    if file is None or not (_WORD.fullmatch(change.before) and _WORD.fullmatch(change.wrote)):
        return Outcome(change, "gone", f"this kernel has no {change.path} any more")
    before, wrote = file.to_manifest(change.before), file.to_manifest(change.wrote)
    try:
        current = file.read()
        if current == change.before:
            return Outcome(change, "unchanged", f"{file.path} is '{before}', as before")
        if current != change.wrote:
            now = file.to_manifest(current)
            return Outcome(
                change,
                "changed by others",
                f"{file.path} was set to '{now}' by someone else meanwhile and stays so; "
                f"it was '{before}' before this run",
            )
        file.write(change.before)
        if file.read() != change.before:
            raise PermissionError(0, "the kernel kept the value")
    except FileNotFoundError:
        return Outcome(change, "gone", f"this kernel has no {file.path} any more")
    except OSError as error:
        return Outcome(
            change,
            "not permitted",
            f"{file.path} should be '{before}' again and is '{wrote}': {error.strerror or error}",
        )
    return Outcome(change, "restored", f"{file.path} is '{before}' again")


def _file(change: Change, root: Path) -> KernelFile | None:
    """Find the file of a change among those of its setting; nothing else is ever written."""
    settings = (setting for name, setting in SETTINGS.items() if name == change.setting)
    files = (file for setting in settings for file in setting.files(root))
    return next((file for file in files if file.path == root / change.path), None)
