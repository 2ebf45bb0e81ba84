"""Networks built here, by name: published architectures with seeded weights.

A builder is a plain function that returns a ``Network``; its keyword arguments are what a manifest
may set. To add one, write it in a module here and list it in ``BUILDERS``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import onnx

from profleet.errors import ArtifactError, did_you_mean
from profleet.model.builders.bert import bert
from profleet.model.builders.convnets import alexnet, vgg
from profleet.model.builders.dlrm import dlrm
from profleet.model.builders.gpt2 import gpt2
from profleet.model.builders.resnet import resnet
from profleet.model.graph import Network

Builder = Callable[..., Network]

BUILDERS: dict[str, Builder] = {
    "alexnet": alexnet,
    "bert": bert,
    "dlrm": dlrm,
    "gpt2": gpt2,
    "resnet": resnet,
    "vgg": vgg,
}


def build_network(name: str, arguments: Mapping[str, Any]) -> Network:
    """Return the network that the builder ``name`` makes of ``arguments``, weights not yet drawn.

    Raises:
        ArtifactError: no such builder or argument, or a value it cannot use.
    """
    if name not in BUILDERS:
        raise ArtifactError(
            f"source.builder: unknown builder '{name}'. {did_you_mean(name, BUILDERS)}"
        )
    known = inspect.signature(BUILDERS[name]).parameters
    for argument in arguments:
        if argument not in known:
            raise ArtifactError(
                f"source.arguments: the builder '{name}' has no argument '{argument}'. "
                + did_you_mean(argument, known)
            )
    try:
        return BUILDERS[name](**arguments)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"source.arguments of the builder '{name}': {error}.") from None


def build_model(name: str, arguments: Mapping[str, Any], seed: int) -> onnx.ModelProto:
    """Return the finished model of the builder ``name``.

    Raises:
        ArtifactError: as ``build_network``, and a model too large for one file.
    """
    return build_network(name, arguments).model(seed)
