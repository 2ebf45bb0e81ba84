"""BERT's encoder with its embeddings and pooler."""

from __future__ import annotations

import numpy as np

from profleet.model.builders.transformer import (
    Shape,
    attention,
    embedding,
    gelu_erf,
    layer_norm,
    linear,
)
from profleet.model.graph import BATCH, Network

MASKED = -10000.0  # added to the score of a masked token, as in the original code


def bert(
    layers: int = 24,
    hidden: int = 1024,
    heads: int = 16,
    inner: int = 4096,
    vocabulary: int = 30522,
    positions: int = 512,
    tokens: int = 512,
) -> Network:
    """Return BERT; the defaults are BERT-Large with 335,141,888 parameters.

    Devlin, Chang, Lee and Toutanova, BERT, arXiv:1810.04805. Inputs, int64 [batch, tokens]:
    ``input_ids`` and ``attention_mask`` (1: attend, 0: padding); token types are all 0, so only
    the first row of their table is read. Outputs: ``last_hidden_state`` [batch, tokens, hidden]
    and ``pooled`` [batch, hidden].

    Raises:
        ValueError: sizes that do not fit each other.
    """
    shape = Shape(layers, heads, hidden, tokens, inner, epsilon=1e-12)
    if tokens > positions:
        raise ValueError(f"tokens ({tokens}) must be at most positions ({positions})")
    net = Network("bert")
    value = _embeddings(net, shape, vocabulary, positions)
    mask = _mask(net, tokens)
    for layer in range(layers):
        value = _layer(net, f"layer{layer}", value, shape, mask)
    first = net.add("Gather", value, net.constant("pooler.first", 0), axis=1)
    pooled = net.add("Tanh", linear(net, "pooler", first, (hidden, hidden)))
    net.output("last_hidden_state", value, (BATCH, tokens, hidden))
    net.output("pooled", pooled, (BATCH, hidden))
    return net


def _embeddings(net: Network, shape: Shape, vocabulary: int, positions: int) -> str:
    ids = net.input("input_ids", (BATCH, shape.tokens), np.int64)
    words = embedding(net, "embeddings.word", vocabulary, shape.hidden)
    places = embedding(net, "embeddings.position", positions, shape.hidden)
    types = embedding(net, "embeddings.token_type", 2, shape.hidden)
    value = net.add("Gather", words, ids, axis=0)
    where = net.constant("embeddings.position_ids", np.arange(shape.tokens))
    value = net.add("Add", value, net.add("Gather", places, where, axis=0))
    kind = net.constant("embeddings.type_id", 0)
    value = net.add("Add", value, net.add("Gather", types, kind, axis=0))
    return layer_norm(net, "embeddings.norm", value, shape)


def _mask(net: Network, tokens: int) -> str:
    """Turn the mask into what is added to the scores: [batch, 1, 1, tokens], 0 or MASKED."""
    mask = net.input("attention_mask", (BATCH, tokens), np.int64)
    mask = net.add("Unsqueeze", mask, net.constant("mask.axes", [1, 2]))
    mask = net.add("Cast", mask, to=1)
    hidden = net.add("Sub", net.constant("mask.one", 1.0, np.float32), mask)
    return net.add("Mul", hidden, net.constant("mask.masked", MASKED, np.float32))


def _layer(net: Network, name: str, value: str, shape: Shape, mask: str) -> str:
    """Append one encoder layer, normalized after each sum."""
    square = (shape.hidden, shape.hidden)
    query, key, content = (
        linear(net, f"{name}.attention.{part}", value, square) for part in ("query", "key", "value")
    )
    context = attention(
        net, f"{name}.attention", (query, key, content), shape, lambda s: net.add("Add", s, mask)
    )
    context = linear(net, f"{name}.attention.output", context, square)
    value = layer_norm(net, f"{name}.attention.norm", net.add("Add", context, value), shape)
    inner = linear(net, f"{name}.inner", value, (shape.hidden, shape.inner))
    inner = gelu_erf(net, f"{name}.gelu", inner)
    inner = linear(net, f"{name}.output", inner, (shape.inner, shape.hidden))
    return layer_norm(net, f"{name}.norm", net.add("Add", inner, value), shape)
