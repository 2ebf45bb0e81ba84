"""``profleet import``: measurements of other people become points."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from profleet.profile.points import Points

DESCRIPTION = """\
Read measurements of other people and write them as points: points.parquet and points.json in a
folder. They are not profiles: there are no samples, no environment and no lock.
"""
SOURCES = {
    "dlperf": "Benanza's per-layer GPU latencies (archive or folder with assets/): lower bounds",
    "mlperf": "table of MLPerf Inference closed results (CSV, gzipped or not)",
    "pipeedge": "folder with PipeEdge's models.yml and device_types.yml",
}


def add_parsers(subparsers: Any) -> None:
    """Add ``import`` and its subcommands to the command line."""
    importing = subparsers.add_parser(
        "import", help="other people's measurements as points", description=DESCRIPTION
    )
    commands = importing.add_subparsers(title="sources", metavar="SOURCE", required=True)
    for name, text in SOURCES.items():
        source = commands.add_parser(name, help=text, description=text)
        source.add_argument("path", metavar="PATH", type=Path)
        source.add_argument(
            "--output",
            metavar="DIR",
            type=Path,
            help=f"where to write (default: STORE/points/{name}, with STORE as `profleet run` has)",
        )
        source.add_argument(
            "--manifests",
            metavar="DIR",
            type=Path,
            action="append",
            default=[],
            help="hardware manifests of your own, whose aliases name devices; may be repeated",
        )
        source.add_argument("--json", action="store_true", help="print points.json")
        if name == "dlperf":
            source.add_argument(
                "--strict",
                action="store_true",
                help="fail where layers are missing, instead of leaving those totals out",
            )
        source.set_defaults(execute=_import, source=name)


def _import(parsed: argparse.Namespace) -> int:
    from profleet.profile.importers.devices import hardware_by_alias
    from profleet.profile.points import write_points

    points = _read(parsed, hardware_by_alias(tuple(parsed.manifests)))
    store = Path(os.environ.get("PROFLEET_STORE", "profleet-results"))
    folder = parsed.output or store / "points" / parsed.source
    write_points(folder, points)
    about = points.about
    if parsed.json:
        print(json.dumps(about.model_dump(mode="json", by_alias=True), indent=2))
    for left in about.left_out:
        example = f", such as {left.examples[0]}" if left.examples else ""
        print(f"Left out {left.count}: {left.why}{example}.", file=sys.stderr)
    known = len({row.hardware for row in points.rows if row.hardware is not None})
    print(
        f"{about.points} points of {len(about.models)} models on {len(about.devices)} devices "
        f"({known} in the catalogue) in {folder}",
        file=sys.stderr if parsed.json else sys.stdout,
    )
    return 0


def _read(parsed: argparse.Namespace, hardware: Mapping[str, str]) -> Points:
    if parsed.source == "dlperf":
        from profleet.profile.importers.dlperf import import_dlperf

        return import_dlperf(parsed.path, hardware, strict=parsed.strict)
    if parsed.source == "mlperf":
        from profleet.profile.importers.mlperf import import_mlperf

        return import_mlperf(parsed.path, hardware)
    from profleet.profile.importers.pipeedge import import_pipeedge

    return import_pipeedge(parsed.path, hardware)
