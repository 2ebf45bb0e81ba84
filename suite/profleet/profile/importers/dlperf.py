"""Benanza's open data: the best latency of every layer of 30 ONNX models on 8 GPUs.

Layout (rai-project/dlperf): ``assets/layer_stats/MODEL.json``, a list of layers, and
``assets/{serial_latency,latency}/batchsize_B/GPU/MODEL.csv``, a row a benchmark: layers one after
another, and those on the critical path.

The sum over layers of the fastest algorithm of each is a *lower bound* of the latency of a whole
request: no framework, no launches, no copies (cuDNN 7.6, 2019). What is known about the files:

- A convolution with bias has a second row (``ADD_TENSOR``) of the same layer; both count.
- The ``Total`` row is not the sum of the rows where rows are missing, and the totals of the
  critical path leave its last layer out. They are not used; the path is computed here.
- A layer without a row makes a total that bounds nothing. It raises; it is never zero.
- Layers of `FREE` types cost nothing in Benanza's own analysis.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from profleet.errors import StoreError, did_you_mean
from profleet.profile.importers.files import number, read_files, read_table, sha256_of_file
from profleet.profile.points import LeftOut, PointRow, Points, SourceFile, make_points

COLUMNS = ("LayerName", "LayerType", "BenchmarkName", "RealTime(ms)", "Theoretical Flops")
FREE = frozenset({
    "Concat", "Flatten", "GlobalPooling", "Identity", "LRN", "Reshape", "Scale", "Transpose",
    "Unsqueeze",
})  # fmt: skip
"""Types of layers that Benanza counts as free, beside constant inputs."""

_GRAPH = re.compile(r"(?:^|/)assets/layer_stats/([^/]+)\.json$")
_TABLE = re.compile(r"(?:^|/)assets/serial_latency/batchsize_([1-9][0-9]*)/([^/]+)/([^/]+)\.csv$")
_PATH = re.compile(r"(?:^|/)assets/latency/batchsize_([1-9][0-9]*)/([^/]+)/([^/]+)\.csv$")

NOTES = (
    "Lower bounds: sums of the fastest algorithm of every layer (cuDNN 7.6, 2019).",
    "They are without framework, launches and copies; no request was ever served so fast.",
    "sequential: all layers one after another. critical_path: branches side by side.",
)
CITATION = "Li, Dakkak, Xiong, Hwu: Benanza, IPDPS 2020"


@dataclass(frozen=True)
class Layer:
    """A layer of a graph; shapes are for one item."""

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: str

    @property
    def free(self) -> bool:
        """Whether Benanza counts it as costing nothing."""
        return self.type in FREE


@dataclass(frozen=True)
class Timing:
    """The rows of one table: (layer, benchmark, seconds), and the totals it states, seconds."""

    rows: tuple[tuple[str, str, float], ...]
    stated: float
    where: str


@dataclass(frozen=True)
class Bounds:
    """Lower bounds of the latency of one invocation, seconds."""

    sequential: float
    critical_path: float


@dataclass
class Benanza:
    """The whole data set; `read_dlperf` makes it.

    ``timings`` is by (GPU, model, batch size); ``stated_paths`` has the totals of the critical
    path as the data set states them.
    """

    graphs: dict[str, tuple[Layer, ...]] = field(default_factory=dict)
    timings: dict[tuple[str, str, int], Timing] = field(default_factory=dict)
    stated_paths: dict[tuple[str, str, int], float] = field(default_factory=dict)

    @property
    def layers(self) -> int:
        """Layers of all models, constant inputs not counted."""
        return sum(map(len, self.graphs.values()))

    def unique(self, model: str | None = None) -> int:
        """Return how many layers differ in type or shapes, of one model or of all."""
        models = self.graphs if model is None else {model: self.graph(model)}
        return len({(layer.type, layer.shapes) for graph in models.values() for layer in graph})

    def graph(self, model: str) -> tuple[Layer, ...]:
        """Return the layers of a model. StoreError: there is no such model."""
        try:
            return self.graphs[model]
        except KeyError:
            raise StoreError(
                f"Unknown model '{model}'. {did_you_mean(model, self.graphs)}"
            ) from None

    def seconds(self, device: str, model: str, batch: int) -> list[float]:
        """Return the time of every layer of the graph, free ones 0.

        Raises:
            StoreError: that was not measured, or a layer has no row.
        """
        graph, timing = self.graph(model), self._timing(device, model, batch)
        rows = _by_layer(timing)
        seconds, missing = [], []
        for layer in graph:
            found = rows.get(layer.name)
            if not found and not layer.free:
                missing.append(layer.name)
            seconds.append(found.popleft() if found else 0.0)
        if missing:
            raise StoreError(
                f"{timing.where}: {len(missing)} of {len(graph)} layers have no row, such as "
                f"'{missing[0]}', so their sum bounds nothing. Use another batch size or model."
            )
        return seconds

    def bounds(self, device: str, model: str, batch: int) -> Bounds:
        """Return the lower bounds of one invocation.

        Raises:
            StoreError: that was not measured, or a layer has no row.
        """
        seconds = self.seconds(device, model, batch)
        ends: dict[str, float] = {}
        for layer, own in zip(self.graph(model), seconds, strict=True):
            end = own + max((ends.get(name, 0.0) for name in layer.inputs), default=0.0)
            for name in layer.outputs:
                ends[name] = max(end, ends.get(name, 0.0))
        return Bounds(sum(seconds), max(ends.values()))

    def _timing(self, device: str, model: str, batch: int) -> Timing:
        found = self.timings.get((device, model, batch))
        if found is not None:
            return found
        devices = {known for known, _, _ in self.timings}
        if device not in devices:
            raise StoreError(f"Unknown device '{device}'. {did_you_mean(device, devices)}")
        sizes = sorted(
            size for known, name, size in self.timings if (known, name) == (device, model)
        )
        listed = ", ".join(map(str, sizes)) or "no batch size"
        raise StoreError(f"{model} was measured on {device} at {listed}, not at {batch}.")

    @cached_property
    def incomplete(self) -> dict[tuple[str, str, int], str]:
        """What has no bounds, and why."""
        found = {}
        for key in sorted(self.timings):
            try:
                self.seconds(*key)
            except StoreError as error:
                found[key] = str(error)
        return found


def read_dlperf(path: Path) -> Benanza:
    """Read the data set from an archive or a folder that has ``assets/`` in it.

    Raises:
        StoreError: it is truncated, has hostile members, wrong columns or impossible numbers.
    """
    data = Benanza()
    for name, content in read_files(path, (".json", ".csv")):
        if graph := _GRAPH.search(name):
            data.graphs[graph[1]] = _read_graph(f"{path}: {name}", content)
        elif table := _TABLE.search(name):
            data.timings[_key(table)] = _read_timing(f"{path}: {name}", content)
        elif table := _PATH.search(name):
            data.stated_paths[_key(table)] = _read_timing(f"{path}: {name}", content).stated
    if not data.graphs or not data.timings:
        what = "assets/layer_stats/*.json" if not data.graphs else "assets/serial_latency/**.csv"
        raise StoreError(f"{path} has no {what}: it is not Benanza's data set.")
    for (_, model, _), timing in data.timings.items():
        known = {layer.name for layer in data.graph(model)}
        unknown = next((row[0] for row in timing.rows if row[0] not in known), None)
        if unknown is not None:
            raise StoreError(f"{timing.where}: layer '{unknown}' is not in the graph of {model}.")
    return data


def import_dlperf(path: Path, hardware: Mapping[str, str], *, strict: bool = False) -> Points:
    """Return the lower bounds of every model, GPU and batch size whose layers all have a row.

    Args:
        path: archive or folder.
        hardware: alias -> hardware manifest (`devices.hardware_by_alias`).
        strict: raise for the first that is incomplete instead of leaving it out.

    Raises:
        StoreError: the data set cannot be read, or, if ``strict``, is incomplete.
    """
    data = read_dlperf(path)
    if strict and data.incomplete:
        raise StoreError(next(iter(data.incomplete.values())))
    source = SourceFile(
        name=path.name,
        sha256=sha256_of_file(path),
        title="Benanza, rai-project/dlperf",
        license="University of Illinois/NCSA style, LICENSE.TXT in the data set",
        references=[CITATION],
    )
    left = LeftOut(
        why="layers have no row, so the sum bounds nothing",
        count=len(data.incomplete),
        examples=[" ".join(map(str, key)) for key in list(data.incomplete)[:3]],
    )
    return make_points(
        "dlperf",
        source,
        _rows(data, hardware),
        notes=NOTES,
        left_out=[left] if data.incomplete else [],
        tables={"layers.parquet": ("a layer of a model at a batch size on a GPU", _layers(data))},
    )


def _rows(data: Benanza, hardware: Mapping[str, str]) -> Iterator[PointRow]:
    for key in data.timings.keys() - data.incomplete.keys():
        device, model, batch = key
        bounds = data.bounds(*key)
        for scenario, value in (
            ("sequential", bounds.sequential),
            ("critical_path", bounds.critical_path),
        ):
            yield PointRow(
                device=device, hardware=hardware.get(device), model=model, dtype="float32",
                batch_size=batch, scenario=scenario, quantity="latency", unit="s", value=value,
                low=value, high=value, count=1, bound="lower", software="cuDNN 7.6",
                source=f"batchsize_{batch}/{device}/{model}.csv",
            )  # fmt: skip


def _layers(data: Benanza) -> Any:
    """Return the table of all layers that have a row, of incomplete models too."""
    import pyarrow as pa

    names = ("device", "model", "batch_size", "layer", "index", "type", "latency_s")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for device, model, batch in sorted(data.timings):
        rows = _by_layer(data.timings[device, model, batch])
        for index, layer in enumerate(data.graph(model)):
            found = rows.get(layer.name)
            seconds = found.popleft() if found else (0.0 if layer.free else None)
            row = (device, model, batch, layer.name, index, layer.type, seconds)
            for name, value in zip(names, row, strict=True):
                columns[name].append(value)
    return pa.table(columns)


def _by_layer(timing: Timing) -> dict[str, deque[float]]:
    """Return the seconds of each layer; a name that several layers share has several."""
    found: dict[str, deque[float]] = {}
    for layer, benchmark, seconds in timing.rows:
        queue = found.setdefault(layer, deque())
        if benchmark.startswith("ADD_TENSOR") and queue:
            queue[-1] += seconds
        else:
            queue.append(seconds)
    return found


def _read_graph(where: str, content: bytes) -> tuple[Layer, ...]:
    try:
        listed = json.loads(content)
        layers = tuple(
            Layer(
                layer["name"],
                layer["type"],
                tuple(layer.get("inputs", ())),
                tuple(layer.get("outputs", ())),
                json.dumps(layer["input_dimensions"], sort_keys=True),
            )
            for layer in listed
            if layer["type"] != "ConstantInput"
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{where} is not a list of layers: {error!r:.100}.") from None
    if not layers:
        raise StoreError(f"{where} has no layers.")
    return layers


def _read_timing(where: str, content: bytes) -> Timing:
    rows, stated = [], None
    for line, row in enumerate(read_table(where, content, COLUMNS), start=2):
        seconds = number(row["RealTime(ms)"], where, line, "RealTime(ms)") / 1e3
        if row["BenchmarkName"] == "Total":
            stated = seconds
        else:
            rows.append((row["LayerName"], row["BenchmarkName"], seconds))
    if stated is None or not rows:
        raise StoreError(f"{where} has no layers or no Total row: it is cut short.")
    return Timing(tuple(rows), stated, where)


def _key(match: re.Match[str]) -> tuple[str, str, int]:
    return match[2], match[3], int(match[1])
