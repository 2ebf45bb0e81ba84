"""PipeEdge's profiles: time of every layer of a model on a type of device.

A folder with ``models.yml`` (``{model: {layers, parameters_in, parameters_out, mem_MB}}``) and
``device_types.yml`` (``{type: {mem_MB, bw_Mbps, model_profiles: {model: [{dtype, batch_size,
time_s}]}}}``), as usc-isi/PipeEdge's README_Scheduler.md describes them. Entries named ``Dummy...``
are examples of the format and hold nothing.

``mem_MB`` is in units of 2**20 bytes and ``bw_Mbps`` in 2**20 bits, as its scheduler computes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from profleet.errors import ManifestError, StoreError, did_you_mean
from profleet.manifest.plain_yaml import read_mapping
from profleet.profile.importers.files import read_bytes
from profleet.profile.points import PointRow, Points, SourceFile, make_points

MODELS, DEVICES = "models.yml", "device_types.yml"
NOTES = (
    "stages: the sum over all layers of a model on one device; layers.parquet has each.",
    "Copies between devices are not in it.",
)


def import_pipeedge(path: Path, hardware: Mapping[str, str]) -> Points:
    """Return a point for every device type, model, precision and batch size.

    Args:
        path: the folder with both files, or one of them.
        hardware: alias -> hardware manifest.

    Raises:
        StoreError: a file is missing or is not what PipeEdge writes; names the place.
    """
    if not path.exists():
        raise StoreError(f"There is no file or folder {path}.")
    if not path.is_dir() and path.name not in {MODELS, DEVICES}:
        raise StoreError(
            f"{path} is no PipeEdge file; name the folder with {MODELS} and {DEVICES}."
        )
    folder = path if path.is_dir() else path.parent
    models = _read(folder / MODELS)
    profiles = list(_profiles(_read(folder / DEVICES), models))
    rows = [_point(profile, hardware) for profile in profiles]
    source = SourceFile(
        name=folder.name,
        sha256=None,
        title="PipeEdge profiles",
        license="BSD style (The University of Southern California)",
        references=["Hu et al.: PipeEdge, DSD 2022", "usc-isi/PipeEdge, README_Scheduler.md"],
    )
    tables = {
        "layers.parquet": (
            "a layer of a model on a device: seconds of a batch, elements out an item, MiB",
            _layers(profiles, models),
        )
    }
    return make_points("pipeedge", source, rows, notes=NOTES, tables=tables)


Profile = tuple[str, str, str, int, list[float]]
"""Device type, model, dtype, batch size, seconds a layer."""


def _profiles(devices: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[Profile]:
    for device, entry in devices.items():
        where = f"{DEVICES}: {device}"
        if device.startswith("Dummy"):
            continue
        listed = _mapping(where, entry).get("model_profiles") or {}
        for model, found in _mapping(f"{where}.model_profiles", listed).items():
            place = f"{where}.model_profiles.{model}"
            if model not in models:
                known = [name for name in models if not name.startswith("Dummy")]
                raise StoreError(
                    f"{place}: {MODELS} has no such model. {did_you_mean(model, known)}"
                )
            layers = _mapping(f"{MODELS}: {model}", models[model]).get("layers")
            for index, profile in enumerate(_list(place, found)):
                yield device, model, *_profile(f"{place}.{index}", profile, layers)


def _profile(where: str, profile: Any, layers: Any) -> tuple[str, int, list[float]]:
    content = _mapping(where, profile)
    missing = {"dtype", "batch_size", "time_s"} - content.keys()
    if missing:
        raise StoreError(f"{where}: '{min(missing)}' is missing.")
    batch = content["batch_size"]
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise StoreError(f"{where}.batch_size: {batch!r:.40} is not a whole number above 0.")
    times = _numbers(f"{where}.time_s", content["time_s"])
    if len(times) != layers:
        raise StoreError(
            f"{where}.time_s: {len(times)} times, but {MODELS} says the model has {layers!r:.20} "
            "layers. A missing layer is not free."
        )
    return str(content["dtype"]).removeprefix("torch."), batch, times


def _point(profile: Profile, hardware: Mapping[str, str]) -> PointRow:
    device, model, dtype, batch, times = profile
    total = sum(times)
    return PointRow(
        device=device, hardware=hardware.get(device), model=model, dtype=dtype, batch_size=batch,
        scenario="stages", quantity="latency", unit="s", value=total, low=total, high=total,
        count=1, software="PyTorch", source=f"{DEVICES}: {device}.model_profiles.{model}",
    )  # fmt: skip


def _layers(profiles: list[Profile], models: Mapping[str, Any]) -> Any:
    import pyarrow as pa

    rows = []
    for device, model, dtype, batch, times in profiles:
        where = f"{MODELS}: {model}"
        outputs = _numbers(f"{where}.parameters_out", models[model].get("parameters_out"))
        memory = _numbers(f"{where}.mem_MB", models[model].get("mem_MB"))
        if len(memory) != len(times) or not outputs:
            raise StoreError(f"{where}: {len(memory)} entries of mem_MB for {len(times)} layers.")
        rows += [
            {
                "device": device, "model": model, "dtype": dtype, "batch_size": batch,
                "layer": index + 1, "latency_s": seconds,
                "elements_out": outputs[index % len(outputs)],  # shorter lists are repeated
                "memory_mib": memory[index],
            }
            for index, seconds in enumerate(times)
        ]  # fmt: skip
    return pa.Table.from_pylist(rows)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_mapping(read_bytes(path), str(path))
    except ManifestError as error:
        raise StoreError(str(error)) from None


def _mapping(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise StoreError(f"{where}: must be a mapping, not {value!r:.40}.")
    return value


def _list(where: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise StoreError(f"{where}: must be a list, not {value!r:.40}.")
    return value


def _numbers(where: str, value: Any) -> list[float]:
    for index, each in enumerate(_list(where, value)):
        number = isinstance(each, int | float) and not isinstance(each, bool)
        if not number or not (math.isfinite(each) and each > 0):
            raise StoreError(f"{where}.{index}: {each!r:.40} is not a number above 0.")
    return [float(each) for each in value]
