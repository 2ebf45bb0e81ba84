"""Input tensors from seeds: the same values on every machine, in every container, for every batch.

A tensor's values come from the raw 64-bit words of a Philox4x64-10 counter generator whose key is
the SHA-256 of (seed, tensor name). Neither the order of the tensors nor numpy's distribution code
plays a role, and item i of a batch is the same whatever the batch size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def stream(seed: int, name: str) -> np.random.Philox:
    """Return the bit generator of ``name`` under ``seed``; only its ``random_raw`` is stable."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "little"))


def uniform(
    words: npt.NDArray[np.uint64], low: float, high: float, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """Turn raw words into values in [low, high): the top 24 bits of a word, scaled."""
    unit = (words >> np.uint64(40)).astype(np.float64) * 2.0**-24
    values = (low + (high - low) * unit).astype(dtype)
    below = np.nextafter(np.asarray(high, dtype), np.asarray(low, dtype))
    clipped: npt.NDArray[Any] = np.minimum(values, below)  # rounding must not reach ``high``
    return clipped


def integers(words: npt.NDArray[np.uint64], low: int, high: int) -> npt.NDArray[np.int64]:
    """Turn raw words into integers in [low, high), by remainder."""
    return (words % np.uint64(high - low)).astype(np.int64) + low


def draw(inputs: Sequence[Mapping[str, Any]], batch: int, seed: int) -> dict[str, npt.NDArray[Any]]:
    """Draw every input of a job (``job.json``: ``model.inputs``) for one batch size.

    Args:
        inputs: mappings with ``name``, ``dtype``, ``shape`` (integers and at most one ``batch``)
            and ``values``.
        batch: the size that stands for the symbol ``batch``.
        seed: of the whole set of tensors.

    Returns:
        C-contiguous arrays by tensor name.

    Raises:
        ValueError: a shape or a distribution that cannot be drawn.
    """
    return {str(one["name"]): _draw_one(one, batch, seed) for one in inputs}


def _draw_one(one: Mapping[str, Any], batch: int, seed: int) -> npt.NDArray[Any]:
    name, dtype, values = str(one["name"]), np.dtype(one["dtype"]), one["values"]
    shape = list(one["shape"])
    axes = [axis for axis, size in enumerate(shape) if size == "batch"]
    if len(axes) > 1:
        raise ValueError(f"input '{name}' has 'batch' on more than one axis: {shape}")
    if values["kind"] == "constant":
        sizes = [batch if size == "batch" else int(size) for size in shape]
        return np.full(sizes, values["value"], dtype)

    items = [int(size) for size in shape if size != "batch"]
    drawn_shape = [batch, *items] if axes else items
    words = np.asarray(stream(seed, name).random_raw(int(np.prod(drawn_shape, dtype=np.int64))))
    if values["kind"] == "integers":
        drawn = integers(words, int(values["low"]), int(values["high"])).astype(dtype)
    elif values["kind"] == "uniform" and dtype.kind == "f":
        drawn = uniform(words, float(values["low"]), float(values["high"]), dtype)
    else:
        raise ValueError(f"input '{name}': cannot draw {values['kind']} values as {dtype}")
    drawn = drawn.reshape(drawn_shape)
    return np.ascontiguousarray(np.moveaxis(drawn, 0, axes[0])) if axes else drawn
