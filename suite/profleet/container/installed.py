"""The files that wheels put into an environment, and those that an image really has.

An image is read as an archive of a container that is never started: nothing of it is executed, so
it cannot answer for itself. Bytecode is left out of it; it is made anew by every build.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final, cast

from profleet.container import layout
from profleet.container.engine import Engine
from profleet.container.images import ImageRecord, looking
from profleet.container.recipe import tree_sha256
from profleet.errors import EngineError, StoreError

if TYPE_CHECKING:
    from io import BytesIO

_VENV: Final = PurePosixPath(layout.PYTHON).parent.parent
SITE: Final = PurePosixPath(layout.SITE_PACKAGES).relative_to(_VENV).as_posix()
BIN: Final = "bin"
BY_PIP: Final = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"}
"""What pip writes anew into each ``dist-info``."""
BY_VENV: Final = {
    "pyvenv.cfg", ".gitignore", "bin/activate", "bin/activate.csh", "bin/activate.fish",
    "bin/Activate.ps1",
}  # fmt: skip
INTERPRETERS: Final = {"bin/python", "bin/python3", "bin/python3.11", "lib64"}


@dataclass(frozen=True)
class Expected:
    """What wheels install, below the environment's root.

    ``files`` maps paths to sha256; ``scripts`` are paths whose content pip writes.
    """

    files: Mapping[str, str]
    scripts: frozenset[str]


@dataclass
class Found:
    """What is in an image: path -> sha256 of the environment's files, links, runner sources."""

    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    runner: dict[str, bytes] = field(default_factory=dict)

    @property
    def runner_sha256(self) -> str:
        """Digest of the runner's sources, as :attr:`Recipe.runner_sha256`."""
        return tree_sha256(self.runner)


def expected(wheels: Iterable[Path]) -> Expected:
    """Read from verified wheels what they install."""
    files: dict[str, str] = {}
    scripts: set[str] = set()
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for path, digest in _record(archive):
                place = _place(path)
                if place.startswith(f"{BIN}/"):
                    scripts.add(place)
                elif digest:
                    files[place] = digest
            scripts |= _entry_points(archive)
    return Expected(files, frozenset(scripts))


def differences(wanted: Expected, found: Found) -> list[str]:
    """Say what an environment has too much, too little or otherwise; [] if it is as installed."""
    said = []
    for path, digest in sorted(wanted.files.items()):
        if path not in found.files:
            said.append(f"{path} is missing")
        elif found.files[path] != digest:
            said.append(f"{path} has other content")
    known = wanted.files.keys() | wanted.scripts | BY_VENV
    extra = [path for path in found.files if path not in known and not _of_pip(path)]
    said += [f"{path} is not of a locked wheel" for path in sorted(extra)]
    links = sorted(path for path in found.links if path not in INTERPRETERS)
    return said + [f"{path} is a link to {found.links[path]}" for path in links]


def read(engine: Engine, record: ImageRecord) -> Found:
    """Read the environment and the runner of an image, without executing any of it.

    Raises:
        EngineError: the engine does not answer, or the image has no such folder.
        StoreError: there is no room to copy it to.
    """
    from docker.errors import NotFound

    try:
        with (
            looking(engine, record) as session,
            session.archive(layout.ROOT) as stream,
            tempfile.TemporaryFile(prefix="profleet-image-") as file,
        ):
            file.writelines(stream)
            file.seek(0)
            return _sort(file)
    except EngineError as error:
        if not isinstance(error.__cause__, NotFound):
            raise
        raise EngineError(
            f"The image {record.ref} has no {layout.ROOT}, so it is not one of Profleet's runners.",
            "image",
        ) from None
    except OSError as error:
        raise StoreError(
            f"The image {record.ref} cannot be copied to {tempfile.tempdir or '/tmp'} to be read: "  # noqa: S108 -- named, not used
            f"{error.strerror or error}. Make room there, or name another folder with TMPDIR."
        ) from None


def _sort(file: IO[bytes]) -> Found:
    found = Found()
    root = PurePosixPath(layout.ROOT).name
    environment = f"{root}/{_VENV.name}/"
    runners = f"{root}/{PurePosixPath(layout.RUNNERS).name}/"
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            if member.isdir() or "__pycache__" in PurePosixPath(member.name).parts:
                continue
            content = archive.extractfile(member) if member.isreg() else None
            if member.name.startswith(runners):
                path = member.name.removeprefix(runners)
                found.runner[path] = content.read() if content else b"not a regular file"
                continue
            path = member.name.removeprefix(environment)
            if content is None:
                found.links[path] = member.linkname or "a device"
            else:
                found.files[path] = hashlib.file_digest(
                    cast("BytesIO", content), "sha256"
                ).hexdigest()
    return found


def _record(archive: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    """Yield path and sha256 of each file that a wheel says it installs."""
    name = _about(archive, "RECORD")
    assert name is not None  # pip refuses a wheel without one
    for path, digest, _ in csv.reader(io.TextIOWrapper(archive.open(name), encoding="utf-8")):
        algorithm, _, value = digest.partition("=")
        if algorithm == "sha256":
            yield path, base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
        else:
            yield path, ""


def _place(path: str) -> str:
    """Where below the environment a file of a wheel ends up."""
    top, _, rest = path.partition("/")
    if not top.endswith(".data"):
        return f"{SITE}/{path}"
    scheme, _, rest = rest.partition("/")
    folders = {"purelib": f"{SITE}/", "platlib": f"{SITE}/", "scripts": f"{BIN}/", "data": ""}
    return f"{folders.get(scheme, f'include/{scheme}/')}{rest}"


def _entry_points(archive: zipfile.ZipFile) -> set[str]:
    name = _about(archive, "entry_points.txt")
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment]  # names keep their case
    if name is not None:
        parser.read_string(archive.read(name).decode())
    sections = [each for each in ("console_scripts", "gui_scripts") if parser.has_section(each)]
    return {f"{BIN}/{script}" for section in sections for script in parser.options(section)}


def _about(archive: zipfile.ZipFile, file: str) -> str | None:
    """Return the name of a file in the wheel's own ``dist-info``, not in that of a vendored one."""
    ending = f".dist-info/{file}"
    names = (each for each in archive.namelist() if each.endswith(ending) and each.count("/") == 1)
    return next(names, None)


def _of_pip(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return len(parts) > 1 and parts[-2].endswith(".dist-info") and parts[-1] in BY_PIP
