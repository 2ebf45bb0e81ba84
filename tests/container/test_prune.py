"""Clean-up takes what carries Profleet's labels and is not needed, and nothing else."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from docker.errors import NotFound

import containers
from profleet.container import labels, owner
from profleet.container.engine import Engine
from profleet.container.images import ImageRecord, inspect
from profleet.container.prune import Leftover, leftovers, remove


@pytest.fixture
def made(docker_engine: Engine) -> Iterator[list[str]]:
    """Ids of containers that are removed in the end."""
    ids: list[str] = []
    yield ids
    for each in ids:
        docker_engine.client.api.remove_container(each, v=True, force=True)


def container(engine: Engine, image: str, label: dict[str, str], made: list[str]) -> str:
    made_id: str = engine.client.api.create_container(image, ["none"], labels=label)["Id"]
    made.append(made_id)
    return made_id


def ids(found: list[Leftover]) -> set[str]:
    return {each.id for each in found}


def test_containers_are_left_over_when_their_process_is_gone(
    docker_engine: Engine, runner_image: ImageRecord, made: list[str]
):
    mine = owner.mine("job", "run")
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    dead = container(docker_engine, runner_image.id, {**mine, labels.PID: str(child)}, made)
    living = container(docker_engine, runner_image.id, mine, made)
    foreign = container(docker_engine, runner_image.id, {"com.example.kind": "job"}, made)
    none = container(docker_engine, runner_image.id, {labels.KIND: "mine-too"}, made)
    found = leftovers(docker_engine, everything=True)
    assert dead in ids(found)
    assert not {living, foreign, none} & ids(found)
    assert remove(docker_engine, next(each for each in found if each.id == dead))
    made.remove(dead)
    everything = {each["Id"] for each in docker_engine.client.api.containers(all=True)}
    assert dead not in everything
    assert {living, foreign, none} <= everything


def test_images_without_a_name_go_and_named_ones_stay(docker_engine: Engine):
    runner = containers.runner_labels()
    with containers.temporary_ref(docker_engine) as ref:
        named = containers.load_image(docker_engine, ref, runner)
        nameless = containers.load_image(docker_engine, None, runner)
        foreign = containers.load_image(docker_engine, None, {"com.example.kind": "runner"})
        found = leftovers(docker_engine)
        assert nameless.id in ids(found)
        assert not {named.id, ref, foreign.id} & ids(found)
        assert ref in ids(leftovers(docker_engine, everything=True))
        assert remove(docker_engine, next(each for each in found if each.id == nameless.id))
        assert inspect(docker_engine, nameless.id) is None
        assert inspect(docker_engine, foreign.id) is not None
        docker_engine.client.api.remove_image(foreign.id)


def test_an_image_in_use_stays_and_is_said(docker_engine: Engine, made: list[str]):
    image = containers.load_image(docker_engine, None, containers.runner_labels())
    used = container(docker_engine, image.id, {}, made)
    assert remove(docker_engine, Leftover("image", image.id, "x")) is False
    docker_engine.client.api.remove_container(used, force=True)
    made.remove(used)
    assert remove(docker_engine, Leftover("image", image.id, "x")) is True


def test_what_is_gone_already_counts_as_removed(docker_engine: Engine):
    assert remove(docker_engine, Leftover("volume", f"none-{uuid.uuid4().hex}", "x"))
    assert remove(docker_engine, Leftover("container", uuid.uuid4().hex, "x"))


def test_a_volume_of_a_job_stays_while_its_process_lives(docker_engine: Engine):
    """Under Podman there is a moment between it and its container."""
    api = docker_engine.client.api
    living, dead = (f"profleet-job-test-{uuid.uuid4().hex[:8]}-0" for _ in range(2))
    mine = owner.mine("job", "run")
    api.create_volume(living, labels=mine)
    api.create_volume(dead, labels={**mine, labels.STARTED: "1"})
    try:
        found = ids(leftovers(docker_engine))
        assert dead in found
        assert living not in found
        owner.clear(docker_engine)
        names = {each["Name"] for each in api.volumes()["Volumes"]}
        assert living in names
        assert dead not in names
    finally:
        for name in (living, dead):
            with contextlib.suppress(NotFound):
                api.remove_volume(name)


def test_volumes_with_artifacts_stay_unless_everything_goes(docker_engine: Engine):
    name = f"profleet-test-{uuid.uuid4().hex[:8]}"
    other = f"test-{uuid.uuid4().hex[:8]}"
    api = docker_engine.client.api
    api.create_volume(name, labels={labels.KIND: "model-cache"})
    api.create_volume(other, labels={"com.example.kind": "model-cache"})
    try:
        assert name not in ids(leftovers(docker_engine))
        found = leftovers(docker_engine, everything=True)
        assert name in ids(found)
        assert other not in ids(found)
        assert remove(docker_engine, next(each for each in found if each.id == name))
    finally:
        api.remove_volume(other)
        if name in {each["Name"] for each in api.volumes()["Volumes"]}:
            api.remove_volume(name)


class Unfiltered:
    """An engine that lists everything, whatever it is asked for; of volumes, unused ones apart."""

    def containers(self, **_):
        dead = {**owner.mine("job", "x"), labels.PID: "999999999"}
        del dead[labels.KIND]
        foreign = {"Id": "foreign", "Labels": dead}
        return [foreign, {"Id": "mine", "Labels": {**dead, labels.KIND: "job"}}, {"Id": "bare"}]

    def images(self, **_):
        kinds = {"mine": {labels.KIND: "runner"}, "foreign": {"com.example.kind": "runner"}}
        return [{"Id": f"sha256:{name}", "Labels": label} for name, label in kinds.items()]

    def volumes(self, filters):
        job = {labels.KIND: "job"}
        used = [] if "dangling" in filters else [{"Name": "used", "Labels": job}]
        foreign = {"Name": "foreign", "Labels": None}
        return {"Volumes": [{"Name": "mine", "Labels": job}, foreign, *used]}


def test_what_is_removed_is_not_left_to_the_filters_of_an_engine():
    engine = SimpleNamespace(client=SimpleNamespace(api=Unfiltered()), endpoint="unix:///x")
    assert [(each.what, each.id) for each in leftovers(engine, everything=True)] == [
        ("container", "mine"), ("image", "sha256:mine"), ("volume", "mine"),
    ]  # fmt: skip
