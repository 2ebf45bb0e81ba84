"""What all device models share: parameters, the cost of a layer, and its cache."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from math import isfinite
from typing import ClassVar, Literal

from profleet.errors import HardwareError
from profleet.hardware.layers import LayerSignature, Network

Bound = Literal["compute", "memory", "overhead"]
Evidence = Literal["measured", "interpolated", "calibrated", "modelled", "assumed"]
DeviceKind = Literal["roofline", "systolic", "nvdla_like", "core_array", "cim"]


@dataclass(frozen=True, slots=True)
class Parts:
    """Where time goes, in seconds; the parts do not overlap and add up to the total.

    ``accelerator``: computing. ``movement``: waiting for data, beyond what computing hides.
    ``framework``: launches, drivers, copies and bookkeeping by software.
    """

    accelerator: float = 0.0
    movement: float = 0.0
    framework: float = 0.0

    def __add__(self, other: Parts) -> Parts:
        return Parts(
            self.accelerator + other.accelerator,
            self.movement + other.movement,
            self.framework + other.framework,
        )

    @property
    def total(self) -> float:
        """Seconds."""
        return self.accelerator + self.movement + self.framework


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What one layer costs: time by part, what bounds it, and energy where the model knows it."""

    parts: Parts
    bound: Bound
    energy_j: float | None

    @property
    def seconds(self) -> float:
        """Seconds from start to end of the layer."""
        return self.parts.total


@dataclass(frozen=True)
class Calibration:
    """How far predictions were from measurements.

    ``median`` and ``p90`` are quantiles of ``|predicted / measured - 1|``; measured times were
    between ``low`` and ``high`` times the prediction in a share ``coverage`` of cases. All of
    points that the fit had not seen.
    """

    points: int
    median: float
    p90: float
    low: float
    high: float
    coverage: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Device(ABC):
    """Parameters every device model has.

    Attributes:
        name: as in the catalogue.
        memory_bytes: capacity for weights and activations; None: unknown, never checked.
        idle_w, peak_w: power while idle and while computing flat out, W.
        joule_per_mac, joule_per_byte: dynamic energy of one multiply-accumulate and of one byte
            from memory; used in place of ``peak_w`` where given, J.
        fused: whether pointwise layers run inside the kernel of the layer before.
        evidence: of the predictions.
        source: where the parameters come from.
        calibration: how far predictions were from measurements, None: unknown.
    """

    kind: ClassVar[DeviceKind]

    name: str
    memory_bytes: float | None = None
    idle_w: float | None = None
    peak_w: float | None = None
    joule_per_mac: float | None = None
    joule_per_byte: float | None = None
    fused: bool = True
    evidence: Evidence = "modelled"
    source: str = ""
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        self.check_positive("memory_bytes", "peak_w")
        self.check_not_negative("idle_w", "joule_per_mac", "joule_per_byte")
        if (self.joule_per_mac is None) != (self.joule_per_byte is None):
            self.refuse("joule_per_mac and joule_per_byte belong together: give both or neither")
        if self.idle_w is not None and self.peak_w is not None and self.idle_w > self.peak_w:
            self.refuse(f"idle_w ({self.idle_w}) is above peak_w ({self.peak_w})")

    @abstractmethod
    def cost(self, layer: LayerSignature) -> LayerCost:
        """Return what ``layer`` costs, uncached.

        Raises:
            HardwareError: the device cannot execute it.
        """

    def layer(self, layer: LayerSignature) -> LayerCost:
        """Return what ``layer`` costs; equal layers are costed once."""
        found = self._costs.get(layer)
        if found is None:
            found = self._costs[layer] = self.cost(layer)
        return found

    def invocation(self, network: Network) -> LayerCost:
        """Return what an invocation costs beside its layers."""
        return NOTHING

    @cached_property
    def digest(self) -> str:
        """sha256 of the kind and all parameters."""
        plain = json.dumps({"kind": self.kind, **asdict(self)}, sort_keys=True, default=str)
        return hashlib.sha256(plain.encode()).hexdigest()

    @cached_property
    def _costs(self) -> dict[LayerSignature, LayerCost]:
        return {}

    # -- for the models ---------------------------------------------------------------------

    def energy(self, layer: LayerSignature, seconds: float, busy_s: float) -> float | None:
        """Return the energy of a layer in J, or None where no power is known.

        With ``joule_per_mac`` and ``joule_per_byte``: dynamic energy by event, plus idle power
        for the time it takes. Else idle power all the time, and peak power while ``busy_s``.
        """
        idle = self.idle_w or 0.0
        if self.joule_per_mac is not None and self.joule_per_byte is not None:
            dynamic = layer.macs * self.joule_per_mac + layer.bytes * self.joule_per_byte
            return dynamic + idle * seconds
        if self.peak_w is None:
            return None
        return idle * seconds + (self.peak_w - idle) * min(busy_s, seconds)

    def waiting(self, seconds: float) -> float | None:
        """Return the energy of waiting for software in J, by the rule of `energy`.

        None where no power is known; where idle power alone is not, it counts as 0.
        """
        if self.idle_w is None and self.peak_w is None and self.joule_per_mac is None:
            return None
        return (self.idle_w or 0.0) * seconds

    def refuse(self, why: str) -> None:
        """Raise HardwareError about this device."""
        raise HardwareError(f"Hardware '{self.name}' is impossible: {why}.")

    def check_positive(self, *names: str) -> None:
        """Refuse numbers that are zero, negative or not finite (None passes)."""
        self._check(names, "must be above 0", lambda value: value > 0)

    def check_not_negative(self, *names: str) -> None:
        """Refuse numbers that are negative or not finite (None passes)."""
        self._check(names, "must not be negative", lambda value: value >= 0)

    def check_share(self, *names: str) -> None:
        """Refuse numbers outside (0, 1]."""
        self._check(names, "must be above 0 and at most 1", lambda value: 0 < value <= 1)

    def _check(self, names: Iterable[str], must: str, holds: Callable[[float], bool]) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not (isfinite(value) and holds(value)):
                self.refuse(f"{name} is {value} and {must}")


NOTHING = LayerCost(Parts(), "overhead", None)
"""The cost of a view, and of an invocation that adds nothing."""


def bound_of(compute_s: float, memory_s: float, overhead_s: float) -> Bound:
    """Return what a layer waits for longest."""
    if overhead_s >= max(compute_s, memory_s):
        return "overhead"
    return "compute" if compute_s >= memory_s else "memory"


def overlapped(compute_s: float, memory_s: float, overhead_s: float) -> Parts:
    """Return the parts of a layer whose transfers hide behind computing as far as they can."""
    return Parts(compute_s, max(0.0, memory_s - compute_s), overhead_s)
