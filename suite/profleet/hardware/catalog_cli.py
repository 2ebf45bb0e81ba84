"""``profleet hardware list | show | compare``: the devices of the catalogue."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from profleet.manifest.hardware_documents import Hardware
    from profleet.manifest.library import Resolved

LIST = """\
List the devices of the catalogue: what is measured, calibrated, modelled or assumed about them.
"""
SHOW = "Show every number of a device with its evidence and source, and what other sources say."
COMPARE = """\
Compare devices: peaks, bandwidth, power, price, ridge points of the roofline (operations a byte
below which a layer waits for memory), and their ratios to the first device.
"""
_REFERENCE = "NAME, NAME@VERSION, NAME@RANGE or a file"


def add_parsers(commands: Any) -> None:
    """Add ``list``, ``show`` and ``compare`` to the subparsers of ``hardware``."""
    listing = commands.add_parser("list", help="every device, one a line", description=LIST)
    listing.add_argument("--kind", help="only this kind, such as roofline")
    _common(listing, _list)
    show = commands.add_parser("show", help="one device with its sources", description=SHOW)
    show.add_argument("reference", metavar="REF", help=_REFERENCE)
    _common(show, _show)
    comparing = commands.add_parser(
        "compare", help="devices side by side, with ratios", description=COMPARE
    )
    comparing.add_argument("references", metavar="REF", nargs="+", help=_REFERENCE)
    _common(comparing, _compare)


def _common(parser: argparse.ArgumentParser, execute: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for scripts, in base units")
    parser.add_argument(
        "--manifests",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="look here too, for KIND/NAME@VERSION.yaml; may be repeated",
    )
    parser.set_defaults(execute=execute)


def _list(parsed: argparse.Namespace) -> int:
    from profleet.errors import HardwareError, did_you_mean
    from profleet.hardware.sheet import sheet_of
    from profleet.manifest.library import Library

    library = Library.standard(parsed.manifests)
    names = dict.fromkeys(entry.name for entry in library.entries("hardware"))
    found = _resolve(parsed, [name for name in names if _has_release(library, name)])
    if parsed.kind is not None:
        kinds = sorted({each.document.kind for each in found})
        if parsed.kind not in kinds:
            raise HardwareError(
                f"No device is of kind '{parsed.kind}'. {did_you_mean(parsed.kind, kinds)}"
            )
        found = [each for each in found if each.document.kind == parsed.kind]
    sheets = [sheet_of(each.document) for each in found]
    if parsed.json:
        _print_json([sheet.plain() for sheet in sheets])
        return 0
    from profleet.hardware.sheet_tables import list_table
    from profleet.report.tables import make_console

    make_console().print(list_table(sheets))
    return 0


def _has_release(library: Any, name: str) -> bool:
    """Whether the newest version can be taken without naming it: prereleases cannot."""
    from profleet.manifest.versions import is_prerelease

    entries = [entry for entry in library.entries("hardware") if entry.name == name]
    return not all(is_prerelease(entry.version) for entry in entries)


def _show(parsed: argparse.Namespace) -> int:
    from profleet.hardware.sheet import sheet_of

    (found,) = _resolve(parsed, [parsed.reference])
    sheet = sheet_of(found.document)
    if parsed.json:
        document = found.document.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        _print_json({"document": document, "sha256": found.sha256, "sheet": sheet.plain()})
        return 0
    from profleet.hardware.sheet_tables import print_device
    from profleet.report.tables import make_console

    print_device(found.document, sheet, make_console())
    return 0


def _compare(parsed: argparse.Namespace) -> int:
    from profleet.hardware.sheet import compare, sheet_of

    sheets = [sheet_of(each.document) for each in _resolve(parsed, parsed.references)]
    rows = compare(sheets)
    if parsed.json:
        _print_json(
            {
                "devices": [sheet.plain() for sheet in sheets],
                "measures": [
                    {"measure": label, "unit": unit, "values": values, "ratios": _ratios(values)}
                    for (label, unit), values in rows.items()
                ],
            }
        )
        return 0
    from profleet.hardware.sheet_tables import compare_table
    from profleet.report.tables import make_console

    make_console().print(compare_table(sheets))
    return 0


def _ratios(values: Sequence[float | None]) -> list[float | None]:
    """Ratios to the first device that states the measure; null where one does not."""
    first = next(value for value in values if value is not None)
    return [None if value is None or not first else value / first for value in values]


def _resolve(parsed: argparse.Namespace, references: list[str]) -> list[Resolved[Hardware]]:
    from profleet.manifest.library import Library

    library = Library.standard(parsed.manifests)
    return [library.resolve("hardware", reference) for reference in references]


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
