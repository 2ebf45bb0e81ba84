"""Fusion: what a compiler merges, and that no work is lost on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profleet.hardware.fusion import fuse
from profleet.hardware.layers import Network, chain, conv_layer, dense_layer, vector_layer
from zoo_cases import of_zoo

CONV = conv_layer("conv", channels=8, filters=8, kernel=(3, 3), image=(16, 16))
SIZE = 16 * 16 * 8


def pointwise(op, reads=SIZE, writes=SIZE):
    return vector_layer(op.lower(), op, reads=reads, writes=writes, ops=writes)


def test_normalization_residual_and_activation_run_with_the_convolution():
    norm = replace(pointwise("BatchNormalization"), weight_bytes=4 * 4 * 8)
    layers = (pointwise("Relu"), CONV, norm, pointwise("Add", 2 * SIZE), pointwise("Relu"))
    fused = fuse(Network("block", 1, layers, ((), (0,), (1,), (0, 2), (3,))))
    first, block = fused.layers
    assert (first.op, block.op) == ("Relu", "Conv+BatchNormalization+Add+Relu")
    assert fused.after == ((), (0,))
    assert block.input_bytes == CONV.input_bytes + 4 * SIZE  # the residual is still read
    assert block.output_bytes == CONV.output_bytes
    assert block.weight_bytes == CONV.weight_bytes  # the normalization is in the weights
    assert block.ops == 2 * SIZE


def test_a_result_that_somebody_else_reads_is_written():
    layers = (CONV, pointwise("Relu"), pointwise("Add", 2 * SIZE))
    fused = fuse(Network("fork", 1, layers, ((), (0,), (0, 1))))
    assert [layer.op for layer in fused.layers] == ["Conv", "Relu+Add"]
    assert fused.after == ((), (0,))


def test_layers_that_change_the_size_stay_alone():
    softmax = vector_layer("s", "Softmax", reads=SIZE, writes=SIZE, ops=5 * SIZE)
    pool = vector_layer("p", "MaxPool", reads=SIZE, writes=SIZE // 4, ops=SIZE)
    broadcast = pointwise("Mul", SIZE + 8, 4 * SIZE)
    network = chain("n", 1, [CONV, softmax, pool, broadcast])
    assert len(fuse(network).layers) == 4


def test_an_operand_that_is_computed_later_is_waited_for():
    layers = (CONV, replace(CONV, name="later"), pointwise("Add", 2 * SIZE), pointwise("Relu"))
    fused = fuse(Network("late", 1, layers, ((), (), (0, 1), (1,))))
    assert [layer.op for layer in fused.layers] == ["Conv", "Conv", "Add", "Relu"]
    assert fused.after == ((), (), (0, 1), (1,))


@pytest.mark.parametrize("name", ["resnet50", "densenet121", "shufflenet", "inception-v1"])
def test_fusion_keeps_the_work_of_real_networks_and_saves_traffic(name):
    network = of_zoo(name)
    fused = fuse(network)
    assert fused.macs == network.macs
    assert len(fused.layers) < len(network.layers)
    before = sum(layer.bytes for layer in network.layers)
    after = sum(layer.bytes for layer in fused.layers)
    largest = sum(layer.output_bytes for layer in network.layers if layer.dims)
    assert largest / 2 < after < before
    assert not any(layer.op.startswith("BatchNormalization") for layer in fused.layers) or (
        name == "densenet121"  # normalizes what it concatenated
    )


@settings(deadline=None)
@given(st.lists(st.sampled_from(("conv", "dense", "Relu", "Softmax")), max_size=8))
def test_fusing_twice_changes_nothing(kinds):
    layers = [
        CONV if kind == "conv"
        else dense_layer("d", inputs=SIZE, outputs=SIZE) if kind == "dense"
        else pointwise(kind)
        for kind in kinds
    ]  # fmt: skip
    once = fuse(chain("n", 1, layers))
    assert fuse(once).layers == once.layers
