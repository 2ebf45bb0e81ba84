"""A convolution engine of dot-product units, alone or in a system on a chip.

The engine multiplies ``channels`` inputs with ``kernels`` filters at ``taps`` positions of the
kernel in every cycle, and sweeps the rest, row by row:

    cycles = ceil(K / kernels) ceil(RS / taps) ceil(C / channels) rows (interval columns + drain)

over the output, or over the input where strided layers sweep all of it. A 1x1 kernel leaves taps
idle, which then take further channels. Three machines have this shape:

- NVDLA and SMAUG's "SMV" engine (Xi et al., ACM TACO 17(4), 2020): 8 x 32 x 1, output, at 1 GHz.
  Its only published cycle count (a 3x3 convolution of 28 x 28 x 1 to 32 filters: 89,771) fixes
  ``28 interval + drain = 89`` within 0.1 %. Its scratchpads deliver 8 numbers a cycle, and it
  converts between half precision in memory and single precision inside.
- SushiAccel (MLSys 2023): 16 x 9 x 9, input, with a time to load each weight tile and a driver
  call a layer; fitted to 108 measured layers, see `profleet.hardware.calibration.fit`.

With a ``soc``, layers are cut into tiles (`tiling`), and what moves and prepares them is costed:

    T = operator + T_copy(in) + T_engine + T_copy(out)
    T_engine: tiles of the output go round robin to the engines; each is computed over the tiles
    of the channels, one invocation each; inputs and weights move unless the engine holds that
    very tile; results move after the last channel tile.

Copies are skipped where the tensor is one tile; weights are tiled before the first request. A
kernel too wide for a scratchpad, which SMAUG refuses, is applied in parts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import ClassVar, Literal

from profleet.errors import HardwareError
from profleet.hardware.devices.base import (
    NOTHING,
    Bound,
    Device,
    DeviceKind,
    LayerCost,
    Parts,
    bound_of,
    overlapped,
)
from profleet.hardware.devices.soc import SoC
from profleet.hardware.devices.tiling import Scratchpads, Tiling, tile
from profleet.hardware.layers import Conv, Gemm, LayerSignature, bytes_of


@dataclass(frozen=True, kw_only=True)
class NvdlaLike(Device):
    """A convolution engine.

    Attributes:
        clock_hz: of the engine.
        bandwidth: of its memory, bytes/s; with a ``soc`` that of its interface counts instead.
        kernels, channels, taps: filters, channels and kernel positions multiplied at once.
        sweep: whether it visits the pixels of the output or of the input.
        interval, drain: cycles a pixel, and cycles a row on top.
        lanes: scalar operations a cycle for pooling, activations and the like.
        port: weights a cycle that a scratchpad delivers; a matrix product, which uses every weight
            once, waits for it. None: as many as are multiplied.
        unpack: cycles to convert an element on its way between memory and a scratchpad.
        weight_tile_s: time to load the weights used at once, not hidden, s.
        layer_s: overhead a layer, s.
        pad_bytes: size of each scratchpad, for tiling.
        soc: the system around it; None: the engine has direct memory access.
    """

    kind: ClassVar[DeviceKind] = "nvdla_like"

    clock_hz: float
    bandwidth: float
    kernels: int = 8
    channels: int = 32
    taps: int = 1
    sweep: Literal["output", "input"] = "output"
    interval: float = 2.0
    drain: float = 33.0
    lanes: int = 8
    port: int | None = None
    unpack: float = 0.0
    weight_tile_s: float = 0.0
    layer_s: float = 0.0
    pad_bytes: int = 32 * 1024
    soc: SoC | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positive(
            "clock_hz", "bandwidth", "kernels", "channels", "taps", "interval", "lanes", "pad_bytes"
        )
        self.check_positive("port")
        self.check_not_negative("drain", "unpack", "weight_tile_s", "layer_s")
        if self.sweep not in {"output", "input"}:
            self.refuse(f"sweep is '{self.sweep}', not output or input")

    # -- the engine alone -------------------------------------------------------------------

    def weight_tiles(self, dims: Conv | Gemm) -> int:
        """Return how often the multipliers get other weights, for all groups."""
        if isinstance(dims, Gemm):
            deep = ceil(dims.inner / (self.channels * self.taps))
            return dims.count * ceil(dims.columns / self.kernels) * deep
        taps = ceil(dims.taps / self.taps)
        channels = self.channels * (self.taps if dims.taps == 1 else 1)
        deep = ceil(dims.channels // dims.groups / channels)
        return dims.groups * ceil(dims.filters // dims.groups / self.kernels) * taps * deep

    def sweep_pixels(self, dims: Conv | Gemm) -> tuple[int, int]:
        """Return (rows, columns) that are visited for one tile of weights."""
        if isinstance(dims, Gemm):
            return dims.rows, 1
        rows, columns = dims.result if self.sweep == "output" else dims.image
        return dims.batch * rows, columns

    def cycles(self, dims: Conv | Gemm) -> float:
        """Return the cycles of a convolution or of matrix products."""
        rows, columns = self.sweep_pixels(dims)
        if isinstance(dims, Gemm):  # the sweep is along the channels of one row
            deep = ceil(dims.inner / (self.channels * self.taps))
            blocks = dims.count * ceil(dims.columns / self.kernels)
            used = self.kernels * self.channels * self.taps
            interval = max(self.interval, used / (self.port or used))
            return blocks * rows * (interval * deep + self.drain)
        return self.weight_tiles(dims) * rows * (self.interval * columns + self.drain)

    def compute_s(self, layer: LayerSignature) -> float:
        """Return the seconds in which the engine computes."""
        cycles = layer.ops / self.lanes
        if layer.dims is not None:
            cycles += self.cycles(layer.dims)
        return cycles / self.clock_hz

    def cost(self, layer: LayerSignature) -> LayerCost:
        """Return what ``layer`` costs. HardwareError: no tile of it fits the scratchpads."""
        if layer.view:
            return NOTHING
        compute = self.compute_s(layer)
        if self.soc is not None:
            parts, bound = self._in_system(layer, compute, self.soc)
        else:
            memory = layer.bytes / self.bandwidth
            loading = self.weight_tile_s * self.weight_tiles(layer.dims) if layer.dims else 0.0
            parts = overlapped(compute, memory, self.layer_s) + Parts(movement=loading)
            bound = bound_of(compute, memory + loading, self.layer_s)
        return LayerCost(parts, bound, self.energy(layer, parts.total, compute))

    # -- in a system on a chip --------------------------------------------------------------

    def _in_system(self, layer: LayerSignature, compute: float, soc: SoC) -> tuple[Parts, Bound]:
        if layer.kind == "copy":  # the CPU reorders tensors; an element is the shortest run
            runs = ceil(layer.output_bytes / soc.line_bytes)
            moved = soc.copy_s(layer.bytes / 2, runs, max(1, runs))
            return Parts(framework=soc.operator_s + moved), "overhead"
        plan = self._plain_tiles(layer) if layer.dims is None else self._tiles(layer)
        units = plan.units * plan.repeats
        shared = ceil(units / soc.accelerators) / units
        elements = plan.moved_bytes(1) * plan.repeats / bytes_of(layer.dtype)
        compute += elements * self.unpack / self.clock_hz
        busy = compute * shared
        invoking = soc.invoke_s * plan.invocations * plan.repeats  # by one thread
        moving = max(
            plan.moving_s(soc) * plan.repeats * shared,
            plan.moved_bytes(soc.accelerators) * plan.repeats / soc.bandwidth,
        )
        copying = plan.repeats * plan.copying_s(soc)
        parts = Parts(busy, moving, soc.operator_s + invoking + copying + self.layer_s)
        return parts, bound_of(busy, moving, parts.framework)

    def _tiles(self, layer: LayerSignature) -> _Plan:
        dims = layer.dims
        assert dims is not None
        if isinstance(dims, Gemm):
            repeats = dims.count
            image = Conv(dims.rows, dims.inner, dims.columns, (1, 1), (1, 1), (1, 1))
        else:
            repeats = dims.groups
            image = dims
        size = bytes_of(layer.dtype)
        pads = Scratchpads(int(self.pad_bytes / size), self.kernels, self.channels)
        for parts in (1 << power for power in range(image.kernel[1].bit_length() + 1)):
            narrow = replace(image, kernel=(image.kernel[0], ceil(image.kernel[1] / parts)))
            if found := tile(narrow, layer.strides[0], pads):
                return _Plan.of(found, pads, size, repeats * parts)
        raise HardwareError(
            f"Layer '{layer.name}' ({layer.op}) does not run on '{self.name}': its smallest tile "
            f"exceeds a scratchpad of {self.pad_bytes} bytes."
        )

    def _plain_tiles(self, layer: LayerSignature) -> _Plan:
        """Pointwise work is cut into contiguous tiles, as large as a scratchpad."""
        read = layer.input_bytes + layer.weight_bytes
        count = max(1, ceil(max(read, layer.output_bytes) / self.pad_bytes))
        return _Plan(
            units=count, depth=1, input_loads=count, weight_loads=0, repeats=1,
            input_bytes=read / count, weight_bytes=0.0, output_bytes=layer.output_bytes / count,
            input_runs=count if count > 1 else 0, output_runs=count if count > 1 else 0,
            input_tiles=count, filters=1,
        )  # fmt: skip


@dataclass(frozen=True)
class _Plan:
    """The tiles of one group: how many, how large (bytes), how often they move and are copied."""

    units: int
    depth: int
    input_loads: int
    weight_loads: int
    repeats: int
    input_bytes: float
    weight_bytes: float
    output_bytes: float
    input_runs: int
    output_runs: int
    input_tiles: int
    filters: int

    @classmethod
    def of(cls, found: Tiling, pads: Scratchpads, size: float, groups: int) -> _Plan:
        """Return the plan of a tiled convolution with elements of ``size`` bytes."""
        units = found.output_tiles
        depth = max(found.channel_tiles, found.depth_tiles)
        reads = units // found.filter_tiles  # one input tile serves all filters of its rows
        input_loads = reads if found.channel_tiles == 1 else units * found.channel_tiles
        weight_loads = 1 if found.weight_tiles == 1 else units * found.depth_tiles
        rows, columns = found.inputs[1:3]
        pixels = found.inputs[0] * rows * columns
        input_runs = found.input_tiles * (pixels if found.channel_tiles > 1 else found.inputs[0])
        out_pixels = found.outputs[0] * found.outputs[1] * found.outputs[2]
        output_runs = units * (out_pixels if found.filter_tiles > 1 else found.outputs[0])
        return cls(
            units, depth, input_loads, weight_loads, groups * found.bands,
            pads.storage(found.inputs) * size,
            pads.storage(found.weights) * size,
            pads.storage(found.outputs) * size,
            input_runs if found.input_tiles > 1 else 0,
            output_runs if units > 1 else 0,
            found.input_tiles,
            found.filter_tiles,
        )  # fmt: skip

    @property
    def invocations(self) -> int:
        """Starts of an engine for one group."""
        return self.units * self.depth

    def moving_s(self, soc: SoC) -> float:
        """Seconds in which one engine would move all tiles of a group."""
        return (
            soc.transfer_s(self.input_bytes, self.input_loads)
            + soc.transfer_s(self.weight_bytes, self.weight_loads)
            + soc.transfer_s(self.output_bytes, self.units)
        )

    def moved_bytes(self, accelerators: int) -> float:
        """Bytes that travel: an input tile goes to every engine that has some of its filters."""
        copies = min(accelerators, self.filters) if self.depth == 1 else 1
        return (
            self.input_bytes * self.input_loads * copies
            + self.weight_bytes * max(self.weight_loads, min(accelerators, self.units))
            + self.output_bytes * self.units
        )

    def copying_s(self, soc: SoC) -> float:
        """Seconds in which software scatters inputs into tiles and gathers results from them."""
        seconds = 0.0
        if self.input_runs:
            size = self.input_bytes * self.input_tiles
            seconds += soc.copy_s(size, self.input_runs, self.input_tiles)
        if self.output_runs:
            seconds += soc.copy_s(self.output_bytes * self.units, self.output_runs, self.units)
        return seconds
