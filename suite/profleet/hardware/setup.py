"""The settings of the machine that a hardware manifest asks for, for the time of a measurement.

``dry_run`` only says what would be done. ``apply`` changes what it may, measures, and restores: the
journal is on disk before the first change, so that a crash is undone by the next run.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profleet.errors import StoreError
from profleet.hardware.journal import (
    Change,
    Journal,
    Outcome,
    exclusive,
    remaining,
    sentences,
    undo,
)
from profleet.hardware.settings import SETTINGS, KernelFile, Setting, SetupMode
from profleet.paths import state_dir
from profleet.profile.schema import Capability, SettingRecord

if TYPE_CHECKING:
    from profleet.manifest.documents import MachineSetting

ROOT = Path("/")

_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_OFFLINE = {errno.ENOENT, errno.EBUSY, errno.ENODEV, errno.ENXIO, errno.EAGAIN}
"""What reading the file of a switched-off processor or driver gives."""


@dataclass
class MachineSetup:
    """What became of the setup: complete when the block of :func:`prepared` has ended."""

    records: list[SettingRecord] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return it as plain data."""
        settings = [record.model_dump(mode="json") for record in self.records]
        return {"settings": settings, "warnings": self.warnings}


@dataclass
class _Plan:
    """One setting: where it stands, and what to write to bring it to the wanted value."""

    setting: Setting
    record: SettingRecord
    files: list[KernelFile]
    changes: list[Change] = field(default_factory=list)


def inspect(
    wanted: Sequence[MachineSetting], root: Path | None = None, state: Path | None = None
) -> list[SettingRecord]:
    """Say for each setting what applying it would do; change nothing.

    Args:
        wanted: settings and their values.
        root: the folder that stands for ``/``; None for the real one.
        state: the folder of the journal; None for the user's own.
    """
    root = root or ROOT
    records = [_plan(item, root).record for item in wanted]
    if _in_use(Journal(root, state or state_dir()), root):
        _give_way(records)
    return records


def restore(root: Path | None = None, state: Path | None = None) -> list[Outcome]:
    """Restore what a crashed run left changed; nothing where there was none.

    Raises:
        StoreError: another run is using the settings, or the journal cannot be read.
    """
    root = root or ROOT
    journal = Journal(root, state or state_dir())
    if not journal.exists():
        return []
    with exclusive(root) as free:
        if free:
            return _recover(journal, root)
    raise StoreError(
        "The settings of this machine are in use by another run, which restores them when it ends."
    )


@contextmanager
def prepared(
    wanted: Sequence[MachineSetting],
    mode: SetupMode,
    *,
    root: Path | None = None,
    state: Path | None = None,
    say: Callable[[str], None],
    elsewhere: str | None = None,
) -> Iterator[MachineSetup]:
    """Bring the machine to the wanted settings while the block lasts, as far as the mode allows.

    What an earlier run left changed by a crash is restored first, in every mode. Arguments as
    :func:`inspect`; ``say`` gets sentences for people; ``elsewhere`` says why the settings of this
    machine do not matter, if it is another one that measures: then they are left alone.

    Raises:
        StoreError: the journal cannot be read or written, or holds something that must be restored
            before anything else may be changed.
    """
    root, journal = root or ROOT, Journal(root or ROOT, state or state_dir())
    setup = MachineSetup()
    applies = mode == "apply" and bool(wanted) and elsewhere is None and (root / "sys").is_dir()
    with ExitStack() as held:
        free = True
        if applies or journal.exists():
            free = held.enter_context(exclusive(root))
            if free:
                left = _recover(journal, root)
                _tell(left, say)
                setup.warnings += _told([item for item in left if item.state == "not permitted"])
        plans = [_plan(item, root, elsewhere) for item in wanted] if mode != "off" else []
        setup.records = [plan.record for plan in plans]
        changes = [change for plan in plans for change in plan.changes]
        if not free:
            _give_way(setup.records)
        if not (free and applies and changes):
            held.close()  # nothing of this run is at stake
            setup.warnings += _warnings(setup.records, mode, bool(wanted), free)
            yield from _watching(setup, plans, mode)
            return
        if journal.exists():
            raise StoreError(
                "An earlier run left settings of this machine changed, and they cannot be restored "
                "now. Run `profleet hardware restore` with the rights of that run."
            )
        journal.write(changes)
        try:
            for plan in plans:
                _apply(plan, root)
            setup.warnings += _warnings(setup.records, mode, True, free)
            yield from _watching(setup, plans, mode)
        finally:
            _finish(setup, _undo_all(journal, changes, root), say)


def _watching(setup: MachineSetup, plans: list[_Plan], mode: SetupMode) -> Iterator[MachineSetup]:
    """Let the measurement happen; say what changed during it although it should not have."""
    yield setup
    for plan in plans if mode == "apply" else ():
        now = _shown(_read(plan.files)[0])
        if now != plan.record.after:
            setup.warnings.append(
                f"Setup: {plan.setting.name} changed from {plan.record.after} to {now} while this "
                "was measured, and not by this run: samples are not comparable with each other."
            )


def _recover(journal: Journal, root: Path) -> list[Outcome]:
    outcomes = _undo_all(journal, journal.read(), root)
    return [item for item in outcomes if item.state != "unchanged"]


def _undo_all(journal: Journal, changes: list[Change], root: Path) -> list[Outcome]:
    outcomes = undo(changes, root)
    with suppress(StoreError):  # the journal as it was says more than it must, which is harmless
        journal.write(remaining(outcomes))
    return outcomes


def _in_use(journal: Journal, root: Path) -> bool:
    if not journal.exists():
        return False
    with exclusive(root) as free:
        return not free


# -- one setting -----------------------------------------------------------------------------------


def _plan(item: MachineSetting, root: Path, elsewhere: str | None = None) -> _Plan:
    """Read where a setting stands and decide what applying it means."""
    setting = SETTINGS[item.setting]
    words, problem = ({}, elsewhere) if elsewhere else _read(setting.files(root))
    before = _shown(words)
    record = SettingRecord(
        setting=setting.name,
        wanted=item.value,
        before=before,
        after=before,
        capability="absent",
    )
    plan = _Plan(setting, record, list(words))
    if not words:
        record.reason = problem or f"this kernel has no control of the {setting.description}"
        return plan
    changes = [
        Change(setting.name, str(file.path.relative_to(root)), word, file.to_kernel(item.value))
        for file, word in words.items()
        if word != file.to_kernel(item.value)
    ]
    if not changes:
        record.capability = "already"
        return plan
    record.capability, record.reason = _obstacle(setting, item.value, words)
    if record.capability == "would apply":
        plan.changes = changes
    return plan


def _read(files: list[KernelFile]) -> tuple[dict[KernelFile, str], str | None]:
    """Read the words of all files but those of switched-off processors; say why if none is left."""
    words, problem = {}, None
    for file in files:
        try:
            words[file] = file.read()
        except OSError as error:
            problem = f"{file.path}: {error.strerror or error}"
            if error.errno not in _OFFLINE:
                return {}, problem
    return words, problem


def _obstacle(
    setting: Setting, value: str, words: dict[KernelFile, str]
) -> tuple[Capability, str | None]:
    for file, word in words.items():
        offered = file.offered()
        if offered and file.to_kernel(value) not in offered:
            return "absent", f"{file.path} offers only {', '.join(offered)}"
        if word in setting.irreversible:
            return "not permitted", f"'{word}' in {file.path} could not be restored"
        if not os.access(file.path, os.W_OK):
            return "not permitted", f"this user may not write {file.path}"
    return "would apply", None


def _apply(plan: _Plan, root: Path) -> None:
    """Write one setting and read it back; where one file refuses, none stays changed."""
    if not plan.changes:
        return
    record, files = plan.record, {str(file.path.relative_to(root)): file for file in plan.files}
    record.capability = "applied"
    for change in plan.changes:
        file = files[change.path]
        try:
            file.write(change.wrote)
            if (word := file.read()) != change.wrote:
                record.reason = f"the kernel kept '{file.to_manifest(word)}' in {file.path}"
        except OSError as error:
            refused = "this user may not write" if error.errno in _FORBIDDEN else "not accepted by"
            record.reason = f"{refused} {file.path}: {error.strerror or error}"
        if record.reason is not None:
            record.capability = "not permitted"
            undo(plan.changes, root)
            break
    record.after = _shown(_read(plan.files)[0])


def _shown(words: dict[KernelFile, str]) -> str | None:
    """Return the values in the manifest's words; several where processors differ."""
    return ", ".join(sorted({file.to_manifest(word) for file, word in words.items()})) or None


# -- telling ---------------------------------------------------------------------------------------


def _give_way(records: list[SettingRecord]) -> None:
    for record in records:
        if record.capability != "absent":
            record.capability = "in use by another run"
            record.reason = "it may change at any time"


def _warnings(
    records: list[SettingRecord], mode: SetupMode, wanted: bool, free: bool
) -> Iterator[str]:
    if not free:
        yield (
            "Setup: settings of this machine belonged to another run and could change while this "
            "was measured. Measure one job at a time."
        )
        return
    short = [record for record in records if record.capability not in {"applied", "already"}]
    if mode == "off" and wanted:
        yield "Setup: what the hardware manifest asks for was left out (setup=off)."
    elif mode == "dry_run" and short:
        names = ", ".join(f"{record.setting} {record.wanted}" for record in short)
        yield f"Setup: not applied, since this was a dry run: {names}. Say setup=apply."
    elif short:
        told = "; ".join(f"{item.setting} is {item.capability} ({item.reason})" for item in short)
        yield f"Setup: not all as the hardware manifest wants it: {told}."


def _finish(setup: MachineSetup, outcomes: list[Outcome], say: Callable[[str], None]) -> None:
    """Note and tell how restoring went; where it went well there is nothing to tell."""
    bad = [item for item in outcomes if item.state not in {"restored", "unchanged"}]
    for record in setup.records:
        if record.capability == "applied":
            record.restored = all(item.change.setting != record.setting for item in bad)
    setup.warnings += _told(bad)
    _tell(bad, say)


def _tell(outcomes: list[Outcome], say: Callable[[str], None]) -> None:
    for sentence in _told(outcomes):
        say(sentence)


def _told(outcomes: list[Outcome]) -> list[str]:
    return [f"Setup: {sentence}" for sentence in sentences(outcomes)]
