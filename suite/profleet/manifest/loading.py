"""Read a manifest: bytes to a checked document, or one sentence about each thing that is wrong."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from profleet.errors import ManifestError, did_you_mean
from profleet.manifest.canonical import canonical_json
from profleet.manifest.documents import DOCUMENTS, Document
from profleet.manifest.explain import explain
from profleet.manifest.kinds import KINDS, Kind
from profleet.manifest.plain_yaml import MAX_BYTES, read_mapping
from profleet.manifest.reference import shorten

SCHEMAS: dict[str, Kind] = {f"profleet/{kind}/v1": kind for kind in KINDS}


def load_document(path: Path) -> Document:
    """Read and check the manifest in ``path``.

    A file named ``NAME@VERSION.yaml`` must hold that name and version.

    Raises:
        ManifestError: the file cannot be read or is not a valid manifest; a line for each problem.
    """
    document = parse_document(read_bytes(path), str(path))
    name, separator, version = path.stem.partition("@")
    if separator and (name, version) != (document.name, document.version):
        raise ManifestError(
            f"{path}: the file name says {shorten(path.stem)}, its content "
            f"'{document.name}@{document.version}'. Rename the file or correct name and version."
        )
    return document


def parse_document(data: bytes, where: str) -> Document:
    """Check the manifest in ``data``; ``where`` names its source in messages.

    Raises:
        ManifestError: it is not a valid manifest; a line for each problem.
    """
    content = read_mapping(data, where)
    model = DOCUMENTS[_kind(content, where)]
    try:
        # By way of JSON, since there a strict model takes a list where it wants a tuple.
        return model.model_validate_json(canonical_json(content))
    except ValidationError as error:
        problems = explain(error, model, content)
        raise ManifestError("\n".join(f"{where}: {problem}" for problem in problems)) from None


def kind_of(document: Document) -> Kind:
    """Return the kind of a document."""
    return SCHEMAS[document.schema_]


def read_bytes(path: Path) -> bytes:
    """Read a file, no more of it than a manifest may have.

    Raises:
        ManifestError: there is no such file, or it cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            what = "a folder" if path.is_dir() else "not a regular file"
            raise ManifestError(f"{path} is {what}; a manifest is a YAML file.")
        if path.suffix == ".onnx":
            raise ManifestError(
                f"{path} is an ONNX file, and a manifest is wanted: write one for a model with "
                "this file as its source (manifests/README.md), and name that."
            )
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if path.is_symlink():
            target = path.readlink()
            raise ManifestError(f"{path} is a link to {target}, which is not there.") from None
        near = (entry.name for entry in path.parent.glob("*.y*ml")) if path.parent.is_dir() else ()
        hint = did_you_mean(path.name, near, f"Manifests in {path.parent}")
        raise ManifestError(f"There is no file {path}. {hint}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ManifestError(f"{path} cannot be read: {reason}.") from None


def _kind(content: dict[str, Any], where: str) -> Kind:
    schema = content.get("schema")
    if schema is None:
        raise ManifestError(
            f"{where}: schema: missing key. A manifest says what it is, one of "
            f"{', '.join(SCHEMAS)}."
        )
    if not isinstance(schema, str):
        raise ManifestError(f"{where}: schema: must be text such as {next(iter(SCHEMAS))}.")
    if schema in SCHEMAS:
        return SCHEMAS[schema]
    other = re.fullmatch(rf"profleet/({'|'.join(KINDS)})/v[0-9]+", schema)
    if other:
        raise ManifestError(
            f"{where}: schema: this profleet reads profleet/{other.group(1)}/v1, not "
            f"{shorten(schema)}; a newer profleet may."
        )
    raise ManifestError(
        f"{where}: schema: {shorten(schema)} is not a manifest schema. "
        f"{did_you_mean(schema, SCHEMAS)}"
    )
