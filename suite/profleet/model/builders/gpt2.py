"""GPT-2: the forward pass over a whole prompt (prefill), without a key-value cache."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from profleet.model.builders.transformer import (
    Shape,
    attention,
    embedding,
    gelu_tanh,
    layer_norm,
    linear,
)
from profleet.model.graph import BATCH, Network

MASKED = -10000.0  # the score of a later token


def gpt2(
    layers: int = 12,
    hidden: int = 768,
    heads: int = 12,
    vocabulary: int = 50257,
    positions: int = 1024,
    tokens: int = 128,
) -> Network:
    """Return GPT-2; the defaults are the smallest one, 124,439,808 parameters.

    Radford et al., Language Models are Unsupervised Multitask Learners, 2019; the largest, XL, is
    layers=48, hidden=1600, heads=25 (1,557,611,200 parameters: more than one ONNX file holds).
    Input ``input_ids``, int64 [batch, tokens]; output ``logits`` [batch, vocabulary] of the last
    position only. The table of tokens is also the output layer.

    Raises:
        ValueError: sizes that do not fit each other.
    """
    shape = Shape(layers, heads, hidden, tokens, 4 * hidden, epsilon=1e-5)
    if tokens > positions:
        raise ValueError(f"tokens ({tokens}) must be at most positions ({positions})")
    net = Network("gpt2")
    ids = net.input("input_ids", (BATCH, tokens), np.int64)
    words = embedding(net, "wte", vocabulary, hidden)
    places = embedding(net, "wpe", positions, hidden)
    where = net.constant("position_ids", np.arange(tokens))
    value = net.add(
        "Add", net.add("Gather", words, ids, axis=0), net.add("Gather", places, where, axis=0)
    )
    visible = net.constant("visible", np.tri(tokens)[None, None], np.bool_)
    masked = net.constant("masked", MASKED, np.float32)
    for layer in range(layers):
        value = _block(
            net, f"h{layer}", value, shape, lambda s: net.add("Where", visible, s, masked)
        )
    value = layer_norm(net, "ln_f", value, shape)
    last = net.add("Gather", value, net.constant("last_position", tokens - 1), axis=1)
    logits = net.add("MatMul", last, net.add("Transpose", words, perm=[1, 0]))
    net.output("logits", logits, (BATCH, vocabulary))
    return net


def _block(net: Network, name: str, value: str, shape: Shape, mask: Callable[[str], str]) -> str:
    """Append one decoder block, normalized before each branch."""
    hidden = shape.hidden
    normal = layer_norm(net, f"{name}.ln_1", value, shape)
    joint = linear(net, f"{name}.attn.c_attn", normal, (hidden, 3 * hidden))
    query, key, content = net.split(f"{name}.attn.qkv", joint, [hidden] * 3)
    context = attention(net, f"{name}.attn", (query, key, content), shape, mask)
    context = linear(net, f"{name}.attn.c_proj", context, (hidden, hidden))
    value = net.add("Add", value, context)
    inner = layer_norm(net, f"{name}.ln_2", value, shape)
    inner = linear(net, f"{name}.mlp.c_fc", inner, (hidden, shape.inner))
    inner = gelu_tanh(net, f"{name}.mlp.gelu", inner)
    return net.add("Add", value, linear(net, f"{name}.mlp.c_proj", inner, (shape.inner, hidden)))
