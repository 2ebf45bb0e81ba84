"""The numbers every framework must produce: one execution under plain ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from profleet.errors import ArtifactError
from profleet.manifest.documents import Check, Model, ReferenceOutput
from profleet.model.drawing import drawing
from profleet.model.sources import sha256

POSITIONS = 64
LARGEST = 16


def reference_check(artifact: Path, model: Model, seed: int, batch: int = 2) -> Check:
    """Execute ``artifact`` on the inputs a runner draws and return the check of its manifest.

    Args:
        artifact: the ONNX file.
        model: its manifest; tolerances are taken from its present check.
        seed: of the inputs and of the positions compared.
        batch: the batch size of the inputs.

    Raises:
        ArtifactError: ONNX Runtime refuses the graph, or its outputs are not the manifest's.
    """
    import onnxruntime

    outputs = reference_outputs(artifact, model, seed, batch)
    return Check(
        seed=seed,
        batch=batch,
        producer=f"onnxruntime {onnxruntime.__version__}, CPU, graph optimizations disabled, "
        "1 thread",
        rtol=model.check.rtol,
        atol=model.check.atol,
        outputs={name: _summarize(name, value, seed) for name, value in outputs.items()},
    )


def draw_inputs(model: Model, batch: int, seed: int) -> dict[str, npt.NDArray[Any]]:
    """Draw the inputs of ``model`` exactly as a runner does."""
    inputs = [one.model_dump(mode="json") for one in model.inputs]
    drawn: dict[str, npt.NDArray[Any]] = drawing().draw(inputs, batch, seed)
    return drawn


def reference_outputs(
    artifact: Path, model: Model, seed: int, batch: int
) -> dict[str, npt.NDArray[Any]]:
    """Execute ``artifact`` unoptimized on one thread and return the manifest's outputs.

    Raises:
        ArtifactError: ONNX Runtime refuses the graph, or its outputs are not the manifest's.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors only: a graph's unused weights are not news
    names = [one.name for one in model.outputs]
    try:
        session = onnxruntime.InferenceSession(
            str(artifact), options, providers=["CPUExecutionProvider"]
        )
        values = session.run(names, draw_inputs(model, batch, seed))
    except Exception as error:  # noqa: BLE001 -- ONNX Runtime raises plain RuntimeError subclasses
        raise ArtifactError(f"ONNX Runtime cannot execute {model.name}: {error}") from None
    outputs = dict(zip(names, values, strict=True))
    for declared in model.outputs:
        _agrees(declared.name, declared.dtype, declared.shape, outputs[declared.name], batch)
    return outputs


def _agrees(
    name: str, dtype: str, shape: Sequence[int | str], value: npt.NDArray[Any], batch: int
) -> None:
    sizes = [batch if size == "batch" else size for size in shape]
    fits = len(sizes) == value.ndim and all(
        size in {"dynamic", found} for size, found in zip(sizes, value.shape, strict=True)
    )
    if not fits or value.dtype != np.dtype(dtype):
        raise ArtifactError(
            f"outputs: '{name}' is {value.dtype} {list(value.shape)} at batch {batch}; "
            f"the manifest says {dtype} {list(shape)}."
        )


def _summarize(name: str, value: npt.NDArray[Any], seed: int) -> ReferenceOutput:
    flat = np.ascontiguousarray(value).reshape(-1)
    wide = flat.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ArtifactError(f"outputs: '{name}' holds values that are not finite.")
    positions = choose_positions(name, flat, seed)
    return ReferenceOutput(
        shape=value.shape,
        sha256=sha256(flat.astype(flat.dtype.newbyteorder("<"), copy=False).tobytes()),
        positions=tuple(positions),
        values=tuple(_shortest(flat[position]) for position in positions),
        mean=float(wide.mean()),
        std=float(wide.std()),
        abs_max=float(np.abs(wide).max()),
    )


def choose_positions(name: str, flat: npt.NDArray[Any], seed: int) -> list[int]:
    """Return the positions to compare, in order: POSITIONS of them, or all if there are fewer.

    A few are those of the largest values (most of a distribution over many classes is nearly 0 and
    says little), the others are seeded.
    """
    if flat.size <= POSITIONS:
        return list(range(flat.size))
    largest = np.argsort(-np.abs(flat.astype(np.float64)), kind="stable")[:LARGEST]
    chosen = {int(position) for position in largest}
    words = drawing().stream(seed, f"positions/{name}")
    while len(chosen) < POSITIONS:
        chosen.add(int(words.random_raw() % flat.size))
    return sorted(chosen)


def _shortest(value: Any) -> float:
    """Return the shortest decimal that reads back as the same float32 (or whatever it is)."""
    return float(str(value.item() if value.dtype.kind in "iub" else value))
