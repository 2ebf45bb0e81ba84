"""What BERT and GPT-2 share: embeddings, layer normalization, attention, and GELU.

Tensors are [batch, tokens, hidden]; attention works on [batch, heads, tokens, hidden / heads].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from profleet.model.graph import Network
from profleet.model.weights import BIAS, SHIFT, Uniform, scale


@dataclass(frozen=True)
class Shape:
    """Sizes of a transformer."""

    layers: int
    heads: int
    hidden: int
    tokens: int
    inner: int
    epsilon: float

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "hidden", "tokens", "inner"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 1")
        if self.hidden % self.heads:
            raise ValueError(f"hidden ({self.hidden}) must be a multiple of heads ({self.heads})")


def embedding(net: Network, name: str, rows: int, width: int) -> str:
    """Declare a table [rows, width] of vectors of length about 1, so that it can also be output."""
    return net.parameter(name, (rows, width), Uniform.variance_kept(width, before_relu=False))


def layer_norm(net: Network, name: str, value: str, shape: Shape) -> str:
    """Append a layer normalization over the last axis."""
    gain = net.parameter(f"{name}.scale", (shape.hidden,), scale())
    shift = net.parameter(f"{name}.shift", (shape.hidden,), SHIFT)
    return net.add(
        "LayerNormalization", value, gain, shift, name=name, axis=-1, epsilon=shape.epsilon
    )


def linear(net: Network, name: str, value: str, size: tuple[int, int]) -> str:
    """Append a dense layer of ``size`` (in, out) that keeps the variance."""
    return net.dense(name, value, size, before_relu=False, bias=BIAS)


def split_heads(net: Network, name: str, value: str, shape: Shape, order: list[int]) -> str:
    """Turn [batch, tokens, hidden] into heads; ``order`` permutes (batch, tokens, head, size)."""
    sizes = [0, shape.tokens, shape.heads, shape.hidden // shape.heads]
    target = net.constant(f"{name}.split", sizes)
    return net.add("Transpose", net.add("Reshape", value, target), name=name, perm=order)


def attention(
    net: Network,
    name: str,
    projected: tuple[str, str, str],
    shape: Shape,
    mask: Callable[[str], str],
) -> str:
    """Append softmax(mask(Q K' / sqrt(d))) V with merged heads.

    ``projected`` are queries, keys and values; ``mask`` appends what hides tokens to the scores.
    """
    queries, keys, values = projected
    query = split_heads(net, f"{name}.q", queries, shape, [0, 2, 1, 3])
    key = split_heads(net, f"{name}.k", keys, shape, [0, 2, 3, 1])
    value = split_heads(net, f"{name}.v", values, shape, [0, 2, 1, 3])
    root = net.constant(f"{name}.root", math.sqrt(shape.hidden // shape.heads), np.float32)
    scores = mask(net.add("Div", net.add("MatMul", query, key), root))
    context = net.add("MatMul", net.add("Softmax", scores, axis=-1), value)
    context = net.add("Transpose", context, perm=[0, 2, 1, 3])
    merged = net.constant(f"{name}.merge", [0, shape.tokens, shape.hidden])
    return net.add("Reshape", context, merged, name=f"{name}.context")


def gelu_erf(net: Network, name: str, value: str) -> str:
    """Append x (1 + erf(x / sqrt 2)) / 2, the exact GELU of BERT."""
    root = net.constant(f"{name}.root2", math.sqrt(2.0), np.float32)
    one = net.constant(f"{name}.one", 1.0, np.float32)
    half = net.constant(f"{name}.half", 0.5, np.float32)
    gate = net.add("Add", net.add("Erf", net.add("Div", value, root)), one)
    return net.add("Mul", net.add("Mul", value, gate), half, name=name)


def gelu_tanh(net: Network, name: str, value: str) -> str:
    """Append x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, the GELU of GPT-2."""
    three = net.constant(f"{name}.three", 3.0, np.float32)
    cubic = net.constant(f"{name}.cubic", 0.044715, np.float32)
    factor = net.constant(f"{name}.factor", math.sqrt(2.0 / math.pi), np.float32)
    one = net.constant(f"{name}.one", 1.0, np.float32)
    half = net.constant(f"{name}.half", 0.5, np.float32)
    inner = net.add("Add", value, net.add("Mul", net.add("Pow", value, three), cubic))
    gate = net.add("Add", net.add("Tanh", net.add("Mul", inner, factor)), one)
    return net.add("Mul", net.add("Mul", value, gate), half, name=name)
