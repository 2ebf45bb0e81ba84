from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest

from onnx_cases import disagreement
from profleet.errors import ArtifactError
from profleet.model.artifact import obtain
from profleet.model.reference import (
    LARGEST,
    POSITIONS,
    choose_positions,
    draw_inputs,
    reference_check,
    reference_outputs,
)


@pytest.fixture
def artifact(tiny):
    return obtain(tiny.model(), tiny.folder)


def by_hand(tiny, batch, seed):
    model = onnx.ModelProto.FromString(tiny.data)
    value = draw_inputs(tiny.model(), batch, seed)["x"]
    for one in model.graph.initializer:
        value = np.maximum(value @ onnx.numpy_helper.to_array(one), 0)
    return value


def test_the_check_states_what_the_network_computes(tiny, artifact):
    check = reference_check(artifact, tiny.model(), 5, 3)
    expected = by_hand(tiny, 3, 5)
    said = check.outputs["y"]
    assert (check.seed, check.batch, check.rtol, check.atol) == (5, 3, 1e-4, 1e-6)
    assert check.producer.startswith("onnxruntime ")
    assert said.shape == (3, 32)
    assert len(said.positions) == len(set(said.positions)) == POSITIONS
    np.testing.assert_allclose(said.values, expected.reshape(-1)[list(said.positions)], rtol=1e-5)
    np.testing.assert_allclose(
        [said.mean, said.std, said.abs_max],
        [expected.mean(), expected.std(), expected.max()],
        rtol=1e-5,
    )


def test_values_read_back_exactly_and_the_digest_is_that_of_the_bytes(tiny, artifact):
    output = reference_outputs(artifact, tiny.model(), 1, 2)["y"]
    said = reference_check(artifact, tiny.model(), 1, 2).outputs["y"]
    assert np.array_equal(
        np.asarray(said.values, np.float32), output.reshape(-1)[list(said.positions)]
    )
    assert said.sha256 == hashlib.sha256(output.astype("<f4").tobytes()).hexdigest()


def test_the_check_is_reproducible_and_depends_on_the_seed(tiny, artifact):
    check = reference_check(artifact, tiny.model(), 1, 3)
    assert check == reference_check(artifact, tiny.model(), 1, 3)
    other = reference_check(artifact, tiny.model(), 2, 3)
    assert check.outputs["y"].positions != other.outputs["y"].positions
    assert check.outputs["y"].sha256 != other.outputs["y"].sha256


def test_the_largest_values_are_always_compared():
    flat = np.zeros(10000, np.float32)
    flat[[17, 4711, 9000]] = [-3.0, 2.0, 1.0]
    positions = choose_positions("y", flat, 1)
    assert {17, 4711, 9000} <= set(positions)
    assert positions == sorted(set(positions))
    assert len([one for one in positions if one > LARGEST]) > POSITIONS - 2 * LARGEST
    assert choose_positions("y", flat[:5], 1) == [0, 1, 2, 3, 4]


def test_agreement_is_measured_in_units_of_the_tolerance(tiny, artifact):
    model = tiny.model()
    check = reference_check(artifact, model, 1, 2)
    said = check.outputs["y"]
    right = reference_outputs(artifact, model, 1, 2)["y"]
    limit = check.atol + check.rtol * said.abs_max
    assert disagreement(check, {"y": right}) < 0.01
    off = right.astype(np.float64)
    off.reshape(-1)[said.positions[3]] += 0.5 * limit
    assert disagreement(check, {"y": off}) == pytest.approx(0.5, rel=0.02)
    off.reshape(-1)[said.positions[7]] -= 3 * limit
    assert disagreement(check, {"y": off}) == pytest.approx(3.0, rel=0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda y: y[::-1],
        lambda y: y.reshape(2, 8, 4).swapaxes(1, 2),
        lambda y: y[:1],
        lambda y: y * np.float32(1.001),
        np.zeros_like,
    ],
)
def test_a_wrong_order_size_or_scale_disagrees(tiny, artifact, wrong):
    check = reference_check(artifact, tiny.model(), 1, 2)
    right = reference_outputs(artifact, tiny.model(), 1, 2)["y"]
    assert disagreement(check, {"y": wrong(right)}) > 2


@pytest.mark.parametrize("shape", ["[batch, 31]", "[batch, 32, 1]", "[batch]", "[1, 32]"])
def test_outputs_must_be_what_the_manifest_says(tiny, artifact, shape):
    with pytest.raises(ArtifactError, match=r"'y' is float32 \[2, 32\] at batch 2"):
        reference_check(artifact, tiny.model(shape=shape), 1, 2)


def test_an_open_axis_is_not_compared(tiny, artifact):
    reference_check(artifact, tiny.model(shape="[batch, dynamic]"), 1, 2)


def test_an_output_the_graph_lacks_is_explained(tiny, artifact):
    with pytest.raises(ArtifactError, match=r"ONNX Runtime cannot execute tiny: .*z"):
        reference_check(artifact, tiny.model(output="z"), 1, 2)


def test_values_that_are_not_finite_are_no_reference(tiny):
    model = onnx.ModelProto.FromString(tiny.data)
    weight = model.graph.initializer[-1]
    weight.raw_data = np.full((32, 32), np.inf, np.float32).tobytes()
    path = tiny.folder / "broken.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="'y' holds values that are not finite"):
        reference_check(path, tiny.model(), 1, 2)
