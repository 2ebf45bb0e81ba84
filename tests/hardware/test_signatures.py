"""Layer signatures: totals against an independent counter and publications, bytes by hand."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from onnx import TensorProto, helper

import tiny
from onnx_cases import graph
from profleet.errors import ArtifactError
from profleet.hardware.layers import Conv, Gemm, conv_layer
from profleet.hardware.signatures import network_of, read_network
from profleet.manifest.loading import load_document
from profleet.model.artifact import obtain
from profleet.model.builders import build_model
from profleet.model.graph import serialize
from zoo_cases import LIGHT, MODELS, ZOO, of_zoo, shapes


def counted_elsewhere(path, inputs):
    """MACs and additions of biases in convolutions and matrix products, by onnx-tool."""
    import onnx_tool

    with contextlib.redirect_stdout(io.StringIO()):
        model = onnx_tool.Model(str(path))
        model.graph.shape_infer({name: np.zeros(size, dtype) for name, size, dtype in inputs})
        model.graph.profile()
    kinds = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
    return sum(one.macs[0] for one in model.graph.nodemap.values() if one.op_type in kinds)


def products(network):
    return sum(layer.macs + layer.ops for layer in network.layers if layer.dims is not None)


# -- totals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(LIGHT))
def test_model_zoo_totals_equal_those_of_onnx_tool(name):
    inputs = [(key, size, np.float32) for key, size in shapes(MODELS[name]).items()]
    network = of_zoo(name)
    assert products(network) == counted_elsewhere(ZOO / f"light_{LIGHT[name]}.onnx", inputs)


@pytest.mark.parametrize("name", ["resnet18", "dlrm-small"])
def test_totals_of_built_models_equal_those_of_onnx_tool(name):
    model = MODELS[name]
    path = obtain(model, None)
    inputs = [(one.name, shapes(model)[one.name], one.dtype) for one in model.inputs]
    assert products(read_network(path, shapes(model))) == counted_elsewhere(path, inputs)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("vgg19", 19.63e9),  # Simonyan and Zisserman 2014
        ("resnet50", 4.09e9),  # He et al. 2015, stride in the 3x3 layer
        ("squeezenet", 0.349e9),  # SqueezeNet 1.1, its authors' repository
        ("densenet121", 2.83e9),  # Huang et al. 2016
        ("inception-v1", 1.43e9),  # Szegedy et al. 2014, "about 1.5 billion"
    ],
)
def test_totals_of_the_model_zoo_are_those_published(name, published):
    assert of_zoo(name).macs == pytest.approx(published, rel=0.005)


LIGHTSPEED = {  # MACs in the models of the LightSpeed simulation
    "alexnet": 7.142e8, "resnet18": 1.814e9, "vgg16": 1.547e10, "bert-large": 1.675e11,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(LIGHTSPEED))
def test_totals_of_built_models_are_those_of_the_lightspeed_study(name):
    network = shipped(name)
    assert network.macs == pytest.approx(LIGHTSPEED[name], rel=0.001)


def shipped(name, batch=1):
    """The layers of a shipped model, by today's rules: those that the cache keeps are not read."""
    model = MODELS[name]
    known = {
        one.name: np.asarray(one.values.value, one.dtype) for one in model.inputs if not one.shape
    }
    path = obtain(model, None)
    return read_network(path, shapes(model, batch), batch=batch, known=known, name=name)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_shipped_model_is_costed_and_nothing_is_silently_free(name):
    network = shipped(name)
    for layer in network.layers:
        assert layer.kind == "view" or layer.bytes > 0, layer
        assert (layer.macs > 0) == (layer.dims is not None), layer
        assert layer.kind != "vector" or layer.ops > 0, layer
    parameters = MODELS[name].metadata.get("parameters")
    if parameters and name not in {"dlrm-small", "bert-large", "gpt2", "silero-vad"}:  # lookups
        assert network.weight_bytes >= 4 * parameters.value * 0.99


@pytest.mark.parametrize("name", ["resnet50", "squeezenet", "rapidocr-rec", "gpt2"])
def test_work_is_proportional_to_the_batch_and_weights_are_not(name):
    one, eight = shipped(name), shipped(name, 8)
    assert eight.macs == 8 * one.macs
    assert sum(layer.output_bytes for layer in eight.layers) == 8 * sum(
        layer.output_bytes for layer in one.layers
    )
    if name != "gpt2":  # tokens are looked up, a position once for all
        assert eight.weight_bytes == one.weight_bytes


def test_a_transformer_has_the_products_of_its_equations(tmp_path):
    """BERT, small: projections, scores, mixing and feed-forward, by token and layer."""
    layers, hidden, inner, tokens = 2, 64, 128, 16
    sizes = {
        "layers": layers, "hidden": hidden, "heads": 4, "inner": inner, "vocabulary": 50,
        "positions": tokens, "tokens": tokens,
    }  # fmt: skip
    path = tmp_path / "bert.onnx"
    path.write_bytes(serialize(build_model("bert", sizes, 1)))
    inputs = {"input_ids": (3, tokens), "attention_mask": (3, tokens)}
    network = read_network(path, inputs, batch=3)
    token = 4 * hidden * hidden + 2 * hidden * inner + 2 * tokens * hidden
    pooler = hidden * hidden
    assert network.macs == 3 * (layers * tokens * token + pooler)
    typed = [(name, size, np.int64) for name, size in inputs.items()]
    assert products(network) == counted_elsewhere(path, typed)
    scores = [layer for layer in network.layers if layer.dims and layer.dims.product.count == 12]
    assert len(scores) == 2 * layers  # 3 items x 4 heads, no weights
    assert not any(layer.weight_bytes for layer in scores)


# -- single operators ----------------------------------------------------------------------------


def one_layer(op, inputs, weights=None, *, outputs=("y",), opset=17, tmp_path, **attributes):
    """The signature of a single node; arrays in ``weights`` are part of the model."""
    names = [*inputs, *(weights or {})]
    node = helper.make_node(op, names, list(outputs), name="n", **attributes)
    path = tmp_path / "model.onnx"
    path.write_bytes(graph([node], inputs, outputs, weights, opset))
    (layer,) = read_network(path, {name: one.shape for name, one in inputs.items()}).layers
    return layer


def floats(*shape):
    return np.ones(shape, np.float32)


def ints(*values):
    return np.array(values, np.int64)


def test_a_convolution_has_its_loops_strides_and_bytes(tmp_path):
    layer = one_layer(
        "Conv", {"x": floats(2, 8, 20, 10)}, {"w": floats(6, 4, 3, 5), "b": floats(6)},
        strides=[2, 1], pads=[1, 2, 1, 2], group=2, tmp_path=tmp_path,
    )  # fmt: skip
    assert layer.dims == Conv(2, 8, 6, (3, 5), (20, 10), (10, 10), 2)
    assert layer.strides == (2, 1)
    assert layer.macs == 2 * 100 * 6 * 4 * 15
    assert layer.ops == 2 * 100 * 6
    assert layer.input_bytes == 4 * 2 * 8 * 200
    assert layer.weight_bytes == 4 * (6 * 4 * 15 + 6)
    assert layer.output_bytes == 4 * 2 * 6 * 100
    same = conv_layer(
        "other", channels=8, filters=6, kernel=(3, 5), image=(20, 10), strides=(2, 1), batch=2,
        groups=2,
    )  # fmt: skip
    assert (same.dims, same.macs) == (layer.dims, layer.macs)


def test_a_one_dimensional_convolution_has_one_row(tmp_path):
    layer = one_layer("Conv", {"x": floats(1, 4, 50)}, {"w": floats(8, 4, 7)}, tmp_path=tmp_path)
    assert layer.dims == Conv(1, 4, 8, (1, 7), (1, 50), (1, 44))
    assert layer.macs == 44 * 8 * 28


def test_a_transposed_convolution_works_at_every_input_pixel(tmp_path):
    layer = one_layer(
        "ConvTranspose", {"x": floats(1, 6, 5, 5)}, {"w": floats(6, 4, 2, 2)}, strides=[2, 2],
        tmp_path=tmp_path,
    )  # fmt: skip
    assert layer.macs == 25 * 6 * 4 * 4
    assert layer.output_bytes == 4 * 4 * 100


@pytest.mark.parametrize(
    ("left", "right", "constant", "dims"),
    [
        ((2, 7, 5), (5, 3), True, Gemm(1, 14, 5, 3)),
        ((2, 4, 7, 5), (2, 4, 5, 3), False, Gemm(8, 7, 5, 3)),
        ((4, 7, 5), (5,), False, Gemm(1, 28, 5, 1)),
        ((5,), (6, 5, 3), False, Gemm(6, 1, 5, 3)),
    ],
)
def test_matrix_products_of_any_rank(left, right, constant, dims, tmp_path):
    inputs, weights = {"a": floats(*left)}, {"b": floats(*right)}
    if not constant:
        inputs, weights = inputs | weights, None
    layer = one_layer("MatMul", inputs, weights, tmp_path=tmp_path)
    assert layer.dims == dims
    result = np.matmul(floats(*left), floats(*right))
    assert layer.macs == result.size * left[-1]
    assert layer.output_bytes == result.nbytes
    assert (layer.weight_bytes > 0) == constant


def test_quantized_products_are_computed_in_integers(tmp_path):
    x, scale = np.ones((2, 7, 5), np.uint8), np.float32(0.1)
    weights = {
        "xs": scale, "xz": np.uint8(3), "w": np.ones((5, 3), np.uint8), "ws": scale,
        "wz": np.uint8(3), "ys": scale, "yz": np.uint8(3),
    }  # fmt: skip
    weights = {name: np.asarray(one) for name, one in weights.items()}
    layer = one_layer("QLinearMatMul", {"x": x}, weights, tmp_path=tmp_path)
    assert (layer.dtype, layer.dims) == ("int8", Gemm(1, 14, 5, 3))
    assert (layer.input_bytes, layer.output_bytes) == (70, 42)
    assert layer.cast("float16") == layer


X = (2, 3, 8, 8)
SIZE = 4 * 2 * 3 * 64
CASES = [
    # operator, weights, attributes: ops, input bytes, weight bytes, output bytes
    ("Relu", {}, {}, (SIZE // 4, SIZE, 0, SIZE)),
    ("Add", {"b": floats(3, 1, 1)}, {}, (SIZE // 4, SIZE, 12, SIZE)),
    ("Softmax", {}, {}, (5 * SIZE // 4, SIZE, 0, SIZE)),
    ("LayerNormalization", {"s": floats(8)}, {}, (8 * SIZE // 4, SIZE, 32, SIZE)),
    ("GlobalAveragePool", {}, {}, (SIZE // 4, SIZE, 0, 24)),
    (
        "MaxPool", {}, {"kernel_shape": [2, 2], "strides": [2, 2]},
        (SIZE // 4, SIZE, 0, SIZE // 4),
    ),
    ("LRN", {}, {"size": 5}, (14 * SIZE // 4, SIZE, 0, SIZE)),
    ("Transpose", {}, {"perm": [0, 2, 3, 1]}, (0, SIZE, 0, SIZE)),
    ("Clip", {"low": floats()}, {}, (SIZE // 4, SIZE, 0, SIZE)),
    ("Pad", {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1)}, {}, (0, SIZE, 0, 4 * 6 * 100)),
    ("Slice", {"a": ints(0), "b": ints(2), "c": ints(2)}, {}, (0, SIZE // 4, 0, SIZE // 4)),
    ("ReduceMean", {}, {"axes": [2, 3]}, (SIZE // 4, SIZE, 0, 24)),
    ("Cast", {}, {"to": TensorProto.FLOAT16}, (SIZE // 4, SIZE, 0, SIZE // 2)),
    (
        "BatchNormalization", {name: floats(3) for name in "sbmv"}, {},
        (2 * SIZE // 4, SIZE, 48, SIZE),
    ),
    (
        "Resize", {"r": floats(0), "s": np.array([1, 1, 2, 2], np.float32)}, {"mode": "linear"},
        (4 * SIZE, SIZE, 0, 4 * SIZE),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("op", "weights", "attributes", "expected"), CASES)
def test_everything_else_costs_operations_and_bytes(op, weights, attributes, expected, tmp_path):
    layer = one_layer(op, {"x": floats(*X)}, weights, tmp_path=tmp_path, **attributes)
    found = (layer.ops, layer.input_bytes, layer.weight_bytes, layer.output_bytes)
    assert found == expected
    assert (layer.macs, layer.view) == (0, False)


@pytest.mark.parametrize(
    ("op", "weights", "attributes"),
    [
        ("Reshape", {"to": ints(2, -1)}, {}),
        ("Flatten", {}, {}),
        ("Unsqueeze", {"axes": ints(0)}, {}),
        ("Identity", {}, {}),
        ("Dropout", {}, {}),
        ("Transpose", {}, {"perm": [0, 1, 2, 3]}),
        ("Cast", {}, {"to": TensorProto.FLOAT}),
    ],
)
def test_views_are_marked_and_cost_nothing(op, weights, attributes, tmp_path):
    layer = one_layer(op, {"x": floats(*X)}, weights, tmp_path=tmp_path, **attributes)
    assert layer.kind == "view"
    assert (layer.bytes, layer.ops) == (0, 0)


def test_moving_an_axis_of_size_one_is_a_view(tmp_path):
    x = {"x": floats(4, 1, 6)}
    assert one_layer("Transpose", x, perm=[1, 0, 2], tmp_path=tmp_path).view
    assert not one_layer("Transpose", x, perm=[2, 1, 0], tmp_path=tmp_path).view


def test_a_lookup_reads_the_rows_it_takes_and_not_the_table(tmp_path):
    table, rows = floats(1000, 16), np.zeros((5, 3), np.int64)
    node = helper.make_node("Gather", ["table", "rows"], ["y"], name="n")
    path = tmp_path / "model.onnx"
    path.write_bytes(graph([node], {"rows": rows}, ["y"], {"table": table}))
    (layer,) = read_network(path, {"rows": rows.shape}).layers
    assert layer.dtype == "float32"
    assert layer.weight_bytes == layer.output_bytes == 15 * 64
    assert layer.input_bytes == layer.integer_bytes[0] == 15 * 8


def test_precision_changes_floating_point_bytes_only(tmp_path):
    rows = np.zeros(5, np.int64)
    node = helper.make_node("Gather", ["table", "rows"], ["y"], name="n")
    path = tmp_path / "model.onnx"
    path.write_bytes(graph([node], {"rows": rows}, ["y"], {"table": floats(9, 16)}))
    (layer,) = read_network(path, {"rows": rows.shape}).cast("int8").layers
    assert (layer.dtype, layer.input_bytes) == ("int8", 40)
    assert layer.weight_bytes == layer.output_bytes == 5 * 16


# -- graphs --------------------------------------------------------------------------------------


def write(tmp_path, nodes, inputs, outputs, weights=None, opset=17, shapes=None):
    path = tmp_path / "model.onnx"
    path.write_bytes(graph(nodes, inputs, outputs, weights, opset, shapes))
    return path


def test_layers_know_what_they_read_and_constants_are_no_layers(tmp_path):
    nodes = [
        helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]),  # computed at load time
        helper.make_node("MatMul", ["x", "wt"], ["a"], name="a"),
        helper.make_node("Relu", ["a"], ["b"], name="b"),
        helper.make_node("Add", ["a", "b"], ["y"], name="c"),
    ]
    path = write(tmp_path, nodes, {"x": floats(2, 4)}, ["y"], {"w": floats(3, 4)})
    network = read_network(path, {"x": (2, 4)})
    assert [layer.name for layer in network.layers] == ["a", "b", "c"]
    assert network.after == ((), (0,), (0, 1))
    assert network.layers[0].weight_bytes == 48


def test_shape_arithmetic_that_shape_inference_does_not_follow_is_computed(tmp_path):
    """Sizes that pass through floating point, as exported graphs do for interpolation."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "half"], ["halved"]),
        helper.make_node("Cast", ["halved"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["x", "whole"], ["y"], name="r"),
        helper.make_node("Relu", ["y"], ["z"], name="relu"),
    ]
    half = np.array([0.5, 2.0], np.float32)
    path = write(tmp_path, nodes, {"x": floats(4, 6)}, ["z"], {"half": half})
    network = read_network(path, {"x": (8, 6)})
    assert [layer.op for layer in network.layers] == ["Reshape", "Relu"]
    assert network.layers[1].output_bytes == 4 * 4 * 12


def branching(condition):
    """x -> one layer or two, by ``condition == 7``; both branches use the same names inside."""

    def branch(nodes):
        out = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
        return helper.make_graph(nodes, "branch", [], [out])

    then = branch([helper.make_node("Relu", ["x"], ["o"], name="short")])
    other = branch(
        [
            helper.make_node("Neg", ["x"], ["t"], name="long"),
            helper.make_node("Exp", ["t"], ["o"], name="longer"),
        ]
    )
    return [
        helper.make_node("Equal", [condition, "seven"], ["is"]),
        helper.make_node("If", ["is"], ["y"], name="if", then_branch=then, else_branch=other),
    ]


@pytest.mark.parametrize(("value", "names"), [(7, ["short"]), (8, ["long", "longer"])])
def test_a_branch_on_a_setting_is_the_one_taken(value, names, tmp_path):
    inputs = {"x": floats(2, 3), "rate": np.array(0)}
    path = write(tmp_path, branching("rate"), inputs, ["y"], {"seven": np.array(7)})
    sizes = {"x": (2, 3), "rate": ()}
    network = read_network(path, sizes, known={"rate": np.array(value)})
    assert [layer.name for layer in network.layers] == names
    with pytest.raises(ArtifactError, match=r"node 'if' \(If\) chooses a branch"):
        read_network(path, sizes)


def test_an_open_shape_is_an_error_that_names_node_and_operator(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="first"),
        helper.make_node("Reshape", ["a", "to"], ["b"], name="second"),
        helper.make_node("Relu", ["b"], ["y"], name="third"),
    ]
    path = write(tmp_path, nodes, {"x": floats(2, 3), "to": ints(3, 2)}, ["y"])
    with pytest.raises(ArtifactError, match=r"node 'second' \(Reshape\) cannot be determined"):
        read_network(path, {"x": (2, 3), "to": (2,)}, name="open")


@pytest.mark.parametrize("read", ["lost", "y"])
def test_a_node_that_reads_what_nothing_made_is_named(read, tmp_path):
    node = helper.make_node("Add", ["x", read], ["y"], name="sum")
    path = write(tmp_path, [node], {"x": floats(2, 3)}, ["y"])
    with pytest.raises(ArtifactError, match=rf"node 'sum' \(Add\) reads '{read}', which is no"):
        read_network(path, {"x": (2, 3)})


def test_a_file_that_is_cut_short_is_named_with_its_model(tmp_path):
    whole = write(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], {"x": floats(2, 3)}, ["y"])
    whole.write_bytes(whole.read_bytes()[:-5])
    with pytest.raises(ArtifactError, match=r"mine: .* is truncated or not an ONNX model"):
        read_network(whole, {"x": (2, 3)}, name="mine")


@pytest.mark.parametrize(("op", "domain"), [("FlashAttention", ""), ("Relu", "com.example")])
def test_an_unknown_operator_is_an_error_that_names_it(op, domain, tmp_path):
    node = helper.make_node(op, ["x"], ["y"], name="odd", domain=domain)
    path = write(tmp_path, [node], {"x": floats(2, 3)}, ["y"])
    shown = f"{domain}.{op}" if domain else op
    with pytest.raises(ArtifactError, match=rf"node 'odd' .* uses the operator {shown}, whose"):
        read_network(path, {"x": (2, 3)})


def test_a_missing_input_shape_is_named(tmp_path):
    path = write(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], {"x": floats(2, 3)}, ["y"])
    with pytest.raises(ArtifactError, match="no shape is given for the input 'x'"):
        read_network(path, {"other": (2, 3)})


def test_a_graph_that_does_not_take_the_batch_size_is_refused():
    """The model zoo's ResNet-50 flattens to one row whatever the batch."""
    with pytest.raises(ArtifactError, match=r"\(Reshape\) cannot be costed at batch size 8: sizes"):
        of_zoo("resnet50", 8)


# -- kept in the cache ---------------------------------------------------------------------------


def test_layers_of_an_artifact_are_kept_and_damage_is_repaired(tmp_path):
    folder = tiny.workspace(tmp_path) / "model"
    model = load_document(folder / "tiny@1.0.0.yaml")
    cache = tmp_path / "cache"
    first = network_of(model, 3, folder, cache)
    assert first.macs == 3 * 2 * 32 * 32
    (kept,) = (cache / "signatures").iterdir()
    (cache / "artifacts" / f"{model.artifact.sha256}.onnx").unlink()
    again = network_of(model, 3, folder, cache)
    assert (again.layers, again.after) == (first.layers, first.after)
    assert [layer.name for layer in again.layers] == [layer.name for layer in first.layers]
    assert not any((cache / "artifacts").iterdir())
    kept.write_bytes(kept.read_bytes()[:-20])
    assert network_of(model, 3, folder, cache).layers == first.layers
    assert network_of(model, 5, folder, cache).macs == 5 * 2 * 32 * 32


def test_a_batch_size_that_the_model_does_not_take_is_refused(tmp_path):
    folder = tiny.workspace(tmp_path) / "model"
    model = load_document(folder / "tiny@1.0.0.yaml").model_copy(update={"batch_sizes": (1, 4)})
    with pytest.raises(ArtifactError, match="tiny takes batch sizes 1, 4 only, not 2"):
        network_of(model, 2, folder, tmp_path)
