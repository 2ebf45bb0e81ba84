from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest

from profleet.errors import ArtifactError
from profleet.model.builders import BUILDERS, build_model, build_network
from profleet.model.graph import serialize

SMALL_BERT = {
    "layers": 2, "hidden": 32, "heads": 4, "inner": 64, "vocabulary": 50, "positions": 12,
    "tokens": 8,
}  # fmt: skip
SMALL_GPT2 = {
    "layers": 2, "hidden": 32, "heads": 4, "vocabulary": 50, "positions": 12, "tokens": 8,
}  # fmt: skip
SMALL_DLRM = {"rows": 20, "width": 8, "bottom": [16, 8], "top": [16, 1]}


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(serialize(model))


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}


@pytest.mark.parametrize(
    ("name", "arguments", "count"),
    [
        ("alexnet", {}, 61_100_840),
        ("resnet", {"layers": 18}, 11_689_512),
        ("resnet", {"layers": 34}, 21_797_672),
        ("vgg", {"layers": 11}, 132_863_336),
        ("vgg", {"layers": 13}, 133_047_848),
        ("vgg", {"layers": 16}, 138_357_544),
        ("vgg", {"layers": 19}, 143_667_240),
        ("bert", {}, 335_141_888),
        ("bert", {"layers": 12, "hidden": 768, "heads": 12, "inner": 3072}, 109_482_240),
        ("gpt2", {}, 124_439_808),
        ("gpt2", {"layers": 48, "hidden": 1600, "heads": 25}, 1_557_611_200),
    ],
)
def test_parameter_counts_are_the_published_ones(name, arguments, count):
    assert build_network(name, arguments).parameter_count() == count


def test_what_is_counted_is_what_is_stored():
    network = build_network("resnet", {"layers": 18})
    model = network.model(1)
    running = 2 * sum(
        one.dims[0] for one in model.graph.initializer if one.name.endswith(".bn.mean")
    )
    floats = [one for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    assert sum(int(np.prod(one.dims)) for one in floats) == 11_689_512 + running
    assert running == 9_600


@pytest.mark.parametrize(
    ("name", "arguments"), [("bert", SMALL_BERT), ("gpt2", SMALL_GPT2), ("dlrm", SMALL_DLRM)]
)
def test_same_seed_same_bytes_and_every_batch_size_works(name, arguments):
    model = build_model(name, arguments, 1)
    assert serialize(model) == serialize(build_model(name, arguments, 1))
    assert serialize(model) != serialize(build_model(name, arguments, 2))
    run = session(model)
    random = np.random.RandomState(0)
    feeds = {}
    for one in run.get_inputs():
        size = [5, *one.shape[1:]]
        whole = one.type == "tensor(int64)"
        feeds[one.name] = random.randint(0, 2, size) if whole else random.rand(*size)
        feeds[one.name] = feeds[one.name].astype(np.int64 if whole else np.float32)
    everything = run.run(None, feeds)
    for batch in (1, 2):
        part = run.run(None, {key: value[:batch] for key, value in feeds.items()})
        for whole, some in zip(everything, part, strict=True):
            np.testing.assert_allclose(some, whole[:batch], rtol=1e-4, atol=1e-5)
    for declared, value in zip(run.get_outputs(), everything, strict=True):
        assert ["batch", *value.shape[1:]] == declared.shape
        assert value.std() > 1e-3


def test_bert_does_not_look_at_masked_tokens():
    run = session(build_model("bert", SMALL_BERT, 1))
    ids = np.arange(8, dtype=np.int64)[None]
    mask = np.asarray([[1, 1, 1, 1, 1, 0, 0, 0]], np.int64)
    other = ids.copy()
    other[0, 5:] = 40
    hidden, pooled = run.run(None, {"input_ids": ids, "attention_mask": mask})
    same, same_pooled = run.run(None, {"input_ids": other, "attention_mask": mask})
    np.testing.assert_array_equal(hidden[:, :5], same[:, :5])
    np.testing.assert_array_equal(pooled, same_pooled)
    seen, _ = run.run(None, {"input_ids": other, "attention_mask": np.ones_like(mask)})
    assert np.abs(seen[:, :5] - hidden[:, :5]).max() > 1e-3


def test_gpt2_does_not_look_ahead_and_uses_its_token_table_twice():
    model = build_model("gpt2", SMALL_GPT2, 1)
    model.graph.output.append(onnx.ValueInfoProto(name="ln_f"))
    run = onnxruntime.InferenceSession(serialize(model))
    ids = np.arange(8, dtype=np.int64)[None]
    other = ids.copy()
    other[0, 5] = 40
    logits, hidden = run.run(None, {"input_ids": ids})
    changed_logits, changed = run.run(None, {"input_ids": other})
    np.testing.assert_array_equal(hidden[:, :5], changed[:, :5])
    assert (np.abs(hidden[:, 5:] - changed[:, 5:]).max(axis=2) > 1e-3).all()
    assert np.abs(logits - changed_logits).max() > 1e-3
    np.testing.assert_allclose(
        logits, hidden[:, -1] @ weights(model)["wte"].T, rtol=1e-3, atol=1e-4
    )


def test_dlrm_computes_what_its_paper_says():
    model = build_model("dlrm", SMALL_DLRM, 1)
    store = weights(model)
    random = np.random.RandomState(0)
    dense = random.rand(3, 13).astype(np.float32)
    categories = random.randint(0, 20, (3, 26))

    def layer(value, name):
        return value @ store[f"{name}.weight"] + store[f"{name}.bias"]

    below = np.maximum(layer(np.maximum(layer(dense, "bottom0"), 0), "bottom1"), 0)
    looked_up = [store[f"table{index}"][categories[:, index]] for index in range(26)]
    vectors = np.stack([below, *looked_up], axis=1)
    pairs = [
        (vectors[:, a] * vectors[:, b]).sum(axis=1) / np.sqrt(8)
        for a, b in ((a, b) for a in range(27) for b in range(a))
    ]
    features = np.concatenate([below, np.stack(pairs, axis=1)], axis=1)
    logit = layer(np.maximum(layer(features, "top0"), 0), "top1")
    (found,) = session(model).run(None, {"dense": dense, "categories": categories})
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logit)), rtol=1e-4)


def test_resnet_blocks_add_what_they_were_given():
    """Without the second normalization's output a block is relu(shift + its input)."""
    model = build_model("resnet", {"layers": 18}, 1)
    for one in model.graph.initializer:
        if one.name in {"layer1.0.conv2.bn.scale", "layer1.0.conv2.bn.shift"}:
            one.raw_data = bytes(len(one.raw_data))
    readers = {node.name: node for node in model.graph.node}
    before = readers["layer1.0.conv1"].input[0]
    after = readers["layer1.1.conv1"].input[0]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in (before, after))
    image = np.random.RandomState(0).rand(1, 3, 224, 224).astype(np.float32)
    run = onnxruntime.InferenceSession(serialize(model))
    entered, left = run.run([before, after], {"image": image})
    assert entered.shape == (1, 64, 56, 56)
    np.testing.assert_allclose(left, entered, rtol=1e-6)


def test_what_is_too_large_for_one_file_is_refused_before_it_is_drawn():
    with pytest.raises(ArtifactError, match=r"gpt2 .* 6230444800 bytes .* less than 2147483648"):
        build_model("gpt2", {"layers": 48, "hidden": 1600, "heads": 25}, 1)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("resnett", {}, "unknown builder 'resnett'. Did you mean 'resnet'"),
        ("vgg", {"layer": 16}, "no argument 'layer'. Did you mean 'layers'"),
        ("vgg", {"layers": 17}, "layers is 17, but must be one of 11, 13, 16, 19"),
        ("resnet", {"layers": 50}, "must be 18 or 34"),
        ("bert", {"heads": 7}, "multiple of heads"),
        ("bert", {"tokens": 513}, "at most positions"),
        ("gpt2", {"layers": 0}, "layers is 0"),
        ("dlrm", {"width": 32}, "bottom ends with 64"),
        ("dlrm", {"top": [8, 2]}, "top ends with 2"),
        ("dlrm", {"rows": "many"}, "builder 'dlrm'"),
    ],
)
def test_wrong_names_and_arguments_are_explained(name, arguments, said):
    with pytest.raises(ArtifactError) as caught:
        build_network(name, arguments)
    assert said in str(caught.value)


def test_every_weight_of_a_layer_differs_from_that_of_any_other():
    store = weights(build_model("bert", SMALL_BERT, 1))
    large = {name: value for name, value in store.items() if value.size >= 32 * 32}
    for (_, a), (_, b) in itertools.combinations(large.items(), 2):
        if a.shape == b.shape:
            assert np.abs(a - b).max() > 0


def test_the_registry_has_the_builders_of_the_shipped_manifests():
    assert set(BUILDERS) == {"alexnet", "bert", "dlrm", "gpt2", "resnet", "vgg"}
