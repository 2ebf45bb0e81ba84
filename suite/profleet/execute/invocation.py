"""One ``profleet run`` from the outside: where its results go, what it prints, how it exits.

Jobs of parallel launchers run in other processes, so what they did is read from their folders.
"""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from profleet.errors import ProfleetError, StoreError
from profleet.execute.settings import TrackingSettings
from profleet.profile.schema import Profile
from profleet.profile.store import (
    RESULT,
    Result,
    find_results,
    load_profile,
    load_result,
    source_of,
)


@dataclass
class Invocation:
    """What this process knows of the command it carries out."""

    root: Path | None = None
    tracking: TrackingSettings | None = None
    allow_unsupported: bool = False
    interrupted: bool = False
    mistake: ProfleetError | None = None
    unrecorded: bool = False
    """A job failed in a way that could not even be written down."""
    earlier: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Folders that had a result before the first job, and which file it was."""

    def begin(self, root: Path, *, resume: bool) -> None:
        """Note where results go, and which are there already and are not asked for again."""
        self.root = root
        if resume or not root.is_dir():
            return
        with suppress(OSError, StoreError):  # the first job says it
            self.earlier = {folder: _file(folder) for folder in find_results(root)}

    def close(self) -> int:
        """Print what was produced, log the summary of a sweep, return the exit code."""
        root = self.root
        if root is None or not root.is_dir():
            return self._code([])
        if {entry.name for entry in root.iterdir()} <= {".hydra"}:
            shutil.rmtree(root, ignore_errors=True)  # a mistake before the first job: no litter
            return self._code([])
        if self.mistake is not None:  # what an earlier run left there is not what was asked for
            return self._code([])
        found = list(find_results(root))
        left = [folder for folder in found if self.earlier.get(folder) == _file(folder)]
        results = [(folder, load_result(folder)) for folder in found if folder not in left]
        show(root, results)
        if left:
            names = ", ".join(str(folder.relative_to(root)) for folder in left)
            say(f"Also there, from before: {names}.")
        if len(results) > 1 or (root / "multirun.yaml").exists():
            self._log_summary(root, bool(results))
        if self.interrupted:
            say(
                "Interrupted. What is finished stays; the same command with resume=true does the "
                "rest, and `profleet log` sends what is not logged yet."
            )
        return self._code([result for _, result in results])

    def _code(self, results: list[Result]) -> int:
        if self.interrupted:
            return 130
        accepted = {"finished"} | ({"unsupported"} if self.allow_unsupported else set())
        bad = self.unrecorded or any(result.status not in accepted for result in results)
        return 1 if bad else 0

    def _log_summary(self, root: Path, any_results: bool) -> None:
        if not any_results or self.tracking is None or self.tracking.uri is None:
            return
        from profleet.tracking import log_sweep

        try:
            log_sweep(root, self.tracking)
        except ProfleetError as error:
            say(str(error))


def show(root: Path, results: list[tuple[Path, Result]]) -> None:
    """Print the profile of one job, or one table of all jobs, and draw their comparison."""
    from profleet.report.plots import write_comparison
    from profleet.report.tables import JobRow, print_jobs, print_profile

    jobs = [
        JobRow(str(folder.relative_to(root)), result, _profile(folder, result))
        for folder, result in results
    ]
    profiles = [job.profile for job in jobs if job.profile is not None]
    if len(jobs) == 1 and profiles:
        print_profile(profiles[0])
    elif jobs:
        print_jobs(jobs)
        if len(profiles) > 1:
            with suppress(OSError):  # a picture is not worth a failed sweep
                write_comparison(profiles, root / "plots")
    say(f"Results: {root}")


def _profile(folder: Path, result: Result) -> Profile | None:
    finished = result.status == "finished"
    return load_profile(source_of(folder, result)) if finished else None


def _file(folder: Path) -> tuple[int, int]:
    """What tells a result from one that is written in its place."""
    state = (folder / RESULT).stat()
    return state.st_ino, state.st_mtime_ns


def say(text: str) -> None:
    """Print for people: results go to standard output, everything else to standard error.

    Where nobody reads any more, the work goes on.
    """
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
