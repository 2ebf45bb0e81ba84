from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from profleet.hardware.detect import CLASS_FIELDS
from profleet.paths import data_dir
from profleet_runner import environment


def test_command_prints_every_field_with_a_value_or_a_reason():
    done = subprocess.run(
        [sys.executable, "-m", "profleet_runner.environment"], capture_output=True, check=True,
        env={**os.environ, "PYTHONPATH": str(data_dir("runners"))},
    )  # fmt: skip
    fields = json.loads(done.stdout)
    assert set(CLASS_FIELDS) <= fields.keys()
    for name, field in fields.items():
        assert field.keys() in ({"value"}, {"unavailable"}), name
        if "unavailable" in field:
            assert field["unavailable"], name
        else:
            assert field["value"] is not None, name
    packages = fields["packages_installed"]["value"]
    assert f"numpy=={fields['package_numpy']['value']}" in packages
    assert packages == sorted(set(packages), key=str.lower)
    assert fields["logical_cpus"]["value"] >= fields["physical_cores"]["value"] >= 1
    assert fields["memory_total_bytes"]["value"] > fields["memory_available_bytes"]["value"] > 0


def test_machine_that_shows_nothing_gives_reasons(tmp_path):
    fields = environment.capture(tmp_path)
    assert fields["cpu_model"]["unavailable"].startswith(str(tmp_path / "proc/cpuinfo"))
    assert "No such file" in fields["governor"]["unavailable"]
    assert fields["cgroup_cpu_quota"] == {"unavailable": "no quota is set"}
    assert fields["gpus"] == {"value": []}


def test_fields_of_a_laptop(tmp_path):
    cpu = tmp_path / "sys/devices/system/cpu"
    files = {
        "online": "0-3",
        "smt/active": "1",
        "intel_pstate/no_turbo": "0",
        "cpu0/topology/thread_siblings_list": "0,2",
        "cpu1/topology/thread_siblings_list": "1,3",
        "cpu2/topology/thread_siblings_list": "0,2",
        "cpu3/topology/thread_siblings_list": "1,3",
        **{f"cpu{n}/topology/physical_package_id": "0" for n in range(4)},
        "cpu0/cpufreq/scaling_governor": "powersave",
        "cpu0/cpufreq/scaling_max_freq": "4800000",
        "cpu0/cpufreq/scaling_cur_freq": "2000000",
        "cpu1/cpufreq/scaling_cur_freq": "1000000",
        "cpu0/cache/index2/level": "2",
        "cpu0/cache/index2/type": "Unified",
        "cpu0/cache/index2/size": "1280K",
    }
    for name, text in files.items():
        (cpu / name).parent.mkdir(parents=True, exist_ok=True)
        (cpu / name).write_text(f"{text}\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(
        "vendor_id\t: GenuineIntel\nmodel name\t: Some CPU @ 2 GHz\nflags\t: fpu avx2 fma vmx\n"
    )
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/status").write_text(
        "Seccomp:\t2\nSpeculation_Store_Bypass:\tthread force mitigated\n"
    )
    fields = {name: field.get("value") for name, field in environment.capture(tmp_path).items()}
    expected = {
        "seccomp": "filter", "speculative_store_bypass": "thread force mitigated",
        "cpu_model": "Some CPU @ 2 GHz", "cpu_flags": ["avx2", "fma"], "sockets": 1,
        "physical_cores": 2, "logical_cpus": 4, "threads_per_core": 2, "smt_active": True,
        "turbo": True, "governor": "powersave", "frequency_max_mhz": 4800.0,
        "frequency_now_mhz": 1500.0, "cache_l2_bytes": 1280 * 1024, "hypervisor": "none",
    }  # fmt: skip
    assert {name: fields[name] for name in expected} == expected


GROUPS = {
    "v1": {
        "proc/self/cgroup": "9:pids:/job\n8:memory:/job\n7:cpuset:/job\n6:cpu,cpuacct:/job\n",
        "sys/fs/cgroup/pids/job/pids.max": "512",
        "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "1073741824",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/memory/job/memory.max_usage_in_bytes": "123456",
        "sys/fs/cgroup/memory/job/memory.oom_control": "oom_kill_disable 0\noom_kill 2",
        "sys/fs/cgroup/cpuset/job/cpuset.effective_cpus": "1-2",
        "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "150000",
        "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/cpu/job/cpu.stat": "nr_periods 9\nnr_throttled 4",
    },
    "v2": {
        "proc/self/cgroup": "0::/job\n",
        "sys/fs/cgroup/cgroup.controllers": "cpu memory pids",
        "sys/fs/cgroup/pids.max": "max",
        "sys/fs/cgroup/job/pids.max": "512",
        "sys/fs/cgroup/job/memory.max": "1073741824",
        "sys/fs/cgroup/job/memory.peak": "123456",
        "sys/fs/cgroup/job/memory.events": "oom 3\noom_kill 2",
        "sys/fs/cgroup/job/cpuset.cpus.effective": "1-2",
        "sys/fs/cgroup/job/cpu.max": "150000 100000",
        "sys/fs/cgroup/job/cpu.stat": "usage_usec 1\nnr_throttled 4",
    },
}


@pytest.mark.parametrize("version", GROUPS)
@pytest.mark.parametrize("inside", [False, True], ids=["whole tree", "as a container sees it"])
def test_limits_of_a_cgroup(tmp_path, version, inside):
    """A container may see its own group as the root of the tree, under the host's path."""
    for name, text in GROUPS[version].items():
        if inside and "sys/fs" in name:
            if "/job/" not in name and "controllers" not in name:
                continue
            name = name.replace("/job/", "/")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    fields = environment.capture(tmp_path)
    assert {name: field.get("value") for name, field in fields.items() if "cgroup_" in name} == {
        "cgroup_cpu_quota": 1.5, "cgroup_memory_limit_bytes": 2**30, "cgroup_cpuset": [1, 2],
        "cgroup_memory_peak_bytes": 123456, "cgroup_pids_limit": 512, "cgroup_cpu_throttled": 4,
        "cgroup_oom_kills": 2,
    }  # fmt: skip


def side(**values):
    base = {
        "monotonic_s": 0.0, "logical_cpus": 2, "busy_s": 0.0, "own_s": 0.0, "steal_s": 0.0,
        "cgroup_cpu_throttled": 0, "thermal_throttle_count": 0, "frequency_now_mhz": 3000.0,
        "swapped_in_pages": 0, "swapped_out_pages": 0,
    }  # fmt: skip
    return {name: {"value": value} for name, value in (base | values).items()}


CALM = {"monotonic_s": 100.0, "busy_s": 101.0, "own_s": 100.0}


def test_calm_machine_has_no_warnings():
    assert environment.warnings(side(), side(**CALM)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"busy_s": 150.0}, "Other programs used 0.5 of 2 processors"),
        ({"steal_s": 10.0}, "hypervisor took 5.0%"),
        ({"cgroup_cpu_throttled": 3}, "quota stopped this group 3 times"),
        ({"thermal_throttle_count": 2}, "throttled 2 times for heat"),
        ({"frequency_now_mhz": 2000.0}, "from 3000 to 2000 MHz"),
        ({"swapped_in_pages": 8}, "8 pages were swapped"),
        ({"governor": "powersave"}, "'powersave'"),
        ({"gpus": ["A GPU"], "gpu0_throttle_reasons": ["power cap"]}, "GPU 0 was slowed down"),
    ],
)
def test_each_disturbance_is_told(change, said):
    (warning,) = environment.warnings(side(), side(**{**CALM, **change}))
    assert said in warning


def test_unavailable_fields_raise_no_warning():
    nothing = {name: {"unavailable": "no"} for name in side()}
    assert environment.warnings(nothing, nothing) == []
