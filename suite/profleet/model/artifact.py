"""The content-addressed cache of artifacts: one ONNX file a digest, whatever its source.

``$PROFLEET_CACHE`` (else ``$XDG_CACHE_HOME/profleet``, else ``~/.cache/profleet``) holds
``artifacts/SHA256.onnx``. A file is there completely or not at all, and is checked at every use.
Beside it, ``SHA256.SOURCE.made`` says that a source of that digest becomes it by those transforms:
the cache never answers for a manifest that declares another source.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from profleet.errors import ArtifactError
from profleet.manifest.canonical import sha256_of
from profleet.manifest.documents import BuilderSource, FileSource, Model, PackageSource
from profleet.model.sources import Note, file_bytes, package_bytes, sha256

try:
    import fcntl
except ImportError:  # Windows: two processes may build the same file, which is slow but safe
    fcntl = None  # type: ignore[assignment]  # the module or nothing

log = logging.getLogger(__name__)


def default_cache() -> Path:
    """Return the cache folder that the environment asks for."""
    if own := os.environ.get("PROFLEET_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "profleet"
    return Path.home() / ".cache" / "profleet"


def obtain(
    model: Model,
    manifest_dir: Path | None,
    cache: Path | None = None,
    progress: Note | None = None,
) -> Path:
    """Return the path of the artifact of ``model``, made now unless the cache has it.

    Args:
        model: its ``artifact.sha256`` decides what the file must be.
        manifest_dir: where a relative ``source.path`` starts; None: the working folder.
        cache: the cache folder; None: ``default_cache()``.
        progress: gets a line about each slow step.

    Raises:
        ArtifactError: the source cannot be had or has another digest than the manifest says, or
            the result has, or the cache cannot be written.
    """
    note = progress or _silent
    folder = (cache or default_cache()) / "artifacts"
    path = folder / f"{model.artifact.sha256}.onnx"
    mark = _mark(model, folder)
    if _is_proven(model, mark) and _is_intact(path, model):
        return path
    with _storage(folder), _alone(folder, model.artifact.sha256):
        intact = _is_intact(path, model)
        if intact and _is_proven(model, mark):  # another process may have just finished it
            return path
        if path.exists() and not intact:
            log.warning(
                "The cached artifact of %s is damaged and is built again: %s", model.name, path
            )
        data = build(model.source, manifest_dir, note)
        _verify(data, model)
        if not intact:
            store(data, path)
        if not _is_proven(model, mark):
            mark.touch()
    return path


def build(
    source: PackageSource | FileSource | BuilderSource, manifest_dir: Path | None, note: Note
) -> bytes:
    """Return the bytes of the artifact that ``source`` describes, uncached and unverified.

    Raises:
        ArtifactError: the source cannot be had, or a transform does not fit it.
    """
    if isinstance(source, BuilderSource):
        from profleet.model.builders import build_model
        from profleet.model.graph import serialize

        note(f"building {source.builder} with seed {source.seed}")
        return serialize(build_model(source.builder, source.arguments, source.seed))
    if isinstance(source, FileSource):
        data = file_bytes(source, manifest_dir or Path())
    else:
        data = package_bytes(source, note)
    if not source.transforms:
        return data
    from profleet.model.transforms import transform

    note("applying " + ", ".join(one.kind for one in source.transforms))
    return transform(data, source.transforms)


def store(data: bytes, path: Path) -> None:
    """Write ``data`` to ``path``, completely or not at all.

    Raises:
        OSError: nothing was left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _is_proven(model: Model, mark: Path) -> bool:
    """Tell whether the source, as its manifest declares it, is known to make the artifact.

    Nothing but the artifact's own digest is declared of what a builder makes.
    """
    source = model.source
    if isinstance(source, BuilderSource):
        return True
    if not source.transforms:
        return source.sha256 == model.artifact.sha256
    return mark.exists()


def _mark(model: Model, folder: Path) -> Path:
    """What stands beside an artifact when its source has been transformed into it once."""
    source = model.source.model_dump(mode="json", include={"sha256", "transforms"})
    return folder / f"{model.artifact.sha256}.{sha256_of(source)[:32]}.made"


def _silent(_: str) -> None:
    return None


def _is_intact(path: Path, model: Model) -> bool:
    try:
        if path.stat().st_size != model.artifact.bytes:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == model.artifact.sha256
    except OSError:
        return False


def _verify(data: bytes, model: Model) -> None:
    found, expected = sha256(data), model.artifact
    if (found, len(data)) != (expected.sha256, expected.bytes):
        raise ArtifactError(
            f"The artifact of {model.name}@{model.version} came out with sha256 {found} "
            f"({len(data)} bytes); its manifest says {expected.sha256} ({expected.bytes} bytes). "
            "The manifest and the installed profleet do not belong together: update the older one."
        )


@contextlib.contextmanager
def _storage(folder: Path) -> Iterator[None]:
    """Create ``folder`` and turn what the file system refuses into one sentence."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            cure = "Free space there, or name another folder: PROFLEET_CACHE=DIR."
        else:
            cure = "Name a folder that you may write to: PROFLEET_CACHE=DIR."
        raise ArtifactError(
            f"The artifact cache {folder} cannot be written: {error.strerror}. {cure}"
        ) from None


@contextlib.contextmanager
def _alone(folder: Path, digest: str) -> Iterator[None]:
    """Let one process at a time build ``digest``: a large graph needs gigabytes of memory."""
    if fcntl is None:
        yield
        return
    lock = folder / f".{digest}.lock"
    with lock.open("w") as file:
        with contextlib.suppress(OSError):  # a file system without locks: slow but safe
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
        lock.unlink(missing_ok=True)  # a waiting process holds the old file and finds the artifact
