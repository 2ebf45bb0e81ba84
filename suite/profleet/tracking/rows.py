"""The tables of a profile, as MLflow's UI shows them: rows of plain values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from profleet.profile.samples import Samples
from profleet.profile.schema import (
    PHASES,
    Estimate,
    Insufficient,
    Percentile,
    PointSummary,
    Profile,
    Reading,
    Value,
)
from profleet.profile.store import load_samples

Row = dict[str, Any]

MAX_ROWS = 5000
"""Most samples in the table that MLflow's UI shows; all of them are in ``samples.parquet``."""


def tables_of(profile: Profile, source: Path) -> Iterator[tuple[str, list[Row]]]:
    """Yield artifact path and rows of every table that a profile fills.

    Raises:
        StoreError: the samples in ``source`` are damaged.
    """
    if profile.points:
        yield "tables/points.json", [_point_row(profile, point) for point in profile.points]
    if profile.idle:
        rows = [
            {
                "batch_size": rest.batch_size,
                "gap_ms": rest.gap_ms,
                "samples": rest.count,
                **_bounds("latency_p50_ms", rest.p50_ms),
                "ratio": rest.ratio,
            }
            for rest in profile.idle
        ]
        yield "tables/idle.json", rows
    starts = [start.model_dump() for start in profile.measurement.cold_start]
    if starts:
        yield "tables/cold_start.json", starts
    if (source / "samples.parquet").is_file():
        yield _sample_rows(load_samples(source))


def _sample_rows(samples: Samples) -> tuple[str, list[Row]]:
    """Samples in the order they were taken; of very many, evenly chosen ones, as the name says."""
    count = len(samples)
    chosen = np.linspace(0, count - 1, min(count, MAX_ROWS)).round().astype(np.int64)
    columns = {
        "phase": [PHASES[code] for code in samples.phase[chosen].tolist()],
        "batch_size": samples.batch_size[chosen].tolist(),
        "process": samples.process[chosen].tolist(),
        "gap_ms": samples.gap_ms[chosen].round(3).tolist(),
        "start_ms": (samples.start_ns[chosen] / 1e6).tolist(),
        "latency_ms": (samples.latency_ns[chosen] / 1e6).tolist(),
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    thinned = f"_{len(chosen)}_of_{count}" if len(chosen) < count else ""
    return f"tables/samples{thinned}.json", rows


def _point_row(profile: Profile, summary: PointSummary) -> Row:
    latency = summary.latency_ms
    points = {point.batch_size: point for point in profile.measurement.points}
    point = points.get(summary.batch_size)
    row: Row = {
        "batch_size": summary.batch_size,
        "status": point.status if point else None,
        "samples": latency.count,
        **_bounds("throughput_rps", summary.throughput_rps),
    }
    for name, percentile in latency.percentiles.items():
        row |= _bounds(f"latency_{name}_ms", percentile)
    row |= _bounds("latency_mean_ms", latency.mean)
    row |= {
        "latency_std_ms": latency.std,
        "latency_min_ms": latency.minimum,
        "latency_max_ms": latency.maximum,
    }
    if point is not None:
        row |= {
            "input_bytes": point.input_bytes,
            "output_bytes": point.output_bytes,
            "peak_rss_bytes": _reading(point.peak_rss_bytes),
            "peak_device_bytes": _reading(point.peak_device_bytes),
            "host_to_device_ms": _reading(point.host_to_device_ms),
            "device_to_host_ms": _reading(point.device_to_host_ms),
            "energy_j": _reading(point.energy_j),
            "reasons": " ".join(point.reasons),
        }
    return row


def _bounds(name: str, percentile: Percentile) -> Row:
    if isinstance(percentile, Insufficient):
        refused = f"insufficient samples: {percentile.have} of {percentile.need}"
        return {name: refused, f"{name}_low": None, f"{name}_high": None}
    assert isinstance(percentile, Estimate)
    return {
        name: percentile.value,
        f"{name}_low": percentile.low,
        f"{name}_high": percentile.high,
    }


def _reading(reading: Reading) -> Any:
    return reading.value if isinstance(reading, Value) else f"unavailable: {reading.unavailable}"
