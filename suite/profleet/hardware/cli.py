"""``profleet hardware``: the machine that measures, and the devices of the catalogue."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profleet.hardware import catalog_cli

if TYPE_CHECKING:
    from profleet.profile.schema import SettingRecord

SETUP = """\
Show what the setup of a hardware manifest would change on this machine. Nothing is changed here:
`profleet run hardware=REF setup=apply` applies it for the time of each job, and restores it.
"""
RESTORE = """\
Restore what a run changed and could not restore, because it was killed. The next `profleet run`
does the same. Exits with 1 if something could not be restored.
"""


def add_parsers(subparsers: Any) -> None:
    """Add ``hardware`` and its subcommands to the command line."""
    hardware = subparsers.add_parser(
        "hardware", help="the catalogue of devices; settings of the machine that measures"
    )
    commands = hardware.add_subparsers(title="commands", metavar="COMMAND", required=True)
    catalog_cli.add_parsers(commands)
    setup = commands.add_parser(
        "setup", help="what a hardware manifest would change here", description=SETUP
    )
    setup.add_argument(
        "reference",
        metavar="REF",
        nargs="?",
        default="local-tuned",
        help="hardware manifest (default: %(default)s)",
    )
    setup.add_argument("--json", action="store_true", help="print JSON for scripts")
    setup.add_argument(
        "--manifests",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="look here too, for KIND/NAME@VERSION.yaml; may be repeated",
    )
    setup.set_defaults(execute=show_setup)
    restore = commands.add_parser(
        "restore", help="undo what a killed run left changed", description=RESTORE
    )
    restore.set_defaults(execute=restore_setup)


def show_setup(parsed: argparse.Namespace) -> int:
    """Execute ``hardware setup``; return the exit code.

    Raises:
        ManifestError: the reference names no hardware manifest.
    """
    from profleet.hardware.setup import inspect
    from profleet.manifest.library import Library

    resolved = Library.standard(parsed.manifests).resolve("hardware", parsed.reference)
    records = inspect(resolved.document.setup)
    if parsed.json:
        print(json.dumps([record.model_dump(mode="json") for record in records], indent=2))
    elif records:
        _print(records)
    else:
        print(f"{resolved.reference} asks for no settings.", file=sys.stderr)
    return 0


def restore_setup(_: argparse.Namespace) -> int:
    """Execute ``hardware restore``; return the exit code.

    Raises:
        StoreError: another run is using the settings, or the journal cannot be read.
    """
    from profleet.hardware.journal import sentences
    from profleet.hardware.setup import restore

    outcomes = restore()
    for sentence in sentences(outcomes) or ["Nothing to restore."]:
        print(sentence)
    return 1 if any(item.state == "not permitted" for item in outcomes) else 0


def _print(records: list[SettingRecord]) -> None:
    from rich import box
    from rich.table import Table

    from profleet.report.cells import NONE
    from profleet.report.tables import make_console

    columns = ("setting", "wanted", "now", "capability", "reason")
    table = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for record in records:
        cells = (record.setting, record.wanted, record.before or NONE, record.capability)
        table.add_row(*cells, record.reason or NONE)
    make_console().print(table)
