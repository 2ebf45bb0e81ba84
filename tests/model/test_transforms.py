from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from profleet.errors import ArtifactError
from profleet.manifest.documents import DynamicBatch, PackageSource, SeededWeights
from profleet.manifest.library import Library
from profleet.model.graph import parse, serialize
from profleet.model.sources import package_bytes
from profleet.model.transforms import dynamic_batch, seeded_weights, transform
from profleet.model.weights import Uniform, draw

ZOO = {
    entry.name: entry
    for entry in Library.standard().entries("model")
    if "light_" in entry.path.read_text("utf-8")
}


def raw(name):
    from profleet.manifest.loading import load_document

    source = load_document(ZOO[name].path).source
    assert isinstance(source, PackageSource)
    return package_bytes(source, print)


def made(name, seed=1):
    steps = (SeededWeights(kind="seeded_weights", seed=seed), DynamicBatch(kind="dynamic_batch"))
    return transform(raw(name), steps)


def graph(nodes, inputs, outputs, stored=(), opset=13):
    def info(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    proto = helper.make_graph(
        nodes,
        "g",
        [info(*one) for one in inputs],
        [info(*one) for one in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored],
    )
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_the_nine_zoo_graphs_are_here():
    assert len(ZOO) == 9


def test_equal_arguments_give_equal_bytes_and_seeds_differ():
    assert made("squeezenet") == made("squeezenet")
    assert made("squeezenet") != made("squeezenet", seed=2)


def test_a_weight_depends_on_seed_name_and_range_only():
    model = parse(made("squeezenet"))
    stored = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    bound = float(np.sqrt(6 / 27))
    expected = draw(1, "conv1_w_0", (64, 3, 3, 3), Uniform(-bound, bound))
    np.testing.assert_array_equal(stored["conv1_w_0"], expected)
    assert np.abs(expected).max() > 0.95 * bound


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception-v1"])
def test_every_batch_size_works_and_items_do_not_mix(name):
    run = onnxruntime.InferenceSession(made(name))
    (image,) = run.get_inputs()
    assert image.shape == ["batch", 3, 224, 224]
    assert [one.shape[0] for one in run.get_outputs()] == ["batch"]
    feed = np.random.RandomState(0).uniform(-2, 2, (5, 3, 224, 224)).astype(np.float32)
    (five,) = run.run(None, {image.name: feed})
    for batch in (1, 2):
        (some,) = run.run(None, {image.name: feed[:batch]})
        assert some.shape == (batch, *five.shape[1:])
        np.testing.assert_allclose(some, five[:batch], rtol=1e-4)
    assert np.abs(five[0] - five[1]).max() > 100 * 1e-4 * np.abs(five - five[:1]).std()


@pytest.mark.parametrize("name", ["squeezenet", "resnet50", "densenet121"])
def test_activations_neither_explode_nor_vanish_nor_become_denormal(name):
    model = parse(made(name))
    names = [out for node in model.graph.node if node.op_type != "Dropout" for out in node.output]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=one) for one in names)
    run = onnxruntime.InferenceSession(serialize(model))
    feed = np.random.RandomState(0).uniform(-2, 2, (1, 3, 224, 224)).astype(np.float32)
    tiny = np.finfo(np.float32).tiny
    for label, value in zip(names, run.run(names, {run.get_inputs()[0].name: feed}), strict=True):
        size = np.abs(value)
        assert size.max() < 100, label
        assert size.max() > 1e-3, label
        assert not ((size > 0) & (size < tiny)).any(), label


def test_no_placeholder_is_left_and_shapes_are_kept():
    model = parse(made("shufflenet"))
    assert not [node for node in model.graph.node if node.op_type == "ConstantOfShape"]
    assert len(model.graph.input) == 1
    assert model.ir_version >= 4
    stored = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    targets = [stored[n.input[1]] for n in model.graph.node if n.op_type == "Reshape"]
    assert [0, 4, 28, 56, 56] in [one.tolist() for one in targets]
    assert {int(one[0]) for one in targets} == {0}
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            assert (stored[node.input[4]] > 0.5).all()
    read = {name for node in model.graph.node for name in node.input}
    assert set(stored) <= read
    onnx.checker.check_model(model, full_check=True)


def test_the_weights_of_one_layer_are_not_equal():
    """Timing depends on values; the placeholders were all 0.02."""
    model = parse(made("squeezenet"))
    for one in model.graph.initializer:
        value = numpy_helper.to_array(one)
        if value.dtype == np.float32 and value.size > 100:
            assert np.unique(value).size > 0.9 * value.size


def test_a_weight_without_a_rule_is_refused():
    model = graph(
        [helper.make_node("Pow", ["x", "w"], ["y"])],
        [("x", [1, 3])], [("y", [1, 3])], [("w", np.ones(3, np.float32))],
    )  # fmt: skip
    with pytest.raises(ArtifactError, match=r"no rule for 'w', input 1 of a Pow node"):
        seeded_weights(model, 1)


def test_a_reshape_of_weights_keeps_its_target():
    model = graph(
        [
            helper.make_node("Reshape", ["w", "one"], ["flat"]),
            helper.make_node("Reshape", ["x", "one"], ["kept"]),
            helper.make_node("Add", ["kept", "flat"], ["y"]),
        ],
        [("x", [1, 2, 2])], [("y", [1, 4])],
        [("w", np.ones((2, 2), np.float32)), ("one", np.asarray([1, 4]))],
    )  # fmt: skip
    dynamic_batch(model)
    run = onnxruntime.InferenceSession(serialize(model))
    (value,) = run.run(None, {"x": np.zeros((3, 2, 2), np.float32)})
    assert value.shape == (3, 4)


def test_a_batch_size_fixed_inside_the_graph_is_refused():
    fixed = graph(
        [
            helper.make_node("Expand", ["m", "size"], ["e"]),
            helper.make_node("Add", ["x", "e"], ["y"]),
        ],
        [("x", [1, 3])], [("y", [2, 3])],
        [("m", np.ones((1, 3), np.float32)), ("size", np.asarray([2, 3]))],
    )  # fmt: skip
    with pytest.raises(ArtifactError, match="output 'y' does not follow the batch size"):
        dynamic_batch(fixed)


def test_a_scalar_has_no_batch_axis():
    scalar = graph([helper.make_node("Relu", ["x"], ["y"])], [("x", [])], [("y", [])])
    with pytest.raises(ArtifactError, match="'x' is a scalar"):
        dynamic_batch(scalar)


@pytest.mark.parametrize("data", [b"", b"not a network", b"\xff" * 100])
def test_what_is_no_graph_is_refused(data):
    with pytest.raises(ArtifactError, match="not an ONNX model"):
        transform(data, (DynamicBatch(kind="dynamic_batch"),))
