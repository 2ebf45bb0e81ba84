"""Fitting a device model to measurements, and the error it then claims.

    fitted = fit(device, points, free=("compute_efficiency", "memory_efficiency", "op_s"))
    fitted.device.calibration      # median, p90, interval: from points the fit had not seen

Least squares on log(predicted / measured), so that a layer of 10 us counts as much as one of 10 ms
and being off by a factor is the same in both directions. The error is taken on held-out groups
(one subnet, one round, one model) where there are at least two; its interval is conformal: the
quantile of the held-out errors, with the coverage that this many points can promise. A fit with
nothing held out claims no error: what it leaves of its own points says little of the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, exp, isfinite, log
from statistics import median
from typing import Any, Generic, TypeVar

from profleet.errors import HardwareError
from profleet.hardware.devices.base import Calibration, Device
from profleet.hardware.devices.roofline import Roofline
from profleet.hardware.layers import LayerSignature, Network
from profleet.hardware.predict import prepared

D = TypeVar("D", bound=Device)

BOUNDS: Mapping[str, tuple[float, float]] = {
    "compute_efficiency": (1e-4, 1.0),
    "memory_efficiency": (1e-4, 1.0),
    "op_s": (1e-9, 1.0),
    "invoke_s": (1e-7, 10.0),
    "layer_s": (1e-8, 1.0),
    "weight_tile_s": (1e-11, 1e-3),
    "clock_hz": (1e5, 1e12),
    "bandwidth": (1e6, 1e15),
    "buffer_bandwidth": (1e6, 1e15),
    "accumulate": (1e-4, 1e3),
    "vector_s": (1e-12, 1.0),
    "interval": (0.5, 100.0),
    "drain": (0.01, 1e4),
}
"""Parameters that can be fitted, each with the range that makes sense."""


@dataclass(frozen=True)
class Point:
    """A measured latency: of one layer, or of a whole network in the precision that ran.

    ``group`` is what is held out together when the error is taken; points of one group share
    whatever makes them alike.
    """

    work: LayerSignature | Network
    seconds: float
    group: Hashable = None

    def __post_init__(self) -> None:
        if not (isfinite(self.seconds) and self.seconds > 0):
            raise HardwareError(f"A measured latency is above 0 s, not {self.seconds}.")


@dataclass(frozen=True)
class Fitted(Generic[D]):
    """A fitted device and its residuals.

    ``residuals`` are log(measured / predicted) in the order of the points, of fits that had not
    seen the point's group where ``held_out``.
    """

    device: D
    residuals: tuple[float, ...]
    held_out: bool


def fit(
    device: D,
    points: Sequence[Point],
    free: Sequence[str],
    *,
    coverage: float = 0.9,
    source: str = "",
) -> Fitted[D]:
    """Return ``device`` with the parameters ``free`` fitted to ``points``, and its calibration.

    Args:
        device: the other parameters stay; those in ``free`` are where the search starts, unless
            they are 0 or outside their range.
        points: at least as many as parameters.
        free: names in `BOUNDS`.
        coverage: share of measurements that the interval shall cover.
        source: where the points come from.

    Returns:
        Its ``device`` has no calibration where nothing was held out.

    Raises:
        HardwareError: a parameter cannot be fitted, or there are too few points.
    """
    for name in free:
        if name not in BOUNDS or not hasattr(device, name):
            raise HardwareError(
                f"'{name}' of '{device.name}' cannot be fitted. Possible: "
                f"{', '.join(name for name in BOUNDS if hasattr(device, name))}."
            )
    if len(points) < max(1, len(free)):
        raise HardwareError(
            f"'{device.name}': {len(free)} parameters need at least as many measured points, and "
            f"there are {len(points)}."
        )
    best = _fitted(device, points, free)
    groups = sorted({repr(point.group) for point in points})
    residuals, held_out = _residuals(best, points), False
    if len(groups) > 1:
        parts = [[point for point in points if repr(point.group) != group] for group in groups]
        if all(len(part) >= len(free) for part in parts):
            found = dict(zip(groups, (_fitted(device, part, free) for part in parts), strict=True))
            residuals = [_residuals(found[repr(point.group)], [point])[0] for point in points]
            held_out = True
    known = calibration_of(residuals, coverage, source=source) if held_out else None
    calibrated = replace(best, evidence="calibrated", calibration=known)
    return Fitted(calibrated, tuple(residuals), held_out)


def calibration_of(
    residuals: Sequence[float], coverage: float = 0.9, *, source: str = ""
) -> Calibration:
    """Return the error that residuals log(measured / predicted) of unseen points allow to claim.

    With n residuals the k-th smallest of their absolute values covers a further point with
    probability k / (n + 1); few points claim a lower coverage instead of a wider guess.
    """
    if not residuals:
        raise HardwareError("An error cannot be claimed without a measured point.")
    sizes = sorted(abs(one) for one in residuals)
    errors = sorted(abs(exp(-one) - 1) for one in residuals)
    count = len(sizes)
    rank = min(count, ceil((count + 1) * coverage))
    reach = sizes[rank - 1]
    return Calibration(
        points=count,
        median=median(errors),
        p90=errors[min(count - 1, ceil(0.9 * count) - 1)],
        low=exp(-reach),
        high=exp(reach),
        coverage=min(coverage, rank / (count + 1)),
        source=source,
    )


def seconds_of(device: Device, work: LayerSignature | Network) -> float:
    """Return what ``device`` predicts for a layer or a network; nothing is kept."""
    return float(_timer(device, [work])(device)[0])


# -- the search ----------------------------------------------------------------------------------


def _fitted(device: D, points: Sequence[Point], free: Sequence[str]) -> D:
    """Return the best fit from several starts: max() in a model makes local minima."""
    import numpy as np
    from scipy.optimize import least_squares

    if not free:
        return device
    timer = _timer(device, [point.work for point in points])
    measured = np.log([point.seconds for point in points])
    low = np.log([BOUNDS[name][0] for name in free])
    high = np.log([BOUNDS[name][1] for name in free])

    def errors(logs: Any) -> Any:
        tried = _with(device, free, np.exp(np.clip(logs, low, high)))
        return np.log(timer(tried)) - measured

    best = None
    for start in _starts(device, free):
        at = np.clip(np.log(start), low + 1e-6, high - 1e-6)
        found = least_squares(errors, at, bounds=(low, high), x_scale=1.0)
        if best is None or found.cost < best.cost * (1 - 1e-6):
            best = found
    assert best is not None
    return _with(device, free, np.exp(best.x))


def _starts(device: Device, free: Sequence[str]) -> list[list[float]]:
    """Return where to start: the given values, and for efficiencies two more."""
    given = [getattr(device, name) or (BOUNDS[name][0] * BOUNDS[name][1]) ** 0.5 for name in free]
    starts = [given]
    for share in (0.7, 0.3):
        other = [
            share if name.endswith("efficiency") else value
            for name, value in zip(free, given, strict=True)
        ]
        if other not in starts:
            starts.append(other)
    return starts


def _with(device: D, names: Sequence[str], values: Sequence[float]) -> D:
    return replace(device, **{name: float(one) for name, one in zip(names, values, strict=True)})  # type: ignore[arg-type]  # the names were checked


def _residuals(device: Device, points: Sequence[Point]) -> list[float]:
    predicted = _timer(device, [point.work for point in points])(device)
    return [log(point.seconds / float(one)) for point, one in zip(points, predicted, strict=True)]


Works = Sequence[LayerSignature | Network]


def _timer(device: Device, works: Works) -> Callable[[Any], Any]:
    """Return what predicts the seconds of all ``works`` on devices that differ in what is fitted.

    Equal layers are counted, not repeated; for a roofline, what does not depend on what is fitted
    is computed once.
    """
    import numpy as np

    counted = [_counted(device, work) for work in works]
    if isinstance(device, Roofline):
        return _roofline_timer(device, works, counted)

    def seconds(tried: Device) -> Any:
        totals = []
        for work, counts in zip(works, counted, strict=True):
            total: float = sum(tried.cost(one).seconds * times for one, times in counts.items())
            if isinstance(work, Network):
                total += tried.invocation(work).seconds
            totals.append(total)
        return np.array(totals)

    return seconds


def _counted(device: Device, work: LayerSignature | Network) -> dict[LayerSignature, int]:
    """Return the layers that ``device`` executes, each with how often."""
    if isinstance(work, LayerSignature):
        return {work: 1}
    return Counter(one for one in prepared(work, None, fused=device.fused).layers if not one.view)


def _roofline_timer(
    device: Roofline, works: Works, counted: Sequence[Mapping[LayerSignature, int]]
) -> Callable[[Roofline], Any]:
    import numpy as np

    rows = [
        (place, *device.roofs(one), times)
        for place, counts in enumerate(counted)
        for one, times in counts.items()
    ]
    place, compute, memory, times = (np.array(column) for column in zip(*rows, strict=True))
    kernels = np.array([sum(counts.values()) for counts in counted])
    whole = np.array([isinstance(work, Network) for work in works])
    bandwidth = device.bandwidth

    def seconds(tried: Roofline) -> Any:
        per_byte = bandwidth / tried.bandwidth / tried.memory_efficiency
        busy = np.maximum(compute / tried.compute_efficiency, memory * per_byte) * times
        total = np.bincount(place, busy, len(works))
        return total + kernels * tried.op_s + whole * tried.invoke_s

    return seconds
