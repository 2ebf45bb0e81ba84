"""An image is what its lock says, and every way of not being it is found."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO

import pytest

import containers
from profleet.container import installed, labels, layout
from profleet.container.engine import Engine
from profleet.container.images import ImageRecord, packages
from profleet.container.installed import Expected, Found, differences
from profleet.container.recipe import load
from profleet.container.verify import Finding, verify_lock, verify_recipe
from profleet.errors import EngineError, StoreError

SITE = layout.SITE_PACKAGES
EVIL = (
    f"RUN cd {SITE} && mkdir evil-6.6.dist-info && "
    "printf 'Metadata-Version: 2.1\\nName: evil\\nVersion: 6.6\\n' > evil-6.6.dist-info/METADATA"
)
PASSED = {"labels": "passed", "base": "passed", "packages": "passed", "files": "passed",
          "runner": "passed"}  # fmt: skip


def outcomes(found: list[Finding]) -> dict[str, str]:
    return {each.what: each.outcome for each in found}


def test_an_untouched_image_passes(docker_engine: Engine, runner_image: ImageRecord):
    found = verify_recipe(docker_engine, runner_image, load("onnxruntime"), print)
    assert outcomes(found) == PASSED


@pytest.mark.parametrize(
    ("steps", "failed", "words"),
    [
        (
            EVIL,
            {"packages", "files"},
            "evil 6.6 is extra",
        ),
        (f"RUN rm -r {SITE}/packaging-*", {"packages", "files"}, "packaging 26.3 is missing"),
        (
            f"RUN sed -i s/^Version:.*/Version:26.2/ {SITE}/packaging-26.3.dist-info/METADATA",
            {"packages", "files"},
            "packaging is 26.2, not 26.3",
        ),
        (f"RUN echo >> {SITE}/numpy/__init__.py", {"files"}, "numpy/__init__.py has other content"),
        (f"RUN echo 'x = 1' > {SITE}/sitecustomize.py", {"files"}, "sitecustomize.py is not of"),
        (f"RUN echo 'import os' > {SITE}/x.pth", {"files"}, "x.pth is not of a locked wheel"),
        (f"RUN ln -s /tmp {SITE}/loose", {"files"}, "loose is a link to /tmp"),
        (f"RUN rm {SITE}/numpy/version.py", {"files"}, "numpy/version.py is missing"),
        (f"RUN touch {layout.ROOT}/venv/bin/tool", {"files"}, "bin/tool is not of a locked wheel"),
        (
            f"RUN echo >> {layout.RUNNERS}/profleet_runner/measure.py",
            {"runner"},
            "profleet_runner/measure.py",
        ),
        (
            f"RUN touch {layout.RUNNERS}/profleet_runner/frameworks/other.py",
            {"runner"},
            "frameworks/other.py",
        ),
        (
            f"RUN ln -s /tmp {layout.RUNNERS}/profleet_runner/loose.py",
            {"runner"},
            "profleet_runner/loose.py",
        ),
        (f"LABEL {labels.REQUIREMENTS}={'0' * 64}", {"labels"}, labels.REQUIREMENTS),
        (f"LABEL {labels.FRAMEWORK}=torch", {"labels"}, labels.FRAMEWORK),
        (f"LABEL {labels.BASE_ID}=", {"base"}, labels.BASE_ID),
    ],
)
def test_a_tampered_image_is_caught(
    docker_engine: Engine, runner_image: ImageRecord, steps: str, failed: set[str], words: str
):
    with containers.temporary_ref(docker_engine) as ref:
        image = containers.derive(docker_engine, ref, runner_image.ref, steps)
        found = verify_recipe(docker_engine, image, load("onnxruntime"), print)
    wrong = [each for each in found if each.outcome != "passed"]
    assert {each.what for each in wrong} == failed
    assert words in " ".join(each.detail for each in wrong)


def test_another_base_is_caught(docker_engine: Engine, runner_image: ImageRecord):
    with (
        containers.temporary_ref(docker_engine) as base,
        containers.temporary_ref(docker_engine) as ref,
    ):
        other = containers.load_image(docker_engine, base, {})
        step = f"LABEL {labels.BASE_ID}={other.id}"
        image = containers.derive(docker_engine, ref, runner_image.ref, step)
        found = verify_recipe(docker_engine, image, load("onnxruntime"), print)
    assert outcomes(found) == {**PASSED, "base": "failed"}


def test_a_base_that_is_gone_is_not_checked(docker_engine: Engine, runner_image: ImageRecord):
    with containers.temporary_ref(docker_engine) as ref:
        step = f"LABEL {labels.BASE_ID}=sha256:{'0' * 64}"
        image = containers.derive(docker_engine, ref, runner_image.ref, step)
        found = verify_recipe(docker_engine, image, load("onnxruntime"), print)
    assert outcomes(found) == {**PASSED, "base": "not checked"}


def test_an_image_without_a_runner_cannot_be_verified(docker_engine: Engine):
    with containers.temporary_ref(docker_engine) as ref:
        image = containers.load_image(docker_engine, ref, {})
        with pytest.raises(EngineError, match=f"has no {layout.ROOT}"):
            verify_recipe(docker_engine, image, load("onnxruntime"), print)


def test_no_room_to_read_an_image_is_said(
    docker_engine: Engine, runner_image: ImageRecord, monkeypatch: pytest.MonkeyPatch
):
    def full(**_: str) -> IO[bytes]:
        return Path("/dev/full").open("w+b")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(StoreError, match=rf"{runner_image.ref}.*No space left.*TMPDIR"):
        installed.read(docker_engine, runner_image)


def test_a_locked_image_is_proven(docker_engine: Engine, runner_image: ImageRecord):
    inside = packages(docker_engine, runner_image)
    lock = containers.locked(containers.locked_image(runner_image), inside)
    assert outcomes(verify_lock(docker_engine, runner_image, lock)) == {
        "image": "passed",
        "packages": "passed",
    }
    other = containers.locked(
        containers.locked_image(runner_image, id=f"sha256:{'0' * 64}"), inside | {"numpy": "1.0"}
    )
    found = verify_lock(docker_engine, runner_image, other)
    assert outcomes(found) == {"image": "failed", "packages": "failed"}
    assert runner_image.id in found[0].detail
    assert f"numpy is {inside['numpy']}, not 1.0" in found[1].detail


def test_the_lock_of_a_process_names_no_image(docker_engine: Engine, runner_image: ImageRecord):
    with pytest.raises(EngineError, match="names no image"):
        verify_lock(docker_engine, runner_image, containers.locked(None, {"numpy": "1.0"}))


def test_what_pip_and_venv_write_is_no_difference():
    site = "lib/python3.11/site-packages"
    wanted = Expected({f"{site}/a.py": "1"}, frozenset({"bin/a"}))
    written = [f"{site}/a-1.dist-info/RECORD", f"{site}/a-1.dist-info/INSTALLER", "pyvenv.cfg"]
    files = {f"{site}/a.py": "1", "bin/a": "2", **dict.fromkeys(written, "3")}
    assert differences(wanted, Found(files, {"bin/python": "/usr/bin/python3"})) == []
    assert differences(wanted, Found(files, {"bin/sh": "/bin/sh"})) == [
        "bin/sh is a link to /bin/sh"
    ]
    del files[f"{site}/a.py"]
    assert differences(wanted, Found(files)) == [f"{site}/a.py is missing"]
