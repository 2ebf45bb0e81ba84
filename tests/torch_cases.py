"""One operator at a time: what the imported torch module computes beside what ONNX defines.

Importing this skips where torch is not installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from onnx_cases import (
    Arrays,
    assert_same,
    by_definition,
    by_onnxruntime,
    by_torch,
    graph,
    require_torch,
)

require_torch()


class Values:
    """Seeded arrays, so that a file draws the same ones whatever else is tested."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def normal(self, *shape: int) -> Any:
        """Draw float32 values."""
        return self.rng.normal(size=shape).astype(np.float32)

    def integers(self, *shape: int, low: int = -9, high: int = 10, dtype: Any = np.int64) -> Any:
        """Draw integers in [low, high)."""
        return self.rng.integers(low, high, shape).astype(dtype)


def check(
    kind: str,
    inputs: Arrays,
    weights: Arrays | None = None,
    *,
    opset: int = 17,
    oracle: Any = by_definition,
    outputs: int = 1,
    declared: bool | None = True,
    tolerance: float = 1e-5,
    names: list[str] | None = None,
    **attributes: Any,
) -> None:
    """Compare one operator.

    ``declared`` is what the graph declares of its inputs' shapes: True, all; False, only names of
    the dimensions; None, not even ranks.
    """
    weights = weights or {}
    produced = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(kind, names or [*inputs, *weights], produced, name="it", **attributes)
    shapes = None
    if not declared:
        shapes = {
            name: None if declared is None else [f"{name}{i}" for i in range(array.ndim)]
            for name, array in inputs.items()
        }
    artifact = graph([node], inputs, produced, weights, opset, shapes)
    assert_same(by_torch(artifact, inputs), oracle(artifact, inputs), tolerance)


__all__ = ["Arrays", "Values", "by_definition", "by_onnxruntime", "check"]
