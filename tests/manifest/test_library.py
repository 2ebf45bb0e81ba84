from __future__ import annotations

import pytest

from profleet.errors import ManifestError
from profleet.manifest.documents import Framework
from profleet.manifest.library import Library
from profleet.manifest.loading import load_document
from sample_manifests import FRAMEWORK, HARDWARE, MODEL, SUITE, write


@pytest.fixture
def folder(tmp_path):
    for version in ("1.0.0", "1.2.0", "1.10.0", "2.0.0-rc.1", "0.9.0"):
        write(tmp_path / "m", FRAMEWORK, version=version)
    write(tmp_path / "m", FRAMEWORK, name="preview", version="1.0.0-beta.1")
    write(tmp_path / "m", MODEL)
    write(tmp_path / "m", HARDWARE)
    return tmp_path / "m"


@pytest.mark.parametrize(
    ("reference", "version"),
    [
        ("engine", "1.10.0"),
        ("engine@1", "1.10.0"),
        ("engine@1.2", "1.2.0"),
        ("engine@1.0.0", "1.0.0"),
        ("engine@<1", "0.9.0"),
        ("engine@2.0.0-rc.1", "2.0.0-rc.1"),
        ("engine@>=2.0.0-alpha.0", "2.0.0-rc.1"),
        ("preview@1.0.0-beta.1", "1.0.0-beta.1"),
    ],
)
def test_the_newest_that_fits(folder, reference, version):
    resolved = Library([folder]).resolve("framework", reference)
    assert isinstance(resolved.document, Framework)
    assert resolved.document.version == version
    assert resolved.path.name.endswith(f"@{version}.yaml")
    assert resolved.reference.endswith(f"@{version}")


@pytest.mark.parametrize(
    ("kind", "reference", "expected"),
    [
        ("framework", "enigne", ("Unknown framework 'enigne'. Did you mean 'engine'? Available: "
                                "engine, preview.")),
        ("model", "engine", ("Unknown model 'engine'. There is a framework of that name. "
                            "Available: net.")),
        ("framework", "engine@2", ("The framework 'engine' has no version that 'engine@2' accepts. "
                                  "Versions: 0.9.0, 1.0.0, 1.2.0, 1.10.0, 2.0.0-rc.1.")),
        ("framework", "engine@1.2.1", "has no version that 'engine@1.2.1' accepts"),
        ("framework", "preview", ("has only prereleases, and one must be asked for exactly. "
                                 "Versions: 1.0.0-beta.1.")),
        ("suite", "x", "Unknown suite 'x'. Available: none."),
    ],
)  # fmt: skip
def test_what_does_not_resolve(folder, kind, reference, expected):
    with pytest.raises(ManifestError) as caught:
        Library([folder]).resolve(kind, reference)
    assert expected in str(caught.value)


def test_a_file_by_path(folder, monkeypatch):
    library = Library([])
    monkeypatch.chdir(folder)
    assert library.resolve("model", "model/net@1.0.0.yaml").document.name == "net"
    monkeypatch.chdir("/")
    assert library.resolve("model", "./net@1.0.0.yaml", folder / "model").document.name == "net"
    with pytest.raises(ManifestError, match="is a model manifest; a framework is needed here"):
        library.resolve("framework", str(folder / "model" / "net@1.0.0.yaml"))
    with pytest.raises(ManifestError, match="There is no file"):
        library.resolve("model", "./net@1.0.0.yaml")


def test_kind_inferred_from_the_name(folder):
    library = Library([folder])
    assert library.resolve_any("net").document == library.resolve("model", "net").document
    assert library.resolve_any("engine@1.0").document.version == "1.0.0"
    path = str(folder / "hardware" / "box@1.0.0.yaml")
    assert library.resolve_any(path).document.name == "box"
    with pytest.raises(ManifestError, match=r"Unknown manifest 'bax'. Did you mean 'box'"):
        library.resolve_any("bax")
    with pytest.raises(ManifestError, match="Unknown model 'engine'"):
        library.resolve_any("model:engine")
    with pytest.raises(ManifestError, match="'model:net' does not name a suite"):
        library.resolve_any("model:net", "suite")
    write(folder, SUITE, name="net")
    with pytest.raises(ManifestError, match=r"names a model and a suite. Write model:net@1 or"):
        Library([folder]).resolve_any("net@1")
    assert Library([folder]).resolve_any("suite:net").document.name == "net"


def test_one_version_in_two_folders(folder, tmp_path):
    second = write(tmp_path / "other", MODEL)
    second.write_text("# the same, written otherwise\n" + second.read_text("utf-8"), "utf-8")
    library = Library([folder, tmp_path / "other"])
    assert library.resolve("model", "net").path.is_relative_to(folder)
    assert len(library.entries("model")) == 1
    write(tmp_path / "other", MODEL, description="Changed.")
    with pytest.raises(ManifestError) as caught:
        library.resolve("model", "net")
    assert str(folder / "model" / "net@1.0.0.yaml") in str(caught.value)
    assert str(second) in str(caught.value)
    assert "differ" in str(caught.value)
    write(tmp_path / "other", MODEL, version="1.0.1")
    assert Library([folder, tmp_path / "other"]).resolve("model", "net").path.parts[-3] == "other"


def test_one_folder_twice_is_one_folder(folder):
    again = folder.parent / "link"
    again.symlink_to(folder)
    assert Library([folder, folder, again]).resolve("model", "net").path.is_relative_to(folder)


def test_entries_are_ordered_by_kind_name_and_version(folder):
    found = [f"{e.kind}:{e.name}@{e.version}" for e in Library([folder]).entries()]
    assert found == [
        "model:net@1.0.0",
        "framework:engine@0.9.0",
        "framework:engine@1.0.0",
        "framework:engine@1.2.0",
        "framework:engine@1.10.0",
        "framework:engine@2.0.0-rc.1",
        "framework:preview@1.0.0-beta.1",
        "hardware:box@1.0.0",
    ]


def test_listing_reads_no_more_than_it_needs(folder):
    path = folder / "model" / "net@1.0.0.yaml"
    path.write_text("description: >-\n  Two\n  lines\nrest: *broken\n", "utf-8")
    (entry,) = Library([folder]).entries("model")
    assert entry.description() == "Two lines"
    path.write_bytes(b"\xff\n")
    assert "not UTF-8" in entry.description()
    path.write_text('description: "\\e[31m"\n', "utf-8")
    assert entry.description() == "?[31m"
    with pytest.raises(ManifestError):
        load_document(path)


@pytest.mark.parametrize(
    "name", ["net.yaml", "net@1.yaml", "net@1.0.0.yml", "Net@1.0.0.yaml", "net@1.0.0-x.yaml"]
)
def test_a_file_with_another_name_is_not_ignored_silently(folder, name):
    (folder / "model" / name).write_text("x", "utf-8")
    with pytest.raises(ManifestError, match=r"must be called NAME@VERSION\.yaml"):
        Library([folder]).entries()


def test_other_files_are_none_of_its_business(folder):
    for name in ("README.md", "net.onnx", ".net@2.0.0.yaml.swp", ".net@2.0.0.yaml"):
        (folder / "model" / name).write_text("x", "utf-8")
    assert [entry.version for entry in Library([folder]).entries("model")] == ["1.0.0"]


def test_folders_that_are_none(tmp_path):
    with pytest.raises(ManifestError, match="There is no folder"):
        Library([tmp_path / "nowhere"]).entries()
    with pytest.raises(ManifestError, match=r"has no manifests: they belong in .*/KIND/NAME@"):
        Library([tmp_path]).entries()
