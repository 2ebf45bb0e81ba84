"""Measurements of other people: single points, without samples. Schema and history.

A folder with ``points.json`` (what it is, where from, what was left out), ``points.parquet`` (one
row a point) and, where the source has more, further tables beside it. It is not a profile: nobody
here saw the samples, the environment or the lock.

History of ``profleet/points``:

* v1: first version.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from profleet.errors import StoreError
from profleet.profile.schema import Record
from profleet.profile.store import load_document, write_json, writing

if TYPE_CHECKING:
    import pyarrow as pa

POINTS_SCHEMA = "profleet/points/v1"
POINTS, ABOUT = "points.parquet", "points.json"
MAX_POINTS = 1_000_000

Quantity = Literal["latency", "throughput"]
Bound = Literal["exact", "lower"]

COLUMNS: Mapping[str, str] = {
    "device": "as the source names it",
    "hardware": "name of the hardware manifest that means the same device; null: none does",
    "model": "as the source names it, after its own renamings",
    "dtype": "precision that was computed in; null: the source does not say",
    "batch_size": "items an invocation; null: the source chose, and does not say",
    "scenario": "how it was measured: offline, single_stream, sequential, critical_path, stages",
    "quantity": "latency or throughput, of one device",
    "unit": "s for latency; samples/s or tokens/s for throughput",
    "value": "median of what counted",
    "low": "smallest that counted",
    "high": "largest that counted",
    "count": "results that counted",
    "evidence": "measured",
    "bound": "exact, or lower: the true value of a whole request is not below it",
    "round": "release of the benchmark, which stands for its software; null: none",
    "software": "what executed, most frequent first; null: the source does not say",
    "source": "where in the source",
}
"""Columns of ``points.parquet``, in this order, with their meaning."""


@dataclass(frozen=True, kw_only=True)
class PointRow:
    """One point; `COLUMNS` describes every part."""

    device: str
    hardware: str | None
    model: str
    dtype: str | None
    batch_size: int | None
    scenario: str
    quantity: Quantity
    unit: str
    value: float
    low: float
    high: float
    count: int
    evidence: Literal["measured"] = "measured"
    bound: Bound = "exact"
    round: str | None = None
    software: str | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if not (0 < self.low <= self.value <= self.high and math.isfinite(self.high)):
            raise ValueError(
                f"a {self.quantity} of {self.value} in [{self.low}, {self.high}] is impossible"
            )
        if self.count < 1 or (self.batch_size is not None and self.batch_size < 1):
            raise ValueError(f"{self.count} results at batch size {self.batch_size} are impossible")


class LeftOut(Record):
    """Rows or points of the source that are not among the points, and why."""

    why: str
    count: int
    examples: list[str] = Field(description="at most three")


class SourceFile(Record):
    """Where the points come from."""

    name: str = Field(description="name of the file or folder that was read")
    sha256: str | None = Field(description="of the file; null: a folder")
    title: str
    license: str
    references: list[str]


class About(Record):
    """``points.json``."""

    schema_: Annotated[str, Field(alias="schema")] = POINTS_SCHEMA
    importer: str
    source: SourceFile
    points: int
    devices: list[str]
    models: list[str]
    columns: dict[str, str] = Field(default_factory=lambda: dict(COLUMNS))
    tables: dict[str, str] = Field(
        default_factory=dict, description="further files -> what a row of them is"
    )
    notes: list[str] = Field(description="what to know before using the points")
    left_out: list[LeftOut]


@dataclass(frozen=True)
class Points:
    """What an importer made, or what a folder holds (then without further tables)."""

    about: About
    rows: tuple[PointRow, ...]
    tables: Mapping[str, pa.Table]

    def of(self, **wanted: object) -> list[PointRow]:
        """Return the rows whose columns have these values, e.g. ``hardware="nvidia-t4"``."""
        return [
            row
            for row in self.rows
            if all(getattr(row, name) == value for name, value in wanted.items())
        ]


def make_points(
    importer: str,
    source: SourceFile,
    rows: Iterable[PointRow],
    *,
    notes: Sequence[str],
    left_out: Sequence[LeftOut] = (),
    tables: Mapping[str, tuple[str, pa.Table]] | None = None,
) -> Points:
    """Return points in a fixed order. ``tables``: file name -> (what a row is, table).

    Raises:
        StoreError: there is not one point.
    """
    ordered = tuple(
        sorted(rows, key=lambda row: tuple(str(value) for value in asdict(row).values()))
    )
    if not ordered:
        raise StoreError(f"{source.name} holds nothing that {importer} could take a point from.")
    extra = tables or {}
    about = About(
        importer=importer,
        source=source,
        points=len(ordered),
        devices=sorted({row.device for row in ordered}),
        models=sorted({row.model for row in ordered}),
        tables={name: what for name, (what, _) in extra.items()},
        notes=list(notes),
        left_out=list(left_out),
    )
    return Points(about, ordered, {name: table for name, (_, table) in extra.items()})


def write_points(folder: Path, points: Points) -> None:
    """Write the tables and, last, ``points.json``. Equal points give equal files.

    Raises:
        StoreError: a file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([asdict(row) for row in points.rows], schema=_schema())
    for name, content in {POINTS: table, **points.tables}.items():
        with writing(folder / name) as temporary:
            pq.write_table(content, temporary, compression="zstd")
    write_json(folder / ABOUT, points.about.model_dump(mode="json", by_alias=True))


def load_points(folder: Path) -> Points:
    """Read ``points.json`` and ``points.parquet``.

    Raises:
        StoreError: one of them is missing, damaged or of a newer version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = load_document(folder / ABOUT, POINTS_SCHEMA, About)
    path = folder / POINTS
    try:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows > MAX_POINTS:
                raise StoreError(f"{path} holds more than {MAX_POINTS} points.")
            table = file.read()
        if table.schema.names != list(COLUMNS):
            raise ValueError(f"its columns are {', '.join(table.schema.names)[:200]}")
        rows = tuple(PointRow(**row) for row in table.to_pylist())
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        raise StoreError(
            f"{path} is missing or damaged: {error}. Import the source again."
        ) from error
    if len(rows) != about.points:
        raise StoreError(
            f"{path} has {len(rows)} points where points.json says {about.points}. Import the "
            "source again."
        )
    return Points(about, rows, {})


def _schema() -> Any:
    import pyarrow as pa

    kinds = {"value": pa.float64(), "low": pa.float64(), "high": pa.float64()}
    whole = {"count": pa.int64(), "batch_size": pa.int64()}
    return pa.schema(
        [(name, {**kinds, **whole}.get(name, pa.string())) for name in COLUMNS],
        metadata={"profleet.schema": POINTS_SCHEMA},
    )


assert tuple(COLUMNS) == tuple(field.name for field in fields(PointRow))
