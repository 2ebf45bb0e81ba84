"""What Podman must be told so that a container is as hermetic as under Docker."""

from __future__ import annotations

import resource
from types import SimpleNamespace
from typing import Any

import pytest

from attackers import SETTINGS
from profleet.container import labels, podman
from profleet.container.hermetic import confine, create_arguments
from profleet.container.volumes import mount
from profleet.execute.settings import DockerSettings, check
from profleet.manifest.documents import Container

LABEL = {"profleet.kind": "job"}


@pytest.fixture
def arguments() -> dict[str, Any]:
    """What a job's container is made with."""
    confinement = confine(
        check(DockerSettings, SETTINGS), Container(), cpus=None, engine_cpus=2,
        engine_memory_bytes=2**32,
    )  # fmt: skip
    return create_arguments(confinement, label=LABEL)


def adapted(arguments, *, rootless=False, local=True, architecture="amd64"):
    engine = SimpleNamespace(rootless=rootless, local=local, architecture=architecture)
    return podman.adapted(engine, "job-1", arguments)


def test_volumes_are_made_beforehand_as_they_should_be(arguments):
    artifact = SimpleNamespace(volume="profleet-artifact-1", sha256="1")
    changed, made = adapted({**arguments, "mounts": [*arguments["mounts"], mount(artifact)]})
    out, weights = made
    assert out["name"] == changed["mounts"][0]["Source"] == "job-1-0"
    assert out["labels"] == LABEL
    assert out["driver_opts"]["o"] == "nr_blocks=4096,nr_inodes=4096,mode=1777,nosuid,nodev"
    assert weights["name"] == changed["mounts"][1]["Source"] == "profleet-artifact-1"
    assert weights["labels"][labels.ARTIFACT] == "1"
    assert changed["mounts"][1]["ReadOnly"]
    assert podman.own_volumes("job-1", made) == ["job-1-0"], "others share the weights"


@pytest.mark.parametrize(
    ("where", "blocks"),
    [
        ({"architecture": "arm64", "local": True}, 1024),
        ({"architecture": "arm64", "local": False}, 256),
        ({"architecture": "amd64", "local": False}, 4096),
    ],
)
def test_no_machine_gives_a_volume_more_room_than_asked_for(arguments, monkeypatch, where, blocks):
    """Room is told in pages of the engine's machine: 4, 16 or 64 KiB on arm64."""
    monkeypatch.setattr(resource, "getpagesize", lambda: 2**14)
    _, (out,) = adapted(arguments, **where)
    assert out["driver_opts"]["o"].startswith(f"nr_blocks={blocks},")


def test_what_podman_adds_to_a_read_only_root_is_closed(arguments):
    changed, _ = adapted(arguments)
    assert {changed["tmpfs"][place] for place in ("/run", "/var/tmp")} == {"ro,size=4k"}
    assert changed["tmpfs"]["/tmp"] == arguments["tmpfs"]["/tmp"]
    loose, _ = adapted({**arguments, "read_only": False})
    assert loose["tmpfs"] == arguments["tmpfs"]


def test_limits_are_no_higher_than_this_machine_allows(arguments, monkeypatch):
    hard = {resource.RLIMIT_NOFILE: 4096, resource.RLIMIT_NPROC: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (0, hard[kind]))
    limits = {each["Name"]: each["Hard"] for each in adapted(arguments)[0]["ulimits"]}
    assert limits == {"fsize": 32 * 2**20, "core": 0, "nofile": 4096, "nproc": 2**15}
    for elsewhere in ({"rootless": True}, {"local": False}):
        assert adapted(arguments, **elsewhere)[0]["ulimits"] == arguments["ulimits"]


def test_nothing_else_changes(arguments):
    changed, _ = adapted(arguments)
    told = {key for key in arguments if changed[key] != arguments[key]}
    assert told == {"mounts", "tmpfs", "ulimits"}


def test_a_container_without_volumes_needs_none():
    assert adapted({"mem_limit": 1})[1] == []
