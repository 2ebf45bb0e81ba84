"""NVIDIA GPUs as NVML describes them: fields ``gpus`` and ``gpu0_...``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from profleet_runner.host import read_text
from profleet_runner.resources import reading, unavailable

Fields = dict[str, dict[str, Any]]

THROTTLE_BITS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal",
    0x40: "hardware thermal",
    0x80: "power brake",
}
"""Bits of NVML's clock event reasons that slow a busy GPU down (``nvml.h``)."""


def capture(root: Path) -> Fields:
    """Read every field of every GPU; without an NVIDIA driver, ``gpus`` is an empty list."""
    driver = root / "proc/driver/nvidia"
    if not driver.is_dir():
        return {"gpus": reading([])}
    try:
        import pynvml
    except ImportError:
        return {
            "gpus": _names_without_nvml(driver),
            "gpu_driver": unavailable("pynvml (nvidia-ml-py) is not installed"),
        }
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return {"gpus": _names_without_nvml(driver), "gpu_driver": unavailable(f"NVML: {error}")}
    try:
        return _all(pynvml)
    finally:
        pynvml.nvmlShutdown()


def _names_without_nvml(driver: Path) -> dict[str, Any]:
    lines = [
        line
        for path in sorted(driver.glob("gpus/*/information"))
        for line in read_text(path).splitlines()
    ]
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return reading(names) if names else unavailable(f"{driver}/gpus names no GPU")


def _all(nvml: Any) -> Fields:
    def read(function: Callable[[], Any]) -> dict[str, Any]:
        try:
            return reading(function())
        except nvml.NVMLError as error:
            return unavailable(f"NVML: {error}")

    handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    cuda = nvml.nvmlSystemGetCudaDriverVersion
    fields = {
        "gpus": read(lambda: [_text(nvml.nvmlDeviceGetName(handle)) for handle in handles]),
        "gpu_driver": read(lambda: _text(nvml.nvmlSystemGetDriverVersion())),
        "gpu_cuda_driver": read(lambda: f"{cuda() // 1000}.{cuda() % 1000 // 10}"),
    }
    for number, handle in enumerate(handles):
        for name, function in _readings(nvml, handle).items():
            fields[f"gpu{number}_{name}"] = read(function)
    return fields


def _readings(nvml: Any, handle: Any) -> dict[str, Callable[[], Any]]:
    def clock(kind: str, function: Any) -> Callable[[], int]:
        return lambda: int(function(handle, getattr(nvml, f"NVML_CLOCK_{kind}")))

    return {
        "uuid_sha256": lambda: hashlib.sha256(
            _text(nvml.nvmlDeviceGetUUID(handle)).encode()
        ).hexdigest(),
        "clock_sm_mhz": clock("SM", nvml.nvmlDeviceGetClockInfo),
        "clock_memory_mhz": clock("MEM", nvml.nvmlDeviceGetClockInfo),
        "clock_sm_max_mhz": clock("SM", nvml.nvmlDeviceGetMaxClockInfo),
        "power_limit_w": lambda: nvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000,
        "power_w": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
        "temperature_c": lambda: int(
            nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
        ),
        "throttle_reasons": lambda: throttle_reasons(
            nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
        ),
        "persistence": lambda: bool(nvml.nvmlDeviceGetPersistenceMode(handle)),
        "ecc": lambda: bool(nvml.nvmlDeviceGetEccMode(handle)[0]),
        "mig": lambda: bool(nvml.nvmlDeviceGetMigMode(handle)[0]),
        "memory_total_bytes": lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
        "memory_used_bytes": lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).used),
        "processes": lambda: len(nvml.nvmlDeviceGetComputeRunningProcesses(handle)),
    }


def throttle_reasons(bits: int) -> list[str]:
    """Name the reasons in NVML's bit field for which a GPU runs slower than it could."""
    return [name for bit, name in THROTTLE_BITS.items() if bits & bit]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def warnings(before: Fields, after: Fields) -> Iterator[str]:
    """Say what slowed a GPU down, and what follows from it."""
    for number in range(len(after.get("gpus", {}).get("value") or ())):
        seen = [fields.get(f"gpu{number}_throttle_reasons", {}) for fields in (before, after)]
        reasons = sorted({reason for one in seen for reason in one.get("value") or ()})
        if reasons:
            yield (
                f"GPU {number} was slowed down ({', '.join(reasons)}): its latencies are those of "
                "this machine's cooling and power, not of the GPU."
            )
        if (before.get(f"gpu{number}_processes", {}).get("value") or 0) > 0:
            yield (
                f"Other processes were using GPU {number} before the measurement: latencies and "
                "memory include theirs."
            )
