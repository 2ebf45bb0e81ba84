"""Systolic array of multiply-accumulators, weight-, output- or input-stationary.

For M output pixels, K = reduction (kernel x channels), N filters on R rows and C columns:

    weight-stationary   folds = ceil(K/R) ceil(N/C)   cycles = folds (M + 2R + C - 2) - 1
    input-stationary    folds = ceil(K/R) ceil(M/C)   cycles = folds (N + 2R + C - 2) - 1
    output-stationary   folds = ceil(M/R) ceil(N/C)   cycles = folds (K +  R + C - 2) - 1

These are the total cycles that SCALE-Sim 3.0.0 counts, which its authors validated by RTL
simulation. The memory is ours: transfers overlap with computing except for the first stationary
tile, and a tensor that does not fit into half of the buffer is read again in every fold.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import ClassVar, Literal

from profleet.hardware.devices.base import (
    NOTHING,
    Device,
    DeviceKind,
    LayerCost,
    Parts,
    bound_of,
    overlapped,
)
from profleet.hardware.layers import Gemm, LayerSignature, Network, bytes_of

Dataflow = Literal["weight", "output", "input"]


@dataclass(frozen=True, kw_only=True)
class Systolic(Device):
    """A systolic array with a buffer and a vector unit.

    Attributes:
        rows, columns: processing elements.
        dataflow: which operand stays in place.
        clock_hz: of the array.
        bandwidth: off-chip, bytes/s.
        buffer_bytes: on-chip, double-buffered; None: every tensor is transferred once.
        lanes: scalar operations a cycle of the vector unit; None: one a column.
        op_s, invoke_s: software overhead a layer and an invocation, s.
    """

    kind: ClassVar[DeviceKind] = "systolic"

    rows: int
    columns: int
    dataflow: Dataflow
    clock_hz: float
    bandwidth: float
    buffer_bytes: float | None = None
    lanes: int | None = None
    op_s: float = 0.0
    invoke_s: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positive("rows", "columns", "clock_hz", "bandwidth", "buffer_bytes", "lanes")
        self.check_not_negative("op_s", "invoke_s")
        if self.dataflow not in {"weight", "output", "input"}:
            self.refuse(f"dataflow is '{self.dataflow}', not weight, output or input")

    def cost(self, layer: LayerSignature) -> LayerCost:
        """Return what ``layer`` costs."""
        if layer.view:
            return NOTHING
        lanes = self.lanes or self.columns
        cycles = layer.ops / lanes
        transferred, first = float(layer.bytes), 0.0
        if layer.dims is not None:
            product = layer.dims.product
            cycles += compute_cycles(product, self.rows, self.columns, self.dataflow)
            transferred = self._transferred(layer, product)
            first = self.rows * self.columns * bytes_of(layer.dtype) / self.bandwidth
        compute, memory = cycles / self.clock_hz, transferred / self.bandwidth
        parts = overlapped(compute, memory, self.op_s) + Parts(movement=first)
        return LayerCost(
            parts,
            bound_of(compute, memory, self.op_s),
            self.energy(layer, parts.total, max(compute, memory)),
        )

    def invocation(self, network: Network) -> LayerCost:
        """Return the overhead of an invocation."""
        return LayerCost(Parts(framework=self.invoke_s), "overhead", self.waiting(self.invoke_s))

    def _transferred(self, layer: LayerSignature, product: Gemm) -> float:
        """Return off-chip bytes: what does not fit is read again in every fold that needs it."""
        if self.buffer_bytes is None:
            return layer.bytes
        half = self.buffer_bytes / 2
        right = layer.weight_bytes or layer.input_bytes * _share_of_right(product)
        left = layer.input_bytes + layer.weight_bytes - right
        written = float(layer.output_bytes)
        deep = ceil(product.inner / self.rows)
        if self.dataflow == "output":
            left *= 1 if left <= half else ceil(product.columns / self.columns)
            right *= 1 if right <= half else ceil(product.rows / self.rows)
            return left + right + written
        written *= 1 if written <= half else 2 * deep - 1  # partial sums go out and come back
        if self.dataflow == "weight":
            left *= 1 if left <= half else ceil(product.columns / self.columns)
        else:
            right *= 1 if right <= half else ceil(product.rows / self.columns)
        return left + right + written


def compute_cycles(product: Gemm, rows: int, columns: int, dataflow: Dataflow) -> int:
    """Return the cycles of matrix products on an array; several products follow one another."""
    deep = ceil(product.inner / rows)
    if dataflow == "weight":
        folds, stream, fill = deep * ceil(product.columns / columns), product.rows, 2 * rows
    elif dataflow == "input":
        folds, stream, fill = deep * ceil(product.rows / columns), product.columns, 2 * rows
    else:
        folds = ceil(product.rows / rows) * ceil(product.columns / columns)
        stream, fill = product.inner, rows
    return product.count * (folds * (stream + fill + columns - 2) - 1)


def _share_of_right(product: Gemm) -> float:
    """Share of the right-hand matrix in the elements of both (attention has no weights)."""
    return product.columns / (product.columns + product.rows)
