"""Rooflines calibrated with MLPerf results, and how well they predict what they have not seen.

    profleet import mlperf TABLE --output DIR
    python -m profleet.hardware.benchmarked DIR        # the study below, as JSON

Offline gives a device its efficiency, SingleStream its overhead an invocation (fixed costs dominate
at batch size 1, on every GPU about 0.3 to 0.8 ms). What is then predicted without having been seen:

- *rounds*: a device's results of one round, from its other rounds;
- *single_stream*: its latency from its Offline results and the overhead of other devices;
- *server*: throughput under the scenario's latency bound, from Offline and SingleStream. Half of
  the bound is left for waiting and batching.

The interval of a prediction comes from the errors on *other* devices, so that counting how often
it covers the truth is a fair test of it.

Only ResNet-50 is used, in 8-bit integers: of MLPerf's models it is the one that ships with
Profleet and computes the same here. Offline does not state its batch size; `BATCH` is large
enough for the time an item to be flat.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import log
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from profleet.errors import HardwareError, ProfleetError
from profleet.hardware.calibration import Point, calibration_of, fit, seconds_of
from profleet.hardware.catalog import device_of
from profleet.hardware.devices.base import Calibration
from profleet.hardware.devices.roofline import Roofline
from profleet.hardware.layers import Network

if TYPE_CHECKING:
    from profleet.manifest.hardware_documents import Hardware
    from profleet.profile.points import PointRow, Points

MODEL, DTYPE, BATCH = "resnet50", "int8", 512
SERVER_BOUND_S = 0.015
"""MLPerf's latency bound of the Server scenario of ResNet-50, for the 99th percentile."""

Networks = Callable[[int], Network]
"""Batch size -> the network in the precision that was measured."""


@dataclass(frozen=True)
class Held:
    """A prediction of something that the fit had not seen. Seconds an item."""

    hardware: str
    round: str
    scenario: str
    predicted: float
    measured: float

    @property
    def residual(self) -> float:
        """log(measured / predicted)."""
        return log(self.measured / self.predicted)


@dataclass(frozen=True)
class Study:
    """Predictions of one kind and how good they are."""

    held: tuple[Held, ...]
    level: float = 0.9

    def error(self) -> Calibration:
        """Return median and p90 of the error over all predictions."""
        return calibration_of([each.residual for each in self.held], self.level)

    def covered(self) -> tuple[float, float]:
        """Return how often the interval covers the truth, and how often it says it does.

        The interval of a device is taken from the residuals on all other devices.
        """
        inside, stated = [], []
        for name in {each.hardware for each in self.held}:
            others = [each.residual for each in self.held if each.hardware != name]
            if not others:
                continue
            claim = calibration_of(others, self.level)
            for each in self.held:
                if each.hardware == name:
                    ratio = each.measured / each.predicted
                    inside.append(claim.low <= ratio <= claim.high)
                    stated.append(claim.coverage)
        if not inside:
            raise HardwareError("Coverage needs predictions for at least two devices.")
        return sum(inside) / len(inside), sum(stated) / len(stated)

    def plain(self) -> dict[str, Any]:
        """Return the figures as JSON-ready data."""
        error = self.error()
        covered, stated = self.covered()
        return {
            "predictions": len(self.held),
            "devices": len({each.hardware for each in self.held}),
            "error_median": error.median,
            "error_p90": error.p90,
            "covered": covered,
            "stated": stated,
        }


def rows_by_device(points: Points, hardware: Mapping[str, Hardware]) -> dict[str, list[PointRow]]:
    """Return the rows of `MODEL` of every roofline that has a peak for `DTYPE`."""
    found: defaultdict[str, list[PointRow]] = defaultdict(list)
    for row in points.of(model=MODEL, unit="samples/s") + points.of(model=MODEL, unit="s"):
        document = hardware.get(row.hardware or "")
        if document is not None and document.kind == "roofline" and DTYPE in document.peaks:
            found[document.name].append(row)
    return dict(found)


def calibrated(hardware: Hardware, rows: Iterable[PointRow], networks: Networks) -> Roofline:
    """Return the device with efficiency and overhead fitted to Offline and SingleStream rows.

    Where the roofs contradict the measurement, the data that the model sends to memory stay in
    the caches of the device; then its effective bandwidth is fitted in place of the efficiency.

    Raises:
        HardwareError: there is no Offline row, or the device is no roofline.
    """
    device = device_of(hardware, DTYPE)
    if not isinstance(device, Roofline):
        raise HardwareError(f"'{hardware.name}' is {device.kind}; calibrate a roofline.")
    points = [_point(row, networks) for row in rows if row.scenario in _FITTED]
    offline = [point for point in points if _batch(point) > 1]
    if not offline:
        raise HardwareError(f"'{hardware.name}' has no Offline result to be calibrated with.")
    bare = replace(
        device, compute_efficiency=1.0, memory_efficiency=1.0, op_s=0.0, invoke_s=0.0
    )  # nothing of an earlier calibration
    roof = seconds_of(bare, offline[0].work)
    cached = roof > min(point.seconds for point in offline)
    free = ["bandwidth" if cached else "compute_efficiency"]
    if len(offline) < len(points):
        free.append("invoke_s")
    return fit(bare, points, free, source=f"MLPerf Inference, {MODEL}, {DTYPE}").device


def held_rounds(
    hardware: Mapping[str, Hardware], rows: Mapping[str, Sequence[PointRow]], networks: Networks
) -> Study:
    """Predict every round of a device from its other rounds."""
    held = []
    for name, found in rows.items():
        for left in sorted({row.round or "" for row in found}):
            rest = [row for row in found if row.round != left]
            known = {row.scenario for row in rest}
            wanted = [row for row in found if row.round == left and row.scenario in known]
            if "offline" not in known or not wanted:
                continue
            device = calibrated(hardware[name], rest, networks)
            held += [_held(device, row, networks) for row in wanted if row.scenario in _FITTED]
    return Study(tuple(held))


def held_single_stream(
    hardware: Mapping[str, Hardware], rows: Mapping[str, Sequence[PointRow]], networks: Networks
) -> Study:
    """Predict the latency of a device from its throughput and the overheads of other devices."""
    overheads = _overheads(hardware, rows, networks)
    held = []
    for name in overheads:
        offline = [row for row in rows[name] if row.scenario == "offline"]
        overhead = median(each for other, each in overheads.items() if other != name)
        device = replace(calibrated(hardware[name], offline, networks), invoke_s=overhead)
        held += [
            _held(device, row, networks) for row in rows[name] if row.scenario == "single_stream"
        ]
    return Study(tuple(held))


def held_server(
    hardware: Mapping[str, Hardware],
    rows: Mapping[str, Sequence[PointRow]],
    server: Mapping[str, float],
    networks: Networks,
) -> Study:
    """Predict Server throughput (``server``: device -> samples/s) from the other scenarios.

    A device without a SingleStream result has the overhead of the others.
    """
    overheads = _overheads(hardware, rows, networks)
    held = []
    for name, rate in server.items():
        device = calibrated(hardware[name], rows[name], networks)
        if name not in overheads:
            device = replace(device, invoke_s=median(overheads.values()))
        best = max(
            size / seconds_of(device, networks(size))
            for size in _SIZES
            if size == 1 or seconds_of(device, networks(size)) <= SERVER_BOUND_S / 2
        )
        held.append(Held(name, "", "server", 1 / best, 1 / rate))
    return Study(tuple(held))


def _overheads(
    hardware: Mapping[str, Hardware], rows: Mapping[str, Sequence[PointRow]], networks: Networks
) -> dict[str, float]:
    """Return the overhead of an invocation of every device with both scenarios, s."""
    return {
        name: calibrated(hardware[name], found, networks).invoke_s
        for name, found in rows.items()
        if {row.scenario for row in found} >= _FITTED
    }


_FITTED = frozenset({"offline", "single_stream"})
_SIZES = tuple(2**power for power in range(10))


def _point(row: PointRow, networks: Networks) -> Point:
    """Return what was measured as an invocation: of `BATCH` items, or of one."""
    if row.scenario == "offline":
        return Point(networks(BATCH), BATCH / row.value, row.round)
    return Point(networks(1), row.value, row.round)


def _batch(point: Point) -> int:
    assert isinstance(point.work, Network)
    return point.work.batch


def _held(device: Roofline, row: PointRow, networks: Networks) -> Held:
    point = _point(row, networks)
    size = _batch(point)
    predicted = seconds_of(device, point.work)
    return Held(
        row.hardware or "", row.round or "", row.scenario, predicted / size, point.seconds / size
    )


def shipped_networks() -> Networks:
    """Return the networks of the shipped model, each made once."""
    from profleet.hardware.signatures import network_of
    from profleet.manifest.library import Library

    model = Library.standard().resolve("model", MODEL).document

    @cache
    def network(batch: int) -> Network:
        return network_of(model, batch).cast(DTYPE)

    return network


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the studies of a folder that ``profleet import mlperf`` wrote, and each calibration."""
    from profleet.manifest.library import Library
    from profleet.profile.points import load_points

    words = list(sys.argv[1:] if arguments is None else arguments)
    if len(words) != 1:
        print("usage: python -m profleet.hardware.benchmarked DIR", file=sys.stderr)
        return 2
    try:
        library = Library.standard()
        hardware = {
            entry.name: library.resolve("hardware", entry.name).document
            for entry in library.entries("hardware")
        }
        rows = rows_by_device(load_points(Path(words[0])), hardware)
        networks = shipped_networks()
        fitted = {
            name: calibrated(hardware[name], found, networks)
            for name, found in rows.items()
            if any(row.scenario == "offline" for row in found)
        }
        studies = {
            "rounds": held_rounds(hardware, rows, networks).plain(),
            "single_stream": held_single_stream(hardware, rows, networks).plain(),
        }
    except ProfleetError as error:
        print(f"profleet: {error}", file=sys.stderr)
        return error.exit_code
    print(
        json.dumps({"studies": studies, "devices": dict(map(_figures, fitted.values()))}, indent=2)
    )
    return 0


def _figures(device: Roofline) -> tuple[str, dict[str, Any]]:
    found = device.calibration
    return device.name, {
        "compute_efficiency": device.compute_efficiency,
        "bandwidth": device.bandwidth,
        "invoke_s": device.invoke_s,
        "points": found.points if found else 0,
        "error_median": found.median if found else None,
        "error_p90": found.p90 if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "coverage": found.coverage if found else None,
    }


if __name__ == "__main__":
    sys.exit(main())
