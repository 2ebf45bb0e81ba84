"""Latencies to scale to another device: of a profile's folder, or of imported points."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import log
from pathlib import Path

from profleet.errors import ConfigError, did_you_mean
from profleet.hardware.transfer import Measurements
from profleet.profile.points import ABOUT, PointRow, load_points
from profleet.profile.schema import name_of
from profleet.profile.store import load_profile, load_result


@dataclass(frozen=True)
class Found:
    """Measurements, the hardware they are of, and what a user should know about them.

    ``dtype`` is the precision that ran, None: that of the model.
    """

    measurements: Measurements
    hardware: str
    dtype: str | None = None
    notes: tuple[str, ...] = ()


def measured_at(
    folder: Path,
    field: str,
    model: str,
    *,
    hardware: str | None = None,
    called: str | None = None,
    scenario: str | None = None,
    dtype: str | None = None,
) -> Found:
    """Return mean latencies of a model by batch size.

    Args:
        folder: of a finished batch sweep, or of points (`profleet import`).
        field: the setting that named it, for messages.
        model: name of the model's manifest.
        hardware: which device, where there are points of several.
        called: what the points call the model; None: as the manifest, but for case and dashes.
        scenario: which points, where one batch size was measured in several ways.
        dtype: the precision that ran, where it is not said or there are several.

    Raises:
        StoreError: there is nothing, or it is damaged.
        ConfigError: it is of another model, of several devices, or no batch sweep.
    """
    if (folder / ABOUT).is_file():
        return _points(folder, field, model, hardware, called, scenario, dtype)
    return replace(_profile(folder, field, model), dtype=dtype)


def _profile(folder: Path, field: str, model: str) -> Found:
    load_result(folder)
    profile = load_profile(folder)
    stack = profile.stack
    if not profile.points:
        raise ConfigError(
            f"{field}={folder}: it measured a scenario, not a batch sweep. Measure one with "
            "`profleet run scenario=sweep`."
        )
    if name_of(stack.model) != model:
        raise ConfigError(
            f"{field}={folder} measured {name_of(stack.model)}, not {model}. Say "
            f"model={name_of(stack.model)}, or another profile."
        )
    means = {point.batch_size: point.latency_ms.mean for point in profile.points}
    widths = [
        log(mean.high / mean.value) for mean in means.values() if mean.high is not None
    ] + [  # the low end of an interval of times may be 0, which is no distance: a factor of 2
        log(mean.value / max(mean.low, mean.value / 2))
        for mean in means.values()
        if mean.low is not None
    ]
    found = Measurements(
        {size: mean.value / 1e3 for size, mean in means.items()},
        max(widths, default=0.0),
        f"{name_of(stack.model)} under {name_of(stack.framework)} on {name_of(stack.hardware)}",
        f"profile {profile.run_id}",
    )
    return Found(found, stack.hardware)


def _points(
    folder: Path,
    field: str,
    model: str,
    hardware: str | None,
    called: str | None,
    scenario: str | None,
    dtype: str | None,
) -> Found:
    points, where = load_points(folder), f"{field}={folder}"
    rows = [row for row in points.rows if row.quantity == "latency" and row.batch_size is not None]
    asked = _plain(called or model)
    names = {row.model for row in rows}
    rows = [row for row in rows if _plain(row.model) == asked]
    if not rows:
        raise ConfigError(
            f"{where} has no latency of '{called or model}'. Say from_model=NAME as it is there. "
            f"{did_you_mean(called or model, names, 'It has')}"
        )
    devices = {row.hardware for row in rows if row.hardware is not None}
    rows = [row for row in rows if hardware is not None and row.hardware == name_of(hardware)]
    if not rows or hardware is None:
        known = ", ".join(sorted(devices)) or "none that is in the catalogue"
        raise ConfigError(
            f"{where}: say with from_hardware which device it is of. There are: {known}."
        )
    ways = sorted({row.scenario for row in rows})
    if (scenario or ways[0]) not in ways or (scenario is None and len(ways) > 1):
        raise ConfigError(f"{where}: say from_scenario, one of: {', '.join(ways)}.")
    rows = [row for row in rows if row.scenario == (scenario or ways[0])]
    said = {row.dtype for row in rows if row.dtype is not None}
    if dtype is None and (len(said) != 1 or any(row.dtype is None for row in rows)):
        listed = f"; there are {', '.join(sorted(said))}" if said else ", which they do not say"
        raise ConfigError(f"{where}: say with from_dtype in which precision it ran{listed}.")
    rows = [row for row in rows if row.dtype in {None, dtype or row.dtype}]
    if not rows:
        raise ConfigError(f"{where} has nothing in {dtype}. There are: {', '.join(sorted(said))}.")
    newest = {row.batch_size: row for row in sorted(rows, key=_release)}
    spreads = [log(row.high / row.value) for row in newest.values()]
    spreads += [log(row.value / row.low) for row in newest.values()]
    title = f"{rows[0].model} on {rows[0].device}"
    found = Measurements(
        {size: row.value for size, row in newest.items() if size is not None},
        max(spreads),
        title,
        f"{points.about.source.title}, {rows[0].scenario}",
    )
    lower = any(row.bound == "lower" for row in rows)
    note = f"{title}: these latencies are lower bounds, and so is what they are scaled to."
    return Found(found, hardware, dtype or rows[0].dtype, (note,) if lower else ())


def _plain(name: str) -> str:
    """Return a name without case, dashes, underscores and leading zeros."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[^a-z0-9.]", "", name.lower()))


def _release(row: PointRow) -> list[int]:
    """Order points by the release of the benchmark, so that the newest one counts."""
    return [int(part) for part in re.findall(r"\d+", row.round or "")]
