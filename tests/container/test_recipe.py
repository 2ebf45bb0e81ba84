from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

import containers
from profleet.container.build import DEFAULT_BASE
from profleet.container.context import open_context
from profleet.container.recipe import load, recipes, tree_sha256
from profleet.errors import EngineError
from profleet.paths import data_dir


@pytest.mark.wheel
def test_every_framework_has_a_recipe():
    assert recipes() == ("onnxruntime", "onnxruntime-cuda", "openvino", "torch", "torch-cuda")


@pytest.mark.wheel
@pytest.mark.parametrize("name", recipes())
def test_a_lock_holds_what_the_framework_promises(name: str):
    recipe, framework = load(name), containers.framework(name)
    locked = {each.name: each.version for each in recipe.requirements}
    for package, wanted in framework.packages.items():
        assert SpecifierSet(wanted).contains(locked[package])
    assert {"numpy", "mlcommons-loadgen"} <= locked.keys()
    assert "pip" not in locked
    release = recipe.framework_version(framework.runner).partition("+")[0]
    assert framework.images["amd64"].ref == f"localhost/profleet/{name}:{release}"


@pytest.mark.parametrize("name", recipes())
def test_a_lock_names_no_index(name: str):
    text = load(name).requirements_text.decode()
    for line in text.splitlines():
        assert "://" not in line
        assert not line.startswith("-")


def test_the_version_is_that_of_the_framework():
    lock = f"onnx==1.0 --hash=sha256:{'a' * 64}\ntorch==2.0+cpu --hash=sha256:{'b' * 64}\n"
    assert (
        containers.recipe(requirements_text=lock.encode()).framework_version("torch") == "2.0+cpu"
    )
    with pytest.raises(EngineError, match="does not hold openvino"):
        containers.recipe(requirements_text=lock.encode()).framework_version("openvino")


def test_only_cuda_images_hold_cuda():
    for name in recipes():
        cuda = any(each.name.startswith("nvidia-c") for each in load(name).requirements)
        assert cuda == name.endswith("-cuda")
        assert (containers.framework(name).container.gpus == "all") == name.endswith("-cuda")


@pytest.mark.parametrize("name", recipes())
def test_a_dockerfile_has_the_public_base_by_default(name: str):
    text = load(name).dockerfile.decode()
    assert re.findall(r"^ARG BASE_IMAGE=(.*)$", text, re.MULTILINE) == [DEFAULT_BASE]
    assert text.count("FROM ${BASE_IMAGE}") == 2
    assert re.search(r"^USER 1000:1000$", text, re.MULTILINE)
    assert "syntax=" not in text  # would fetch a frontend from a registry


def test_the_revision_covers_every_part():
    revisions = {
        containers.recipe().revision,
        containers.recipe(dockerfile=b"FROM other\n").revision,
        containers.recipe(requirements_text=b"other").revision,
        containers.recipe(installer_text=b"other").revision,
        containers.recipe(runner={"profleet_runner/__init__.py": b"other"}).revision,
        containers.recipe(runner={"profleet_runner/other.py": b'__version__ = "0"\n'}).revision,
    }
    assert len(revisions) == 6


def test_a_tree_has_one_digest_however_it_is_ordered():
    assert tree_sha256({"a": b"1", "b": b"2"}) == tree_sha256({"b": b"2", "a": b"1"})
    assert tree_sha256({"a": b"1", "b": b"2"}) != tree_sha256({"a": b"2", "b": b"1"})


def test_an_unknown_recipe_is_a_mistake():
    with pytest.raises(EngineError, match="Did you mean 'onnxruntime'"):
        load("onnxruntim")


def test_a_context_holds_the_runner_and_nothing_of_the_host(tmp_path: Path):
    wheel = tmp_path / "numpy-2.4.6-py3-none-any.whl"
    wheel.write_bytes(b"w")
    recipe = load("onnxruntime")
    with open_context(recipe, [wheel]) as file, tarfile.open(fileobj=file) as archive:
        members = {member.name: member for member in archive if member.isreg()}
    sources = {
        path.relative_to(data_dir("runners")).as_posix()
        for path in (data_dir("runners") / "profleet_runner").rglob("*.py")
    }
    others = {"Dockerfile", "requirements.txt", f"wheels/{wheel.name}"}
    assert members.keys() == sources | others
    assert {(m.uid, m.gid, m.mtime) for m in members.values()} == {(0, 0, 0)}


def test_equal_contexts_are_equal_bytes(tmp_path: Path):
    first, second = tmp_path / "a-1.whl", tmp_path / "b-1.whl"
    first.write_bytes(b"1" * 700)
    second.write_bytes(b"2")
    recipe = containers.recipe()
    with open_context(recipe, [first, second]) as file:
        bytes_then = file.read()
    for path in (first, second):
        path.touch()
    with open_context(recipe, [second, first]) as file:
        assert file.read() == bytes_then


def test_a_folder_that_cannot_be_locked_is_named():
    command = [sys.executable, str(data_dir("containers") / "lock"), "onnxruntim"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no containers/onnxruntim/requirements.in" in done.stderr
    assert "Traceback" not in done.stderr
