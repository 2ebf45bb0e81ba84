"""``profleet manifest``: list, show, validate, describe and resolve manifests."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profleet.errors import ManifestError, ProfleetError, did_you_mean
from profleet.manifest.kinds import KINDS
from profleet.manifest.library import Library

if TYPE_CHECKING:
    from profleet.manifest.documents import Document
    from profleet.manifest.library import Resolved

_REFERENCE = "NAME, NAME@VERSION, NAME@RANGE or a file; before it, if need be, KIND:"


def add_parsers(subparsers: Any) -> None:
    """Add ``manifest`` and its subcommands to the subparsers of the command line."""
    manifest = subparsers.add_parser("manifest", help="list, show, check and resolve manifests")
    manifest.set_defaults(execute=lambda _: _usage(manifest))
    commands = manifest.add_subparsers(title="commands", metavar="COMMAND")

    listing = commands.add_parser("list", help="every manifest, one a line")
    listing.add_argument("--kind", choices=KINDS, help="only this kind")
    _add_json(listing)
    _add_folders(listing, _list)

    show = commands.add_parser("show", help="one manifest as it is written")
    show.add_argument("reference", metavar="REF", help=_REFERENCE)
    _add_json(show)
    _add_folders(show, _show)

    validate = commands.add_parser("validate", help="check files; exit code 2 if one is not valid")
    validate.add_argument("files", metavar="FILE", type=Path, nargs="+")
    _add_folders(validate, _validate)

    schema = commands.add_parser("schema", help="the JSON Schema of a kind, for editors")
    schema.add_argument("kind", metavar="KIND", help=", ".join(KINDS))
    schema.set_defaults(execute=_schema)

    resolve = commands.add_parser("resolve", help="the lock of a set of references, as JSON")
    resolve.add_argument("references", metavar="REF", nargs="+", help=_REFERENCE)
    resolve.add_argument("--kind", choices=KINDS, help="the kind of every REF without a prefix")
    _add_folders(resolve, _resolve)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for scripts")


def _add_folders(parser: argparse.ArgumentParser, execute: Any) -> None:
    parser.add_argument(
        "--manifests",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="look here too, for KIND/NAME@VERSION.yaml; may be repeated",
    )
    parser.set_defaults(execute=execute)


def _usage(parser: argparse.ArgumentParser) -> int:
    parser.print_help(sys.stderr)
    return 2


def _list(parsed: argparse.Namespace) -> int:
    entries = Library.standard(parsed.manifests).entries(parsed.kind)
    rows = [
        {
            "kind": entry.kind,
            "name": entry.name,
            "version": entry.version,
            "description": entry.description(),
            "path": str(entry.path),
        }
        for entry in entries
    ]
    if parsed.json:
        _print_json(rows)
        return 0
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    columns = ("kind", "name", "version", "description")
    widths = [max((len(row[column]) for row in rows), default=0) for column in columns[:-1]]
    for row in rows:
        cells = [row[column].ljust(size) for column, size in zip(columns, widths, strict=False)]
        line = "  ".join([*cells, _first_sentence(row["description"])])
        print(line if width is None or len(line) <= width else f"{line[: width - 1]}…")
    return 0


def _first_sentence(text: str) -> str:
    head, separator, _ = text.partition(". ")
    return f"{head}." if separator else text


def _show(parsed: argparse.Namespace) -> int:
    resolved = Library.standard(parsed.manifests).resolve_any(parsed.reference)
    if parsed.json:
        document = resolved.document.model_dump(mode="json", by_alias=True)
        _print_json({"path": str(resolved.path), "sha256": resolved.sha256, "document": document})
        return 0
    print(f"# {resolved.path}")
    print(f"# sha256 {resolved.sha256}")
    print(resolved.path.read_text("utf-8-sig").rstrip())
    return 0


def _validate(parsed: argparse.Namespace) -> int:
    bad = 0
    for path in parsed.files:
        try:
            _check(path, parsed.manifests)
        except ProfleetError as error:
            bad += 1
            print(error, file=sys.stderr)
        else:
            print(f"ok {path}")
    return 2 if bad else 0


def _check(path: Path, folders: list[Path]) -> None:
    """Check one file; of a suite also that every reference in it resolves."""
    from profleet.manifest.documents import Suite
    from profleet.manifest.loading import load_document
    from profleet.manifest.lock import expand_suite

    document = load_document(path)
    if not isinstance(document, Suite):
        return
    try:
        expand_suite(Library.standard(folders), document, path.parent)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from None


def _schema(parsed: argparse.Namespace) -> int:
    if parsed.kind not in KINDS:
        raise ManifestError(
            f"Unknown kind of manifest '{parsed.kind}'. {did_you_mean(parsed.kind, KINDS)}"
        )
    from profleet.manifest.schema import document_schema

    _print_json(document_schema(parsed.kind))
    return 0


def _resolve(parsed: argparse.Namespace) -> int:
    library = Library.standard(parsed.manifests)
    resolved: list[Resolved[Document]] = [
        library.resolve_any(reference, None if ":" in reference else parsed.kind)
        for reference in parsed.references
    ]
    from profleet.manifest.lock import lock

    sys.stdout.write(lock(resolved).canonical().decode("utf-8") + "\n")
    return 0


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
