"""Compute-in-memory: resistive arrays that multiply where weights are stored.

A layer of R x S x C inputs and K filters occupies R S C rows and K weight_bits / cell_bits
columns, spread over arrays. All rows of an array work at once, its columns share converters, and
every bit of the input is one pass:

    t_adc   = vectors input_bits columns_per_adc / duplication / clock
    t_layer = t_adc (1 + accumulate) + vectors vector_s + bytes / buffer_bandwidth

``vectors`` are output positions. ``t_adc`` is NeuroSim's (Peng et al., "DNN+NeuroSim V2.0", IEEE
TCAD 2021; its V1.3 program was run) exactly, as are mapping and duplication: a kernel of more
than one position over at least as many channels as an array has rows gets a processing element of
``element_side``^2 arrays for each position, anything else a tile of ``tile_side``^2 arrays, and
what stays free in the last one holds copies of the weights. The other terms are a fit; buffer
traffic is R S C + K bytes a vector.

Products of two activations, and everything that is no product, run on a digital unit of ``lanes``
operations a cycle that streams from the same buffer. Weights never move: they are written before
the first request.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from profleet.hardware.devices.base import (
    NOTHING,
    Device,
    DeviceKind,
    LayerCost,
    Parts,
    bound_of,
    overlapped,
)
from profleet.hardware.layers import Conv, Gemm, LayerSignature


@dataclass(frozen=True)
class Mapping:
    """Where a layer's weights are: arrays of one copy, copies, and tiles occupied."""

    arrays: int
    duplication: int
    tiles: int


@dataclass(frozen=True, kw_only=True)
class Cim(Device):
    """A chip of compute-in-memory arrays.

    Attributes:
        clock_hz: of a pass.
        buffer_bandwidth: between the global buffer and the arrays, bytes/s.
        array_rows, array_columns: cells of an array.
        cell_bits, weight_bits, input_bits: precision.
        columns_per_adc: columns that share a converter.
        element_side, tile_side: arrays along an edge of a processing element and of a tile.
        accumulate: adder trees, pooling and interconnect, as a share of the conversion time.
        vector_s: fixed cost of an input vector at the buffer, s.
        lanes: scalar operations a cycle of the digital unit.
        joule_per_read: energy of one array in one pass, J; None: unknown.
        leakage_w: drawn at all times, W.
    """

    kind: ClassVar[DeviceKind] = "cim"

    clock_hz: float
    buffer_bandwidth: float
    array_rows: int = 128
    array_columns: int = 128
    cell_bits: int = 2
    weight_bits: int = 8
    input_bits: int = 8
    columns_per_adc: int = 8
    element_side: int = 4
    tile_side: int = 8
    accumulate: float = 0.0
    vector_s: float = 0.0
    lanes: int = 64
    joule_per_read: float | None = None
    leakage_w: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positive(
            "clock_hz", "buffer_bandwidth", "array_rows", "array_columns", "cell_bits",
            "weight_bits", "input_bits", "columns_per_adc", "element_side", "tile_side", "lanes",
        )  # fmt: skip
        self.check_not_negative("accumulate", "vector_s", "joule_per_read", "leakage_w")

    def mapping(self, dims: Conv | Gemm) -> Mapping:
        """Return how the weights of a layer, all groups, lie on arrays."""
        product = dims.product
        columns = product.columns * ceil(self.weight_bits / self.cell_bits)
        wide = ceil(columns / self.array_columns)
        taps, side, rows = 1, self.tile_side, product.inner
        if isinstance(dims, Conv) and dims.taps > 1:
            channels = dims.channels // dims.groups
            if channels >= self.array_rows:  # each kernel position has an element of its own
                taps, side, rows = dims.taps, self.element_side, channels
        high = ceil(rows / self.array_rows)
        copies = max(1, side // high) * max(1, side // wide)
        blocks = ceil(high / side) * ceil(wide / side)
        return Mapping(product.count * taps * high * wide, copies, product.count * blocks)

    def adc_s(self, dims: Conv | Gemm) -> float:
        """Return the time of the analog-to-digital conversions of a layer, s."""
        passes = dims.product.rows * self.input_bits * self.columns_per_adc
        return passes / self.mapping(dims).duplication / self.clock_hz

    def cost(self, layer: LayerSignature) -> LayerCost:
        """Return what ``layer`` costs."""
        if layer.view:
            return NOTHING
        dims = layer.dims
        if dims is None or not layer.weight_bytes:
            return self._digital(layer)
        vectors = dims.product.rows
        compute = self.adc_s(dims) * (1 + self.accumulate) + layer.ops / self.lanes / self.clock_hz
        moved = (dims.product.inner + dims.product.columns) * dims.product.count
        waiting = vectors * (self.vector_s + moved * self.input_bits / 8 / self.buffer_bandwidth)
        parts = Parts(compute, waiting)
        energy = None
        if self.joule_per_read is not None:
            reads = vectors * self.input_bits * self.mapping(dims).arrays
            energy = reads * self.joule_per_read + self.leakage_w * parts.total
        return LayerCost(parts, bound_of(compute, waiting, 0.0), energy)

    def _digital(self, layer: LayerSignature) -> LayerCost:
        compute = (layer.macs + layer.ops) / self.lanes / self.clock_hz
        memory = layer.bytes / self.buffer_bandwidth
        parts = overlapped(compute, memory, 0.0)
        energy = self.energy(layer, parts.total, compute)
        return LayerCost(parts, bound_of(compute, memory, 0.0), energy)
