"""Roofline with overheads, for devices known by data sheet and a few measurements.

    t(layer) = max(operations / (eff_c peak), bytes / (eff_m bandwidth)) + op_s
    t(model) = invoke_s + sum of its layers

after Williams, Waterman, Patterson: "Roofline: an insightful visual performance model" (CACM
2009). ``peak`` is that of the element type, one multiply-accumulate being two operations; other
scalar operations are bounded by ``vector_peak``. The efficiencies and overheads are fitted by
`profleet.hardware.calibration`; on 8,000 matrix products a GPU this form has a median error of
9 to 13 %, without efficiencies and overhead 34 to 52 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import ClassVar

from profleet.errors import HardwareError, did_you_mean
from profleet.hardware.devices.base import (
    NOTHING,
    Device,
    DeviceKind,
    LayerCost,
    Parts,
    bound_of,
    overlapped,
)
from profleet.hardware.layers import LayerSignature, Network


@dataclass(frozen=True, kw_only=True)
class Roofline(Device):
    """A device described by its roofs.

    Attributes:
        peaks: dense operations per second by element type (a multiply-accumulate is two).
        bandwidth: of the memory that holds weights and activations, bytes/s.
        vector_peak: operations per second of pointwise work; None: the peak of float32, or the
            lowest there is.
        compute_efficiency, memory_efficiency: share of the peaks that real kernels reach, (0, 1].
        op_s: launch overhead a layer, s.
        invoke_s: overhead an invocation (driver, copies of inputs and outputs), s.
    """

    kind: ClassVar[DeviceKind] = "roofline"

    peaks: Mapping[str, float] = field(default_factory=dict)
    bandwidth: float = 0.0
    vector_peak: float | None = None
    compute_efficiency: float = 1.0
    memory_efficiency: float = 1.0
    op_s: float = 0.0
    invoke_s: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positive("bandwidth", "vector_peak")
        self.check_share("compute_efficiency", "memory_efficiency")
        self.check_not_negative("op_s", "invoke_s")
        if not self.peaks:
            self.refuse("it has no peak for any dtype")
        for dtype, peak in self.peaks.items():
            if not (isfinite(peak) and peak > 0):
                self.refuse(f"the peak for {dtype} is {peak} and must be above 0")

    def cost(self, layer: LayerSignature) -> LayerCost:
        """Return what ``layer`` costs. HardwareError: no peak for its dtype."""
        if layer.view:
            return NOTHING
        compute, memory = self.roofs(layer)
        compute /= self.compute_efficiency
        memory /= self.memory_efficiency
        parts = overlapped(compute, memory, self.op_s)
        return LayerCost(
            parts,
            bound_of(compute, memory, self.op_s),
            self.energy(layer, parts.total, max(compute, memory)),
        )

    def roofs(self, layer: LayerSignature) -> tuple[float, float]:
        """Return (compute, memory) seconds of a layer at full efficiency."""
        compute = layer.ops / self._vector_rate
        if layer.macs:
            compute += 2 * layer.macs / self.peak(layer.dtype)
        return compute, layer.bytes / self.bandwidth

    def peak(self, dtype: str) -> float:
        """Return operations per second. HardwareError: the device does not compute ``dtype``."""
        try:
            return self.peaks[dtype]
        except KeyError:
            raise HardwareError(
                f"Hardware '{self.name}' has no peak for {dtype}. {did_you_mean(dtype, self.peaks)}"
            ) from None

    def invocation(self, network: Network) -> LayerCost:
        """Return the overhead of an invocation."""
        parts = Parts(framework=self.invoke_s)
        return LayerCost(parts, "overhead", self.waiting(self.invoke_s))

    @property
    def _vector_rate(self) -> float:
        return self.vector_peak or self.peaks.get("float32") or min(self.peaks.values())
