"""From latencies measured on device A to device B, layer by layer through both device models.

    T(b) = exp(rho(b)) sum_i (f(bound of layer i on A) t_B,i(b) + launch)

``f`` is one factor for each of compute-, memory- and overhead-bound layers of A, ``launch`` what
software takes for every layer beyond what the device model of A knows; it is the same on B. They
are fitted to all measured batch sizes (log least squares; a factor that the data say nothing about
goes with the others; of one batch size, one factor). ``rho`` is what the fit leaves at the measured
sizes, linear in log2(batch) between them. Points measured on B correct T in the same way, so that T
meets every one of them.

The interval grows with the distance d, in octaves of the batch size, from the nearest point:

    half width = noise + transfer + drift d          (of the logarithm)

``drift`` is the largest error an octave when every point is predicted from the others: of B's
points, or of A's by its device model where that is more; the latter times the root of two, as both
devices may drift. With points of B ``transfer`` is 0, else the calibrated error of both device
models. n points cover 1 - 1/n, for two of them have one difference. Where transfer or drift is not
known there is no interval; a noise that nobody stated counts as none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, hypot, log, log2, sqrt
from typing import Any

from profleet.errors import HardwareError
from profleet.hardware.devices.base import Bound, Calibration, Evidence
from profleet.hardware.predict import Prediction

BOUNDS: tuple[Bound, ...] = ("compute", "memory", "overhead")
RIDGE = 0.05
"""Weight, against one measured point, of the factors' distance from each other and of the share
that launches have in the shortest time."""


ONE_POINT = "one measured batch size does not show how far off others are; give a second one"
AS_GIVEN = "it is the measurement as given, and how far off it may be was not said"


@dataclass(frozen=True)
class Measurements:
    """Mean latencies of one stack: seconds by batch size, and how far off each mean may be.

    ``noise`` is the largest half width of the means' intervals, in logarithms; 0 if not stated.
    ``title`` and ``source`` say what was measured and where that is written down.
    """

    seconds: Mapping[int, float]
    noise: float
    title: str
    source: str

    def __post_init__(self) -> None:
        if not self.seconds or not all(value > 0 for value in self.seconds.values()):
            raise HardwareError(f"{self.title}: measured latencies are above 0, at least one.")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The measured batch sizes, in order."""
        return tuple(sorted(self.seconds))


@dataclass(frozen=True)
class Transferred:
    """A latency on B.

    ``layers`` are its parts in seconds: of every layer, then the invocation; ``launch`` is how much
    of each layer that is no view was carried over from A as software's. ``unknown`` is why there is
    no interval.
    """

    prediction: Prediction
    seconds: float
    launch: float
    interval: tuple[float, float] | None
    coverage: float | None
    evidence: Evidence
    layers: tuple[float, ...]
    unknown: str | None = None


@dataclass(frozen=True)
class Transfer:
    """What leads from A to B.

    Attributes:
        on_a, on_b: device models, by batch size; their layers must be the same ones.
        measured_a, measured_b: points of A, and those of B if there are any.
        allow_extrapolation: beyond the batch sizes that were measured.
    """

    on_a: Callable[[int], Prediction]
    on_b: Callable[[int], Prediction]
    measured_a: Measurements
    measured_b: Measurements | None = None
    allow_extrapolation: bool = False

    def at(self, batch: int) -> Transferred:
        """Return the latency on B.

        Raises:
            HardwareError: the batch size lies outside the measured ones, and that is not allowed.
        """
        self._check(batch)
        scaled = self._scaled(batch)
        factor = exp(self._correction.at(batch)) if self._correction else 1.0
        layers = tuple(factor * one for one in scaled)
        width = self._half_width(batch)
        half, coverage = (None, None) if isinstance(width, str) else width
        seconds = sum(layers)
        return Transferred(
            self.on_b(batch),
            seconds,
            factor * exp(self._rest.at(batch)) * self.fitted.launch,
            None if half is None else (seconds * exp(-half), seconds * exp(half)),
            coverage,
            self._evidence(batch),
            layers,
            width if isinstance(width, str) else None,
        )

    @cached_property
    def fitted(self) -> Fitted:
        """How much longer than modelled A took."""
        measured = self.measured_a.seconds
        return _fit([self.on_a(size) for size in measured], list(measured.values()))

    @property
    def device_a(self) -> str:
        """Name of the device that was measured."""
        return self.on_a(self.measured_a.sizes[0]).device

    @property
    def ratios(self) -> list[float]:
        """How many times what the device model of A says was measured, by batch size."""
        return [each / self.on_a(size).seconds for size, each in self.measured_a.seconds.items()]

    # -- the value --------------------------------------------------------------------------

    def _scaled(self, batch: int) -> tuple[float, ...]:
        a, b = self.on_a(batch), self.on_b(batch)
        if len(a.costs) != len(b.costs):
            raise HardwareError(
                f"{a.network.model} has {len(a.costs)} layers on '{a.device}' and {len(b.costs)} "
                f"on '{b.device}': nothing leads from one to the other."
            )
        rest = exp(self._rest.at(batch))
        factors, launch = self.fitted.factors, self.fitted.launch
        layers = [
            rest * (factors[one.bound] * other.seconds + (0.0 if layer.view else launch))
            for layer, one, other in zip(b.network.layers, a.costs, b.costs, strict=True)
        ]
        invocation = rest * factors[a.invocation.bound] * b.invocation.seconds
        return (*layers, invocation)

    @cached_property
    def _rest(self) -> Curve:
        measured = self.measured_a.seconds
        return Curve(
            {
                size: log(seconds / self.fitted.seconds(self.on_a(size)))
                for size, seconds in measured.items()
            }
        )

    @cached_property
    def _correction(self) -> Curve | None:
        if self.measured_b is None:
            return None
        return Curve(
            {
                size: log(seconds / sum(self._scaled(size)))
                for size, seconds in self.measured_b.seconds.items()
            }
        )

    # -- what it is worth -------------------------------------------------------------------

    @property
    def grid(self) -> tuple[int, int]:
        """The smallest and the largest measured batch size, of both devices."""
        sizes = (*self.measured_a.sizes, *(self.measured_b.sizes if self.measured_b else ()))
        return min(sizes), max(sizes)

    def _check(self, batch: int) -> None:
        first, last = self.grid
        if self.allow_extrapolation or first <= batch <= last:
            return
        raise HardwareError(
            f"batch_sizes: {batch} lies outside the measured ones, {first} to {last} "
            f"({self.measured_a.title}). Measure it, or say allow_extrapolation=true."
        )

    def _evidence(self, batch: int) -> Evidence:
        if self.measured_b is None:
            return "modelled"
        sizes = self.measured_b.sizes
        if batch in sizes:
            return "measured"
        return "interpolated" if sizes[0] < batch < sizes[-1] else "calibrated"

    def _half_width(self, batch: int) -> tuple[float, float] | str:
        """Return half the interval in logarithms and its coverage, or why it is not known."""
        own = Curve({size: log(each) - log(self.on_a(size).seconds)
                     for size, each in self.measured_a.seconds.items()})  # fmt: skip
        if self.measured_b is None or self._correction is None:
            models = self._models
            if isinstance(models, str):
                return models
            far = own.distance(batch)
            if far and own.drift is None:
                return ONE_POINT
            reach = hypot(*(max(log(each.high), -log(each.low)) for each in models))
            coverage = min(each.coverage for each in models)
            return self.measured_a.noise + reach + (own.drift or 0.0) * far, coverage
        far = self._correction.distance(batch)
        drifts = [
            (curve.drift * times, len(curve.values))
            for curve, times in ((self._correction, 1.0), (own, sqrt(2)))
            if curve.drift is not None
        ]
        if not drifts:
            if far:
                return ONE_POINT
            return (self.measured_b.noise, 0.95) if self.measured_b.noise else AS_GIVEN
        if not far and not self.measured_b.noise:
            return AS_GIVEN
        points = min(points for _, points in drifts)  # what the fewer of them bear out
        return self.measured_b.noise + max(drifts)[0] * far, 1 - 1 / points

    @property
    def _models(self) -> tuple[Calibration, Calibration] | str:
        """The calibrated errors of both device models, or of which none is known."""
        size = self.measured_a.sizes[0]
        a, b = self.on_a(size), self.on_b(size)
        if a.calibration is not None and b.calibration is not None:
            return a.calibration, b.calibration
        names = dict.fromkeys(each.device for each in (a, b) if each.calibration is None)
        return (
            f"no error of this model in this precision is known of {' and '.join(names)}; give "
            "points of the hardware: measured={1: MS, 8: MS}"
        )


@dataclass(frozen=True)
class Curve:
    """Values by batch size: lines over log2(batch) between them, level beyond."""

    values: Mapping[int, float]

    def at(self, batch: int) -> float:
        """Return the value at a batch size."""
        sizes = sorted(self.values)
        right = next((size for size in sizes if size >= batch), sizes[-1])
        left = next((size for size in reversed(sizes) if size <= batch), sizes[0])
        if left >= right:
            return self.values[right if batch >= sizes[-1] else left]
        share = log2(batch / left) / log2(right / left)
        return (1 - share) * self.values[left] + share * self.values[right]

    def distance(self, batch: int) -> float:
        """Return the octaves from a batch size to the nearest one there is a value for."""
        return min(abs(log2(batch / size)) for size in self.values)

    @cached_property
    def drift(self) -> float | None:
        """The largest error an octave of a value told from the others; None: it is the only one."""
        if len(self.values) < 2:
            return None
        errors = []
        for size, value in self.values.items():
            others = Curve({key: each for key, each in self.values.items() if key != size})
            errors.append(abs(value - others.at(size)) / others.distance(size))
        return max(errors)


@dataclass(frozen=True)
class Fitted:
    """Factors by what bounds a layer, and seconds of software for every layer on top."""

    factors: Mapping[Bound, float]
    launch: float

    def seconds(self, prediction: Prediction) -> float:
        """Return a prediction corrected by them."""
        scaled = (self.factors[bound] * own for bound, own in prediction.by_bound.items())
        return sum(scaled) + self.launch * _kernels(prediction)


def _kernels(prediction: Prediction) -> int:
    return sum(not layer.view for layer in prediction.network.layers)


def _fit(predictions: Sequence[Prediction], measured: Sequence[float]) -> Fitted:
    import numpy as np
    from scipy.optimize import least_squares

    spent = np.array([[one.by_bound[bound] for bound in BOUNDS] for one in predictions])
    wanted = np.log(measured)
    common = float(np.mean(wanted - np.log(spent.sum(axis=1))))
    if len(predictions) == 1:
        return Fitted(dict.fromkeys(BOUNDS, exp(common)), 0.0)
    kernels = np.array([_kernels(one) for one in predictions], dtype=float)
    most = float((np.array(measured) / kernels).min())  # then nothing else would take time

    def errors(values: Any) -> Any:
        logs, share = values[:-1], values[-1]
        missed = np.log(spent @ np.exp(logs) + share * most * kernels) - wanted
        return np.concatenate([missed, sqrt(RIDGE) * (logs - logs.mean()), [sqrt(RIDGE) * share]])

    best = min(
        (
            least_squares(
                errors,
                [*np.full(len(BOUNDS), common), start],
                bounds=([-np.inf] * len(BOUNDS) + [0.0], [np.inf] * len(BOUNDS) + [1.0]),
            )
            for start in (1e-6, 0.9)
        ),
        key=lambda found: float(found.cost),
    )
    factors = dict(zip(BOUNDS, map(float, np.exp(best.x[:-1])), strict=True))
    return Fitted(factors, float(best.x[-1]) * most)
