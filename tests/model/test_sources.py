"""Packages come from wheels that the tests make; pip gets them from a folder, without network."""

from __future__ import annotations

import hashlib
import os
import zipfile

import pytest

from profleet.errors import ArtifactError
from profleet.manifest.documents import FileSource, PackageSource
from profleet.model import sources
from profleet.model.sources import file_bytes, package_bytes

CONTENT = b"the bytes of a network" * 100
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PYTHON = ">=3.8"


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def wheel(folder, files, version="1.0", python=PYTHON):
    info = f"profleet_sample-{version}.dist-info"
    with zipfile.ZipFile(folder / f"profleet_sample-{version}-py3-none-any.whl", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: profleet-sample\nVersion: {version}\n"
            f"Requires-Python: {python}\nRequires-Dist: no-such-package-anywhere\n",
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def source(path="sample/net.onnx", version="1.0", sha256=DIGEST, package="profleet-sample"):
    return PackageSource(kind="package", package=package, version=version, path=path, sha256=sha256)


def test_the_file_is_taken_out_of_the_exact_release(wheels):
    wheel(wheels, {"sample/net.onnx": CONTENT, "sample/__init__.py": "1/0"})
    wheel(wheels, {"sample/net.onnx": b"newer"}, version="1.1")
    notes = []
    assert package_bytes(source(), notes.append) == CONTENT
    assert notes == ["downloading profleet-sample 1.0"]


def test_a_package_for_another_python_still_has_its_file(wheels):
    wheel(wheels, {"sample/net.onnx": CONTENT}, python="<3.8")
    assert package_bytes(source(), print) == CONTENT


@pytest.fixture
def installed(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    (folder / "sample").mkdir(parents=True)
    info = folder / "profleet_sample-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: profleet-sample\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(str(folder))
    return folder / "sample" / "net.onnx"


def test_an_installed_file_with_the_digest_saves_the_download(wheels, installed):
    installed.write_bytes(CONTENT)  # the release differs, the file does not
    notes = []
    assert package_bytes(source(), notes.append) == CONTENT
    assert notes == []


@pytest.mark.parametrize("content", [b"another", None])
def test_an_installed_package_with_another_file_does_not(wheels, installed, content):
    if content is not None:
        installed.write_bytes(content)
    wheel(wheels, {"sample/net.onnx": CONTENT})
    assert package_bytes(source(), print) == CONTENT


def test_a_package_that_cannot_be_had_says_how_to_get_it(wheels):
    with pytest.raises(ArtifactError) as caught:
        package_bytes(source(version="2.0"), print)
    said = str(caught.value)
    assert "sample/net.onnx comes from profleet-sample==2.0, which is not installed" in said
    assert "ERROR: No matching distribution found" in said
    assert said.endswith("pip install --no-deps profleet-sample==2.0.")


def test_a_file_missing_in_the_wheel_lists_the_networks_that_are_there(wheels):
    wheel(wheels, {"sample/a.onnx": b"", "sample/b.onnx": b"", "sample/c.txt": b""})
    with pytest.raises(ArtifactError) as caught:
        package_bytes(source(), print)
    assert "has no file sample/net.onnx" in str(caught.value)
    assert "sample/a.onnx, sample/b.onnx." in str(caught.value)


def test_another_digest_is_refused_with_both(wheels):
    wheel(wheels, {"sample/net.onnx": b"another"})
    with pytest.raises(ArtifactError) as caught:
        package_bytes(source(), print)
    assert DIGEST in str(caught.value)
    assert hashlib.sha256(b"another").hexdigest() in str(caught.value)


def test_a_file_larger_than_any_network_is_not_read(wheels, monkeypatch):
    wheel(wheels, {"sample/net.onnx": CONTENT})
    monkeypatch.setattr(sources, "LIMIT_BYTES", 1000)
    with pytest.raises(ArtifactError, match="is 2200 bytes; at most 1000"):
        package_bytes(source(), print)


def test_a_damaged_wheel_is_named(tmp_path):
    (tmp_path / "sample.whl").write_bytes(b"no archive")
    with pytest.raises(ArtifactError, match=r"sample\.whl cannot be read"):
        sources._member(tmp_path / "sample.whl", "sample/net.onnx")


def test_a_package_name_is_no_pip_option(wheels):
    with pytest.raises(ArtifactError):
        package_bytes(source(package="--index-url=http://localhost:1"), print)


# -- local files ---------------------------------------------------------------------------------


def local(path):
    return FileSource(kind="file", path=str(path), sha256=DIGEST)


def test_a_local_file_is_read_beside_its_manifest(tmp_path):
    (tmp_path / "net.onnx").write_bytes(CONTENT)
    assert file_bytes(local("net.onnx"), tmp_path) == CONTENT
    (tmp_path / "net.onnx").write_bytes(b"another")
    with pytest.raises(ArtifactError, match="Restore the file"):
        file_bytes(local("net.onnx"), tmp_path)


def test_what_has_no_end_is_not_read(tmp_path, monkeypatch):
    """A manifest of somebody else's may name a device or a pipe."""
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe", tmp_path):
        with pytest.raises(ArtifactError, match="is no regular file"):
            file_bytes(local(path), tmp_path)
    (tmp_path / "net.onnx").write_bytes(CONTENT)
    monkeypatch.setattr(sources, "LIMIT_BYTES", 1000)
    with pytest.raises(ArtifactError, match="is 2200 bytes; one ONNX file holds at most 1000"):
        file_bytes(local("net.onnx"), tmp_path)
