"""Graphs without weights: the same graph, small, and a cut file is always noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from profleet.errors import ArtifactError
from profleet.hardware.signatures import read_network
from profleet.hardware.skeleton import SMALL, read_skeleton

WIDTH = 64
WHOLE = tiny.network(WIDTH).SerializeToString()


def test_weights_lose_their_values_and_keep_their_type(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(WHOLE)
    skeleton, model = read_skeleton(path), onnx.load(path)
    assert len(WHOLE) > 2 * 4 * WIDTH * WIDTH
    assert skeleton.ByteSize() < SMALL
    for kept, full in zip(skeleton.graph.initializer, model.graph.initializer, strict=True):
        assert (kept.name, kept.dims, kept.data_type) == (full.name, full.dims, full.data_type)
        assert not kept.raw_data
    del skeleton.graph.initializer[:]
    del model.graph.initializer[:]
    assert skeleton == model


def test_small_values_are_kept_because_shapes_depend_on_them(tmp_path):
    path = tmp_path / "model.onnx"
    model = tiny.network(WIDTH)
    axes = onnx.numpy_helper.from_array(np.array([0, -1]), "axes")
    model.graph.initializer.append(axes)
    path.write_bytes(model.SerializeToString())
    kept = {one.name: one for one in read_skeleton(path).graph.initializer}
    assert onnx.numpy_helper.to_array(kept["axes"]).tolist() == [0, -1]


@pytest.fixture(scope="module")
def cut_file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cut") / "model.onnx"


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_anywhere_is_one_clear_error(cut_file, size):
    cut_file.write_bytes(WHOLE[:size])
    with pytest.raises(ArtifactError, match=r"model\.onnx is (truncated|empty)"):
        read_skeleton(cut_file)


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=300))
def test_no_bytes_whatever_make_anything_but_a_clear_error(cut_file, data):
    cut_file.write_bytes(data)
    with pytest.raises(ArtifactError, match="is truncated or not an ONNX model"):
        read_network(cut_file, {"x": (1, WIDTH)})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"absent\.onnx cannot be read: No such file"):
        read_skeleton(tmp_path / "absent.onnx")
