"""What a compiler makes of a graph: pointwise layers are computed with the layer before them.

A convolution with its normalization, residual addition and activation is one kernel in every
current GPU or accelerator compiler; costing them apart would count their tensors several times.
"""

from __future__ import annotations

from dataclasses import replace

from profleet.hardware.layers import LayerSignature, Network
from profleet.hardware.operators import POINTWISE


def fuse(network: Network) -> Network:
    """Return ``network`` with views and pointwise layers merged into the producer they follow.

    A layer is merged when it is the only reader of its producer's result and writes as much. The
    result in between is neither written nor read; other operands still are. A batch normalization
    is folded into the weights of a convolution or matrix product.
    """
    readers = [0] * len(network.layers)
    for found in network.after:
        for index in found:
            readers[index] += 1
    layers: list[LayerSignature] = []
    after: list[tuple[int, ...]] = []
    place: list[int] = []  # layer of the network -> layer of the result
    for layer, found in zip(network.layers, network.after, strict=True):
        host = next(
            (
                index
                for index in reversed(found)
                if readers[index] == 1 and _merges(layers[place[index]], layer)
            ),
            None,
        )
        if host is None:
            layers.append(layer)
            after.append(tuple(sorted({place[index] for index in found})))
            place.append(len(layers) - 1)
            continue
        into = place[host]
        others = {place[index] for index in found} - {into}
        if any(other > into for other in others):  # an operand that is computed later
            layers.append(layer)
            after.append(tuple(sorted(others | {into})))
            place.append(len(layers) - 1)
            continue
        layers[into] = _merged(layers[into], layer)
        after[into] = tuple(sorted({*after[into], *others}))
        place.append(into)
    return Network(network.model, network.batch, tuple(layers), tuple(after))


def _merges(producer: LayerSignature, layer: LayerSignature) -> bool:
    if layer.view:
        return True
    if layer.op not in POINTWISE or producer.view:
        return False
    return producer.output_bytes == layer.output_bytes and producer.dtype == layer.dtype


def _merged(producer: LayerSignature, layer: LayerSignature) -> LayerSignature:
    if layer.view:
        return producer
    folded = layer.op == "BatchNormalization" and producer.dims is not None
    inputs, weights, output = layer.integer_bytes
    before = producer.integer_bytes
    return replace(
        producer,
        op=f"{producer.op}+{layer.op}",
        ops=producer.ops + (0 if folded else layer.ops),
        input_bytes=producer.input_bytes + max(0, layer.input_bytes - producer.output_bytes),
        weight_bytes=producer.weight_bytes + (0 if folded else layer.weight_bytes),
        output_bytes=layer.output_bytes,
        integer_bytes=(
            before[0] + max(0, inputs - before[2]),
            before[1] + (0 if folded else weights),
            output,
        ),
    )
