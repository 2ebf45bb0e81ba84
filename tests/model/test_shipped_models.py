"""The shipped networks: their artifacts come out as stated and compute what is stated.

Artifacts above ``LIMIT`` are covered by the counts of their builders and by smaller relatives;
of the packages that are not installed, one small wheel is downloaded.
"""

from __future__ import annotations

import onnxruntime
import pytest

from onnx_cases import disagreement
from profleet.manifest.documents import BuilderSource, PackageSource
from profleet.manifest.library import Library
from profleet.manifest.loading import load_document
from profleet.model.artifact import obtain
from profleet.model.builders import build_network
from profleet.model.reference import draw_inputs

LIMIT = 110_000_000
DOWNLOADED = {"basic-pitch"}

MODELS = {entry.name: load_document(entry.path) for entry in Library.standard().entries("model")}


def is_at_hand(model):
    package = model.source.package if isinstance(model.source, PackageSource) else "onnx"
    return model.artifact.bytes < LIMIT and (package == "onnx" or model.name in DOWNLOADED)


AT_HAND = sorted(name for name, model in MODELS.items() if is_at_hand(model))
BUILT = sorted(name for name, model in MODELS.items() if isinstance(model.source, BuilderSource))


def test_the_models_promised_are_shipped():
    zoo = "bvlc-alexnet densenet121 inception-v1 inception-v2 resnet50 shufflenet squeezenet vgg19"
    trained = "silero-vad magika rapidocr-det rapidocr-cls rapidocr-rec basic-pitch"
    built = "alexnet resnet18 vgg16 bert-large gpt2 dlrm-small"
    assert set(f"{zoo} zfnet512 {trained} {built}".split()) <= set(MODELS)
    assert len(AT_HAND) >= 9


@pytest.mark.parametrize("name", AT_HAND)
def test_the_artifact_is_reproduced_and_agrees_with_its_check(name):
    """Built from nothing; executed as a user's ONNX Runtime would, optimized."""
    model = MODELS[name]
    path = obtain(model, None)
    names = [one.name for one in model.outputs]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    run = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for batch in (1, model.check.batch):
        values = run.run(names, draw_inputs(model, batch, model.check.seed))
        outputs = dict(zip(names, values, strict=True))
        for declared in model.outputs:
            sizes = [batch if size == "batch" else size for size in declared.shape]
            assert list(outputs[declared.name].shape) == sizes
    assert disagreement(model.check, outputs) < 0.5
    assert model.check.rtol <= 1e-3


@pytest.mark.parametrize("name", BUILT)
def test_parameters_are_those_of_the_builder(name):
    model = MODELS[name]
    network = build_network(model.source.builder, model.source.arguments)
    assert model.metadata["parameters"].value == network.parameter_count()
    assert model.artifact.bytes > 4 * network.parameter_count()
    declared = {one.name: [str(size) for size in one.shape] for one in model.inputs}
    for one in network.inputs:
        shape = [dim.dim_param or str(dim.dim_value) for dim in one.type.tensor_type.shape.dim]
        assert declared.pop(one.name) == shape
    assert declared == {}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_number_has_a_source_and_every_weight_a_license(name):
    model = MODELS[name]
    assert model.license.id in {"Apache-2.0", "MIT"}
    assert model.metadata["parameters"].value > 0
    if isinstance(model.source, PackageSource):
        release = f"{model.source.package} {model.source.version}"
        assert release in model.license.source
        if not model.source.transforms:
            assert model.artifact.sha256 == model.source.sha256
    elif isinstance(model.source, BuilderSource):
        assert "Seeded weights" in model.description
