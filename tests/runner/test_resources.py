"""Cores, cgroups, memory and energy, read from trees that stand for a machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from profleet.paths import data_dir
from profleet_runner import gpu, host, resources


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def smt(root, cpus=8):
    """Processors 0 and 4, 1 and 5 ... are threads of one core."""
    half = cpus // 2
    siblings = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    return tree(
        root, {siblings.format(n): f"{n % half},{n % half + half}" for n in range(cpus)}
    )  # fmt: skip


# -- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-3,8", [0, 1, 2, 3, 8]), ("5", [5]), ("", []), ("0,2-3\n", [0, 2, 3])]
)
def test_cpu_list(text, cpus):
    assert host.parse_cpu_list(text) == cpus


@pytest.mark.parametrize(
    ("cpus", "quota", "threads"),
    [
        (range(8), None, 4),
        ([0, 4], None, 1),
        ([0, 1], None, 2),
        (range(8), 2.5, 2),
        (range(8), 0.5, 1),
        (range(8), 16.0, 4),
    ],
)
def test_threads_are_physical_cores_within_affinity_and_quota(tmp_path, cpus, quota, threads):
    assert host.default_threads(list(cpus), quota, smt(tmp_path)) == threads


def test_without_topology_each_processor_is_a_core(tmp_path):
    assert host.physical_cores([0, 1, 2], tmp_path) == 3


def test_cgroup_v2_takes_the_tightest_of_all_levels(tmp_path):
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/outer/inner",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory",
            "sys/fs/cgroup/outer/cpu.max": "150000 100000",
            "sys/fs/cgroup/outer/inner/cpu.max": "max 100000",
            "sys/fs/cgroup/outer/memory.max": "max",
            "sys/fs/cgroup/outer/inner/memory.max": "1048576",
            "sys/fs/cgroup/outer/inner/memory.events": "low 0\noom 3\noom_kill 2",
        },
    )
    assert host.cpu_quota(tmp_path) == 1.5
    assert host.memory_limit(tmp_path) == 1048576
    assert host.oom_kills(tmp_path) == 2


def test_cgroup_v1_with_a_path_that_the_container_hides(tmp_path):
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu/cpu.stat": "nr_periods 9\nnr_throttled 4",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\noom_kill 1",
        },
    )
    assert host.cpu_quota(tmp_path) is None
    assert host.cpu_throttled(tmp_path) == 4
    assert host.memory_limit(tmp_path) is None
    assert host.oom_kills(tmp_path) == 1


def test_no_cgroup_at_all(tmp_path):
    assert host.cpu_quota(tmp_path) is host.memory_limit(tmp_path) is host.oom_kills(tmp_path)


# -- energy --------------------------------------------------------------------------------------


def powercap(root, **energies):
    base = "sys/class/powercap/intel-rapl:"
    files = {}
    for name, energy in energies.items():
        folder = f"{base}{name.lstrip('p').replace('_', ':')}"
        files |= {
            f"{folder}/name": f"package-{name[1:]}" if "_" not in name else "core",
            f"{folder}/energy_uj": energy,
            f"{folder}/max_energy_range_uj": 1_000_000,
        }
    return tree(root, files)


def test_rapl_sums_packages_and_leaves_out_their_parts(tmp_path):
    meter = resources.rapl_meter(powercap(tmp_path, p0=100, p0_0=7, p1=500))
    assert isinstance(meter, resources.Rapl)
    before = meter.read()
    assert before == [100, 500]
    powercap(tmp_path, p0=250_100, p0_0=900_000, p1=500_500)
    assert meter.joules(before, meter.read()) == pytest.approx(0.75)


def test_rapl_counter_that_wrapped(tmp_path):
    meter = resources.rapl_meter(powercap(tmp_path, p0=900_000))
    assert isinstance(meter, resources.Rapl)
    before = meter.read()
    powercap(tmp_path, p0=100_000)
    assert meter.joules(before, meter.read()) == pytest.approx(0.2)


def test_rapl_absent_or_forbidden(tmp_path, monkeypatch):
    assert "no RAPL package domain" in str(resources.rapl_meter(tmp_path))
    powercap(tmp_path, p0=1)
    read = resources.read_text

    def forbid(path):
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(resources, "read_text", forbid)
    assert "root" in str(resources.rapl_meter(tmp_path))


# -- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("terminate called after throwing an instance of 'std::bad_alloc'", True),
        ("[ErrorCode] Failed to allocate memory for requested buffer of size 512", True),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", True),
        ("CUDA out of memory. Tried to allocate 20 GiB", True),
        ("Invalid rank for input: x", False),
    ],
)
def test_messages_about_memory(text, memory):
    assert resources.says_out_of_memory(text) is memory


def test_memory_limit_makes_allocations_fail_cleanly():
    code = (
        "from profleet_runner.resources import limit_memory\n"
        "limit_memory(256 * 2**20)\n"
        "small = bytearray(16 * 2**20)\n"
        "try: bytearray(512 * 2**20)\n"
        "except MemoryError: print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(data_dir("runners"))},
    )  # fmt: skip
    assert done.stdout == "refused\n", done.stderr


def test_peak_of_resident_memory_starts_anew():
    code = (
        "from profleet_runner.resources import peak_rss, reset_peak_rss\n"
        "big = bytearray(200 * 2**20)\n"
        "high = peak_rss(); del big\n"
        "reason = reset_peak_rss()\n"
        "print(reason or (high - peak_rss() > 150 * 2**20))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(data_dir("runners"))},
    )  # fmt: skip
    assert done.stdout.strip() == "True" or "clear_refs" in done.stdout, done.stderr


def test_peak_reset_says_why_not(tmp_path):
    assert "clear_refs cannot be written" in str(resources.reset_peak_rss(tmp_path))
    assert "cannot be read" in str(resources.peak_rss(tmp_path))


def test_throttle_bits_of_nvml():
    assert gpu.throttle_reasons(0x1 | 0x4 | 0x40) == ["power cap", "hardware thermal"]
    assert gpu.throttle_reasons(0x1) == [], "an idle GPU is not throttled"
