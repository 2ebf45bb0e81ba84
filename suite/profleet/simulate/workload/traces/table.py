"""Traces in CSV files: fast where all is well, exact about the line where it is not."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from profleet.simulate.records import Ints, Small
from profleet.simulate.workload.traces.lines import Block, blocks
from profleet.simulate.workload.traces.rows import Rows, TraceError, bad_line

if TYPE_CHECKING:
    import pyarrow as pa

Unit = Literal["iso", "s", "ms", "us", "ns"]
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
_LATEST = 2**62
_MOST_TOKENS = 10**9


@dataclass(frozen=True)
class Columns:
    """Which columns of a CSV file mean what; others are not looked at.

    ``unit`` is that of ``time`` and ``duration`` (``iso``: date and time). With ``duration`` the
    time is the end of the request, and the arrival is that much earlier.
    """

    time: str
    unit: Unit
    duration: str | None = None
    model: str | None = None
    input_tokens: str | None = None
    output_tokens: str | None = None
    delimiter: str = ","

    @property
    def used(self) -> list[str]:
        """The names that must be in the header, each once."""
        names = (self.time, self.duration, self.model, self.input_tokens, self.output_tokens)
        return list(dict.fromkeys(name for name in names if name is not None))


def read_table(path: Path, columns: Columns, ordered: bool = True) -> Iterator[Rows]:
    """Yield the requests of a CSV file whose first line names its columns.

    Raises:
        TraceError: a column is missing, a line has more or fewer cells than the header, a cell is
            empty or not what its column holds, or time runs backwards in an ``ordered`` file.
    """
    table = _Table(path, columns)
    last: int | None = None
    for block in blocks(path):
        body = table.take_header(block) if not table.header else block
        if body is None:
            continue
        rows = table.rows(body)
        if ordered:
            check_order(path, body.first, rows.time_ns, last)
            last = int(rows.time_ns[-1])
        yield rows
    if not table.lines:
        raise TraceError(f"Trace {path} holds no requests: there is nothing below its header.")


def check_order(path: Path, first_line: int, time_ns: Ints, last: int | None) -> None:
    """Raise if time runs backwards within a block, or from ``last``, the end of the one before."""
    before = time_ns[0] if last is None else last
    backwards = np.flatnonzero(np.diff(time_ns, prepend=before) < 0)
    if len(backwards):
        problem = "earlier than the line before it; sort the trace by time"
        raise bad_line(path, first_line + int(backwards[0]), problem)


class _Table:
    def __init__(self, path: Path, columns: Columns) -> None:
        self.path, self.columns = path, columns
        self.header: list[str] = []
        self.lines = 0
        self._names: list[str] = []
        self._codes: dict[str, int] = {}
        self._zoned = False

    def take_header(self, block: Block) -> Block | None:
        """Read the header off the first block; return the rest, if there is any."""
        text, _, rest = block.text.partition(b"\n")
        self.header = self._cells(block.first, text)
        missing = [name for name in self.columns.used if name not in self.header]
        if missing:
            found = ", ".join(repr(name) for name in self.header[:20])
            raise bad_line(self.path, 1, f"no column {missing[0]!r}, only {found[:300]}")
        twice = [name for name in self.columns.used if self.header.count(name) > 1]
        if twice:
            raise bad_line(self.path, 1, f"two columns are named {twice[0]!r}")
        return Block(block.first + 1, rest) if rest else None

    def rows(self, block: Block) -> Rows:
        """Return the requests of a block."""
        import pyarrow as pa

        names = self.columns
        try:
            table = self._parsed(block)
            if not self.lines and names.unit == "iso":
                self._zoned = _has_zone(table[names.time][0].as_py())
            self.lines += block.lines
            if table.num_rows != block.lines:
                raise pa.ArrowInvalid
            time = self._times(table[names.time])
            self._check_range(block, names.time, time, _LATEST)
            if names.duration is not None:
                duration = self._times(table[names.duration])
                self._check_range(block, names.duration, duration, _LATEST)
                time = time - duration
            rows = Rows(
                time_ns=time,
                label=self._labels(table[names.model]) if names.model else None,
                names=self._names,
                input_tokens=_counts(table, names.input_tokens),
                output_tokens=_counts(table, names.output_tokens),
            )
        except pa.ArrowInvalid:
            raise self._explained(block) from None
        self._check_range(block, names.input_tokens, rows.input_tokens, _MOST_TOKENS)
        self._check_range(block, names.output_tokens, rows.output_tokens, _MOST_TOKENS)
        return rows

    def _parsed(self, block: Block) -> pa.Table:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        used = self.columns.used
        return arrow_csv.read_csv(
            io.BytesIO(block.text + b"\n"),
            read_options=arrow_csv.ReadOptions(
                column_names=self.header, use_threads=False, block_size=len(block.text) + 2
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self.columns.delimiter, ignore_empty_lines=False
            ),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=used,
                column_types=dict.fromkeys(used, pa.string()),
                strings_can_be_null=False,
            ),
        )

    def _times(self, column: pa.ChunkedArray) -> Ints:
        import pyarrow as pa
        from pyarrow import compute

        if self.columns.unit == "iso":
            kind = pa.timestamp("ns", "UTC") if self._zoned else pa.timestamp("ns")
            ticks = compute.cast(compute.cast(column, kind), pa.int64())
            return np.asarray(ticks.to_numpy(), dtype=np.int64)
        # Decimals, so that a nanosecond survives in seconds since 1970.
        scale = _NANOSECONDS[self.columns.unit]
        exact = compute.cast(column, pa.decimal128(37, 18))
        floor = compute.floor(exact)
        whole = np.asarray(compute.cast(floor, pa.int64()).to_numpy(), dtype=np.int64)
        if np.abs(whole).max() > _LATEST // scale:
            raise pa.ArrowInvalid
        rest = compute.cast(compute.subtract(exact, floor), pa.float64()).to_numpy()
        times: Ints = whole * scale + np.rint(rest * scale).astype(np.int64)
        return times

    def _labels(self, column: pa.ChunkedArray) -> Small:
        from pyarrow import ArrowInvalid

        coded = column.combine_chunks().dictionary_encode()
        names = coded.dictionary.to_pylist()
        if "" in names:
            raise ArrowInvalid
        for name in names:
            if name not in self._codes:
                self._codes[name] = len(self._names)
                self._names.append(name)
        here = np.array([self._codes[name] for name in names], dtype=np.int32)
        codes: Small = here[np.asarray(coded.indices.to_numpy())]
        return codes

    def _check_range(self, block: Block, name: str | None, values: Ints | None, most: int) -> None:
        """Raise at the first value below 0 or above ``most``; dates may be before 1970."""
        if values is None or name is None:
            return
        least = -most if name == self.columns.time and self.columns.unit == "iso" else 0
        wrong = np.flatnonzero((values < least) | (values > most))
        if len(wrong):
            problem = f"{name} is negative or far too large"
            raise bad_line(self.path, block.first + int(wrong[0]), problem)

    def _explained(self, block: Block) -> TraceError:
        """Return the error that says where and why a block is not as it should be."""
        import pyarrow as pa

        where = {name: self.header.index(name) for name in self.columns.used}
        kinds = {self.columns.time: "a time", self.columns.duration: "a duration"}
        for line, text in enumerate(block.text.split(b"\n"), block.first):
            cells = self._cells(line, text)
            if len(cells) != len(self.header):
                problem = f"{len(cells)} cells where the header names {len(self.header)} columns"
                return bad_line(self.path, line, problem)
            for name, index in where.items():
                cell = cells[index]
                if not cell.strip():
                    return bad_line(self.path, line, f"{name} is empty")
                try:
                    if name in kinds:
                        self._times(pa.chunked_array([[cell]]))
                    elif name != self.columns.model:
                        pa.array([cell]).cast(pa.int64())
                except pa.ArrowInvalid:
                    kind = kinds.get(name, "a whole number")
                    return bad_line(self.path, line, f"{name} is {cell[:80]!r}, not {kind}")
        return TraceError(
            f"Trace {self.path}, lines {block.first} to {block.first + block.lines - 1}: they "
            "cannot be read as one table."
        )

    def _cells(self, line: int, text: bytes) -> list[str]:
        try:
            decoded = text.decode().rstrip("\r")
            found = list(csv.reader([decoded], delimiter=self.columns.delimiter, strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise bad_line(self.path, line, f"not CSV text ({error})") from None
        return found[0] if found else []


def _has_zone(moment: str) -> bool:
    return moment.endswith("Z") or "+" in moment[10:] or "-" in moment[10:]


def _counts(table: pa.Table, name: str | None) -> Ints | None:
    import pyarrow as pa
    from pyarrow import compute

    if name is None:
        return None
    return np.asarray(compute.cast(table[name], pa.int64()).to_numpy(), dtype=np.int64)
