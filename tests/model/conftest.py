from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from profleet.manifest.documents import Model
from profleet.manifest.loading import parse_document
from tiny import network

HEAD = """\
schema: profleet/model/v1
name: tiny
version: 1.0.0
description: A perceptron for tests.  # a comment of a person
task: test
license: {{id: CC0-1.0, source: made by the test}}
provenance: {{source: made by the test}}
source: {source}
inputs:
  - name: x
    dtype: float32
    shape: [batch, 32]
    values: {{kind: uniform, low: 0.0, high: 1.0}}
outputs:
  - {{name: {output}, dtype: float32, shape: {shape}}}
frameworks: [onnxruntime]
"""
TAIL = """\
artifact: {{format: onnx, sha256: {sha256}, bytes: {size}}}
check:
  seed: 1
  batch: 2
  producer: a placeholder
  rtol: 0.0001
  atol: 1.0e-06
  outputs:
    y: {{shape: [2, 32], sha256: {digest}, positions: [], values: [], mean: 0, std: 0, abs_max: 0}}
"""


@dataclass(frozen=True)
class Tiny:
    """A small network as a file, and what its manifest says."""

    folder: Path
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def file_source(self) -> str:
        return f"{{kind: file, path: tiny.onnx, sha256: {self.sha256}}}"

    def head(self, source: str = "", output: str = "y", shape: str = "[batch, 32]") -> str:
        return HEAD.format(source=source or self.file_source, output=output, shape=shape)

    def model(self, source: str = "", sha256: str = "", **head: str) -> Model:
        tail = TAIL.format(sha256=sha256 or self.sha256, size=len(self.data), digest=self.sha256)
        model = parse_document((self.head(source, **head) + tail).encode(), "tiny")
        assert isinstance(model, Model)
        return model


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    data = network().SerializeToString(deterministic=True)
    (tmp_path / "tiny.onnx").write_bytes(data)
    return Tiny(tmp_path, data)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROFLEET_CACHE", str(tmp_path / "cache"))
