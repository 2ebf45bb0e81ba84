"""``profleet profile``: show what was measured."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profleet.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from profleet.profile.schema import Profile
    from profleet.profile.store import Result

SHOW = """\
Show a finished run: a table on standard output, plots in DIR/plots. A folder with many jobs (a
sweep, a suite) gives the table of its jobs; several folders are compared. Exits with 1 when the
only job shown has no profile.
"""


def add_parsers(subparsers: Any) -> None:
    """Add ``profile show`` to the command line."""
    profile = subparsers.add_parser("profile", help="show measured profiles")
    commands = profile.add_subparsers(title="commands", metavar="COMMAND", required=True)
    show = commands.add_parser("show", help="table and plots of finished runs", description=SHOW)
    show.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="result folder")
    show.add_argument(
        "--json",
        action="store_true",
        help="print a JSON array instead: path, result and profile of every job",
    )
    show.add_argument("--no-plots", action="store_true", help="write no plots")
    show.add_argument("--output", type=Path, metavar="DIR", help="another folder for the plots")
    show.set_defaults(execute=show_profiles)


def show_profiles(parsed: argparse.Namespace) -> int:
    """Execute ``profile show``; return the exit code.

    Raises:
        ProfleetError: a folder holds no result, a file in it cannot be used, or a plot cannot be
            written.
    """
    from profleet.profile.store import find_results

    folders: list[Path] = []
    for given in parsed.folders:
        found = list(find_results(given))
        if not found:
            raise StoreError(
                f"{given} holds no result.json, nor does a folder below it. Name the folder that "
                "`profleet run` printed."
            )
        folders += [folder for folder in found if folder not in folders]
    jobs = [_read(folder) for folder in folders]
    if parsed.json:
        json.dump([_document(*job) for job in jobs], sys.stdout, indent=2, ensure_ascii=False)
        print()
    else:
        _print(jobs, compare=len(parsed.folders) > 1)
    if not parsed.no_plots:
        _plot(jobs, _plot_folder(parsed))
    return 1 if len(jobs) == 1 and jobs[0][2] is None else 0


Job = tuple[Path, "Result", "Profile | None"]
"""The folder, its result and, if it is finished, the profile (of an earlier run if reused)."""


def _read(folder: Path) -> Job:
    from profleet.profile.store import load_profile, load_result, source_of

    result = load_result(folder)
    if result.status != "finished":
        return folder, result, None
    return folder, result, load_profile(source_of(folder, result))


def _document(folder: Path, result: Result, profile: Profile | None) -> dict[str, Any]:
    return {
        "path": str(folder),
        "result": result.model_dump(mode="json", by_alias=True),
        "profile": profile.model_dump(mode="json", by_alias=True) if profile else None,
    }


def _print(jobs: list[Job], *, compare: bool) -> None:
    from profleet.report import tables

    console = tables.make_console()
    if len(jobs) == 1:
        _, result, profile = jobs[0]
        if profile is None:
            console.print(tables.reason_text(result))
        else:
            tables.print_profile(profile, console)
        return
    root = os.path.commonpath([folder.absolute() for folder, _, _ in jobs])
    rows = [
        tables.JobRow(os.path.relpath(folder, root), result, profile)
        for folder, result, profile in jobs
    ]
    tables.print_jobs(rows, console)
    profiles = [profile for _, _, profile in jobs if profile is not None]
    if compare and any(profile.points for profile in profiles):
        console.print()
        tables.print_comparison(profiles, console)


def _plot(jobs: list[Job], output: Path | None) -> None:
    from profleet.profile.store import load_samples, source_of
    from profleet.report.plots import write_comparison, write_plots

    profiles = [profile for _, _, profile in jobs if profile is not None]
    try:
        if len(jobs) > 1:
            if output is None:
                _say("No comparison plots: name a folder for them with --output DIR.")
            else:
                _list(write_comparison(profiles, output))
            return
        for folder, result, profile in jobs:
            if profile is not None:
                samples = load_samples(source_of(folder, result))
                _list(write_plots(profile, samples, output or folder / "plots"))
    except OSError as error:
        raise ConfigError(
            f"{error.filename or 'The plots'} cannot be written: {error.strerror}. Use "
            "--no-plots, or name a folder that can be written with --output DIR."
        ) from error


def _plot_folder(parsed: argparse.Namespace) -> Path | None:
    """``--output``; without it a single folder, of one job or of many, keeps its own plots."""
    if parsed.output is not None or len(parsed.folders) > 1:
        return parsed.output  # type: ignore[no-any-return]  # argparse is untyped
    folder: Path = parsed.folders[0]
    return folder / "plots"


def _list(paths: Iterable[Path]) -> None:
    for path in paths:
        _say(str(path))


def _say(text: str) -> None:
    print(text, file=sys.stderr)
