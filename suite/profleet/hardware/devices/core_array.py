"""Many equal cores of one multiply-accumulate a tick: the device of LightSpeed and Lightning.

A layer is ``count`` vector products of ``length``, each of which takes ``length`` ticks of one
core. Products are handed to the cores round robin, where the layer before left off, and wait there
for what the core still has to do. There is no memory and no link; a request pays the latency of
its datapath once, before its first layer.

    idle device:    ticks(layer) = ceil(count / cores) length
    busy device:    free[i] <- max(free[i], now) + tasks_i length     for cores with tasks_i > 0
                    tasks_i = count // cores, one more for the first count % cores after the cursor

The second line is what `Cores.place` does: two array operations in place of one step a product,
with the same result. After Williams: "LightSpeed: A Framework to Profile and Evaluate Inference
Accelerators at Scale" (MIT, 2023) and the simulation of Zhong et al.: "Lightning: A
Reconfigurable Photonic-Electronic SmartNIC for Fast and Energy-Efficient Inference" (SIGCOMM
2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, ClassVar

from profleet.errors import HardwareError
from profleet.hardware.devices.base import NOTHING, Device, DeviceKind, LayerCost, Parts
from profleet.hardware.layers import Conv, LayerSignature, Network

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Tasks:
    """A layer as equal vector products: ``count`` of ``length`` multiply-accumulates each."""

    length: int
    count: int

    def at_least(self, granularity: int) -> Tasks:
        """Return the same work in products of ``granularity``, if it is in shorter ones."""
        if self.length >= granularity:
            return self
        return Tasks(granularity, ceil(self.length * self.count / granularity))


@dataclass(frozen=True, kw_only=True)
class CoreArray(Device):
    """An array of cores.

    Attributes:
        cores: multiply-accumulators.
        clock_hz: ticks per second.
        granularity: shortest vector product that is handed out; shorter ones are joined.
        datapath_s: latency before the first layer of a request, by model, s.
        default_datapath_s: for models that are not listed, s.
    """

    kind: ClassVar[DeviceKind] = "core_array"

    cores: int
    clock_hz: float
    granularity: int = 1
    datapath_s: Mapping[str, float] = field(default_factory=dict)
    default_datapath_s: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positive("cores", "clock_hz", "granularity")
        self.check_not_negative("default_datapath_s")
        for model, latency in self.datapath_s.items():
            if not latency >= 0:
                self.refuse(f"the datapath latency of {model} is {latency}")

    def tasks(self, layer: LayerSignature) -> Tasks:
        """Return the vector products of a layer; other scalar work is products of length 1."""
        if layer.dims is None:
            return Tasks(1, layer.ops).at_least(self.granularity)
        length = layer.dims.taps if isinstance(layer.dims, Conv) else layer.dims.inner
        return Tasks(length, layer.macs // length).at_least(self.granularity)

    def ticks(self, tasks: Tasks) -> int:
        """Return how long the idle array computes ``tasks``."""
        return ceil(tasks.count / self.cores) * tasks.length

    def cost(self, layer: LayerSignature) -> LayerCost:
        """Return what ``layer`` costs on an idle device."""
        tasks = self.tasks(layer)
        if layer.view or not tasks.count:  # data movement takes no time in this model
            return NOTHING
        seconds = self.ticks(tasks) / self.clock_hz
        busy = tasks.length * tasks.count / self.cores / self.clock_hz
        return LayerCost(Parts(seconds), "compute", self.energy(layer, seconds, busy))

    def invocation(self, network: Network) -> LayerCost:
        """Return the latency of the datapath."""
        latency = self.datapath_s.get(network.model, self.default_datapath_s)
        return LayerCost(Parts(framework=latency), "overhead", self.waiting(latency))

    def knows(self, model: str) -> bool:
        """Whether the latency of the datapath is stated for a model, or for none at all."""
        return not self.datapath_s or model in self.datapath_s

    def completion_s(self, network: Network) -> float:
        """Return when a request that finds the device idle is done, its branches side by side.

        `predict` adds the layers up; where a network has branches this is less.
        """
        cores = Cores(self.cores)
        ends: list[int] = []
        for layer, found in zip(network.layers, network.after, strict=True):
            start = max((ends[index] for index in found), default=0)
            tasks = self.tasks(layer)
            idle = layer.view or not tasks.count
            ends.append(start if idle else cores.place(tasks, start))
        return self.invocation(network).seconds + max(ends) / self.clock_hz


class Cores:
    """The state of an array: when each core is free, in ticks, and who is next."""

    def __init__(self, cores: int) -> None:
        import numpy as np

        if cores < 1:
            raise HardwareError(f"A core array has at least one core, not {cores}.")
        self.free: npt.NDArray[np.int64] = np.zeros(cores, np.int64)
        self.next = 0

    def place(self, tasks: Tasks, now: int) -> int:
        """Hand out ``tasks`` at tick ``now``; return the tick at which the last of them ends."""
        import numpy as np

        size = len(self.free)
        each, more = divmod(tasks.count, size)
        stop = self.next + more
        extra = (slice(self.next, min(stop, size)), slice(0, max(0, stop - size)))
        self.next = stop % size
        if each:
            np.maximum(self.free, now, out=self.free)
            self.free += each * tasks.length
            for part in extra:
                self.free[part] += tasks.length
            return int(self.free.max())
        end = now
        for part in extra:
            used = self.free[part]  # a view: most layers of a busy device have few tasks
            if used.size:
                np.maximum(used, now, out=used)
                used += tasks.length
                end = max(end, int(used.max()))
        return end
