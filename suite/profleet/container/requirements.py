"""Hash-locked requirements, and the wheels they name, fetched on this machine by digest.

``$PROFLEET_CACHE/wheels/<sha256>/<file name>`` keeps every wheel under its digest, so what two
images share is fetched once, and what is there needs no network.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from profleet.container.engine import Architecture
from profleet.errors import EngineError
from profleet.model.artifact import default_cache

Note = Callable[[str], None]

PYTHON: Final = "3.11"
GLIBC_MINOR: Final = 36
"""Of Debian 12, which both the default base and the bootstrapped one are."""
_MACHINE: Final[dict[Architecture, str]] = {"amd64": "x86_64", "arm64": "aarch64"}
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.+!_-]+)((?:\s+--hash=sha256:\S+)+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})(?:\s|$)")


@dataclass(frozen=True)
class Requirement:
    """One package by exact version; each digest is that of a wheel which may serve it."""

    name: str
    version: str
    sha256: frozenset[str]

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


def parse(text: str, where: str) -> tuple[Requirement, ...]:
    """Read hash-locked requirements: exact versions and sha256 digests, nothing else.

    Args:
        text: as ``pip install --require-hashes`` reads it.
        where: named in errors.

    Raises:
        EngineError: a line is no exact version with digests (a range, a URL, an option), or a
            package appears twice.
    """
    found: dict[str, Requirement] = {}
    for line in re.sub(r"\\\n", " ", text).splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        digests = frozenset(_HASH.findall(stripped))
        if match is None or len(digests) != stripped.count("--hash="):
            raise EngineError(
                f"{where}: '{stripped[:80]}' is not NAME==VERSION with --hash=sha256 digests. "
                "Lock again with containers/lock.",
                "build",
            )
        name = canonicalize_name(match[1])
        if name in found:
            raise EngineError(f"{where}: {name} appears twice. Keep one of them.", "build")
        found[name] = Requirement(name, match[2], digests)
    if not found:
        raise EngineError(f"{where} names no package. Lock again with containers/lock.", "build")
    return tuple(found[name] for name in sorted(found))


def fetch(
    requirements: Iterable[Requirement],
    architecture: Architecture,
    note: Note,
    cache: Path | None = None,
) -> tuple[Path, ...]:
    """Return one verified wheel a requirement, from the cache or through pip.

    Which index pip asks is pip's own configuration.

    Args:
        requirements: what to get.
        architecture: of the image, which need not be this machine's.
        note: told what is being downloaded.
        cache: the cache folder; None: ``default_cache()``.

    Raises:
        EngineError: a wheel cannot be had, or is not the locked one.
    """
    folder = (cache or default_cache()) / "wheels"
    wanted = tuple(requirements)
    missing = [each for each in wanted if _cached(folder, each) is None]
    if missing:
        note(f"downloading {', '.join(map(str, missing))}")
        _download(missing, architecture, folder)
    found = []
    for each in wanted:
        wheel = _cached(folder, each)
        if wheel is None:
            raise EngineError(f"pip fetched no wheel of {each} with a locked digest.", "build")
        found.append(wheel)
    return tuple(found)


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cached(folder: Path, requirement: Requirement) -> Path | None:
    for digest in sorted(requirement.sha256):
        for wheel in sorted((folder / digest).glob("*.whl")):
            if sha256_of_file(wheel) == digest:
                return wheel
            wheel.unlink()  # damaged: fetched again
    return None


def _download(missing: list[Requirement], architecture: Architecture, folder: Path) -> None:
    machine = _MACHINE[architecture]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC_MINOR, 4, -1)]
    platforms += [f"manylinux{year}_{machine}" for year in (2014, 2010, 1)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder) as name:
            temporary = Path(name)
            lines = [f"{each} {' '.join(_options(each))}" for each in missing]
            listed = temporary / "requirements.txt"
            listed.write_text("\n".join(lines) + "\n", encoding="utf-8")
            command = [
                sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input",
                "--disable-pip-version-check", "--no-deps", "--require-hashes",
                "--only-binary", ":all:", "--implementation", "cp", "--python-version", PYTHON,
                *(word for each in platforms for word in ("--platform", each)),
                "--dest", str(temporary), "--requirement", str(listed),
            ]  # fmt: skip
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if ended.returncode:
                raise _failure(ended.stderr, missing)
            for wheel in temporary.glob("*.whl"):
                home = folder / sha256_of_file(wheel)
                home.mkdir(exist_ok=True)
                wheel.replace(home / wheel.name)
    except OSError as error:
        raise EngineError(
            f"The wheel cache {folder} cannot be written: {error.strerror}. "
            "Free some space, or name another folder with PROFLEET_CACHE.",
            "build",
        ) from None


def _options(requirement: Requirement) -> list[str]:
    return [f"--hash=sha256:{digest}" for digest in sorted(requirement.sha256)]


def _failure(said: str, missing: list[Requirement]) -> EngineError:
    if "No module named pip" in said:
        return EngineError(
            f"Wheels are fetched through pip, which {sys.executable} does not have. Install it: "
            f"{sys.executable} -m ensurepip.",
            "build",
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    reason = (errors or lines or ["pip ended without a word"])[-1].rstrip(".")
    local = sorted(str(each) for each in missing if "+" in each.version and str(each) in said)
    cure = (
        f"{local[0]} is a build that its publisher's own index has, not the default one: name it "
        "to pip, for example by PIP_EXTRA_INDEX_URL."
        if local
        else "Check the network and which index pip asks (pip config list)."
    )
    return EngineError(f"The locked wheels cannot be fetched: {reason}. {cure}", "build")
