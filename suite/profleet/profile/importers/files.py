"""Reading what somebody else packed: archives, folders and tables, without trusting them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from profleet.errors import StoreError

MAX_FILE = 64 * 2**20
MAX_TOTAL = 2 * 2**30
MAX_MEMBERS = 200_000
DAMAGED = (OSError, EOFError, ValueError, tarfile.TarError, zlib.error)


def read_files(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of every file of a tar archive or folder with one of ``suffixes``.

    Nothing is written anywhere. Names have forward slashes and are relative.

    Raises:
        StoreError: it is missing, truncated, too large, or has members that no data set needs:
            links, devices, names that lead outside, one name twice.
    """
    if path.is_dir():
        yield from _folder(path, suffixes)
    else:
        yield from _archive(path, suffixes)


def read_table(name: str, data: bytes, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file, gzipped or not, that has exactly these columns.

    Raises:
        StoreError: it is no such table; names the file and the line.
    """
    if data[:2] == b"\x1f\x8b":
        data = _gunzip(name, data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StoreError(f"{name} is not text in UTF-8 (byte {error.start}).") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[dict[str, str]] = []
    try:
        found = next(reader, [])
        if found != list(columns):
            missing = [column for column in columns if column not in found]
            what = f"the column '{missing[0]}' is missing" if missing else "columns are not these"
            shown = "".join(each if each.isprintable() else "?" for each in ",".join(found)[:200])
            raise StoreError(
                f"{name}: {what}. Expected: {','.join(columns)}. Found: {shown or 'nothing'}."
            )
        for row in reader:
            if len(row) != len(columns):
                raise StoreError(
                    f"{name}, line {reader.line_num}: {len(row)} values in place of {len(columns)}."
                )
            rows.append(dict(zip(columns, row, strict=True)))
    except csv.Error as error:
        raise StoreError(f"{name}, line {reader.line_num}: {error}.") from None
    return rows


def read_bytes(path: Path) -> bytes:
    """Return the content of a file. StoreError: it is missing, a folder or too large."""
    try:
        if path.is_dir():
            raise StoreError(f"{path} is a folder; name the file.")
        if path.stat().st_size > MAX_FILE:
            raise StoreError(f"{path} is larger than {MAX_FILE >> 20} MiB.")
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}.") from None


def sha256_of_file(path: Path) -> str | None:
    """Return the digest of a file; None for a folder."""
    if path.is_dir():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def number(text: str, name: str, line: int, column: str) -> float:
    """Return a positive finite number. StoreError: it is none; names file, line and column."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise StoreError(f"{name}, line {line}: {column} is '{text[:40]}', not a number above 0.")
    return value


def _folder(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    found = sorted(
        each for each in path.rglob("*") if each.name.endswith(suffixes) and each.is_file()
    )
    for each in found:
        yield each.relative_to(path).as_posix(), read_bytes(each)


def _archive(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    total, seen = 0, set[str]()
    try:
        with tarfile.open(path) as archive:
            for count, member in enumerate(archive):
                name = member.name
                _check(path, member)
                total += member.size
                if count >= MAX_MEMBERS or total > MAX_TOTAL:
                    raise StoreError(
                        f"{path} is larger than any data set that is read here, at '{name[:80]}'."
                    )
                if not member.isfile() or not name.endswith(suffixes):
                    continue
                if name in seen:
                    raise StoreError(f"{path}: the member '{name[:80]}' is there twice.")
                seen.add(name)
                file = archive.extractfile(member)
                assert file is not None
                content = file.read()
                if len(content) != member.size:
                    raise StoreError(f"{path} is truncated in '{name[:80]}'. Download it again.")
                yield name, content
            _check_end(path, archive)
    except FileNotFoundError:
        raise StoreError(f"There is no file or folder {path}.") from None
    except DAMAGED as error:
        why = str(error).partition("\n")[0].rstrip(":. ")  # tarfile lists all it tried
        raise StoreError(
            f"{path} is truncated or no tar archive: {why}. Download it again."
        ) from None


def _check(path: Path, member: tarfile.TarInfo) -> None:
    name = member.name[:80]
    parts = PurePosixPath(member.name).parts
    if member.name.startswith("/") or ".." in parts or "\\" in member.name:
        raise StoreError(f"{path}: the member '{name}' leads outside; nothing of it is used.")
    if not (member.isfile() or member.isdir()):
        raise StoreError(f"{path}: the member '{name}' is neither file nor folder.")
    if member.size > MAX_FILE:
        raise StoreError(f"{path}: the member '{name}' is larger than {MAX_FILE >> 20} MiB.")


def _check_end(path: Path, archive: tarfile.TarFile) -> None:
    """An archive ends with empty blocks; tarfile takes one that breaks off for complete.

    What follows is read too, as its compression ends with a checksum.
    """
    file = archive.fileobj
    assert file is not None
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise StoreError(f"{path} is truncated or damaged: its end is missing. Download it again.")
    for _ in range(MAX_TOTAL >> 20):
        if not file.read(2**20):
            break


def _gunzip(name: str, data: bytes) -> bytes:
    try:
        with gzip.open(io.BytesIO(data)) as file:
            content = file.read(MAX_FILE + 1)
    except DAMAGED as error:
        raise StoreError(f"{name} is truncated or damaged: {error}. Download it again.") from None
    if len(content) > MAX_FILE:
        raise StoreError(f"{name} is larger than {MAX_FILE >> 20} MiB unpacked.")
    return content
