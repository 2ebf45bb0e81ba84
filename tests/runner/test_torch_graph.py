"""Whole ONNX graphs in torch: they agree with onnxruntime, and read like code a person wrote."""

from __future__ import annotations

import re
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnx_cases import (
    Arrays,
    assert_same,
    by_onnxruntime,
    by_torch,
    graph,
    require_torch,
    with_random_weights,
)

torch = require_torch()

from profleet_runner.frameworks import Unsupported  # noqa: E402  # after the skip
from profleet_runner.frameworks.torch_graph import import_graph  # noqa: E402

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
RNG = np.random.default_rng(5)
node = helper.make_node


def normal(*shape: int, scale: float = 1.0) -> Any:
    return (RNG.normal(size=shape) * scale).astype(np.float32)


def transformer(width: int = 16, heads: int = 4, vocabulary: int = 11) -> tuple[bytes, Arrays]:
    """A causal transformer layer whose reshapes and mask follow the input's shape at run time."""
    weights: Arrays = {
        "table": normal(vocabulary, width), "places": normal(32, width),
        "scale": normal(width), "shift": normal(width),
        "wqkv": normal(width, 3 * width, scale=0.2), "bqkv": normal(3 * width),
        "wo": normal(width, width, scale=0.2), "w1": normal(width, 4 * width, scale=0.2),
        "w2": normal(4 * width, width, scale=0.2),
        "zero": np.array(0), "one": np.array(1), "heads": np.array([heads]),
        "minus": np.array([-1]), "width": np.array([width]), "first": np.array([0]),
        "root": np.array(np.sqrt(width // heads), np.float32),
        "low": np.array(-1e9, np.float32), "half": np.array([0.5], np.float32),
        "root2": np.array(np.sqrt(2), np.float32), "unit": np.array(1, np.float32),
    }  # fmt: skip
    nodes = [
        node("Shape", ["ids"], ["shape"]),
        node("Gather", ["shape", "zero"], ["batch"]),
        node("Gather", ["shape", "one"], ["length"]),
        node("Unsqueeze", ["batch", "first"], ["batch1"]),
        node("Unsqueeze", ["length", "first"], ["length1"]),
        node("Gather", ["table", "ids"], ["words"]),
        node("Slice", ["places", "first", "length1"], ["positions"]),
        node("Add", ["words", "positions"], ["x"]),
        node("LayerNormalization", ["x", "scale", "shift"], ["normed"], epsilon=1e-5),
        node("MatMul", ["normed", "wqkv"], ["qkv0"]),
        node("Add", ["qkv0", "bqkv"], ["qkv"]),
        node("Split", ["qkv"], ["q0", "k0", "v0"], axis=-1),
        node("Concat", ["batch1", "length1", "heads", "minus"], ["split_shape"], axis=0),
        *(node("Reshape", [f"{n}0", "split_shape"], [f"{n}1"]) for n in "qkv"),
        node("Transpose", ["q1"], ["q"], perm=[0, 2, 1, 3]),
        node("Transpose", ["k1"], ["k"], perm=[0, 2, 3, 1]),
        node("Transpose", ["v1"], ["v"], perm=[0, 2, 1, 3]),
        node("MatMul", ["q", "k"], ["raw"]),
        node("Div", ["raw", "root"], ["scores"]),
        node("Concat", ["length1", "length1"], ["square"], axis=0),
        node("ConstantOfShape", ["square"], ["ones"],
             value=numpy_helper.from_array(np.array([1], np.int64))),
        node("Trilu", ["ones"], ["triangle"], upper=0),
        node("Cast", ["triangle"], ["mask"], to=TensorProto.BOOL),
        node("Where", ["mask", "scores", "low"], ["masked"]),
        node("Softmax", ["masked"], ["attention"], axis=-1),
        node("MatMul", ["attention", "v"], ["mixed"]),
        node("Transpose", ["mixed"], ["together"], perm=[0, 2, 1, 3]),
        node("Concat", ["batch1", "length1", "width"], ["joined_shape"], axis=0),
        node("Reshape", ["together", "joined_shape"], ["joined"]),
        node("MatMul", ["joined", "wo"], ["projected"]),
        node("Add", ["x", "projected"], ["residual"]),
        node("MatMul", ["residual", "w1"], ["wide"]),
        node("Div", ["wide", "root2"], ["wide2"]),
        node("Erf", ["wide2"], ["erf"]),
        node("Add", ["erf", "unit"], ["erf1"]),
        node("Mul", ["wide", "erf1"], ["gelu2"]),
        node("Mul", ["gelu2", "half"], ["gelu"]),
        node("MatMul", ["gelu", "w2"], ["narrow"]),
        node("Add", ["residual", "narrow"], ["y"]),
    ]  # fmt: skip
    ids = RNG.integers(0, vocabulary, (2, 7))
    artifact = graph(nodes, {"ids": ids}, ["y"], weights, shapes={"ids": ["batch", "length"]})
    return artifact, {"ids": ids}


def convolutional() -> tuple[bytes, Arrays]:
    """A small CNN whose flattening copies the batch dimension from the input."""
    weights = {
        "w1": normal(8, 3, 3, 3, scale=0.2), "b1": normal(8),
        "s": normal(8), "b": normal(8), "m": normal(8), "v": np.abs(normal(8)) + 0.5,
        "w2": normal(8, 1, 3, 3), "w3": normal(10, 8 * 16, scale=0.1), "b3": normal(10),
        "flat": np.array([0, -1]),
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c1", "s", "b", "m", "v"], ["n1"]),
        node("Relu", ["n1"], ["r1"]),
        node("MaxPool", ["r1"], ["p1"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
        node("Conv", ["p1", "w2"], ["c2"], pads=[1, 1, 1, 1], group=8),
        node("Concat", ["c2", "p1"], ["cat"], axis=1),
        node("Split", ["cat"], ["left", "right"], axis=1),
        node("Add", ["left", "right"], ["sum"]),
        node("AveragePool", ["sum"], ["p2"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", ["p2", "flat"], ["f"]),
        node("Gemm", ["f", "w3", "b3"], ["y"], transB=1),
    ]
    x = normal(2, 3, 16, 16)
    return graph(nodes, {"x": x}, ["y"], weights, shapes={"x": ["batch", 3, 16, 16]}), {"x": x}


def test_a_convolutional_network_at_several_batch_sizes() -> None:
    artifact, _ = convolutional()
    for batch in (1, 2, 5):
        inputs = {"x": normal(batch, 3, 16, 16)}
        assert_same(by_torch(artifact, inputs), by_onnxruntime(artifact, inputs), 1e-4)


def test_a_transformer_at_several_shapes() -> None:
    artifact, _ = transformer()
    for shape in ((1, 3), (2, 7), (3, 1)):
        inputs = {"ids": RNG.integers(0, 11, shape)}
        assert_same(by_torch(artifact, inputs), by_onnxruntime(artifact, inputs), 1e-4)


def test_shape_arithmetic_becomes_plain_integers() -> None:
    artifact, _ = transformer()
    code = import_graph(artifact).module.code
    assert code.count(".size(") == 2  # batch and length, once each
    assert "tolist" not in code
    assert "torch.tensor(" not in code


def test_ranks_survive_what_shape_inference_does_not_follow() -> None:
    """A reshape to a computed shape: its rank is the length of the shape, later nodes need it."""
    weights = {
        "first": np.array([0]), "one": np.array([1]), "minus": np.array([-1]), "two": np.array([2]),
    }  # fmt: skip
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Cast", ["shape"], ["narrow"], to=TensorProto.INT32),
        node("Slice", ["narrow", "first", "one"], ["batch32"]),
        node("Cast", ["batch32"], ["batch"], to=TensorProto.INT64),
        node("Concat", ["batch", "two", "minus"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["halves"]),
        node("Transpose", ["halves"], ["turned"]),
        node("Shape", ["turned"], ["shape2"]),
        node("Expand", ["minus32", "shape2"], ["wide"]),
        node("Shape", ["wide"], ["shape3"]),
        node("ConstantOfShape", ["shape3"], ["zeros"]),
        node("Add", ["turned", "zeros"], ["sum"]),
        node("ReduceMax", ["sum"], ["y"]),
    ]
    inputs = {"x": normal(3, 4)}
    weights["minus32"] = np.array([-1], np.int32)
    artifact = graph(nodes, inputs, ["y", "sum"], weights, shapes={"x": ["n", "m"]})
    assert "tolist" not in import_graph(artifact).module.code
    assert_same(by_torch(artifact, inputs), by_onnxruntime(artifact, inputs))


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "densenet121", "inception_v1"])
def test_a_published_graph(name: str) -> None:
    model = with_random_weights(onnx.load(LIGHT / f"light_{name}.onnx"))
    artifact = model.SerializeToString()
    (name,) = {i.name for i in model.graph.input} - {w.name for w in model.graph.initializer}
    inputs = {name: normal(1, 3, 224, 224)}
    found = by_torch(artifact, inputs)
    assert found[0].std() > 0
    assert_same(found, by_onnxruntime(artifact, inputs), 1e-4)


def test_a_batch_dimension_may_carry_no_name() -> None:
    inputs = {"x": normal(3, 4)}
    nodes = [node("Shape", ["x"], ["s"]), node("Reshape", ["y0", "s"], ["y"])]
    nodes.insert(1, node("Flatten", ["x"], ["y0"], axis=0))
    artifact = graph(nodes, inputs, ["y"], shapes={"x": ["", 4]})
    assert_same(by_torch(artifact, inputs), [inputs["x"]])


def test_what_depends_on_weights_only_is_computed_at_import() -> None:
    weights = {"a": normal(3, 4), "b": normal(4, 5), "axes": np.array([0])}
    nodes = [
        node("MatMul", ["a", "b"], ["ab"]),
        node("Relu", ["ab"], ["folded"]),
        node("Shape", ["folded"], ["s"]),
        node("ReduceProd", ["s"], ["count"], keepdims=0),
        node("Cast", ["count"], ["number"], to=TensorProto.FLOAT),
        node("Add", ["x", "folded"], ["y0"]),
        node("Mul", ["y0", "number"], ["y"]),
    ]
    inputs = {"x": normal(3, 5)}
    artifact = graph(nodes, inputs, ["y"], weights)
    module = import_graph(artifact).module
    assert [n.op for n in module.graph.nodes].count("call_function") == 2
    assert "15.0" in module.code
    assert [tuple(p.shape) for p in module.parameters()] == [(3, 5)]
    assert_same(by_torch(artifact, inputs), by_onnxruntime(artifact, inputs))


def test_outputs_may_be_inputs_weights_shapes_and_repeated() -> None:
    inputs, weights = {"x": normal(2, 3)}, {"w": normal(2)}
    nodes = [node("Shape", ["x"], ["s"]), node("Identity", ["w"], ["v"])]
    artifact = graph(nodes, inputs, ["v", "s", "s2"], weights)
    model = onnx.load_model_from_string(artifact)
    model.graph.node.append(node("Identity", ["s"], ["s2"]))
    artifact = model.SerializeToString()
    assert_same(by_torch(artifact, inputs), [weights["w"], np.array([2, 3]), np.array([2, 3])])


def test_shape_expressions_of_exporters() -> None:
    """Expand to a shape with -1 for "keep", as PyTorch's exporter writes it."""
    weights = {
        "keep": np.array([-1, 4]), "minus": np.array([-1]), "two": np.array(2),
        "rank": np.array([2]), "zero": np.array(0), "first": np.array([0]),
    }  # fmt: skip
    nodes = [
        node("ConstantOfShape", ["rank"], ["ones"],
             value=numpy_helper.from_array(np.array([1], np.int64))),
        node("Mul", ["ones", "minus"], ["minuses"]),
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"]),
        node("Mul", ["n", "two"], ["n2"]),
        node("Div", ["n2", "two"], ["n3"]),
        node("Unsqueeze", ["n3", "first"], ["n4"]),
        node("Concat", ["n4", "minus"], ["target"], axis=0),
        node("Equal", ["target", "minuses"], ["is_minus"]),
        node("Where", ["is_minus", "ones", "target"], ["final"]),
        node("Expand", ["x", "final"], ["y"]),
    ]  # fmt: skip
    inputs = {"x": normal(3, 4)}
    artifact = graph(nodes, inputs, ["y"], weights, shapes={"x": ["n", 4]})
    assert_same(by_torch(artifact, inputs), by_onnxruntime(artifact, inputs))


def test_shapes_that_depend_on_data() -> None:
    inputs = {"x": normal(4, 6), "target": np.array([3, -1])}
    nodes = [
        node("Reshape", ["x", "target"], ["a"]),
        node("Shape", ["a"], ["s"]),
        node("ConstantOfShape", ["s"], ["z"]),
        node("Add", ["a", "z"], ["y"]),
    ]
    artifact = graph(nodes, inputs, ["y"], shapes={"x": None})
    assert_same(by_torch(artifact, inputs), by_onnxruntime(artifact, inputs))


def test_functions_of_a_model_are_inlined() -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    function = helper.make_function(
        "own", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], opsets[:1]
    )
    inputs = {"x": normal(3)}
    model = onnx.load_model_from_string(
        graph([node("Twice", ["x"], ["y"], domain="own")], inputs, ["y"])
    )
    model.functions.append(function)
    model.opset_import.append(opsets[1])
    assert_same(by_torch(model.SerializeToString(), inputs), [2 * inputs["x"]])


def test_every_missing_operator_is_named() -> None:
    nodes = [
        node("Det", ["x"], ["a"], name="first"),
        node("Det", ["x"], ["b"], name="second"),
        node("FancyGelu", ["x"], ["c"], domain="com.example"),
    ]
    artifact = graph(nodes, {"x": normal(2, 2)}, ["a", "b", "c"])
    with pytest.raises(Unsupported) as refused:
        import_graph(artifact)
    assert str(refused.value) == (
        "operator Det (node 'first' and 1 more), operator com.example.FancyGelu (node 'c') "
        "are not covered by the torch runner"
    )


def test_control_flow_is_refused() -> None:
    branch = helper.make_graph(
        [node("Constant", [], ["k"], value_float=1.0)],
        "branch", [], [helper.make_tensor_value_info("k", TensorProto.FLOAT, [])],
    )  # fmt: skip
    nodes = [node("If", ["x"], ["y"], name="fork", then_branch=branch, else_branch=branch)]
    with pytest.raises(Unsupported, match=r"operator If \(node 'fork'\) is not covered"):
        import_graph(graph(nodes, {"x": np.array(True)}, ["y"]))


@pytest.mark.parametrize(
    ("kind", "attributes", "what"),
    [
        ("MaxPool", {"kernel_shape": [2, 2], "outputs": 2}, "the output of indices"),
        ("AveragePool", {"kernel_shape": [2, 2], "dilations": [2, 2]}, "dilations"),
        ("Cast", {"to": TensorProto.STRING}, "data type 8"),
    ],
)
def test_what_of_an_operator_is_missing_is_named(
    kind: str, attributes: dict[str, Any], what: str
) -> None:
    outputs = ["y", "z"][: attributes.pop("outputs", 1)]
    nodes = [node(kind, ["x"], outputs, name="it", **attributes)]
    with pytest.raises(Unsupported, match=re.escape(f"{kind} (node 'it') with {what} is not")):
        import_graph(graph(nodes, {"x": normal(1, 1, 4, 4)}, ["y"], opset=19))


def test_old_opsets_are_refused() -> None:
    with pytest.raises(Unsupported, match="opset 6 is not covered"):
        import_graph(graph([node("Relu", ["x"], ["y"])], {"x": normal(2)}, ["y"], opset=6))


@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(Unsupported):
        import_graph(data)


def test_a_cut_off_artifact_is_refused() -> None:
    artifact, _ = convolutional()
    for end in (len(artifact) // 3, len(artifact) - 7):
        with pytest.raises(Unsupported, match="not a readable ONNX model"):
            import_graph(artifact[:end])


def test_external_weights_are_refused() -> None:
    model = onnx.load_model_from_string(convolutional()[0])
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(Unsupported, match="stored outside the artifact"):
        import_graph(model.SerializeToString())


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "float64", "int8", "int32", "int64", "uint8", "bool"]
)
def test_weights_of_every_data_type(dtype: str, raw: bool) -> None:
    array = (np.arange(6).reshape(2, 3) % 4 - (0 if dtype in {"uint8", "bool"} else 2)).astype(
        dtype
    )
    proto = numpy_helper.from_array(array, "w")
    if not raw:
        proto = helper.make_tensor("w", proto.data_type, [2, 3], array.ravel())
    model = helper.make_model(
        helper.make_graph(
            [node("Identity", ["w"], ["y"])], "g", [],
            [helper.make_empty_tensor_value_info("y")], [proto],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )  # fmt: skip
    assert_same(by_torch(model.SerializeToString(), {}), [array])


def test_brain_floats() -> None:
    values = np.array([1.5, -2.25], np.float32)
    proto = helper.make_tensor("w", TensorProto.BFLOAT16, [2], values)
    raw = TensorProto(name="w", data_type=TensorProto.BFLOAT16, dims=[2])
    raw.raw_data = (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    for weight in (proto, raw):
        artifact = onnx.load_model_from_string(
            graph([node("Cast", ["w"], ["y"], to=TensorProto.FLOAT)], {}, ["y"])
        )
        artifact.graph.initializer.append(weight)
        assert_same(by_torch(artifact.SerializeToString(), {}), [values])


def test_weights_are_copied_once_and_without_warnings() -> None:
    weight = normal(512, 4096)
    artifact = graph(
        [node("MatMul", ["x", "w"], ["y"])], {"x": normal(1, 512)}, ["y"], {"w": weight}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracemalloc.start()
        module = import_graph(artifact).module
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    (parameter,) = module.parameters()
    assert parameter.data_ptr() not in {0, np.frombuffer(artifact, np.uint8).ctypes.data}
    assert peak < weight.nbytes / 4  # torch's own memory, the one copy, is not traced
