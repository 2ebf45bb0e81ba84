"""References: how a manifest is named.

``resnet50``, ``resnet50@1``, ``resnet50@1.2.0``, ``resnet50@>=1,<2``, or the path of a file (it
ends with ``.yaml``, ``.yml`` or ``.onnx``, or has a slash). Where several kinds are possible, a
reference may begin with its kind: ``model:resnet50``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from profleet.errors import ManifestError, did_you_mean
from profleet.manifest.kinds import KINDS, Kind
from profleet.manifest.versions import Constraint, parse_constraint

NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*\Z")
_LONGEST = 400


@dataclass(frozen=True)
class NamedReference:
    """A manifest by name and constraint, to be looked up in a library."""

    name: str
    constraint: Constraint = field(default_factory=Constraint)

    def __str__(self) -> str:
        return f"{self.name}@{self.constraint.text}" if self.constraint.text else self.name


@dataclass(frozen=True)
class FileReference:
    """A manifest by the path of its file."""

    path: Path

    def __str__(self) -> str:
        text = str(self.path)
        return text if _looks_like_a_path(text) else f"./{text}"


Reference = NamedReference | FileReference


def parse_reference(text: str) -> Reference:
    """Parse a reference string.

    Raises:
        ManifestError: it is empty, or its name, version or range is malformed.
    """
    reference = text.strip()
    if not reference:
        raise ManifestError(
            "A manifest reference is empty: write a name such as resnet50@1, or the path of a file."
        )
    if len(reference) > _LONGEST or not reference.isprintable():
        raise ManifestError(
            f"{shorten(reference)} is not a manifest reference: it is too long or holds "
            "characters that cannot be printed."
        )
    if _looks_like_a_path(reference):
        return FileReference(Path(reference))
    name, separator, constraint = reference.partition("@")
    if not NAME.match(name):
        hint = f" Did you mean '{name.lower()}'?" if NAME.match(name.lower()) else ""
        raise ManifestError(
            f"'{name}' in the reference '{reference}' is not a manifest name: names are "
            f"lower-case letters and digits, joined by '.', '_' or '-'.{hint}"
        )
    if not separator:
        return NamedReference(name)
    if not constraint.strip():
        raise ManifestError(
            f"The reference '{reference}' has no version after the '@'. Write {name}@1, or {name} "
            "for the newest."
        )
    try:
        return NamedReference(name, parse_constraint(constraint))
    except ManifestError as error:
        raise ManifestError(f"Bad version in the reference '{reference}': {error}") from None


def split_kind(text: str) -> tuple[Kind | None, str]:
    """Split ``model:resnet50`` into its kind and the rest; without a prefix the kind is None.

    Raises:
        ManifestError: the prefix is not a kind.
    """
    prefix, separator, rest = text.partition(":")
    if not separator or _looks_like_a_path(prefix):
        return None, text
    if prefix not in KINDS:
        raise ManifestError(
            f"Unknown kind '{prefix}' in the reference '{text}'. {did_you_mean(prefix, KINDS)}"
        )
    return prefix, rest


def shorten(value: str, limit: int = 60) -> str:
    """Quote a text for a message: printable, on one line, and not longer than ``limit``."""
    return repr(value if len(value) <= limit else f"{value[: limit - 3]}...")


def _looks_like_a_path(text: str) -> bool:
    return "/" in text or text.endswith((".yaml", ".yml", ".onnx"))
