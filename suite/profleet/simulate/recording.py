"""Every request and a timeline of one replication, written while it is simulated."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from profleet.profile.store import writing
from profleet.simulate.engine.layout import TABLE_COLUMNS
from profleet.simulate.fleet.arrays import Fleet
from profleet.simulate.records import DROPS, Ints, Outcome
from profleet.simulate.run import Record
from profleet.simulate.simulation import Scene, Simulation, simulate_scene

REQUESTS, TIMELINE = "requests.parquet", "timeline.json"
MAX_BATCHES = 1_000_000
"""A timeline of more batches is cut there: no viewer opens it."""


class Recording(AbstractContextManager["Recording"]):
    """Writes ``requests.parquet`` and ``timeline.json`` into a folder.

    ``requests.parquet`` has a row for every request, in the order in which they left: times in
    nanoseconds, names of model and group, and why it was dropped, if it was. ``timeline.json`` is
    in Chrome's trace format, which Perfetto opens: one track a replica, one slice a batch.

    Both are put in place when the block ends and the replication is ``whole``.

    Raises:
        StoreError: a file cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        fleet: Fleet,
        *,
        per_request: bool,
        timeline_ns: tuple[int, int] | None,
    ) -> None:
        self.folder, self.fleet, self.timeline_ns = folder, fleet, timeline_ns
        self.groups = tuple(group.name for group in fleet.groups)
        self.per_request = per_request
        self.batches: list[Ints] = []
        self.cut = self.whole = False
        self._open = ExitStack()
        self._writer: Any = None

    def __enter__(self) -> Recording:
        if self.per_request:
            import pyarrow.parquet as pq

            path = self._open.enter_context(writing(self.folder / REQUESTS))
            self._writer = self._open.enter_context(
                pq.ParquetWriter(path, self._schema(), compression="zstd")
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and not self.whole:
            kind, error = KeyboardInterrupt, KeyboardInterrupt()  # what there is goes
        self._open.__exit__(kind, error, trace)
        if self.whole and self.timeline_ns is not None:
            with writing(self.folder / TIMELINE) as path:
                path.write_text(json.dumps(self._chrome(), separators=(",", ":")), "utf-8")

    @property
    def record(self) -> Record:
        """What the engine is to hand over."""
        on_requests = self._requests if self.per_request else None
        if self.timeline_ns is None:
            return Record(on_requests=on_requests)
        return Record(
            on_requests=on_requests, on_batches=self._batches, timeline_ns=self.timeline_ns
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the files."""
        much = f"{TIMELINE} holds the first {MAX_BATCHES:,} batches only: shorten trace_window_ms."
        return (much,) if self.cut else ()

    def _schema(self) -> Any:
        import pyarrow as pa

        names = pa.dictionary(pa.int32(), pa.string())
        kinds = {"model": names, "group": names, "dropped": names}
        return pa.schema([(name, kinds.get(name, pa.int64())) for name in TABLE_COLUMNS])

    def _requests(self, rows: Ints) -> None:
        import pyarrow as pa

        words = {"model": self.fleet.models, "group": self.groups, "dropped": DROPS}
        columns = []
        for name, column in zip(TABLE_COLUMNS, rows.T, strict=True):
            if name in words:
                index = pa.array(column.astype(np.int32), mask=column < 0)
                columns.append(pa.DictionaryArray.from_arrays(index, list(words[name])))
            else:
                columns.append(pa.array(np.ascontiguousarray(column)))
        self._writer.write_table(pa.table(columns, schema=self._schema()))

    def _batches(self, rows: Ints) -> None:
        kept = sum(map(len, self.batches))
        self.cut |= kept + len(rows) > MAX_BATCHES
        self.batches.append(rows[: MAX_BATCHES - kept])

    def _chrome(self) -> dict[str, Any]:
        """The batches as complete events; times in microseconds, as the format wants."""
        counts = [group.count for group in self.fleet.groups]
        group_of = np.repeat(np.arange(len(counts)), counts)
        rows = np.concatenate(self.batches) if self.batches else np.zeros((0, 7), dtype=np.int64)
        events: list[dict[str, Any]] = [
            {"ph": "M", "name": "process_name", "pid": number, "args": {"name": name}}
            for number, name in enumerate(self.groups)
        ]
        for replica in np.unique(rows[:, 0]).tolist():
            place = {"pid": int(group_of[replica]), "tid": replica}
            args = {"name": f"replica {replica}"}
            events.append({"ph": "M", "name": "thread_name", **place, "args": args})
        for replica, model, size, formed, start, end, aborted in rows.tolist():
            place = {"pid": int(group_of[replica]), "tid": replica}
            name = self.fleet.models[model]
            if start > formed:
                events.append(_slice(f"load {name}", formed, start, place, {}))
            said = {"size": size, **({"aborted": True} if aborted else {})}
            events.append(_slice(f"{name} x{size}", start, end, place, said))
        return {"displayTimeUnit": "ms", "traceEvents": events}


def _slice(
    name: str, start: int, end: int, place: dict[str, int], args: dict[str, Any]
) -> dict[str, Any]:
    times = {"ts": start / 1e3, "dur": (end - start) / 1e3}
    return {"ph": "X", "name": name, **place, **times, "args": args}


def simulate_into(
    scene: Scene, folder: Path, on_replication: Callable[[int, Outcome], None] | None = None
) -> Simulation:
    """Simulate a scene; what its settings ask to keep of every request goes into ``folder``.

    Raises:
        ProfleetError: as ``simulate_scene``, or a file cannot be written.
    """
    settings = scene.settings
    if not (settings.per_request or settings.trace):
        return simulate_scene(scene, on_replication=on_replication)
    start, end = settings.trace_window_ms
    window = (round(start * 1e6), round(end * 1e6)) if settings.trace else None
    with Recording(
        folder, scene.fleet, per_request=settings.per_request, timeline_ns=window
    ) as recording:
        simulation = simulate_scene(scene, recording=recording, on_replication=on_replication)
    simulation.notes += recording.notes
    return simulation
