"""Every sample of a measurement, in columns. History of ``profleet/samples``:

* v1: first version; columns as in ``runners/README.md``, ``phase`` as text in Parquet.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from profleet.errors import StoreError
from profleet.profile.schema import PHASES

SAMPLES_SCHEMA = "profleet/samples/v1"
MAX_SAMPLES = 20_000_000
MAX_HEADER_BYTES = 4096

COLUMNS: dict[str, np.dtype[Any]] = {
    "phase": np.dtype("int8"),
    "batch_size": np.dtype("<i4"),
    "process": np.dtype("<i2"),
    "gap_ms": np.dtype("<f4"),
    "start_ns": np.dtype("<i8"),
    "latency_ns": np.dtype("<i8"),
}

UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the zip and array readers raise on damaged, encrypted or exotic files."""

WARMUP, STEADY, IDLE, SCENARIO = range(len(PHASES))


@dataclass(frozen=True, eq=False)
class Samples:
    """Equal-length columns, one row a request.

    ``phase`` indexes ``PHASES``; ``gap_ms`` is the rest before the request; ``start_ns`` counts
    from when the process began to measure (open-loop scenarios: the *scheduled* arrival);
    ``latency_ns`` is never negative.

    Raises:
        StoreError: a column has another type or length, or holds an impossible value.
    """

    phase: NDArray[np.int8]
    batch_size: NDArray[np.int32]
    process: NDArray[np.int16]
    gap_ms: NDArray[np.float32]
    start_ns: NDArray[np.int64]
    latency_ns: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name, dtype in COLUMNS.items():
            column = getattr(self, name)
            if column.dtype != dtype or column.shape != self.phase.shape or column.ndim != 1:
                raise StoreError(
                    f"Column '{name}' of the samples is {column.dtype} of shape {column.shape}; "
                    f"it should be {dtype} of shape ({len(self.phase)},)."
                )
        if not len(self):
            return
        sound = {
            "phase": self.phase.min() >= 0 and self.phase.max() < len(PHASES),
            "batch_size": self.batch_size.min() > 0,
            "process": self.process.min() >= 0,
            "gap_ms": bool(np.isfinite(self.gap_ms).all()) and self.gap_ms.min() >= 0,
            "latency_ns": self.latency_ns.min() >= 0,
        }
        for name, fine in sound.items():
            if not fine:
                raise StoreError(
                    f"Column '{name}' of the samples holds a value that cannot have been measured."
                )

    def __len__(self) -> int:
        return len(self.phase)

    def where(self, selected: NDArray[np.bool_]) -> Samples:
        """Return the rows for which ``selected`` is true."""
        return Samples(**{name: getattr(self, name)[selected] for name in COLUMNS})

    def latency_ms(self) -> list[NDArray[np.float64]]:
        """Return the latencies in milliseconds, one array per process, in order of process."""
        return [
            self.latency_ns[self.process == process] / 1e6 for process in np.unique(self.process)
        ]

    # -- npz, as a runner writes it ------------------------------------------------------------

    @classmethod
    def from_npz(cls, path: Path) -> Samples:
        """Read a runner's ``samples.npz``, which may come from any program.

        Nothing is unpickled, and no more is read than the columns may hold.

        Raises:
            StoreError: the file is missing, damaged, too large or not what the protocol says.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                members = {info.filename: info for info in archive.infolist()}
                if set(members) != {f"{name}.npy" for name in COLUMNS}:
                    raise StoreError(
                        f"{path} holds {_listed(members)}, but a runner writes exactly the "
                        f"columns {', '.join(COLUMNS)}."
                    )
                return cls(**dict(_columns(path, archive, members)))
        except UNREADABLE as error:
            raise StoreError(f"The samples in {path} cannot be read: {error}.") from error

    # -- Parquet, as a result folder keeps it ----------------------------------------------------

    def to_parquet(self, path: Path) -> None:
        """Write all columns, ``phase`` as text, with the schema version in the metadata.

        Raises:
            OSError: the file cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {name: pa.array(getattr(self, name)) for name in COLUMNS}
        columns["phase"] = pa.DictionaryArray.from_arrays(self.phase, list(PHASES))
        table = pa.table(columns).replace_schema_metadata({"profleet.schema": SAMPLES_SCHEMA})
        pq.write_table(table, path, compression="zstd")

    @classmethod
    def from_parquet(cls, path: Path) -> Samples:
        """Read what ``to_parquet`` wrote.

        Raises:
            StoreError: the file is missing, damaged, too large or of another version.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:
                written = (file.schema_arrow.metadata or {}).get(b"profleet.schema", b"").decode()
                if written != SAMPLES_SCHEMA:
                    raise StoreError(
                        f"{path} holds '{written[:80]}' and this profleet reads {SAMPLES_SCHEMA}: "
                        "if a newer profleet wrote it, upgrade."
                    )
                if file.metadata.num_rows > MAX_SAMPLES:
                    raise StoreError(f"{path} holds more than {MAX_SAMPLES} samples.")
                table = file.read(columns=list(COLUMNS))
            phases = table["phase"].cast(pa.string()).combine_chunks()
            codes = pa.compute.index_in(phases, value_set=pa.array(PHASES)).fill_null(-1)
            columns = {name: table[name].to_numpy() for name in COLUMNS if name != "phase"}
            return cls(phase=codes.to_numpy().astype(np.int8), **columns)
        except FileNotFoundError:
            raise StoreError(f"{path} is missing. Restore the file or measure again.") from None
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            said = str(error).rstrip(".")
            raise StoreError(f"The samples in {path} cannot be read: {said}.") from error


def _listed(names: dict[str, zipfile.ZipInfo]) -> str:
    return ", ".join(sorted(names)[:10])[:200] or "nothing"


def _columns(
    path: Path, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]
) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, dtype in COLUMNS.items():
        info = members[f"{name}.npy"]
        if info.file_size > MAX_SAMPLES * dtype.itemsize + MAX_HEADER_BYTES:
            raise StoreError(f"Column '{name}' in {path} holds more than {MAX_SAMPLES} samples.")
        with archive.open(info) as stream:
            yield name, _column(stream, info.file_size)


def _column(stream: IO[bytes], size: int) -> NDArray[Any]:
    """Read one array of at most ``size`` bytes, trusting nothing that its header claims."""
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"array format {version} is not 1.0")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=MAX_HEADER_BYTES)
    if len(shape) != 1 or dtype.hasobject or not 0 <= shape[0] * dtype.itemsize <= size:
        raise ValueError(f"an array of {dtype} and shape {shape} is not a column of samples")
    data = stream.read(size)
    if len(data) != shape[0] * dtype.itemsize:
        raise ValueError(f"a column should have {shape[0]} samples, and is cut short or longer")
    return np.frombuffer(data, dtype=dtype)
