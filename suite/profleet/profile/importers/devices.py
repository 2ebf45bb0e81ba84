"""What the devices of other people's results are called in the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from profleet.manifest.library import Library


def hardware_by_alias(manifests: tuple[Path, ...] = ()) -> Mapping[str, str]:
    """Return alias -> name of the hardware manifest that lists it.

    Raises:
        ManifestError: a hardware manifest cannot be read.
    """
    library = Library.standard(manifests)
    found: dict[str, str] = {}
    for entry in library.entries("hardware"):
        document = library.find("hardware", entry.name, entry.version).document
        aliases = getattr(document, "aliases", ())
        found |= dict.fromkeys(aliases, entry.name)
    return found
