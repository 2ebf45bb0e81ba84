"""Changes a manifest asks for between the source of a graph and its artifact."""

from __future__ import annotations

from collections.abc import Sequence

from profleet.manifest.documents import SeededWeights, Transform
from profleet.model.graph import parse, serialize
from profleet.model.transforms.dynamic_batch import dynamic_batch
from profleet.model.transforms.seeded_weights import seeded_weights

__all__ = ["dynamic_batch", "seeded_weights", "transform"]


def transform(data: bytes, transforms: Sequence[Transform]) -> bytes:
    """Apply ``transforms`` in order; equal bytes for equal arguments, on every machine.

    Raises:
        ArtifactError: the data are no ONNX graph, or a transform does not fit it.
    """
    model = parse(data)
    for one in transforms:
        if isinstance(one, SeededWeights):
            seeded_weights(model, one.seed)
        else:
            dynamic_batch(model)
    return serialize(model)
