"""From an ONNX file to the layers that device models cost.

    network = network_of(model_manifest, batch=8)   # or read_network(path, {"x": (8, 3, 224, 224)})

The layers of a manifest's artifact are kept in ``<cache>/signatures`` by its digest, so the
artifact itself is read once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from profleet.errors import ArtifactError
from profleet.hardware.layers import FLOATS, LayerSignature, Network, from_plain, to_plain
from profleet.hardware.operators import OPERATORS
from profleet.hardware.shapes import Node, Tensor, Values, resolve
from profleet.hardware.skeleton import read_skeleton
from profleet.model.artifact import default_cache, obtain, store

if TYPE_CHECKING:
    from profleet.manifest.documents import Model

log = logging.getLogger(__name__)

FORMAT = 1
"""Version of the rules and of the cached form: a change of either makes old entries unread."""


def network_of(
    model: Model, batch: int, manifest_dir: Path | None = None, cache: Path | None = None
) -> Network:
    """Return the layers of a model's artifact at a batch size.

    Args:
        model: its inputs decide the shapes.
        batch: items per invocation.
        manifest_dir: where a relative ``source.path`` starts; None: the working folder.
        cache: the cache folder; None: `default_cache()`.

    Raises:
        ArtifactError: the artifact cannot be had, the model does not take this batch size, or an
            operator or shape in it cannot be costed.
    """
    if model.batch_sizes is not None and batch not in model.batch_sizes:
        sizes = ", ".join(map(str, model.batch_sizes))
        raise ArtifactError(f"{model.name} takes batch sizes {sizes} only, not {batch}.")
    root = cache or default_cache()
    kept = root / "signatures" / f"{model.artifact.sha256}-b{batch}-v{FORMAT}.json"
    if known := _load(kept):
        return known
    path = root / "artifacts" / f"{model.artifact.sha256}.onnx"
    if not path.is_file() or path.stat().st_size != model.artifact.bytes:
        path = obtain(model, manifest_dir, root)
    network = read_network(
        path,
        {
            one.name: [batch if size == "batch" else size for size in one.shape]
            for one in model.inputs
        },
        batch=batch,
        known=_settings(model),
        name=model.name,
    )
    try:
        store(json.dumps(to_plain(network), separators=(",", ":")).encode(), kept)
    except OSError as error:
        log.warning("The layers of %s are not kept in %s: %s", model.name, kept.parent, error)
    return network


def read_network(
    path: Path,
    inputs: Mapping[str, Sequence[int]],
    *,
    batch: int = 1,
    known: Values | None = None,
    name: str | None = None,
) -> Network:
    """Return the layers of the ONNX file ``path``, its weights unread.

    Args:
        path: the file.
        inputs: shape of every input, the batch size in place.
        batch: items per invocation, which the shapes already say.
        known: values of inputs that never change and decide the graph, such as a sampling rate.
        name: what to call the model; None: the file's name.

    Raises:
        ArtifactError: the file is truncated or no ONNX model, an operator is unknown, or a shape
            cannot be determined; the message names the node and its operator.
    """
    title = name or path.stem
    try:
        skeleton = read_skeleton(path)
    except ArtifactError as error:
        raise ArtifactError(f"{title}: {error}") from None
    nodes = resolve(skeleton, inputs, known or {}, OPERATORS, title)
    writer: dict[str, int] = {}
    layers: list[LayerSignature] = []
    after: list[tuple[int, ...]] = []
    for index, node in enumerate(nodes):
        try:
            layers.append(signature(node))
        except (ValueError, IndexError, KeyError) as error:
            raise ArtifactError(
                f"{title}: node '{node.name}' ({node.op}) cannot be costed at batch size {batch}: "
                f"{error}. Does the graph take this batch size?"
            ) from None
        after.append(tuple(sorted({writer[one.name] for one in node.given if one.name in writer})))
        writer.update((one.name, index) for one in node.outputs)
    return Network(title, batch, tuple(layers), tuple(after))


def signature(node: Node) -> LayerSignature:
    """Return what one node costs, by the rule of its operator (ValueError: it does not fit)."""
    work = OPERATORS[node.op](node)
    data = node.inputs[: work.data] if work.data is not None else node.inputs
    read = [one for one in data if one is not None]
    if work.view:
        read, written = [], []
    else:
        written = list(node.outputs)
    if work.dims is not None:
        computed = read[0].dtype.removeprefix("u")  # what is multiplied, signed or not
    else:
        floats = (one.dtype for one in (*read, *node.outputs) if one.dtype in FLOATS)
        computed = next(floats, node.outputs[0].dtype)
    touched = {read[0].name: work.touched} if read and work.touched is not None else {}

    def total(tensors: list[Tensor], *, integers: bool = False) -> int:
        return sum(
            one.bytes * min(touched.get(one.name, one.size), one.size) // one.size
            for one in tensors
            if one.size and not (integers and one.dtype in FLOATS)
        )

    groups = (
        [one for one in read if not one.constant],
        [one for one in read if one.constant],
        written,
    )
    reading, weights, writing = map(total, groups)
    integers = tuple(total(one, integers=True) for one in groups)
    return LayerSignature(
        name=node.name,
        op=node.op,
        dims=work.dims,
        strides=work.strides,
        dtype=computed,
        macs=work.dims.product.macs if work.dims else 0,
        ops=work.ops,
        input_bytes=reading,
        weight_bytes=weights,
        output_bytes=writing,
        integer_bytes=(integers[0], integers[1], integers[2]),
        view=work.view,
    )


def _settings(model: Model) -> Values:
    """Return the inputs of a model that are constant scalars."""
    import numpy as np

    return {
        one.name: np.asarray(one.values.value, one.dtype)
        for one in model.inputs
        if not one.shape and one.values.kind == "constant"
    }


def _load(path: Path) -> Network | None:
    try:
        return from_plain(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged and is made again: %s", path, error)
        return None
