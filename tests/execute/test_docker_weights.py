"""How a model's weights reach a container, and how containers share them, on a real engine."""

from __future__ import annotations

import json
import os
import threading

import pytest
from docker.errors import APIError
from requests import Response

from attackers import result, taken
from profleet.container import labels, owner, volumes
from profleet.container.archive import Entry
from profleet.errors import EngineError

MIB = 2**20

READ = """
    model = pathlib.Path(job["model"]["artifact"]["path"])
    pathlib.Path("profile.json").write_text(json.dumps(
        [len(model.read_bytes()), os.access(model, os.W_OK), str(model.resolve())]))
"""


def test_weights_are_copied_once_and_shared(attack):
    folders = [attack(READ)[1] for _ in range(2)]
    assert [result(folder) for folder in folders] == [
        [len(attack.weights), False, "/artifact/model.onnx"]
    ] * 2
    assert [event["phase"] for event in attack.events].count("copy") == 1


def test_weights_through_the_archive_need_no_volume(attack):
    attack.weights = os.urandom(20 * MIB)  # more than the results may be
    ended, folder = attack(READ, weights="archive")
    assert ended.code == 0, ended.log.read_text("utf-8")
    assert result(folder) == [20 * MIB, False, "/out/artifact/model.onnx"]
    assert taken(folder) == ["profile.json"]
    names = [each["Name"] for each in attack.engine.client.api.volumes()["Volumes"] or ()]
    assert not attack.volumes & set(names)


def test_two_jobs_share_the_weights_at_the_same_time(attack):
    attack.weights = os.urandom(8 * MIB)
    folders = [attack.job(READ + "    time.sleep(1)") for _ in range(3)]
    ends = []
    threads = [
        threading.Thread(
            target=lambda folder=folder: ends.append(
                attack.executor().execute(folder, timeout_seconds=60, on_event=lambda _: None)
            )
        )
        for folder in folders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ended.code for ended in ends] == [0, 0, 0]
    assert {result(folder)[0] for folder in folders} == {8 * MIB}


def test_a_volume_that_was_half_filled_is_filled_again(attack):
    """A copy that was broken off has the artifact's name, and no mark."""
    folder = attack.job(READ)
    executor = attack.executor()
    volume = volumes.Artifact(attack.root / "model.onnx", *described(folder))
    with filling(attack, volume) as session:
        session.put([Entry("model.onnx", attack.weights[:1000])], "/artifact")
    ended = executor.execute(folder, timeout_seconds=60, on_event=attack.events.append)
    assert ended.code == 0
    assert result(folder)[0] == len(attack.weights)
    assert [event["phase"] for event in attack.events] == ["container", "copy"]


def test_a_fill_that_a_dead_process_left_is_taken_over(attack, docker_engine):
    folder = attack.job(READ)
    artifact = volumes.Artifact(attack.root / "model.onnx", *described(folder))
    dead = {**owner.mine("fill", "dead"), labels.PID: "999999999"}
    name = f"profleet-fill-{artifact.sha256[:24]}"
    docker_engine.client.api.create_container(attack.image.id, name=name, labels=dead)
    ended = attack.executor().execute(folder, timeout_seconds=60, on_event=lambda _: None)
    assert ended.code == 0
    assert result(folder)[0] == len(attack.weights)
    named = docker_engine.client.api.containers(all=True, filters={"name": name})
    assert named == []


def test_a_fill_of_a_living_process_is_waited_for(attack, monkeypatch):
    monkeypatch.setattr(volumes, "WAIT_SECONDS", 1.0)
    folder = attack.job(READ)
    artifact = volumes.Artifact(attack.root / "model.onnx", *described(folder))
    with filling(attack, artifact), pytest.raises(EngineError, match="docker rm -v profleet-fill-"):
        attack.executor().execute(folder, timeout_seconds=60, on_event=lambda _: None)


@pytest.mark.parametrize(
    ("status", "said"),
    [(409, "Conflict"), (500, "the container name is already in use")],
    ids=["docker", "podman"],
)
def test_a_fill_that_another_one_has_begun_is_tried_again(attack, monkeypatch, status, said):
    attack.job(READ)
    artifact = volumes.Artifact(
        attack.root / "model.onnx", *described(attack.root / attack.runs[0])
    )
    api, create = attack.engine.client.api, attack.engine.client.api.create_container
    refused = Response()
    refused.status_code = status
    refusals = [APIError(said, refused, said)]

    def taken_at_first(*arguments, **words):
        if refusals:
            raise refusals.pop()
        return create(*arguments, **words)

    monkeypatch.setattr(api, "create_container", taken_at_first)
    with filling(attack, artifact) as session:
        assert refusals == []
        assert not volumes.is_filled(session, artifact)


def test_a_damaged_volume_is_removed_when_the_runner_finds_it_out(attack, capsys):
    assert attack(READ)[0].code == 0
    ended, _ = attack("sys.exit(4)")
    assert ended.code == 4
    assert "was damaged and is removed" in capsys.readouterr().err
    attack.events.clear()
    assert attack(READ)[0].code == 0
    assert "copy" in [event["phase"] for event in attack.events]


def test_a_volume_of_somebody_else_is_never_removed(attack, docker_engine):
    artifact = volumes.Artifact(attack.root / "model.onnx", "0" * 63 + "f", 1)
    docker_engine.client.api.create_volume(artifact.volume)
    attack.volumes.add(artifact.volume)
    assert not volumes.discard(docker_engine, artifact)
    assert docker_engine.client.api.inspect_volume(artifact.volume)


def described(folder):
    artifact = json.loads((folder / "job.json").read_text("utf-8"))["model"]["artifact"]
    return artifact["sha256"], artifact["bytes"]


def filling(attack, artifact):
    return volumes._filling(attack.engine, attack.image.id, artifact, attack.runs[-1])
