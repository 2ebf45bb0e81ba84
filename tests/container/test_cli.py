"""``profleet image`` as a user starts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import containers
from profleet.cli import main
from profleet.container import labels
from profleet.container.engine import Engine
from profleet.container.images import ImageRecord, packages


def own_framework(folder: Path, ref: str) -> Path:
    """A manifest of onnxruntime with another image, newer than the shipped one."""
    target = folder / "framework" / "onnxruntime@1.9.0.yaml"
    target.parent.mkdir(exist_ok=True)
    text = containers.manifest_text("onnxruntime")
    known = containers.framework().images["amd64"].ref
    target.write_text(text.replace("version: 1.0.0", "version: 1.9.0").replace(known, ref))
    return folder


def test_list_tells_what_is_built(
    runner_image: ImageRecord, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    assert main(["image", "list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["engine"]["name"] in {"docker", "podman"}
    rows = {row["name"]: row for row in told["images"]}
    assert rows["onnxruntime"]["state"] == "built"
    assert runner_image.id[7:].startswith(rows["onnxruntime"]["id"])
    folder = own_framework(tmp_path, "localhost/profleet/none:0")
    assert main(["image", "list", "--manifests", str(folder)]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("onnxruntime "))
    assert line.split()[1:3] == ["not", "built"]


def test_an_image_is_built_listed_verified_and_removed(
    docker_engine: Engine,
    runner_image: ImageRecord,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
):
    with containers.temporary_ref(docker_engine) as ref:
        folder = ["--manifests", str(own_framework(tmp_path, ref))]
        base = runner_image.labels[labels.BASE_NAME]
        assert main(["image", "build", "onnxruntime", "--quiet", "--base", base, *folder]) == 0
        name, image_id, *size = capsys.readouterr().out.split()
        assert (name, size[1]) == (ref, "MB")
        assert main(["image", "verify", "onnxruntime", "--json", *folder]) == 0
        found = json.loads(capsys.readouterr().out)["onnxruntime"]
        assert [each["outcome"] for each in found] == ["passed"] * 5
        containers.derive(docker_engine, ref, image_id, "RUN touch /opt/profleet/venv/bin/tool")
        assert main(["image", "verify", "onnxruntime", *folder]) == 1
        told = capsys.readouterr().out
        assert "bin/tool is not of a locked wheel" in told
        assert "Build it again: profleet image build onnxruntime" in told
        assert main(["image", "prune", "--all", "--dry-run"]) == 0
        assert f"would remove image {ref}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["build", "onnxruntim"], "Did you mean 'onnxruntime'"),
        (["build", "torch-compile"], "names no image for"),
        (["verify", "--lock", "/none/lock.json"], "cannot be read"),
        (["verify", "onnxruntime", "--lock", "x"], "not both"),
    ],
)
def test_a_mistake_is_one_sentence(
    docker_engine: Engine, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["image", *words]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert "Traceback" not in told


def test_gigabytes_of_cuda_are_not_fetched_by_accident(
    docker_engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    if docker_engine.gpus or Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr("profleet.container.build.build", lambda *_, **__: pytest.fail("built"))
    assert main(["image", "build", "onnxruntime-cuda"]) == 2
    told = capsys.readouterr().err
    assert "gigabytes" in told
    assert "--without-gpu" in told


def test_a_missing_image_cannot_be_verified(
    docker_engine: Engine, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    folder = own_framework(tmp_path, "localhost/profleet/none:0")
    assert main(["image", "verify", "onnxruntime", "--manifests", str(folder)]) == 2
    assert "profleet image build onnxruntime" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["list"], ["verify"], ["prune"], ["build", "onnxruntime"]])
def test_without_an_engine_every_command_says_so(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("DOCKER_HOST", "unix:///none/engine.sock")
    assert main(["image", *command]) == 2
    assert "No container engine answers" in capsys.readouterr().err


def test_the_image_of_a_run_is_proven_also_after_a_newer_build(
    docker_engine: Engine,
    runner_image: ImageRecord,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
):
    lock = tmp_path / "lock.json"
    with containers.temporary_ref(docker_engine) as ref:
        step = f"LABEL {labels.FRAMEWORK}=test"
        old = containers.derive(docker_engine, ref, runner_image.ref, step)
        image = containers.locked_image(old, ref=ref)
        inside = packages(docker_engine, old)
        lock.write_bytes(containers.locked(image, inside).canonical())
        containers.derive(docker_engine, ref, runner_image.ref, "RUN touch /newer")
        assert main(["image", "verify", "--lock", str(lock)]) == 0
        docker_engine.client.api.remove_image(old.id)
        assert main(["image", "verify", "--lock", str(lock)]) == 1
    assert main(["image", "verify", "--lock", str(lock)]) == 2
    told = capsys.readouterr()
    assert f"the lock has {old.id}" in told.out
    assert f"has no image {ref}" in told.err
