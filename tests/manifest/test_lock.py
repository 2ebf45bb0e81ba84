from __future__ import annotations

import json
import sys

import pytest

from profleet.errors import ManifestError
from profleet.manifest.library import Library
from profleet.manifest.lock import (
    LockedImage,
    LockedPackage,
    expand_suite,
    lock,
    lock_stack,
    parse_lock,
    stack_of,
    verify,
)
from sample_manifests import FRAMEWORK, HARDWARE, MODEL, SUITE, changed, write


def shop(root):
    for document in (MODEL, FRAMEWORK, HARDWARE):
        write(root, document)
    write(root, MODEL, name="other")
    write(root, FRAMEWORK, name="absent", packages={"no-such-distribution": ">=1"})
    return root


@pytest.fixture
def folder(tmp_path):
    return shop(tmp_path / "m")


def lock_in(folder, framework="engine"):
    return lock_stack(stack_of(Library([folder]), "net", framework, "box"))


def test_what_a_lock_holds(folder):
    locked = lock_in(folder)
    assert [(m.kind, m.name, m.version) for m in locked.manifests] == [
        ("model", "net", "1.0.0"),
        ("framework", "engine", "1.0.0"),
        ("hardware", "box", "1.0.0"),
    ]
    assert locked.artifacts["net@1.0.0"].sha256 == MODEL["artifact"]["sha256"]
    assert locked.artifacts["net@1.0.0"].bytes == 10
    assert locked.packages["pyyaml"].version
    assert locked.packages["pyyaml"].satisfies(">=5")
    missing = lock_in(folder, "absent").packages["no-such-distribution"]
    assert (missing.version, missing.reason) == (None, "not installed")
    assert not missing.satisfies(">=0")


IMAGE = LockedImage(
    ref="localhost/profleet/engine:1", id=f"sha256:{'1' * 64}", digest=None, architecture="amd64",
    requirements="2" * 64, base=f"sha256:{'3' * 64}",
)  # fmt: skip


def in_image(folder, image=IMAGE, **inside):
    stack = stack_of(Library([folder]), "net", "engine", "box")
    return lock_stack(stack, image=image, inside=inside)


def test_a_lock_of_an_image_holds_it_and_all_its_packages(folder):
    locked = in_image(folder, pyyaml="6.0.1", numpy="2.1.0")
    assert locked.image == IMAGE
    assert {name: one.version for name, one in locked.packages.items()} == {
        "numpy": "2.1.0", "pyyaml": "6.0.1",
    }  # fmt: skip
    lacking = in_image(folder).packages["pyyaml"]
    assert (lacking.version, lacking.reason) == (None, "not in the image")
    assert parse_lock(locked.canonical(), "lock.json") == locked


def test_packages_of_an_image_go_by_the_names_of_the_manifest(folder):
    write(folder, FRAMEWORK, name="engine", version="2.0.0", packages={"PyYAML": ">=5"})
    locked = lock_stack(
        stack_of(Library([folder]), "net", "engine@2", "box"), image=IMAGE, inside={"pyyaml": "6"}
    )
    assert list(locked.packages) == ["PyYAML"]
    assert locked.packages["PyYAML"].satisfies(">=5")


def test_another_image_is_another_lock(folder):
    changes = {
        "id": f"sha256:{'9' * 64}", "digest": f"sha256:{'9' * 64}", "architecture": "arm64",
        "requirements": "9" * 64, "base": None, "ref": "other:1",
    }  # fmt: skip
    locks = [in_image(folder, IMAGE.model_copy(update={key: changes[key]})) for key in changes]
    assert len({each.sha256 for each in [in_image(folder), lock_in(folder), *locks]}) == 8


def test_a_lock_without_an_image_has_no_word_of_one(folder):
    assert b"image" not in lock_in(folder).canonical()
    assert parse_lock(lock_in(folder).canonical(), "lock.json").image is None


def test_same_inputs_same_bytes_wherever_they_lie(folder, tmp_path):
    elsewhere = shop(tmp_path / "deep" / "er")
    for path in elsewhere.glob("*/*.yaml"):
        path.write_text("# moved\n" + path.read_text("utf-8"), "utf-8")
    first, second = lock_in(folder), lock_in(elsewhere)
    assert first.canonical() == second.canonical()
    assert first.sha256 == second.sha256
    assert str(tmp_path).encode() not in first.canonical()


def test_order_and_repetition_do_not_matter(folder):
    library = Library([folder])
    parts = [library.resolve_any(name) for name in ("net", "engine", "other", "box")]
    assert lock(parts).canonical() == lock([*reversed(parts), parts[0]]).canonical()


@pytest.mark.parametrize(
    ("document", "path", "value"),
    [
        (MODEL, ("artifact", "sha256"), "f" * 64),
        (FRAMEWORK, ("options", "level"), 4),
        (HARDWARE, ("description",), "Changed."),
        (FRAMEWORK, ("packages",), {"packaging": ">=1"}),
    ],
)
def test_every_change_changes_the_lock(folder, document, path, value):
    before = lock_in(folder).sha256
    write(folder, changed(document, path, value))
    assert lock_in(folder).sha256 != before


def test_a_lock_survives_being_written(folder):
    locked = lock_in(folder)
    pretty = json.dumps(json.loads(locked.canonical()), indent=2).encode()
    assert parse_lock(pretty, "lock.json") == locked
    assert parse_lock(pretty, "lock.json").sha256 == locked.sha256


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"schema": "profleet/lock/v2"}'])
def test_what_is_not_a_lock(data):
    with pytest.raises(ManifestError, match=r"^lock\.json is not a lock of schema") as caught:
        parse_lock(data, "lock.json")
    assert "\n" not in str(caught.value)


def test_verify(folder):
    library = Library([folder])
    locked = lock_in(folder)
    verify(locked, library)
    path = write(folder, MODEL)
    path.write_text("# only a comment\n" + path.read_text("utf-8"), "utf-8")
    verify(locked, library)
    write(folder, MODEL, task="other")
    found = library.resolve("model", "net").sha256
    with pytest.raises(ManifestError) as caught:
        verify(locked, library)
    message = str(caught.value)
    assert "model manifest net@1.0.0 changed" in message
    assert locked.manifests[0].sha256 in message
    assert found in message
    path.rename(path.with_name("net@1.0.1.yaml"))
    with pytest.raises(ManifestError, match=r"There is no model 'net@1.0.0'. Versions: 1.0.1"):
        verify(locked, Library([folder]))


def test_two_contents_of_one_version_cannot_be_locked(folder, tmp_path):
    other = write(tmp_path / "b", MODEL, task="other")
    library = Library([folder])
    pair = [library.resolve("model", "net"), library.resolve("model", str(other))]
    with pytest.raises(ManifestError, match=r"are both net@1\.0\.0 and differ"):
        lock(pair)


def test_packages_of_another_interpreter(folder, tmp_path):
    stack = stack_of(Library([folder]), "net", "engine", "box")
    assert lock_stack(stack, sys.executable).canonical() == lock_stack(stack).canonical()
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\necho \'{"pyyaml": "7.7"}\'\n', "utf-8")
    fake.chmod(0o755)
    assert lock_stack(stack, str(fake)).packages["pyyaml"].version == "7.7"
    with pytest.raises(ManifestError, match="does not tell which packages it has"):
        lock_stack(stack, str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ("2.13.0+cpu", ">=2.6,<3", True),
        ("2.13.0+cpu", "==2.13.0", True),
        ("3.0.0rc1", "<3", False),
        ("2.14.0.dev1", ">=2.6", True),
        ("1.9", ">=1.20", False),
        ("1.20", ">=1.9", True),
        ("unknown", ">=0", False),
    ],
)
def test_version_ranges_of_packages(version, wanted, fits):
    assert LockedPackage(version=version).satisfies(wanted) is fits


def suite_of(folder, *stacks, **keys):
    path = write(folder, SUITE, stacks=list(stacks), **keys)
    return Library([folder]).resolve("suite", str(path)).document


def names(expanded):
    return [
        (stack.model.document.name, stack.framework.document.name, sizes)
        for stack, sizes in expanded
    ]


def matrix(models, frameworks, **more):
    return {"models": models, "frameworks": frameworks, "hardware": ["box"], **more}


def test_a_suite_expands_in_order_without_duplicates(folder):
    suite = suite_of(
        folder,
        matrix(["net", "other@1"], ["engine", "absent"]),
        matrix(["net@1.0.0", "net"], ["engine@1"]),
        matrix(["net"], ["engine"], batch_sizes=[2, 4]),
        matrix(["net"], ["engine"], batch_sizes=[1]),
    )
    assert names(expand_suite(Library([folder]), suite)) == [
        ("net", "engine", None),
        ("net", "absent", None),
        ("other", "engine", None),
        ("other", "absent", None),
        ("net", "engine", (2, 4)),
    ]


def test_a_suite_names_the_reference_that_fails(folder):
    good = matrix(["net"], ["engine"])
    suite = suite_of(folder, good, matrix(["net", "other", "nat"], ["engine"]))
    with pytest.raises(ManifestError) as caught:
        expand_suite(Library([folder]), suite)
    assert str(caught.value).startswith(
        "Suite both: stacks[1].models[2]: Unknown model 'nat'. Did you mean 'net'?"
    )
    suite = suite_of(folder, {**good, "hardware": ["box", "box@>>1"]})
    with pytest.raises(
        ManifestError, match=r"^Suite both: stacks\[0\]\.hardware\[1\]: Bad version"
    ):
        expand_suite(Library([folder]), suite)


def test_paths_in_a_suite_start_where_its_caller_says(folder):
    suite = suite_of(folder, matrix(["../model/net@1.0.0.yaml"], ["engine"]))
    expanded = expand_suite(Library([folder]), suite, folder / "suite")
    assert names(expanded) == [("net", "engine", None)]
