"""A real container engine and real images, for the tests that need them.

Without an engine these tests are skipped, and say so; under CI (``CI`` or
``PROFLEET_REQUIRE_DOCKER`` set) they fail instead.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest

from profleet.container import labels
from profleet.container.build import DEFAULT_BASE, build
from profleet.container.engine import Engine, connect
from profleet.container.images import ImageRecord, find, inspect, record_of
from profleet.container.recipe import Recipe, tree_sha256
from profleet.errors import EngineError
from profleet.manifest.documents import Framework, Image
from profleet.manifest.library import Library
from profleet.manifest.lock import Lock, LockedImage, LockedManifest, LockedPackage


def refuse(error: EngineError) -> NoReturn:
    """Fail where an engine is required, skip elsewhere."""
    if os.environ.get("PROFLEET_REQUIRE_DOCKER") or os.environ.get("CI"):
        pytest.fail(str(error))
    pytest.skip(f"needs a container engine: {error}")


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    """The engine that the environment names."""
    try:
        engine = connect()
    except EngineError as error:
        refuse(error)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def runner_image(docker_engine: Engine) -> ImageRecord:
    """The image of onnxruntime, built unless the engine has the one of today's sources."""
    return image_of(docker_engine, "onnxruntime")


def framework(name: str = "onnxruntime", ref: str | None = None) -> Framework:
    """The manifest of a framework, with another image if ``ref`` names one."""
    document = Library.standard(()).resolve("framework", name).document
    if ref is None:
        return document
    return document.model_copy(
        update={"images": {"amd64": Image(ref=ref), "arm64": Image(ref=ref)}}
    )


def manifest_text(name: str) -> str:
    """The manifest of a framework as it is written."""
    return Library.standard(()).resolve("framework", name).path.read_text("utf-8")


def image_of(engine: Engine, name: str) -> ImageRecord:
    """Find or build the image of a framework."""
    try:
        return find(engine, framework(name))
    except EngineError as missing:
        if missing.kind != "image":
            refuse(missing)
    try:
        return build(engine, framework(name), print, base=base_image())
    except EngineError as error:
        refuse(error)


def base_image() -> str:
    """Which base to build on here: from Debian packages where that can be done."""
    named = os.environ.get("PROFLEET_TEST_BASE")
    able = os.geteuid() == 0 and shutil.which("debootstrap")
    return named or ("bootstrap" if able else DEFAULT_BASE)


@contextmanager
def temporary_ref(engine: Engine) -> Iterator[str]:
    """A name for an image that is removed afterwards."""
    ref = f"localhost/profleet/test:{uuid.uuid4().hex[:12]}"
    try:
        yield ref
    finally:
        if inspect(engine, ref) is not None:
            engine.client.api.remove_image(ref, force=True)


def load_image(
    engine: Engine,
    ref: str | None,
    label: Mapping[str, str],
    architecture: str = "amd64",
) -> ImageRecord:
    """Load an image of one small file, of any architecture; without ``ref`` it has no name."""
    layer = archive({"marker": uuid.uuid4().hex.encode()})
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Labels": dict(label)},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(layer)}"]},
            "history": [{"created": "2026-01-02T03:04:05Z"}],
        }
    ).encode()
    manifest = [{"Config": "config.json", "RepoTags": [ref] if ref else [], "Layers": ["l.tar"]}]
    files = {"config.json": config, "l.tar": layer, "manifest.json": json.dumps(manifest).encode()}
    (image,) = engine.client.images.load(archive(files))
    return record_of(image.attrs, ref or image.id)


def derive(engine: Engine, ref: str, parent: str, steps: str, **files: bytes) -> ImageRecord:
    """Build ``ref`` from an image and some steps of a Dockerfile; ``files`` are its context."""
    dockerfile = f"FROM {parent}\nUSER root\n{steps}\n".encode()
    stream = engine.client.api.build(
        fileobj=io.BytesIO(archive({"Dockerfile": dockerfile, **files})),
        custom_context=True, tag=ref, network_mode="none", rm=True, forcerm=True, decode=True,
    )  # fmt: skip
    said = [chunk for chunk in stream if "error" in chunk]
    assert not said, said
    found = inspect(engine, ref)
    assert found is not None
    return found


def archive(files: Mapping[str, bytes]) -> bytes:
    """A tar of some files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def recipe(**changes: Any) -> Recipe:
    """A small recipe; ``changes`` replace fields of it."""
    fields: dict[str, Any] = {
        "name": "onnxruntime",
        "dockerfile": b"FROM scratch\n",
        "requirements_text": f"numpy==2.4.6 --hash=sha256:{'a' * 64}\n".encode(),
        "installer_text": f"pip==26.3 --hash=sha256:{'b' * 64}\n".encode(),
        "runner": {"profleet_runner/__init__.py": b'__version__ = "0"\n'},
    }
    return Recipe(**{**fields, **changes})


def runner_labels(**changes: str) -> dict[str, str]:
    """Labels as a runner's image has them."""
    return {labels.KIND: "runner", labels.PROFLEET_REVISION: tree_sha256({}), **changes}


def locked(image: LockedImage | None, versions: Mapping[str, str]) -> Lock:
    """A lock of nothing but an image and its packages."""
    return Lock(
        schema_="profleet/lock/v1",
        profleet="0.1.0",
        manifests=(LockedManifest(kind="framework", name="x", version="1.0.0", sha256="0" * 64),),
        artifacts={},
        packages={name: LockedPackage(version=version) for name, version in versions.items()},
        image=image,
    )


def locked_image(record: ImageRecord, **changes: str) -> LockedImage:
    """An image as a lock has it; ``changes`` replace fields."""
    fields = {"ref": record.ref, "id": record.id, "digest": record.digest,
              "architecture": record.architecture, "requirements": None, "base": None}  # fmt: skip
    return LockedImage(**{**fields, **changes})


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
