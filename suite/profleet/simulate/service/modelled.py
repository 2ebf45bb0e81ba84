"""Service classes from device models, for hardware that nobody measured.

A device model gives one time for a batch size, so service times do not vary: what a simulation
says of tails is queueing alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil, prod

import numpy as np

from profleet.errors import ConfigError
from profleet.hardware.layers import bytes_of
from profleet.hardware.stack import ModelledStack
from profleet.manifest.documents import Model
from profleet.simulate.records import ServiceClass
from profleet.simulate.service.table import MAX_BATCH, MAX_NS, POINTS

EVERY = 16
"""Batch sizes up to here are all predicted; beyond, ``A_DOUBLING`` of them in every octave."""

A_DOUBLING = 4


def modelled_class(stack: ModelledStack, largest: int, field: str) -> ServiceClass:
    """Return the service class for batches of 1 to ``largest``.

    Args:
        stack: the model on its device.
        largest: the largest batch that may come.
        field: the setting that asked for ``largest``.

    Raises:
        ConfigError: the model does not take such batches, or they are too large.
        HardwareError: the model does not fit, or the device cannot compute it.
    """
    if largest > MAX_BATCH:
        raise ConfigError(f"{field}: batches of {largest} are more than {MAX_BATCH}, the limit.")
    model = stack.model.document
    allowed = model.batch_sizes
    if allowed is not None and not set(range(1, largest + 1)) <= set(allowed):
        raise ConfigError(
            f"{field}: {model.name} takes batch sizes {', '.join(map(str, allowed))} only, and "
            f"batches of 1 to {largest} can occur."
        )
    key = (model.name, model.artifact.sha256, stack.hardware.sha256, stack.dtype, largest)
    return _made(_Asked(key, stack))


def notes_of(stacks: Sequence[ModelledStack]) -> Iterator[str]:
    """Yield what a user should know of modelled groups: models that it holds for, said once."""
    alike: dict[tuple[str, str], list[str]] = {}
    for stack in stacks:
        how = "" if stack.dtype is None else f" in {stack.dtype}"
        where = f"{how} on {stack.hardware.document.name}"
        names = alike.setdefault((where, stack.expectation), [])
        if stack.model.document.name not in names:
            names.append(stack.model.document.name)
    for (where, expectation), names in alike.items():
        yield (
            f"{', '.join(names)}{where}: nobody measured this here; service times come from a "
            "device model and do not vary, so simulated tails hold queueing only. "
            f"{expectation}"
        )
    yield from dict.fromkeys(text for stack in stacks for text in stack.notes)


@dataclass(frozen=True)
class _Asked:
    """What service classes are remembered by: a plan builds the same fleet in many sizes."""

    key: tuple[str, str, str, str | None, int]
    stack: ModelledStack = field(compare=False)


@lru_cache(maxsize=256)
def _made(asked: _Asked) -> ServiceClass:
    stack, largest = asked.stack, asked.key[-1]
    model = stack.model.document
    predicted = {size: stack.predict(size) for size in sizes(largest)}
    means = _line(largest, {size: each.seconds * 1e9 for size, each in predicted.items()})
    joules = {
        size: np.nan if each.energy_j is None else each.energy_j for size, each in predicted.items()
    }
    if means.max() > MAX_NS:
        raise ConfigError(
            f"{stack.title} would take more than {MAX_NS / 1e9:g} s, which is not simulated."
        )
    rows = np.maximum(1, np.rint(means)).astype(np.int64)
    return ServiceClass(
        name=model.name,
        quantiles=np.repeat(rows[:, None], POINTS, axis=1),
        mean_ns=rows.astype(np.float64),
        evidence=(stack.device.evidence,) * largest,
        source=stack.source,
        energy_j=_line(largest, joules),
        input_bytes=_input_bytes(model),
        output_bytes=_output_bytes(model),
        load_ns=0,
    )


def sizes(largest: int) -> tuple[int, ...]:
    """Return the batch sizes that are predicted; those between them lie on lines."""
    found = set(range(1, min(largest, EVERY) + 1))
    size = float(EVERY)
    while size < largest:
        found.add(min(largest, round(size)))
        size *= 2 ** (1 / A_DOUBLING)
    return tuple(sorted({*found, largest}))


def _line(largest: int, values: dict[int, float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.interp(np.arange(1, largest + 1), list(values), list(values.values()))


def _input_bytes(model: Model) -> int:
    """Bytes of one request."""
    return sum(_bytes(one.dtype, (1 if size == "batch" else int(size) for size in one.shape))
               for one in model.inputs)  # fmt: skip


def _output_bytes(model: Model) -> int:
    """Bytes of the answer to one request, by the shapes that the reference execution had."""
    dtypes = {one.name: one.dtype for one in model.outputs}
    whole = sum(
        _bytes(dtypes[name], one.shape)
        for name, one in model.check.outputs.items()
        if name in dtypes
    )
    return ceil(whole / model.check.batch)


def _bytes(dtype: str, shape: Iterable[int]) -> int:
    return ceil(prod(shape) * bytes_of(dtype))
