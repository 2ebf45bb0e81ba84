"""Single readings of the processor, the kernel and the memory, by name in ``FIELDS``.

A reading is a function of the folder that stands for ``/``; it returns a value or raises
``Missing`` or ``OSError``.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from profleet_runner import host
from profleet_runner.host import CPUS, parse_cpu_list, read_text

FLAGS = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "asimdhp",
    "bf16", "i8mm", "sve", "sve2",
)  # fmt: skip


class Missing(Exception):  # noqa: N818 -- not an error: a field without a value
    """Why a field has no value."""


# -- processor -----------------------------------------------------------------------------------


def _cpuinfo(*keys: str) -> Callable[[Path], str]:
    def read(root: Path) -> str:
        path = root / "proc/cpuinfo"
        for line in read_text(path).splitlines():
            key, _, value = line.partition(":")
            if key.strip() in keys and value.strip():
                return value.strip()
        raise Missing(f"{path} has no '{keys[0]}'")

    return read


def _cpu_model(root: Path) -> str:
    try:
        return _cpuinfo("model name", "Model", "cpu model")(root)
    except Missing:
        implementer = _cpuinfo("CPU implementer")(root)  # ARM servers name no model
        return f"implementer {implementer} part {_cpuinfo('CPU part')(root)}"


def _flags(root: Path) -> list[str]:
    present = set(_cpuinfo("flags", "Features")(root).split())
    return [flag for flag in FLAGS if flag in present]


def _online(root: Path) -> list[int]:
    return parse_cpu_list(read_text(root / CPUS / "online"))


def _sockets(root: Path) -> int:
    topology = [root / CPUS / f"cpu{cpu}/topology/physical_package_id" for cpu in _online(root)]
    return len({read_text(path) for path in topology})


def _threads_per_core(root: Path) -> int:
    cpu = _online(root)[0]
    return len(parse_cpu_list(read_text(root / CPUS / f"cpu{cpu}/topology/thread_siblings_list")))


def _cache(level: int, kind: str) -> Callable[[Path], int]:
    """Size of one cache of the first processor, bytes."""

    def read(root: Path) -> int:
        folder = root / CPUS / f"cpu{_online(root)[0]}" / "cache"
        for index in sorted(folder.glob("index*")):
            if read_text(index / "level") == str(level) and read_text(index / "type") == kind:
                size = read_text(index / "size")
                unit = {"K": 2**10, "M": 2**20, "G": 2**30}[size[-1]]
                return int(size[:-1]) * unit
        raise Missing(f"{folder} lists no {kind.lower()} cache of level {level}")

    return read


def _numa_nodes(root: Path) -> int:
    return len(parse_cpu_list(read_text(root / "sys/devices/system/node/online")))


def _cpufreq(name: str) -> Callable[[Path], Path]:
    return lambda root: root / CPUS / "cpu0" / "cpufreq" / name


def _text_of(where: Callable[[Path], Path]) -> Callable[[Path], str]:
    return lambda root: read_text(where(root))


def _mhz_of(where: Callable[[Path], Path]) -> Callable[[Path], float]:
    return lambda root: int(read_text(where(root))) / 1000


def _frequency_now(root: Path) -> float:
    """Mean over processors, MHz."""
    paths = sorted((root / CPUS).glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
    if paths:
        return sum(int(read_text(path)) for path in paths) / len(paths) / 1000
    text = read_text(root / "proc/cpuinfo")
    values = [float(match) for match in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", text, re.MULTILINE)]
    if not values:
        raise Missing("neither cpufreq nor /proc/cpuinfo tells the frequency")
    return round(sum(values) / len(values), 1)


def _turbo(root: Path) -> bool:
    intel = root / CPUS / "intel_pstate/no_turbo"
    if intel.exists():
        return read_text(intel) == "0"
    return read_text(root / CPUS / "cpufreq/boost") == "1"


def _temperature(root: Path) -> float:
    """Hottest zone, degrees Celsius."""
    folder = root / "sys/class/thermal"
    zones = [int(read_text(path)) for path in folder.glob("thermal_zone*/temp")]
    if not zones:
        raise Missing(f"{folder} has no thermal zone")
    return max(zones) / 1000


def _throttle_count(root: Path) -> int:
    pattern = "cpu[0-9]*/thermal_throttle/core_throttle_count"
    paths = list((root / CPUS).glob(pattern))
    if not paths:
        raise Missing("the kernel counts no thermal throttling here")
    return sum(int(read_text(path)) for path in paths)


# -- kernel and memory ---------------------------------------------------------------------------


def _stat_cpu(position: int) -> Callable[[Path], float]:
    def read(root: Path) -> float:
        line = read_text(root / "proc/stat").splitlines()[0]
        return int(line.split()[position]) / os.sysconf("SC_CLK_TCK")

    return read


def _stat(name: str) -> Callable[[Path], int]:
    def read(root: Path) -> int:
        for line in read_text(root / "proc/stat").splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
        raise Missing(f"/proc/stat has no {name}")

    return read


def _busy_s(root: Path) -> float:
    """Processor seconds spent by all processes since boot (user, nice, system)."""
    return sum(_stat_cpu(position)(root) for position in (1, 2, 3))


def _own_s(_root: Path) -> float:
    """Processor seconds spent by this process and the children it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _meminfo(name: str) -> Callable[[Path], int]:
    def read(root: Path) -> int:
        for line in read_text(root / "proc/meminfo").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise Missing(f"/proc/meminfo has no {name}")

    return read


def _swap_used(root: Path) -> int:
    return _meminfo("SwapTotal")(root) - _meminfo("SwapFree")(root)


def _vmstat(name: str) -> Callable[[Path], int]:
    def read(root: Path) -> int:
        for line in read_text(root / "proc/vmstat").splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
        raise Missing(f"/proc/vmstat has no {name}")

    return read


def _bracketed(path: str) -> Callable[[Path], str]:
    """The chosen word of a file such as ``always [madvise] never``."""

    def read(root: Path) -> str:
        found = re.search(r"\[(\w+)\]", read_text(root / path))
        if found is None:
            raise Missing(f"/{path} marks no choice")
        return found[1]

    return read


def _os_release(root: Path) -> str:
    for line in read_text(root / "etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    raise Missing("/etc/os-release has no PRETTY_NAME")


def _hypervisor(root: Path) -> str:
    """Name of the machine's product where the processor says that it is virtual, else ``none``."""
    kind = root / "sys/hypervisor/type"
    if kind.exists():
        return read_text(kind)
    if "hypervisor" not in _cpuinfo("flags", "Features")(root).split():
        return "none"
    names = []
    for name in ("sys_vendor", "product_name"):
        path = root / "sys/class/dmi/id" / name
        if path.exists():
            names.append(read_text(path))
    return " ".join(filter(None, names)) or "present, without a name"


def _own_status(name: str) -> Callable[[Path], str]:
    """What the kernel does to this process: filters and mitigations cost time."""

    def read(root: Path) -> str:
        for line in read_text(root / "proc/self/status").splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return value.strip()
        raise Missing(f"/proc/self/status has no {name}")

    return read


def _seccomp(root: Path) -> str:
    modes = {"0": "off", "1": "strict", "2": "filter"}
    mode = _own_status("Seccomp")(root)
    return modes.get(mode, mode)


def _container(root: Path) -> str:
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    return "none that is known"


def _or_missing(value: Any, reason: str) -> Any:
    if value is None:
        raise Missing(reason)
    return value


def package(name: str) -> str:
    """Version of an installed distribution."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        raise Missing("not installed") from None


def _packages_installed(_root: Path) -> list[str]:
    """``name==version`` of every distribution that this interpreter finds, sorted."""
    found = {(one.metadata["Name"], one.version) for one in metadata.distributions()}
    named = [f"{name}=={version}" for name, version in found if name]
    return sorted(named, key=str.lower)


FIELDS: dict[str, Callable[[Path], Any]] = {
    "packages_installed": _packages_installed,
    "architecture": lambda _: platform.machine(),
    "cpu_model": _cpu_model,
    "cpu_vendor": _cpuinfo("vendor_id", "CPU implementer"),
    "cpu_family": _cpuinfo("cpu family", "CPU architecture"),
    "cpu_model_number": _cpuinfo("model", "CPU part"),
    "cpu_stepping": _cpuinfo("stepping", "CPU revision"),
    "cpu_microcode": _cpuinfo("microcode"),
    "cpu_flags": _flags,
    "sockets": _sockets,
    "physical_cores": lambda root: host.physical_cores(_online(root), root),
    "logical_cpus": lambda root: len(_online(root)),
    "threads_per_core": _threads_per_core,
    "smt_active": lambda root: read_text(root / CPUS / "smt/active") == "1",
    "cache_l1d_bytes": _cache(1, "Data"),
    "cache_l1i_bytes": _cache(1, "Instruction"),
    "cache_l2_bytes": _cache(2, "Unified"),
    "cache_l3_bytes": _cache(3, "Unified"),
    "numa_nodes": _numa_nodes,
    "cpu_affinity": lambda _: host.available_cpus(),
    "cgroup_cpu_quota": lambda root: _or_missing(host.cpu_quota(root), "no quota is set"),
    "cgroup_memory_limit_bytes": lambda root: _or_missing(
        host.memory_limit(root), "no limit is set"
    ),
    "cgroup_memory_peak_bytes": lambda root: _or_missing(
        host.memory_peak(root), "the cgroup does not tell it"
    ),
    "cgroup_cpuset": lambda root: _or_missing(host.cpuset(root), "the cgroup does not tell it"),
    "cgroup_pids_limit": lambda root: _or_missing(host.pids_limit(root), "no limit is set"),
    "cgroup_cpu_throttled": lambda root: _or_missing(
        host.cpu_throttled(root), "the cgroup does not count it"
    ),
    "cgroup_oom_kills": lambda root: _or_missing(
        host.oom_kills(root), "the cgroup does not count it"
    ),
    "governor": _text_of(_cpufreq("scaling_governor")),
    "frequency_driver": _text_of(_cpufreq("scaling_driver")),
    "frequency_min_mhz": _mhz_of(_cpufreq("scaling_min_freq")),
    "frequency_max_mhz": _mhz_of(_cpufreq("scaling_max_freq")),
    "frequency_now_mhz": _frequency_now,
    "turbo": _turbo,
    "idle_driver": lambda root: read_text(root / CPUS / "cpuidle/current_driver"),
    "temperature_c": _temperature,
    "thermal_throttle_count": _throttle_count,
    "load_average": lambda _: list(os.getloadavg()),
    "runnable_threads": _stat("procs_running"),
    "busy_s": _busy_s,
    "own_s": _own_s,
    "steal_s": _stat_cpu(8),
    "memory_total_bytes": _meminfo("MemTotal"),
    "memory_available_bytes": _meminfo("MemAvailable"),
    "swap_total_bytes": _meminfo("SwapTotal"),
    "swap_used_bytes": _swap_used,
    "swapped_in_pages": _vmstat("pswpin"),
    "swapped_out_pages": _vmstat("pswpout"),
    "transparent_huge_pages": _bracketed("sys/kernel/mm/transparent_hugepage/enabled"),
    "aslr": lambda root: int(read_text(root / "proc/sys/kernel/randomize_va_space")),
    "isolated_cpus": lambda root: parse_cpu_list(read_text(root / CPUS / "isolated")),
    "kernel": lambda _: platform.release(),
    "kernel_version": lambda _: platform.version(),
    "os": _os_release,
    "hypervisor": _hypervisor,
    "container": _container,
    "seccomp": _seccomp,
    "speculative_store_bypass": _own_status("Speculation_Store_Bypass"),
    "speculative_indirect_branch": _own_status("SpeculationIndirectBranch"),
    "boot_time": _stat("btime"),
    "uptime_s": lambda root: float(read_text(root / "proc/uptime").split()[0]),
    "monotonic_s": lambda _: time.monotonic(),
    "python_version": lambda _: platform.python_version(),
    "python_implementation": lambda _: platform.python_implementation(),
    "python_build": lambda _: " ".join(platform.python_build()),
    "python_compiler": lambda _: platform.python_compiler(),
    "python_hash_randomization": lambda _: bool(sys.flags.hash_randomization),
    "clock": lambda _: time.get_clock_info("perf_counter").implementation,
    "clock_resolution_ns": lambda _: time.get_clock_info("perf_counter").resolution * 1e9,
}
