from __future__ import annotations

import errno
import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from profleet.errors import ArtifactError
from profleet.model.artifact import build, default_cache, obtain
from profleet.model.builders import build_model
from profleet.model.graph import serialize

DLRM = "{kind: builder, builder: dlrm, seed: 3, arguments: {rows: 4000}}"


def listing(cache):
    return sorted(path.name for path in (cache / "artifacts").iterdir())


def test_the_artifact_is_cached_under_its_digest(tiny, tmp_path):
    path = obtain(tiny.model(), tiny.folder)
    assert path == tmp_path / "cache" / "artifacts" / f"{tiny.sha256}.onnx"
    assert path.read_bytes() == tiny.data
    (tiny.folder / "tiny.onnx").unlink()  # the cache is enough
    assert obtain(tiny.model(), tiny.folder) == path
    assert listing(tmp_path / "cache") == [path.name]


def test_another_cache_can_be_named(tiny, tmp_path):
    path = obtain(tiny.model(), tiny.folder, tmp_path / "other")
    assert path.parent == tmp_path / "other" / "artifacts"
    assert not (tmp_path / "cache").exists()


def test_the_environment_names_the_cache(monkeypatch):
    monkeypatch.setenv("PROFLEET_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    monkeypatch.setenv("HOME", "/c")
    assert default_cache() == Path("/a")
    monkeypatch.delenv("PROFLEET_CACHE")
    assert default_cache() == Path("/b/profleet")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path("/c/.cache/profleet")


def flip(data):
    return data[:100] + bytes([data[100] ^ 1]) + data[101:]


@pytest.mark.parametrize("damage", [flip, lambda data: data[:-1], lambda _: b""])
def test_a_damaged_cached_file_is_built_again_with_one_warning(tiny, caplog, damage):
    path = obtain(tiny.model(), tiny.folder)
    path.write_bytes(damage(tiny.data))
    with caplog.at_level(logging.WARNING):
        assert obtain(tiny.model(), tiny.folder).read_bytes() == tiny.data
        obtain(tiny.model(), tiny.folder)
    assert len(caplog.messages) == 1
    assert "damaged" in caplog.messages[0]
    assert str(path) in caplog.messages[0]


def test_another_digest_than_the_manifest_says_is_refused_with_both(tiny, tmp_path):
    wrong = "ab" * 32
    with pytest.raises(ArtifactError) as caught:
        obtain(tiny.model(sha256=wrong), tiny.folder)
    assert wrong in str(caught.value)
    assert tiny.sha256 in str(caught.value)
    assert listing(tmp_path / "cache") == [f".{wrong}.lock"]


def test_another_source_digest_is_refused_with_both(tiny):
    (tiny.folder / "tiny.onnx").write_bytes(flip(tiny.data))
    with pytest.raises(ArtifactError) as caught:
        obtain(tiny.model(), tiny.folder)
    assert tiny.sha256 in str(caught.value)
    assert hashlib.sha256(flip(tiny.data)).hexdigest() in str(caught.value)


WRONG = "ab" * 32


@pytest.mark.parametrize("transforms", ["", "{kind: seeded_weights, seed: 1}"])
def test_a_cached_artifact_does_not_hide_a_wrong_source_digest(tiny, transforms):
    def model(source_sha256):
        digests = f"sha256: {source_sha256}, transforms: [{transforms}]"
        return tiny.model(f"{{kind: file, path: tiny.onnx, {digests}}}")

    data = build(model(tiny.sha256).source, tiny.folder, print)
    changed = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    right, wrong = (
        one.model_copy(update={"artifact": one.artifact.model_copy(update=changed)})
        for one in (model(tiny.sha256), model(WRONG))
    )
    path = obtain(right, tiny.folder)
    with pytest.raises(ArtifactError, match=f"sha256 {tiny.sha256}, the manifest says {WRONG}"):
        obtain(wrong, tiny.folder)
    (tiny.folder / "tiny.onnx").unlink()
    assert obtain(right, tiny.folder) == path, "what is proven needs no source"


def test_a_missing_file_is_named(tiny):
    (tiny.folder / "tiny.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"cannot read .*tiny\.onnx.*relative to the manifest"):
        obtain(tiny.model(), tiny.folder)


def test_without_a_manifest_folder_paths_start_at_the_working_folder(tiny, monkeypatch):
    monkeypatch.chdir(tiny.folder)
    assert obtain(tiny.model(), None).read_bytes() == tiny.data


def test_a_cache_that_cannot_be_a_folder_is_explained(tiny, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ArtifactError, match=r"cannot be written: Not a dir.*PROFLEET_CACHE=DIR"):
        obtain(tiny.model(), tiny.folder)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full")
def test_a_full_disk_is_explained_and_leaves_nothing_behind(tiny, tmp_path, monkeypatch):
    opened = os.fdopen
    monkeypatch.setattr(os, "fdopen", lambda handle, mode: opened(_full(handle), mode))
    with pytest.raises(ArtifactError, match=r"No space left on device\. Free space there"):
        obtain(tiny.model(), tiny.folder)
    monkeypatch.undo()
    assert [name for name in listing(tmp_path / "cache") if not name.endswith(".lock")] == []


def _full(handle):
    os.close(handle)
    return os.open("/dev/full", os.O_WRONLY)


def test_an_interrupted_write_leaves_no_artifact(tiny, tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        obtain(tiny.model(), tiny.folder)
    assert [name for name in listing(tmp_path / "cache") if not name.endswith(".lock")] == []


def test_a_read_only_cache_that_has_the_artifact_is_enough(tiny, tmp_path, monkeypatch):
    path = obtain(tiny.model(), tiny.folder)

    def refuse(*_args, **_keys):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert obtain(tiny.model(), tiny.folder) == path
    path.unlink()
    with pytest.raises(ArtifactError, match="Read-only file system"):
        obtain(tiny.model(), tiny.folder)


PROGRAM = """
import sys
from pathlib import Path
from profleet.manifest.loading import parse_document
from profleet.model.artifact import obtain
model = parse_document(Path(sys.argv[1]).read_bytes(), "manifest")
print(obtain(model, None, progress=lambda line: print("note", line)))
"""


def test_several_processes_at_once_build_it_once_and_all_get_it(tiny, tmp_path):
    data = serialize(build_model("dlrm", {"rows": 4000}, 3))
    digest = hashlib.sha256(data).hexdigest()
    manifest = tmp_path / "manifest.yaml"
    text = tiny.head(DLRM) + (
        f"artifact: {{format: onnx, sha256: {digest}, bytes: {len(data)}}}\n"
        f"check: {{seed: 1, batch: 2, producer: a test, rtol: 0.001, atol: 0.0, outputs: {{y: "
        f"{{shape: [2], sha256: {digest}, positions: [], values: [], mean: 0.0, std: 0.0, "
        "abs_max: 0.0}}}\n"
    )
    manifest.write_text(text)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(manifest)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    said = [process.communicate(timeout=120)[0].splitlines() for process in started]
    path = tmp_path / "cache" / "artifacts" / f"{digest}.onnx"
    assert [lines[-1] for lines in said] == [str(path)] * 3
    assert sum(lines[0].startswith("note building dlrm") for lines in said) == 1
    assert path.read_bytes() == data  # also: a fresh process builds the same bytes
    assert listing(tmp_path / "cache") == [path.name]
