"""How long and how much energy a network takes on a modelled device, and how sure that is.

prediction = predict(network_of(model, batch=8), device, dtype="int8")
prediction.seconds, prediction.interval, prediction.shares, prediction.by_bound
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

from profleet.errors import HardwareError
from profleet.hardware.devices.base import (
    Bound,
    Calibration,
    Device,
    DeviceKind,
    Evidence,
    LayerCost,
    Parts,
)
from profleet.hardware.fusion import fuse
from profleet.hardware.layers import LayerSignature, Network


@dataclass(frozen=True)
class Prediction:
    """What one invocation of a network costs on a device.

    Attributes:
        network: as executed: in the precision used and, on devices that do so, fused.
        device, kind, digest: name, kind and digest of the parameters.
        costs: of every layer, in the order of ``network.layers``.
        invocation: what an invocation costs beside its layers.
        evidence, source: of the device's parameters.
        calibration: how far this device model was from measurements; None: unknown.
    """

    network: Network
    device: str
    kind: DeviceKind
    digest: str
    costs: tuple[LayerCost, ...]
    invocation: LayerCost
    evidence: Evidence
    source: str
    calibration: Calibration | None

    @cached_property
    def parts(self) -> Parts:
        """Seconds by part, layers and invocation together."""
        total = self.invocation.parts
        for cost in self.costs:
            total += cost.parts
        return total

    @property
    def seconds(self) -> float:
        """Latency of one invocation."""
        return self.parts.total

    @property
    def items_per_second(self) -> float:
        """Throughput of invocations one after the other."""
        return self.network.batch / self.seconds

    @cached_property
    def energy_j(self) -> float | None:
        """Energy of one invocation, or None unless it is known of all layers that take time."""
        taking = [one for one in (*self.costs, self.invocation) if one.seconds > 0]
        if any(one.energy_j is None for one in taking):
            return None
        return sum(one.energy_j or 0.0 for one in taking)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Seconds between which measurements are expected, in ``calibration.coverage`` of cases."""
        if self.calibration is None:
            return None
        return self.seconds * self.calibration.low, self.seconds * self.calibration.high

    @property
    def shares(self) -> dict[str, float]:
        """Share of the time of accelerator, movement and framework; adding up to 1."""
        parts, total = self.parts, self.seconds or 1.0
        return {
            "accelerator": parts.accelerator / total,
            "movement": parts.movement / total,
            "framework": parts.framework / total,
        }

    @cached_property
    def by_bound(self) -> dict[Bound, float]:
        """Seconds in layers that are bound by computing, by memory, and by overhead."""
        seconds: dict[Bound, float] = {"compute": 0.0, "memory": 0.0, "overhead": 0.0}
        for cost in (*self.costs, self.invocation):
            seconds[cost.bound] += cost.seconds
        return seconds

    def layers(self) -> Iterator[tuple[LayerSignature, LayerCost]]:
        """Yield every layer with its cost."""
        return zip(self.network.layers, self.costs, strict=True)


def predict(network: Network, device: Device, dtype: str | None = None) -> Prediction:
    """Return what an invocation of ``network`` costs on ``device``.

    Args:
        network: its batch size is that of the invocation.
        device: the device model.
        dtype: floating-point layers are executed in this precision; None: as the network says.

    Raises:
        HardwareError: the network does not fit into memory, or the device cannot execute a layer
            (no peak for its dtype, no tile that fits).
    """
    ready = prepared(network, dtype, fused=device.fused)
    _fits(ready, device)
    return Prediction(
        ready,
        device.name,
        device.kind,
        device.digest,
        tuple(map(device.layer, ready.layers)),
        device.invocation(ready),
        device.evidence,
        device.source,
        device.calibration,
    )


def prepared(network: Network, dtype: str | None, *, fused: bool) -> Network:
    """Return the network as a device executes it, made once for all devices."""
    known = _PREPARED.setdefault(network, {})
    if (dtype, fused) not in known:
        cast = network if dtype is None else network.cast(dtype)
        known[dtype, fused] = fuse(cast) if fused else cast
    return known[dtype, fused]


_PREPARED: WeakKeyDictionary[Network, dict[tuple[str | None, bool], Network]] = WeakKeyDictionary()


def _fits(network: Network, device: Device) -> None:
    if device.memory_bytes is None:
        return
    active = max((one.input_bytes + one.output_bytes for one in network.layers), default=0)
    needed = network.weight_bytes + active
    if needed > device.memory_bytes:
        raise HardwareError(
            f"{network.model} at batch size {network.batch} needs at least {needed / 2**30:.3g} "
            f"GiB; '{device.name}' has {device.memory_bytes / 2**30:.3g} GiB. Take a smaller "
            "batch, another precision or another device."
        )
