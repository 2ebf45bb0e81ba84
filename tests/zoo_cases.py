"""The shipped models, and graphs of the model zoo with constants for weights: small files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from profleet.hardware.layers import Network
from profleet.hardware.signatures import read_network
from profleet.manifest.documents import Model
from profleet.manifest.library import Library
from profleet.manifest.loading import load_document

MODELS = {entry.name: load_document(entry.path) for entry in Library.standard().entries("model")}
ZOO = Path(onnx.__file__).parent / "backend/test/data/light"
LIGHT = {  # the same graphs as the shipped artifacts, with constants for weights
    "bvlc-alexnet": "bvlc_alexnet", "densenet121": "densenet121", "inception-v1": "inception_v1",
    "inception-v2": "inception_v2", "resnet50": "resnet50", "shufflenet": "shufflenet",
    "squeezenet": "squeezenet", "vgg19": "vgg19", "zfnet512": "zfnet512",
}  # fmt: skip


def shapes(model: Model, batch: int = 1) -> Mapping[str, list[int]]:
    return {
        one.name: [batch if size == "batch" else size for size in one.shape] for one in model.inputs
    }


def of_zoo(name: str, batch: int = 1) -> Network:
    return read_network(ZOO / f"light_{LIGHT[name]}.onnx", shapes(MODELS[name], batch), batch=batch)
