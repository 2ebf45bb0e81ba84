"""The environment of a measurement: every field with its value or the reason why there is none.

``python -m profleet_runner.environment`` prints the fields as one JSON object.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from profleet_runner import gpu
from profleet_runner.host import ROOT
from profleet_runner.readings import FIELDS, Missing, package
from profleet_runner.resources import reading, unavailable

Fields = dict[str, dict[str, Any]]
"""Field -> ``{"value": ...}`` or ``{"unavailable": reason}``."""

PACKAGES = (
    "numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "torch", "triton", "mlcommons-loadgen",
)  # fmt: skip
VARIABLES = (
    "OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "OMP_DYNAMIC", "OMP_WAIT_POLICY",
    "GOMP_CPU_AFFINITY", "GOMP_SPINCOUNT", "KMP_AFFINITY", "KMP_BLOCKTIME", "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "ONEDNN_MAX_CPU_ISA",
    "ORT_DEFAULT_MAX_THREADS", "MALLOC_ARENA_MAX", "LD_PRELOAD", "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES", "PYTHONHASHSEED",
)  # fmt: skip


def capture(root: Path = ROOT) -> Fields:
    """Read every field of this machine, this interpreter and, where present, its NVIDIA GPUs."""
    fields = {name: _read(read, root) for name, read in FIELDS.items()}
    for name in PACKAGES:
        fields[f"package_{name}"] = _read(partial(_package, name), root)
    for name in VARIABLES:
        value = os.environ.get(name)
        fields[f"variable_{name}"] = unavailable("not set") if value is None else reading(value)
    return fields | gpu.capture(root)


def _package(name: str, _root: Path) -> str:
    return package(name)


def _read(read: Callable[[Path], Any], root: Path) -> dict[str, Any]:
    try:
        value = read(root)
    except Missing as error:
        return unavailable(str(error))
    except OSError as error:
        return unavailable(f"{error.filename}: {error.strerror or error}")
    except (ValueError, KeyError, IndexError, ArithmeticError) as error:
        return unavailable(f"not in the form that was expected ({error})")
    return reading(value)


# -- warnings ------------------------------------------------------------------------------------


def warnings(before: Fields, after: Fields) -> list[str]:
    """Say what happened between two captures, or held during both, and what follows from it."""
    return list(_warnings(before, after))


def _number(fields: Fields, name: str) -> float | None:
    value = fields.get(name, {}).get("value")
    return float(value) if isinstance(value, int | float) else None


def _grown(before: Fields, after: Fields, name: str) -> float:
    first, last = _number(before, name), _number(after, name)
    return 0.0 if first is None or last is None else last - first


def _warnings(before: Fields, after: Fields) -> Iterator[str]:
    wall_s = _grown(before, after, "monotonic_s")
    cpus = _number(after, "logical_cpus") or 1
    others_s = _grown(before, after, "busy_s") - _grown(before, after, "own_s")
    if wall_s > 0 and others_s > max(0.05 * wall_s * cpus, 0.2):
        yield (
            f"Other programs used {others_s / wall_s:.1f} of {cpus:.0f} processors while this was "
            "measured: latencies are too high and vary more. Measure on an idle machine."
        )
    steal_s = _grown(before, after, "steal_s")
    if wall_s > 0 and steal_s > 0.01 * wall_s * cpus:
        yield (
            f"The hypervisor took {steal_s / wall_s / cpus:.1%} of the processor time: latencies "
            "include the waits, and differ from one run to another."
        )
    throttled = _grown(before, after, "cgroup_cpu_throttled")
    if throttled > 0:
        yield (
            f"The cgroup's quota stopped this group {throttled:.0f} times: tail latencies show "
            "the quota, not the model. Give whole processors (a cpuset) instead."
        )
    hot = _grown(before, after, "thermal_throttle_count")
    if hot > 0:
        yield (
            f"The processor throttled {hot:.0f} times for heat: later samples are slower than "
            "earlier ones. Improve the cooling or lower the load."
        )
    first, last = _number(before, "frequency_now_mhz"), _number(after, "frequency_now_mhz")
    if first and last and last < 0.9 * first:
        yield (
            f"The processor's frequency fell from {first:.0f} to {last:.0f} MHz: points that "
            "were measured late are slower."
        )
    swapped = _grown(before, after, "swapped_in_pages") + _grown(before, after, "swapped_out_pages")
    if swapped > 0:
        yield (
            f"{swapped:.0f} pages were swapped: latencies include the disk. Free memory, or "
            "measure smaller batches."
        )
    governor = after.get("governor", {}).get("value")
    if governor in {"powersave", "ondemand", "conservative"}:
        yield (
            f"The frequency governor is '{governor}': the processor may start slow after every "
            "pause. 'performance' makes latencies comparable."
        )
    yield from gpu.warnings(before, after)


def main() -> None:
    """Print the fields as JSON."""
    print(json.dumps(capture(), indent=1))


if __name__ == "__main__":
    main()
