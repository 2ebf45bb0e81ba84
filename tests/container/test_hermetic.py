"""What a container may do follows from the settings, and every departure is named."""

from __future__ import annotations

import pytest

from attackers import SETTINGS
from profleet.container.hermetic import MIB, confine, create_arguments
from profleet.errors import ConfigError
from profleet.execute.settings import DockerSettings, check
from profleet.manifest.documents import Container

ENGINE = {"engine_cpus": 4, "engine_memory_bytes": 10_000 * MIB}


def settled(container=None, cpus=None, swap_limit=True, **settings):
    asked = check(DockerSettings, {**SETTINGS, **settings})
    return confine(asked, container or Container(), cpus=cpus, swap_limit=swap_limit, **ENGINE)


def arguments(confinement, **more):
    return create_arguments(confinement, label={"profleet.run": "r"}, **more)


def test_the_default_is_hermetic():
    confinement = settled(memory_mb="auto")
    assert confinement.loosened == ()
    assert confinement.memory_bytes == 8000 * MIB
    given = arguments(confinement)
    assert given["network_mode"] == "none"
    assert given["read_only"] is True
    assert given["cap_drop"] == ["ALL"]
    assert given["cap_add"] == []
    assert given["security_opt"] == ["no-new-privileges:true"]
    assert given["pids_limit"] == 64
    assert given["mem_limit"] == given["memswap_limit"] == 8000 * MIB, "no swap"
    assert given["cpuset_cpus"] == "0,1,2,3"
    assert "nosuid,nodev" in given["tmpfs"]["/tmp"]
    assert given["device_requests"] is None
    limits = {each["Name"]: (each["Soft"], each["Hard"]) for each in given["ulimits"]}
    assert limits == {"core": (0, 0), "fsize": (32 * MIB, 32 * MIB)}


def test_only_the_jobs_folder_is_mounted_and_it_is_bounded():
    (mount,) = arguments(settled(results_mb=16))["mounts"]
    assert (mount["Target"], mount["Type"], mount["Source"]) == ("/out", "volume", None)
    options = mount["VolumeOptions"]["DriverConfig"]["Options"]
    assert options["type"] == "tmpfs"
    assert f"size={16 * MIB}," in options["o"]
    assert "nr_inodes=4096" in options["o"]
    assert mount["VolumeOptions"]["Labels"] == {"profleet.run": "r"}


def test_room_for_what_goes_in_is_added():
    given = arguments(settled(results_mb=16), extra_results_bytes=100 * MIB)
    assert (
        f"size={116 * MIB}," in given["mounts"][0]["VolumeOptions"]["DriverConfig"]["Options"]["o"]
    )
    assert given["ulimits"][0]["Soft"] == 116 * MIB


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"network": "host"}, "network=host"),
        ({"writable_root": True}, "writable_root=true"),
        ({"user": "0"}, "user=0"),
        ({"user": "root:1000"}, "user=root:1000"),
        ({"user": "00:1000"}, "user=00:1000"),
        ({"cap_add": ("SYS_NICE", "IPC_LOCK")}, "cap_add=SYS_NICE,IPC_LOCK"),
        ({"seccomp": "unconfined"}, "seccomp=unconfined"),
        ({"pids": None}, "pids=null"),
        ({"memory_mb": None}, "memory_mb=null"),
        ({"swap_limit": False}, "swap (the engine cannot exclude it)"),
    ],
)
def test_each_departure_is_named(settings, name):
    assert settled(**settings).loosened == (name,)


def test_numbers_of_a_command_line_are_names():
    settled_with_numbers = settled(user=0, numa_nodes=0)
    assert settled_with_numbers.numa_nodes == "0"
    assert settled_with_numbers.loosened == ("user=0",)


def test_a_smaller_limit_is_no_departure():
    tight = settled(memory_mb=64, pids=16, tmp_mb=1, results_mb=8, user="1001:1001", cpus=[2])
    assert tight.loosened == ()
    assert tight.cpus == "2"


def test_what_the_manifest_needs():
    given = arguments(settled(Container(shm_size_mb=512, gpus="all")))
    assert given["shm_size"] == 512 * MIB
    (request,) = given["device_requests"]
    assert (request["Count"], request["Capabilities"]) == (-1, [["gpu"]])
    (request,) = arguments(settled(Container(gpus=("0", "GPU-abc"))))["device_requests"]
    assert (request["DeviceIDs"], request.get("Count")) == (["0", "GPU-abc"], 0)
    (request,) = arguments(settled(Container(devices=("nvidia.com/gpu=0",))))["device_requests"]
    assert (request["Driver"], request["DeviceIDs"]) == ("cdi", ["nvidia.com/gpu=0"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory_mb": 1}, {"memory_mb": "lots"}, {"pids": 0}, {"user": "a b"}, {"user": ""},
        {"network": "a b"}, {"cap_add": ("all; rm",)}, {"seccomp": "/etc/passwd"},
        {"image_id": "latest"}, {"results_mb": 0}, {"weights": "bind"}, {"privileged": True},
    ],
)  # fmt: skip
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ConfigError) as error:
        settled(**wrong)
    assert next(iter(wrong)) in str(error.value)
    assert "more problem" not in str(error.value)
