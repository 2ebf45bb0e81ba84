"""DLRM: a recommendation model of embedding tables and two perceptrons."""

from __future__ import annotations

import itertools
import math

import numpy as np

from profleet.model.graph import BATCH, Network
from profleet.model.weights import BIAS, Uniform

TABLES = 26
DENSE = 13


def dlrm(
    rows: int = 10000,
    width: int = 64,
    bottom: list[int] | None = None,
    top: list[int] | None = None,
) -> Network:
    """Return DLRM with 26 tables of ``rows`` vectors of ``width`` each.

    Naumov et al., Deep Learning Recommendation Model, arXiv:1906.00091; 13 dense and 26
    categorical features as in the Criteo data. Inputs: ``dense`` float32 [batch, 13] and
    ``categories`` int64 [batch, 26], each in [0, rows). Output: ``probability`` [batch, 1].
    ``bottom`` (default 512-256-64) must end with ``width``, ``top`` (default 512-256-1) with 1.

    Raises:
        ValueError: sizes that do not fit each other.
    """
    lower, upper = bottom or [512, 256, 64], top or [512, 256, 1]
    if lower[-1] != width:
        raise ValueError(f"bottom ends with {lower[-1]}, but must end with width ({width})")
    if upper[-1] != 1:
        raise ValueError(f"top ends with {upper[-1]}, but must end with 1")
    if min(rows, *lower, *upper) < 1:
        raise ValueError("every size must be at least 1")
    net = Network("dlrm")
    dense = _perceptron(net, "bottom", net.input("dense", (BATCH, DENSE)), [DENSE, *lower])
    categories = net.input("categories", (BATCH, TABLES), np.int64)
    vectors = [net.add("Unsqueeze", dense, net.constant("vector_axis", [1]), name="dense_vector")]
    columns = net.split("category", categories, [1] * TABLES)
    for index, column in enumerate(columns):
        around = Uniform.around(0.0, math.sqrt(3.0))
        table = net.parameter(f"table{index}", (rows, width), around)
        vectors.append(net.add("Gather", table, column, axis=0, name=f"lookup{index}"))
    stacked = net.add("Concat", *vectors, axis=1, name="vectors")
    joined = net.add("Concat", dense, _interaction(net, stacked, width), axis=1, name="features")
    pairs = (TABLES + 1) * TABLES // 2
    logit = _perceptron(net, "top", joined, [width + pairs, *upper], last_relu=False)
    net.output("probability", net.add("Sigmoid", logit), (BATCH, 1))
    return net


def _interaction(net: Network, vectors: str, width: int) -> str:
    """Append the dot product of every pair of the 27 vectors, divided by sqrt(width).

    The division, absent in the original, stands for the small embeddings that training leaves.
    """
    count = TABLES + 1
    dots = net.add("MatMul", vectors, net.add("Transpose", vectors, perm=[0, 2, 1]), name="dots")
    dots = net.add("Div", dots, net.constant("root_width", math.sqrt(width), np.float32))
    flat = net.add("Reshape", dots, net.constant("flat", [0, count * count]))
    rows, columns = np.tril_indices(count, -1)
    return net.add("Gather", flat, net.constant("pairs", rows * count + columns), axis=1)


def _perceptron(
    net: Network, name: str, value: str, sizes: list[int], *, last_relu: bool = True
) -> str:
    """Append dense layers of ``sizes``, a ReLU after each (the last one: if ``last_relu``)."""
    for index, size in enumerate(itertools.pairwise(sizes)):
        relu = last_relu or index < len(sizes) - 2
        value = net.dense(f"{name}{index}", value, size, before_relu=relu, bias=BIAS)
        if relu:
            value = net.add("Relu", value)
    return value
