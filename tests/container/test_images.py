"""Finding the image of a framework, and every reason why it is not the one to execute in."""

from __future__ import annotations

import json
import os

import pytest
from requests.exceptions import RequestException

import containers
from profleet.container import images, labels, layout
from profleet.container.engine import Engine
from profleet.container.images import ImageRecord, find, inspect
from profleet.container.recipe import load
from profleet.errors import EngineError

OTHER = f"sha256:{'0' * 64}"


def test_the_image_of_a_framework_is_found(docker_engine: Engine, runner_image: ImageRecord):
    found = find(docker_engine, containers.framework())
    assert found == runner_image
    assert found.id.startswith("sha256:")
    assert found.architecture == docker_engine.architecture
    assert found.pin == (found.digest or found.id)
    described = found.describe()
    assert described["id"] == found.id
    assert described["labels"][labels.FRAMEWORK] == "onnxruntime"
    assert json.loads(json.dumps(described)) == described


def test_the_image_that_a_lock_pins_is_found(docker_engine: Engine, runner_image: ImageRecord):
    found = find(docker_engine, containers.framework(), expected=runner_image.id)
    assert found == runner_image


def refusal(
    engine: Engine, manifest: str, ref: str | None = None, expected: str | None = None
) -> str:
    """What is said when a manifest names one image, and perhaps the settings another."""
    with pytest.raises(EngineError) as error:
        find(engine, containers.framework(ref=manifest), ref, expected)
    assert error.value.kind == "image"
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_image_says_how_to_build_it(docker_engine: Engine):
    said = refusal(docker_engine, "localhost/profleet/none:0")
    assert "has no image localhost/profleet/none:0" in said
    assert "profleet image build onnxruntime" in said


def test_a_missing_image_of_the_user_is_not_one_to_build(docker_engine: Engine):
    said = refusal(docker_engine, "localhost/profleet/none:0", ref="somebody/image:1")
    assert "has no image somebody/image:1" in said
    assert "leave out executor.image" in said
    assert "profleet image build" not in said


def test_a_missing_image_of_a_registry_is_one_to_pull(docker_engine: Engine):
    ref = "registry.example:5000/runner:1"
    image = containers.framework().images["amd64"].model_copy(update={"ref": ref, "digest": OTHER})
    images_of = {docker_engine.architecture: image}
    framework = containers.framework().model_copy(update={"images": images_of})
    with pytest.raises(EngineError, match=f"Pull it: docker pull {ref}@{OTHER}"):
        find(docker_engine, framework)


def test_an_image_of_another_architecture_is_refused(docker_engine: Engine):
    foreign = {"amd64": "arm64", "arm64": "amd64"}[docker_engine.architecture]
    with containers.temporary_ref(docker_engine) as ref:
        containers.load_image(docker_engine, ref, containers.runner_labels(), foreign)
        said = refusal(docker_engine, ref)
    assert f"is for {foreign}, this engine's machine is {docker_engine.architecture}" in said


def test_another_image_than_the_locked_one_is_refused(
    docker_engine: Engine, runner_image: ImageRecord
):
    said = refusal(docker_engine, runner_image.ref, expected=OTHER)
    assert runner_image.pin in said
    assert f"executor.image_id pins {OTHER}" in said


def test_another_image_than_the_published_one_is_refused(
    docker_engine: Engine, runner_image: ImageRecord
):
    framework = containers.framework()
    image = framework.images["amd64"].model_copy(update={"digest": OTHER})
    pinned = framework.model_copy(update={"images": {docker_engine.architecture: image}})
    with pytest.raises(EngineError, match=f"the framework's manifest pins {OTHER}"):
        find(docker_engine, pinned)


def test_an_image_of_somebody_else_is_refused(docker_engine: Engine):
    with containers.temporary_ref(docker_engine) as ref:
        containers.load_image(docker_engine, ref, {})
        assert "is not one of a Profleet runner" in refusal(docker_engine, ref)


def test_an_image_of_other_sources_is_refused_unless_it_is_pinned(docker_engine: Engine):
    with containers.temporary_ref(docker_engine) as ref:
        old = containers.load_image(docker_engine, ref, containers.runner_labels())
        said = refusal(docker_engine, ref)
        pinned = find(docker_engine, containers.framework(), ref, old.id)
    assert "made from other sources" in said
    assert load("onnxruntime").revision[:12] in said
    assert f"executor.image_id={old.id}" in said
    assert pinned.id == old.id


def test_a_framework_without_an_image_for_this_machine_is_refused(docker_engine: Engine):
    framework = containers.framework("torch-compile")
    with pytest.raises(EngineError, match=r"names no image for .*executor=process"):
        find(docker_engine, framework)


def test_an_image_that_is_not_there_is_none(docker_engine: Engine):
    assert inspect(docker_engine, "localhost/profleet/none:0") is None


def test_the_packages_inside_are_the_locked_ones(
    docker_engine: Engine, runner_image: ImageRecord, monkeypatch: pytest.MonkeyPatch, tmp_path
):
    monkeypatch.setenv("PROFLEET_CACHE", str(tmp_path))
    wanted = {each.name: each.version for each in load("onnxruntime").requirements}
    assert images.packages(docker_engine, runner_image) == wanted
    monkeypatch.setattr(images, "_ask", lambda *_: pytest.fail("asked twice"))
    assert images.packages(docker_engine, runner_image) == wanted


def test_asking_leaves_no_container(docker_engine: Engine, runner_image: ImageRecord):
    images.packages(docker_engine, runner_image, cached=False)
    assert listings(docker_engine, runner_image) == []


def test_an_engine_that_stops_while_a_container_looks(
    docker_engine: Engine, runner_image: ImageRecord, monkeypatch: pytest.MonkeyPatch
):
    """Not even the removal is answered then."""
    api, remove = docker_engine.client.api, docker_engine.client.api.remove_container
    made = []

    def silent(*arguments, **_):
        made.append(arguments[0])
        raise RequestException("Connection aborted.")

    with monkeypatch.context() as patch:
        patch.setattr(api, "start", silent)
        patch.setattr(api, "wait", silent)
        patch.setattr(api, "remove_container", silent)
        with pytest.raises(EngineError, match=r"stopped answering.*start it again"):
            images.packages(docker_engine, runner_image, cached=False)
    remove(made[0], force=True)


def test_an_image_that_cannot_tell_its_packages_is_refused(
    docker_engine: Engine, runner_image: ImageRecord
):
    with containers.temporary_ref(docker_engine) as ref:
        step = f"RUN rm {layout.PYTHON}"
        mute = containers.derive(docker_engine, ref, runner_image.ref, step)
        with pytest.raises(
            EngineError, match=r"does not tell which packages it has.*no such file.*Build it again"
        ):
            images.packages(docker_engine, mute, cached=False)
        assert listings(docker_engine, mute) == []


def test_a_container_that_cannot_start_is_no_answer_of_an_image(docker_engine: Engine):
    """Not the fault of an image, as a rule: it would be the same for one that is built again."""
    with containers.temporary_ref(docker_engine) as ref:
        empty = containers.load_image(docker_engine, ref, {})
        with pytest.raises(EngineError, match=r"^While starting .* refused: .*no such file") as it:
            images.packages(docker_engine, empty, cached=False)
        assert it.value.kind == "refused"
        assert listings(docker_engine, empty) == []


@pytest.mark.parametrize(
    ("script", "seconds", "said"),
    [
        ('echo \'[["numpy", "1.0"]]\'; exec sleep 60', 1.0, "it did not answer in 1 s"),
        ("head -c 500000 /dev/zero | tr '\\0' '['", 60.0, "its answer is no list"),
    ],
)
def test_an_answer_that_is_none_is_not_kept(
    docker_engine: Engine, runner_image: ImageRecord, monkeypatch, tmp_path, script, seconds, said
):
    monkeypatch.setenv("PROFLEET_CACHE", str(tmp_path))
    monkeypatch.setattr(images, "ANSWER_SECONDS", seconds)
    with containers.temporary_ref(docker_engine) as ref:
        told = {"python": f"#!/bin/sh\n{script}\n".encode()}
        step = f"RUN rm {layout.PYTHON}\nCOPY python {layout.PYTHON}\nRUN chmod 755 {layout.PYTHON}"
        mute = containers.derive(docker_engine, ref, runner_image.ref, step, **told)
        with pytest.raises(EngineError, match=f"does not tell which packages it has: {said}"):
            images.packages(docker_engine, mute)
    assert list(tmp_path.rglob("*.json")) == []


def test_an_image_whose_interpreter_fails_says_how(
    docker_engine: Engine, runner_image: ImageRecord
):
    with containers.temporary_ref(docker_engine) as ref:
        step = f"RUN cd {layout.ROOT}/venv/bin && rm python && echo '#!/bin/sh' > python"
        step += " && echo 'echo broken >&2; exit 3' >> python && chmod 755 python"
        broken = containers.derive(docker_engine, ref, runner_image.ref, step)
        with pytest.raises(EngineError, match="exit code 3, broken"):
            images.packages(docker_engine, broken, cached=False)
        assert listings(docker_engine, broken) == []


def listings(engine: Engine, image: ImageRecord) -> list[str]:
    """Containers with which this process looked into an image."""
    mine = [f"{labels.KIND}=listing", f"{labels.PID}={os.getpid()}"]
    filters = {"label": mine, "ancestor": image.id}
    return [each["Id"] for each in engine.client.api.containers(all=True, filters=filters)]
