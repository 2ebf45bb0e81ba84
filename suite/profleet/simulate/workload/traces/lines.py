"""Blocks of whole lines from plain and gzip files: bounded memory, exact line numbers."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from profleet.simulate.workload.traces.rows import TraceError, bad_line

BLOCK_BYTES = 1 << 22
LINE_BYTES = 1 << 20
"""The longest line that is read."""

_MARK = "\ufeff".encode()
_ENDS = b"\r\n"


@dataclass(frozen=True)
class Block:
    """Whole lines, without the end of the last one; the first is line ``first`` (from 1)."""

    first: int
    text: bytes

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return self.text.count(b"\n") + 1


def blocks(path: Path) -> Iterator[Block]:
    """Yield the lines of a file; empty lines at its end are left out.

    Raises:
        TraceError: the file is missing, empty, cut off or damaged, or a line is too long.
    """
    first, held = 1, b""
    with _opened(path) as stream:
        while True:
            data = _more(stream, path, first)
            if not data:
                break
            text = held + data
            if first == 1 and not held:
                text = text.removeprefix(_MARK)
            cut = text.rfind(b"\n")
            whole = text[:cut].rstrip(_ENDS) if cut >= 0 else b""
            if whole:
                # Line ends after the last text stay behind: they may be the end of the file.
                block = Block(first, whole)
                _check_lengths(path, block)
                yield block
                first += block.lines
                held = text[text.index(b"\n", len(whole)) + 1 :]
            else:
                held = text
            unended = len(held) - (held.rfind(b"\n") + 1)
            if unended > LINE_BYTES:
                raise _too_long(path, first + held.count(b"\n"))
            if not whole and len(held) > LINE_BYTES:
                raise bad_line(path, first, "the first of more than a million empty lines")
    if held.strip(_ENDS):
        block = Block(first, held.rstrip(_ENDS))
        _check_lengths(path, block)
        yield block
    elif first == 1:
        raise TraceError(f"Trace {path} is empty.")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            if file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file) as unpacked:
                    yield unpacked  # type: ignore[misc]  # GzipFile is an IO[bytes] in all but name
            else:
                yield file
    except OSError as error:
        raise TraceError(f"Trace {path} cannot be read: {error.strerror or error}.") from None


def _more(stream: IO[bytes], path: Path, line: int) -> bytes:
    try:
        return stream.read(BLOCK_BYTES)
    except EOFError:
        problem = "is cut off: the compressed file ends in the middle of its data"
    except (gzip.BadGzipFile, zlib.error):
        problem = "is damaged: it does not decompress"
    raise TraceError(f"Trace {path} {problem} (after line {line - 1}). Download it again.")


def _check_lengths(path: Path, block: Block) -> None:
    ends = np.flatnonzero(np.frombuffer(block.text, dtype=np.uint8) == ord("\n"))
    lengths = np.diff(ends, prepend=-1, append=len(block.text))
    longest = int(np.argmax(lengths))
    if lengths[longest] > LINE_BYTES:
        raise _too_long(path, block.first + longest)


def _too_long(path: Path, line: int) -> TraceError:
    return bad_line(
        path, line, f"longer than {LINE_BYTES >> 20} MiB, so this is not a list of requests"
    )
