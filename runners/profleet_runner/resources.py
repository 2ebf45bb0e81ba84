"""Memory and energy of a measuring process, and its tie to the coordinator."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from profleet_runner.host import ROOT, read_int, read_text
from profleet_runner.protocol import Failure, log

PR_SET_PDEATHSIG = 1
OUT_OF_MEMORY_TEXTS = (
    "bad_alloc",
    "bad allocation",
    "failed to allocate memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "cuda_error_out_of_memory",
    "memoryerror",
    "failed to map segment",
    "unable to allocate",
    "bfcarena::allocaterawinternal",
)


def reading(value: object) -> dict[str, Any]:
    """Wrap a value that was read."""
    return {"value": value}


def unavailable(reason: str) -> dict[str, Any]:
    """Say why there is no value."""
    return {"unavailable": reason}


def reading_of(value: float | str) -> dict[str, Any]:
    """Wrap a number that was read, or the text that says why there is none."""
    return unavailable(value) if isinstance(value, str) else reading(value)


# -- life and death ------------------------------------------------------------------------------


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; leave at once if it already has.

    Args:
        parent: process number of the one that started this process.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        log(f"Process {parent}, which started this one, has ended.")
        os._exit(1)


# -- memory --------------------------------------------------------------------------------------


def limit_memory(limit_bytes: int) -> None:
    """Bound the private writable memory of this process, so that an allocation fails cleanly.

    ``RLIMIT_DATA`` counts heap and anonymous private mappings (Linux 4.7 and newer), not shared
    libraries; ``RLIMIT_AS`` would also count the address space that CUDA only reserves.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, wanted))


def says_out_of_memory(text: str) -> bool:
    """Tell whether a message of a framework or of the C++ runtime is about memory."""
    lowered = text.lower()
    return any(known in lowered for known in OUT_OF_MEMORY_TEXTS)


def out_of_memory(
    limit_bytes: int | None,
    said: str,
    peak: int | str,
    what: str = "an allocation failed",
    measure: str = "were resident",
) -> Failure:
    """Say that memory ran out, at which limit, and how much was in use at most.

    Args:
        limit_bytes: the limit that holds, or None.
        said: the message of what failed, or nothing.
        peak: most memory so far in bytes, or why it is unknown.
        what: what happened.
        measure: what the peak counts.
    """
    limit = "" if limit_bytes is None else f" under the limit of {limit_bytes / 2**20:.0f} MiB"
    used = f"; at most {peak / 2**20:.0f} MiB {measure}" if isinstance(peak, int) else ""
    words = " ".join(said.split())[:300]
    return Failure(
        "out_of_memory",
        f"The memory ran out{limit}: {what}{used}."
        + (f" The message was: {words}" if words else ""),
        "Use smaller batch sizes or a smaller model, or give the runner more memory.",
    )


def reset_peak_rss(root: Path = ROOT) -> str | None:
    """Let the peak of the resident memory start anew; return why not, or None."""
    path = root / "proc/self/clear_refs"
    try:
        path.write_text("5")
    except OSError as error:
        return f"{path} cannot be written ({error.strerror}), so the peak cannot start anew"
    return None


def peak_rss(root: Path = ROOT) -> int | str:
    """Return the peak resident memory since the last reset in bytes, or why it is unknown."""
    path = root / "proc/self/status"
    try:
        for line in path.read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    return f"{path} has no VmHWM"


# -- energy --------------------------------------------------------------------------------------


class Meter(Protocol):
    """A counter of energy."""

    source: str

    def read(self) -> Any:
        """Read the counter; the value is for ``joules``."""
        ...

    def joules(self, before: Any, after: Any) -> float:
        """Energy between two readings."""
        ...


@dataclass(frozen=True)
class _Domain:
    path: Path
    wraps_at: int


class Rapl:
    """Package domains of RAPL, through powercap: the whole processor package, DRAM left out."""

    def __init__(self, domains: list[_Domain]) -> None:
        self._domains = domains
        self.source = f"RAPL, {len(domains)} package(s)"

    def read(self) -> list[int]:
        """Read every package, microjoules."""
        return [int(read_text(domain.path)) for domain in self._domains]

    def joules(self, before: list[int], after: list[int]) -> float:
        """Sum over packages; a counter that wrapped (once) is put right."""
        total = 0
        for domain, first, last in zip(self._domains, before, after, strict=True):
            total += last - first if last >= first else last - first + domain.wraps_at
        return total / 1e6


class Nvml:
    """The total energy counter of the first visible NVIDIA GPU (Volta and newer), millijoules."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library = library
        self._handle = handle
        self.source = "NVML total energy, whole GPU"

    def read(self) -> int:
        """Read the counter, millijoules."""
        return int(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    def joules(self, before: int, after: int) -> float:
        """Energy between two readings."""
        return (after - before) / 1e3


def energy_meter(accelerator: str, root: Path = ROOT) -> Meter | str:
    """Return the meter of what executes, or why there is none."""
    return _nvml_meter() if accelerator == "cuda" else rapl_meter(root)


def rapl_meter(root: Path = ROOT) -> Rapl | str:
    """Return the RAPL meter of the packages, or why there is none."""
    powercap = root / "sys/class/powercap"
    domains, denied = [], ""
    for folder in sorted(powercap.glob("*-rapl:*")) if powercap.is_dir() else ():
        path = folder / "energy_uj"
        try:
            if not read_text(folder / "name").startswith("package"):
                continue
            int(read_text(path))
        except PermissionError:
            denied = f"{path} may be read by root only"
            continue
        except (OSError, ValueError):
            continue
        domains.append(_Domain(path, read_int(folder / "max_energy_range_uj") or 2**32))
    if denied:
        return denied
    return Rapl(domains) if domains else f"no RAPL package domain in {powercap}"


def _nvml_meter() -> Nvml | str:
    try:
        import pynvml
    except ImportError:
        return "pynvml (nvidia-ml-py) is not installed"
    try:
        pynvml.nvmlInit()
        handle = cuda_handle(pynvml)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        return f"NVML: {error}"
    return Nvml(pynvml, handle)


def cuda_handle(library: Any) -> Any:
    """Return NVML's handle of CUDA's device 0, which CUDA_VISIBLE_DEVICES may move."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    if visible.startswith(("GPU-", "MIG-")):
        return library.nvmlDeviceGetHandleByUUID(visible)
    return library.nvmlDeviceGetHandleByIndex(int(visible) if visible.isdigit() else 0)
