"""Find manifests by reference, in the folders that hold them.

A folder holds ``KIND/NAME@VERSION.yaml``. Finding and listing read file names only, so that they
stay fast; a document is read and checked when it is resolved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from profleet.errors import ManifestError, did_you_mean
from profleet.manifest.kinds import KINDS, Kind
from profleet.manifest.reference import (
    NAME,
    FileReference,
    NamedReference,
    parse_reference,
    split_kind,
)
from profleet.manifest.versions import SEMVER, is_prerelease, ordered
from profleet.paths import data_dir

if TYPE_CHECKING:
    from profleet.manifest.documents import Document, Framework, Hardware, Model, Suite

D_co = TypeVar("D_co", bound="Document", covariant=True)


@dataclass(frozen=True)
class Resolved(Generic[D_co]):
    """What a reference resolved to: the document, its file, and the digest of its content."""

    document: D_co
    path: Path
    sha256: str

    @property
    def reference(self) -> str:
        """The exact reference, ``NAME@VERSION``."""
        return f"{self.document.name}@{self.document.version}"


@dataclass(frozen=True)
class Entry:
    """A manifest file of a library, known by its name only."""

    kind: Kind
    name: str
    version: str
    path: Path

    def description(self) -> str:
        """Read the description on one line; if the file is broken, what is wrong with it."""
        from profleet.manifest.plain_yaml import decode, read_top_level_text

        try:
            text = read_top_level_text(
                decode(self.path.read_bytes(), self.path.name), "description"
            )
        except (ManifestError, OSError) as error:
            text = f"(broken: {error})"
        line = " ".join((text or "(no description)").split())
        return "".join(letter if letter.isprintable() else "?" for letter in line)


class Library:
    """The manifests in a number of folders. Folders are read once, at the first question."""

    def __init__(self, folders: Iterable[str | Path]) -> None:
        self.folders = tuple(Path(folder) for folder in folders)

    @classmethod
    def standard(cls, folders: Iterable[str | Path] = ()) -> Library:
        """Return the library of the manifests shipped with Profleet and those in ``folders``."""
        return cls([data_dir("manifests"), *folders])

    def entries(self, kind: Kind | None = None) -> list[Entry]:
        """Return every manifest, by kind, name and version (oldest first).

        Raises:
            ManifestError: a folder is missing, or a file in it is not called NAME@VERSION.yaml.
        """
        return [
            Entry(each, name, version, files[0])
            for each in (KINDS if kind is None else (kind,))
            for name, versions in sorted(self._index[each].items())
            for version, files in sorted(versions.items(), key=lambda item: ordered(item[0]))
        ]

    def kinds_of(self, name: str) -> list[Kind]:
        """Return the kinds that have a manifest called ``name``."""
        return [kind for kind in KINDS if name in self._index[kind]]

    @overload
    def resolve(
        self, kind: Literal["model"], reference: str, base: Path | None = None
    ) -> Resolved[Model]: ...
    @overload
    def resolve(
        self, kind: Literal["framework"], reference: str, base: Path | None = None
    ) -> Resolved[Framework]: ...
    @overload
    def resolve(
        self, kind: Literal["hardware"], reference: str, base: Path | None = None
    ) -> Resolved[Hardware]: ...
    @overload
    def resolve(
        self, kind: Literal["suite"], reference: str, base: Path | None = None
    ) -> Resolved[Suite]: ...
    @overload
    def resolve(
        self, kind: Kind, reference: str, base: Path | None = None
    ) -> Resolved[Document]: ...
    def resolve(self, kind: Kind, reference: str, base: Path | None = None) -> Resolved[Any]:
        """Return the newest manifest of ``kind`` that ``reference`` accepts.

        Args:
            kind: what is asked for.
            reference: name and version, or path of a file.
            base: where a relative path starts; None: the working folder.

        Raises:
            ManifestError: the reference is malformed, nothing or two different files fit it, or
                the file is not a valid manifest.
        """
        parsed = parse_reference(reference)
        if isinstance(parsed, FileReference):
            return _load(parsed.path if base is None else base / parsed.path, kind)
        return self.find(kind, parsed.name, self._newest(kind, parsed))

    def resolve_any(self, reference: str, kind: Kind | None = None) -> Resolved[Document]:
        """Resolve a reference whose kind is given by a prefix (``model:resnet50``) or its name.

        Raises:
            ManifestError: as ``resolve``, or several kinds have a manifest of that name.
        """
        prefix, rest = split_kind(reference)
        if prefix and kind and prefix != kind:
            raise ManifestError(
                f"The reference '{reference}' does not name a {kind}. Write {kind}:{rest}, or "
                f"{rest} alone."
            )
        chosen = prefix or kind
        parsed = parse_reference(rest)
        if chosen is not None:
            return self.resolve(chosen, rest)
        if isinstance(parsed, FileReference):
            return _load(parsed.path, None)
        kinds = self.kinds_of(parsed.name)
        if not kinds:
            names = (entry.name for entry in self.entries())
            raise ManifestError(
                f"Unknown manifest '{parsed.name}'. {did_you_mean(parsed.name, names)}"
            )
        if len(kinds) > 1:
            choices = " or ".join(f"{each}:{rest}" for each in kinds)
            raise ManifestError(f"'{rest}' names a {' and a '.join(kinds)}. Write {choices}.")
        return self.resolve(kinds[0], rest)

    def find(self, kind: Kind, name: str, version: str) -> Resolved[Document]:
        """Return the manifest with exactly this name and version.

        Raises:
            ManifestError: no folder has it, the file is not valid, or two folders differ about it.
        """
        versions = self._versions(kind, name)
        if version not in versions:
            raise ManifestError(
                f"There is no {kind} '{name}@{version}'. Versions: {', '.join(versions)}."
            )
        first, *others = (_load(path, kind) for path in versions[version])
        for other in others:
            if other.sha256 != first.sha256:
                raise ManifestError(
                    f"{first.path} and {other.path} are both {kind} {name}@{version} and differ. "
                    "A released version does not change: give one of them another version."
                )
        return first

    def _newest(self, kind: Kind, reference: NamedReference) -> str:
        versions = self._versions(kind, reference.name)
        allowed = [version for version in versions if reference.constraint.allows(version)]
        if allowed:
            return allowed[-1]
        if all(is_prerelease(version) for version in versions):
            why = "has only prereleases, and one must be asked for exactly"
        else:
            why = f"has no version that '{reference}' accepts"
        raise ManifestError(
            f"The {kind} '{reference.name}' {why}. Versions: {', '.join(versions)}."
        )

    def _versions(self, kind: Kind, name: str) -> dict[str, list[Path]]:
        """Return the files of each version, oldest version first."""
        found = self._index[kind].get(name)
        if found is None:
            others = self.kinds_of(name)
            hint = f"There is a {others[0]} of that name. " if others else ""
            known = did_you_mean(name, self._index[kind])
            raise ManifestError(f"Unknown {kind} '{name}'. {hint}{known}")
        return dict(sorted(found.items(), key=lambda item: ordered(item[0])))

    @cached_property
    def _index(self) -> dict[Kind, dict[str, dict[str, list[Path]]]]:
        index: dict[Kind, dict[str, dict[str, list[Path]]]] = {kind: {} for kind in KINDS}
        for kind, path in (found for folder in self.folders for found in _files(folder)):
            name, _, version = path.stem.partition("@")
            paths = index[kind].setdefault(name, {}).setdefault(version, [])
            if not any(path.samefile(other) for other in paths):
                paths.append(path)
        return index


def _files(folder: Path) -> Iterator[tuple[Kind, Path]]:
    """Yield the manifests of one folder, as far as their names tell."""
    if not folder.is_dir():
        raise ManifestError(
            f"There is no folder {folder} to look for manifests in. Correct the path, or create "
            f"{folder}/KIND/NAME@VERSION.yaml."
        )
    kinds = [kind for kind in KINDS if (folder / kind).is_dir()]
    if not kinds:
        raise ManifestError(
            f"{folder} has no manifests: they belong in {folder}/KIND/NAME@VERSION.yaml, where "
            f"KIND is {', '.join(KINDS[:-1])} or {KINDS[-1]}."
        )
    for kind in kinds:
        for path in sorted((folder / kind).iterdir()):
            if path.suffix not in {".yaml", ".yml"} or path.name.startswith("."):
                continue
            if not path.is_file():
                continue
            name, _, version = path.stem.partition("@")
            if path.suffix != ".yaml" or not NAME.match(name) or not SEMVER.match(version):
                raise ManifestError(
                    f"{path}: a manifest in this folder must be called NAME@VERSION.yaml, such as "
                    f"{kind}-name@1.0.0.yaml. Rename it, or move it elsewhere and name it by path."
                )
            yield kind, path


def _load(path: Path, kind: Kind | None) -> Resolved[Any]:
    from profleet.manifest.canonical import document_sha256
    from profleet.manifest.loading import kind_of, load_document

    document = load_document(path)
    found = kind_of(document)
    if kind is not None and found != kind:
        raise ManifestError(f"{path} is a {found} manifest; a {kind} is needed here.")
    return Resolved(document, path, document_sha256(document))
