"""What the Linux kernel says about this machine and about what this process may use of it.

Every function takes ``root``, the folder that stands for ``/``, so that tests can give it a tree
of their own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
CPUS = "sys/devices/system/cpu"
_UNLIMITED = 2**60
"""cgroup v1 writes a page-rounded 2**63 - 1 where there is no limit."""


def parse_cpu_list(text: str) -> list[int]:
    """Parse the kernel's list format, ``0-3,8``."""
    cpus: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


def read_text(path: Path) -> str:
    """Read a file of the kernel, stripped. Raises OSError."""
    return path.read_text("utf-8", errors="replace").strip()


def read_int(path: Path) -> int | None:
    """Read a number, or None where the file is missing or holds something else."""
    try:
        return int(read_text(path))
    except (OSError, ValueError):
        return None


# -- cores ---------------------------------------------------------------------------------------


def available_cpus() -> list[int]:
    """Processors that this process may be scheduled on."""
    return sorted(os.sched_getaffinity(0))


def physical_cores(cpus: list[int], root: Path = ROOT) -> int:
    """Count the physical cores behind processors; without topology each counts as a core."""
    cores = set()
    for cpu in cpus:
        topology = root / CPUS / f"cpu{cpu}" / "topology"
        siblings = topology / "thread_siblings_list"
        try:
            cores.add(read_text(siblings))
        except OSError:
            cores.add(f"cpu{cpu}")
    return len(cores)


def default_threads(cpus: list[int], quota: float | None, root: Path = ROOT) -> int:
    """Return how many threads compute at once at full speed: physical cores within the quota.

    Args:
        cpus: processors that the process may use.
        quota: processor time per time that the cgroup grants, or None.
        root: see the module.
    """
    cores = physical_cores(cpus, root)
    return max(1, cores if quota is None else min(cores, int(quota)))


# -- cgroups -------------------------------------------------------------------------------------


def cgroup_folders(controller: str, root: Path = ROOT) -> Iterator[tuple[Path, bool]]:
    """Yield the folders of this process's cgroup for a controller, innermost first.

    The second item is True for cgroup v2. Outer folders follow, since their limits hold as well;
    where a container hides its own path, the mount point remains.
    """
    try:
        lines = read_text(root / "proc/self/cgroup").splitlines()
    except OSError:
        return
    mount = root / "sys/fs/cgroup"
    for line in lines:
        _, names, path = line.split(":", 2)
        inside = Path(path.lstrip("/"))
        if names == "" and (mount / "cgroup.controllers").exists():
            base, unified = mount, True
        elif controller in names.split(","):
            base, unified = mount / controller, False
        else:
            continue
        for part in (inside, *inside.parents):
            if (base / part).is_dir():
                yield base / part, unified


def cpu_quota(root: Path = ROOT) -> float | None:
    """Return the processor time per time that the cgroup grants (2.0: two cores), or None."""
    quotas = []
    for folder, unified in cgroup_folders("cpu", root):
        if unified:
            try:
                quota, _, period = read_text(folder / "cpu.max").partition(" ")
            except OSError:
                continue
            if quota != "max":
                quotas.append(int(quota) / int(period or 100_000))
        else:
            quota_us = read_int(folder / "cpu.cfs_quota_us")
            period_us = read_int(folder / "cpu.cfs_period_us")
            if quota_us is not None and quota_us > 0 and period_us:
                quotas.append(quota_us / period_us)
    return min(quotas, default=None)


def memory_limit(root: Path = ROOT) -> int | None:
    """Return the memory limit of the cgroup in bytes, or None."""
    limits = []
    for folder, unified in cgroup_folders("memory", root):
        limit = read_int(folder / ("memory.max" if unified else "memory.limit_in_bytes"))
        if limit is not None and limit < _UNLIMITED:
            limits.append(limit)
    return min(limits, default=None)


def memory_peak(root: Path = ROOT) -> int | None:
    """Return the most memory that the cgroup had in use, files included, in bytes, or None."""
    for folder, unified in cgroup_folders("memory", root):
        peak = read_int(folder / ("memory.peak" if unified else "memory.max_usage_in_bytes"))
        if peak is not None:
            return peak
    return None


def cpuset(root: Path = ROOT) -> list[int] | None:
    """Return the processors that the cgroup grants, or None where it does not tell."""
    for folder, unified in cgroup_folders("cpuset", root):
        try:
            name = "cpuset.cpus.effective" if unified else "cpuset.effective_cpus"
            return parse_cpu_list(read_text(folder / name))
        except OSError:
            continue
    return None


def pids_limit(root: Path = ROOT) -> int | None:
    """Return how many processes and threads the cgroup may have, or None."""
    limits = []
    for folder, _ in cgroup_folders("pids", root):
        limit = read_int(folder / "pids.max")  # the word max where there is none
        if limit is not None:
            limits.append(limit)
    return min(limits, default=None)


def oom_kills(root: Path = ROOT) -> int | None:
    """Return how often the kernel killed a process of this cgroup for memory, or None."""
    for folder, unified in cgroup_folders("memory", root):
        name = "memory.events" if unified else "memory.oom_control"
        count = _counter(folder / name, "oom_kill")
        if count is not None:
            return count
    return None


def cpu_throttled(root: Path = ROOT) -> int | None:
    """Return in how many periods the cgroup's quota stopped this cgroup, or None."""
    for folder, _ in cgroup_folders("cpu", root):
        count = _counter(folder / "cpu.stat", "nr_throttled")
        if count is not None:
            return count
    return None


def _counter(path: Path, name: str) -> int | None:
    try:
        lines = read_text(path).splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None
