"""Files into a container and out of it, as tar streams; what comes out is never trusted.

Both directions stream: an archive of any length takes a bounded amount of memory, and one that is
longer than its limits is cut off, not read to its end.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, cast

CHUNK = 2**20
HEADERS = 2**12
"""Bytes that an archive may spend on one member beside its content, on average."""
MAX_PARTS = 8
MAX_NAME = 255
MAX_REFUSALS = 20


@dataclass(frozen=True)
class Limits:
    """What may come out of a container: bytes in all, bytes in one file, files and folders."""

    total_bytes: int
    file_bytes: int
    members: int


@dataclass(frozen=True)
class Entry:
    """A file to pack: ``source`` is a file (links are followed) or its content."""

    name: str
    source: Path | bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Link:
    """A symbolic link to pack, to a place inside the container."""

    name: str
    target: str


@dataclass
class Unpacked:
    """What an archive held: paths that were written, and sentences about what was not."""

    taken: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def refuse(self, name: str, why: str) -> None:
        """Note one refusal; of very many, only that there are more."""
        if len(self.refused) < MAX_REFUSALS:
            self.refused.append(f"{_printable(name)}: {why}")
        elif len(self.refused) == MAX_REFUSALS:
            self.refused.append("and more")


# -- in ------------------------------------------------------------------------------------------


def pack(entries: Iterable[Entry | Link]) -> Iterator[bytes]:
    """Yield a tar archive of files, and of the folders they are in, owned by root.

    Raises:
        OSError: a file cannot be read, or changed its size meanwhile.
    """
    folders: set[PurePosixPath] = set()
    for entry in entries:
        for parent in reversed(PurePosixPath(entry.name).parents[:-1]):
            if parent not in folders:
                folders.add(parent)
                yield _header(str(parent), tarfile.DIRTYPE, 0o755)
        if isinstance(entry, Link):
            yield _header(entry.name, tarfile.SYMTYPE, 0o777, target=entry.target)
        elif isinstance(entry.source, bytes):
            size = len(entry.source)
            yield _header(entry.name, tarfile.REGTYPE, entry.mode, size)
            yield entry.source + _padding(size)
        else:
            with entry.source.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                yield _header(entry.name, tarfile.REGTYPE, entry.mode, size)
                yield from _content(file, size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _content(file: IO[bytes], size: int) -> Iterator[bytes]:
    left = size
    while left:
        chunk = file.read(min(CHUNK, left))
        if not chunk:
            raise OSError(None, "became shorter while it was read", file.name)
        left -= len(chunk)
        yield chunk
    yield _padding(size)


def _header(name: str, kind: bytes, mode: int, size: int = 0, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.linkname = kind, mode, size, target
    return info.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


# -- out -----------------------------------------------------------------------------------------


class CutOff(Exception):  # noqa: N818 -- an event, not an error of the caller
    """An archive went beyond what may be read of it."""


def unpack(
    stream: Iterable[bytes], target: Path, limits: Limits, known: frozenset[str] = frozenset()
) -> Unpacked:
    """Write the regular files of a tar stream below ``target``; refuse everything else.

    Files that are there already are never replaced, and no link is ever followed: only folders
    that this call made itself, or real folders of ``target``, are written into.

    Args:
        stream: the archive in pieces.
        target: a folder.
        limits: what is beyond them is cut off and reported.
        known: names (first part) that are skipped without a word: what was packed before.

    Raises:
        OSError: ``target`` cannot be written.
    """
    result = Unpacked()
    source = _Forward(stream, limits.total_bytes + limits.members * HEADERS)
    try:
        with tarfile.TarFile(fileobj=cast("IO[bytes]", source), mode="r") as archive:
            _take_all(archive, target, limits, known, result)
    except CutOff as error:
        result.refuse("the rest", str(error))
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        result.refuse("the rest", f"not a readable archive ({_printable(str(error))})")
    return result


def first_file(stream: Iterable[bytes], at_most: int) -> bytes | None:
    """Return the content of the regular file that a tar stream begins with, if it is small."""
    try:
        with tarfile.TarFile(
            fileobj=cast("IO[bytes]", _Forward(stream, at_most + HEADERS)), mode="r"
        ) as archive:
            member = archive.next()
            if member is None or not member.isreg() or not 0 <= member.size <= at_most:
                return None
            content = archive.extractfile(member)
            return None if content is None else content.read(member.size)
    except (CutOff, tarfile.TarError, ValueError, OverflowError, RecursionError):
        return None


def _take_all(
    archive: tarfile.TarFile,
    target: Path,
    limits: Limits,
    known: frozenset[str],
    result: Unpacked,
) -> None:
    left = limits.total_bytes
    for number, member in enumerate(archive):
        if number >= limits.members:
            raise CutOff(f"more than {limits.members} files and folders")
        if member.size < 0:
            raise CutOff("a file of negative size")
        parts = _parts(member.name)
        if parts is None:
            result.refuse(member.name, "not a plain relative path")
        elif not parts or parts[0] in known or member.isdir():
            continue
        elif not member.isreg() or member.issparse():
            result.refuse(member.name, f"{_kind(member)}, not a regular file")
        elif member.size > limits.file_bytes:
            result.refuse(member.name, f"{member.size} bytes, over {limits.file_bytes}")
            if member.size > left:
                raise CutOff("not read after a file beyond the limit")
        elif member.size > left:
            result.refuse(member.name, f"over {limits.total_bytes} bytes in all")
            raise CutOff(f"over {limits.total_bytes} bytes in all")
        else:
            left -= member.size
            _take(archive, member, target, parts, result)


def _take(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    target: Path,
    parts: tuple[str, ...],
    result: Unpacked,
) -> None:
    folder = target
    for part in parts[:-1]:
        folder /= part
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            return result.refuse(member.name, f"{part} is no folder here")
        folder.mkdir(exist_ok=True)
    path = folder / parts[-1]
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except FileExistsError:
        return result.refuse(member.name, "a file of this name is there already")
    try:
        with os.fdopen(handle, "wb") as file:
            _copy(archive, member, file)
    except BaseException:
        path.unlink()
        raise
    result.taken.append("/".join(parts))
    return None


def _copy(archive: tarfile.TarFile, member: tarfile.TarInfo, file: IO[bytes]) -> None:
    content = archive.extractfile(member)
    assert content is not None
    left = member.size
    while left:
        chunk = content.read(min(CHUNK, left))
        if not chunk:
            raise CutOff("it ends within a file")
        left -= len(chunk)
        file.write(chunk)


def _parts(name: str) -> tuple[str, ...] | None:
    """The parts of a harmless relative path, () for the folder itself, None for anything else."""
    if name.startswith("/") or "\0" in name or "\\" in name or ".." in name.split("/"):
        return None
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    if len(parts) > MAX_PARTS or any(len(os.fsencode(part)) > MAX_NAME for part in parts):
        return None
    return parts if all(part.isprintable() for part in parts) else None


def _kind(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return f"a link to {_printable(member.linkname)}"
    if member.ischr() or member.isblk():
        return "a device"
    return "a pipe" if member.isfifo() else "something special"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:120]


class _Forward:
    """Chunks as the file that ``tarfile`` reads: forward only, bounded in each read and in all."""

    def __init__(self, chunks: Iterable[bytes], at_most: int) -> None:
        self._chunks = iter(chunks)
        self._buffer = memoryview(b"")
        self._position = 0
        self._at_most = at_most

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = 0) -> int:
        if whence or position < self._position:
            raise tarfile.ReadError("it would have to be read backwards")
        while position > self._position:
            if not self._next(min(CHUNK, position - self._position)):
                break
        return self._position

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= CHUNK:
            raise CutOff("a header of absurd size")
        pieces = []
        while size:
            piece = self._next(size)
            if not piece:
                break
            pieces.append(bytes(piece))
            size -= len(piece)
        return b"".join(pieces)

    def _next(self, size: int) -> memoryview:
        """At most ``size`` bytes, nothing at the end."""
        while not self._buffer:
            chunk = next(self._chunks, None)
            if chunk is None:
                return self._buffer
            self._buffer = memoryview(chunk)
        piece, self._buffer = self._buffer[:size], self._buffer[size:]
        self._position += len(piece)
        if self._position > self._at_most:
            raise CutOff(f"over {self._at_most} bytes with its headers")
        return piece
