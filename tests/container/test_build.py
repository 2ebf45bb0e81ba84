"""Both builders, for real: the same lock gives the same packages, and no build has a network."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

import containers
from profleet.container import build as building
from profleet.container import installed, labels
from profleet.container.build import BUILDERS, Builder, build, buildkit_client
from profleet.container.engine import Engine
from profleet.container.images import ImageRecord, packages
from profleet.container.recipe import load
from profleet.container.verify import verify_recipe
from profleet.errors import EngineError


def usable(builder: Builder) -> None:
    if builder == "buildkit":
        try:
            buildkit_client()
        except EngineError as error:
            containers.refuse(error)


@contextmanager
def context_of(dockerfile: bytes) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        file.write(containers.archive({"Dockerfile": dockerfile}))
        file.seek(0)
        yield file


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
def test_two_builds_of_a_lock_hold_the_same(
    builder: Builder, docker_engine: Engine, runner_image: ImageRecord
):
    usable(builder)
    said: list[str] = []
    with containers.temporary_ref(docker_engine) as ref:
        base = runner_image.labels[labels.BASE_NAME]
        framework = containers.framework(ref=ref)
        other = build(
            docker_engine, framework, said.append, base=base, builder=builder, cached=False
        )
        assert other.id != runner_image.id
        assert other.labels == runner_image.labels
        inside = packages(docker_engine, other, cached=False)
        assert inside == packages(docker_engine, runner_image, cached=False)
        files = installed.read(docker_engine, other).files
        found = verify_recipe(docker_engine, other, load("onnxruntime"), said.append)
    assert files == installed.read(docker_engine, runner_image).files
    assert [each for each in found if each.outcome != "passed"] == []
    assert any("pip" in line for line in said), "no progress was told"


def test_the_labels_say_what_an_image_is_made_of(runner_image: ImageRecord):
    recipe, label = load("onnxruntime"), runner_image.labels
    assert label[labels.KIND] == "runner"
    assert label[labels.FRAMEWORK] == "onnxruntime"
    assert label[labels.FRAMEWORK_VERSION] == recipe.framework_version("onnxruntime")
    assert label[labels.PROFLEET_REVISION] == label[labels.REVISION] == recipe.revision
    assert label[labels.REQUIREMENTS] == recipe.requirements_sha256
    assert label[labels.BASE_ID].startswith("sha256:")
    assert label[labels.TITLE] == "Profleet runner: onnxruntime"


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
def test_a_build_has_no_network(builder: Builder, docker_engine: Engine, runner_image: ImageRecord):
    usable(builder)
    base = runner_image.labels[labels.BASE_NAME]
    step = "import os; assert os.listdir('/sys/class/net') == ['lo'], os.listdir('/sys/class/net')"
    dockerfile = f'ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}}\nRUN python3 -c "{step}"\n'.encode()
    with containers.temporary_ref(docker_engine) as ref, context_of(dockerfile) as context:
        arguments = {"BASE_IMAGE": base}
        BUILDERS[builder](docker_engine, context, ref, arguments, {}, print, False)


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
def test_a_step_that_fails_is_named(
    builder: Builder, docker_engine: Engine, runner_image: ImageRecord
):
    usable(builder)
    base = runner_image.labels[labels.BASE_NAME]
    dockerfile = f"FROM {base}\nRUN echo six times $((3 + 4)) >&2; exit 7\n".encode()
    said: list[str] = []
    with context_of(dockerfile) as context, pytest.raises(EngineError, match=r"\b7\b") as error:
        BUILDERS[builder](docker_engine, context, "localhost/x:y", {}, {}, said.append, False)
    assert error.value.kind == "build"
    assert "localhost/x:y" in str(error.value)
    assert "six times 7" in str(error.value), "what the step itself said last"


def test_a_base_that_cannot_be_had_says_what_else(docker_engine: Engine):
    with pytest.raises(EngineError, match="does not have the base image") as error:
        build(docker_engine, containers.framework(), print, base="localhost:1/none/base:0")
    assert "--base bootstrap" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_base_of_another_architecture_is_refused(docker_engine: Engine):
    foreign = {"amd64": "arm64", "arm64": "amd64"}[docker_engine.architecture]
    with containers.temporary_ref(docker_engine) as ref:
        containers.load_image(docker_engine, ref, {}, foreign)
        with pytest.raises(EngineError, match=f"is for {foreign}"):
            build(docker_engine, containers.framework(), print, base=ref)


def fake_client(folder: Path, version: str, plugin: bool) -> None:
    folder.mkdir()
    client = folder / "docker"
    client.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = buildx ] && exit {0 if plugin else 1}\n'
        f'echo \'{{"Version": "{version}"}}\'\n'
    )
    client.chmod(0o755)


def test_a_client_with_buildkit_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake_client(tmp_path / "new", "28.2.2", plugin=False)
    fake_client(tmp_path / "old", "20.10.24+dfsg1", plugin=False)
    fake_client(tmp_path / "plugin", "28.2.2", plugin=True)
    for order, chosen in (("new:old", "old"), ("new:plugin:old", "plugin")):
        path = ":".join(str(tmp_path / name) for name in order.split(":"))
        monkeypatch.setenv("PATH", f"{path}:/bin")
        assert buildkit_client() == str(tmp_path / chosen / "docker")


def test_without_a_client_for_buildkit_the_classic_builder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fake_client(tmp_path / "new", "28.2.2", plugin=False)
    monkeypatch.setattr(building, "_clients", lambda: iter([str(tmp_path / "new" / "docker")]))
    with pytest.raises(EngineError, match=r"no buildx plugin.*--builder classic"):
        buildkit_client()
    monkeypatch.setattr(building, "_clients", lambda: iter([]))
    with pytest.raises(EngineError, match="there is no docker command"):
        buildkit_client()
