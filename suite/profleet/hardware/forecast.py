"""What ``profleet predict`` answers: latency with its interval, bounds, shares, layers, energy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import log
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from profleet.errors import ConfigError, HardwareError
from profleet.execute.settings import BatchSize, Positive, Settings
from profleet.hardware.catalog import energy_evidence_of
from profleet.hardware.devices.base import Evidence
from profleet.hardware.measured import Found, measured_at
from profleet.hardware.predict import Prediction
from profleet.hardware.stack import ModelledStack, modelled_stack
from profleet.hardware.transfer import Measurements, Transfer
from profleet.profile.metrics import Metric
from profleet.profile.schema import Record, name_of

FORECAST_SCHEMA = "profleet/prediction/v1"

UNLIKE = 10.0
"""How far off its device model a measurement may be before one should ask what it is of."""

LAYER_COLUMNS = {
    "batch_size": "items an invocation",
    "layer": "number in the order of the graph, after fusion; null: the invocation itself",
    "name": "of the node; joined by + where a device executes several as one",
    "op": "ONNX operator",
    "dtype": "precision",
    "macs": "multiply-accumulate operations",
    "ops": "further scalar operations",
    "bytes": "read and written, each once",
    "seconds": "of this layer; scaled where a measurement was transferred",
    "accelerator_s": "of the device model: computing",
    "movement_s": "of the device model: waiting for data",
    "framework_s": "of the device model: software",
    "bound": "compute, memory or overhead",
    "energy_j": "of the device model; null: unknown",
}
"""Columns of ``layers.parquet``, in this order, with their meaning."""


class PredictSettings(Settings):
    """The whole configuration of ``profleet predict`` (``conf/predict.yaml``)."""

    model: str
    hardware: str
    batch_sizes: tuple[BatchSize, ...] = Field(min_length=1)
    dtype: str | None
    from_: Annotated[str | None, Field(alias="from")]
    from_hardware: str | None
    from_model: str | None
    from_scenario: str | None
    from_dtype: str | None
    measured: dict[BatchSize, Positive] | None
    allow_extrapolation: bool
    layers: Annotated[int, Field(ge=0)]
    store: Annotated[Path, Field(strict=False)]
    manifests: tuple[str, ...]

    @model_validator(mode="after")
    def _consistent(self) -> PredictSettings:
        if len(set(self.batch_sizes)) != len(self.batch_sizes):
            raise ValueError(f"batch_sizes holds a size twice: {list(self.batch_sizes)}")
        own = (
            self.measured, self.from_hardware, self.from_model, self.from_scenario,
            self.from_dtype,
        )  # fmt: skip
        if self.from_ is None and any(own):
            raise ValueError("measured and from_* belong to measurements: say from=FOLDER")
        return self


class BatchForecast(Record):
    """One batch size. ``low`` and ``high`` cover ``coverage`` of measurements; null: unknown."""

    batch_size: int
    latency_ms: float
    low_ms: float | None
    high_ms: float | None
    coverage: float | None
    evidence: Evidence
    bound: str = Field(description="what most of the time goes to: compute, memory or overhead")
    shares: dict[str, float] = Field(description="of time: accelerator, movement, framework")
    bound_shares: dict[str, float] = Field(description="of time: compute, memory, overhead")
    energy_j: float | None = Field(description="of one invocation; null: unknown")


class Forecast(Record):
    """``result.json`` of a prediction."""

    schema_: Annotated[str, Field(alias="schema")] = FORECAST_SCHEMA
    status: str = "finished"
    model: str
    hardware: str
    kind: str
    dtype: str | None
    source: str
    expectation: str = Field(description="the error to expect, or why none can be stated")
    calibration: dict[str, Any] | None = Field(description="how far predictions were off")
    transfer: dict[str, Any] | None = Field(default=None, description="what was scaled, and how")
    metrics: dict[str, Metric]
    batches: list[BatchForecast]
    notes: list[str]
    configuration: dict[str, Any]
    paths: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A forecast and the rows of its layers, by `LAYER_COLUMNS`."""

    forecast: Forecast
    layers: list[dict[str, Any]]


def forecast(settings: PredictSettings) -> Answer:
    """Predict every batch size.

    Raises:
        ProfleetError: a manifest, profile, batch size or precision cannot be used.
    """
    stack = modelled_stack(
        settings.model, settings.hardware, settings.dtype, manifests=settings.manifests
    )
    transfer, found_in = (None, None) if settings.from_ is None else _transfer(settings, stack)
    batches: list[BatchForecast] = []
    rows: list[dict[str, Any]] = []
    unknown: dict[str, list[int]] = {}
    for batch in settings.batch_sizes:
        if transfer is None:
            prediction = stack.predict(batch)
            seconds = tuple(one.seconds for one in (*prediction.costs, prediction.invocation))
            batches.append(_modelled(prediction))
        else:
            found = transfer.at(batch)
            prediction, seconds = found.prediction, found.layers
            if found.unknown is not None:
                unknown.setdefault(found.unknown, []).append(batch)
            batches.append(
                _batch(
                    prediction, seconds, found.interval, found.coverage, found.evidence,
                    energy_j=None, launch=found.launch,
                )
            )  # fmt: skip
        rows += _rows(prediction, seconds)
    fitted = stack.device.calibration if transfer is None else None
    energy = energy_evidence_of(stack.hardware.document, stack.device.evidence)
    made = Forecast(
        model=stack.model.reference,
        hardware=stack.hardware.reference,
        kind=stack.device.kind,
        dtype=stack.dtype,
        source=stack.source if transfer is None else _scaled_source(stack, transfer),
        expectation=(
            stack.expectation if transfer is None else _transfer_expectation(batches, unknown)
        ),
        calibration=None if fitted is None else dict(vars(fitted)),
        transfer=None if transfer is None else {
            "from": transfer.measured_a.title,
            "factors": transfer.fitted.factors,
            "launch_s": transfer.fitted.launch,
            "measured_ms": {str(k): v * 1e3 for k, v in transfer.measured_a.seconds.items()},
        },
        metrics={name: metric for each in batches for name, metric in _metrics(each, energy)},
        batches=batches,
        notes=[
            *stack.notes,
            *(found_in.notes if found_in else ()),
            *([] if transfer is None else _unlike(transfer)),
            *_without_idle(stack, batches),
        ],
        configuration=settings.model_dump(mode="json", by_alias=True),
    )  # fmt: skip
    return Answer(made, rows)


def _without_idle(stack: ModelledStack, batches: list[BatchForecast]) -> Iterator[str]:
    """Say so where energy lacks what the device draws while it waits."""
    if stack.device.idle_w is None and any(each.energy_j is not None for each in batches):
        yield (
            f"{stack.device.name} states no idle power: energy is that of computing, without what "
            "it draws while it waits."
        )


# -- scaling a measurement -----------------------------------------------------------------------


def _transfer(settings: PredictSettings, stack: ModelledStack) -> tuple[Transfer, Found]:
    assert settings.from_ is not None
    found = measured_at(
        Path(settings.from_),
        "from",
        stack.model.document.name,
        hardware=settings.from_hardware,
        called=settings.from_model,
        scenario=settings.from_scenario,
        dtype=settings.from_dtype,
    )
    other = settings.from_hardware or found.hardware
    if settings.from_hardware is None and name_of(found.hardware) == "local":
        raise ConfigError(
            f"from={settings.from_} was measured on a machine of which there is no device model. "
            "Say from_hardware=NAME, the catalogued device that is most like it; `profleet "
            "hardware list` shows them."
        )
    ran: str | None = found.dtype
    try:
        first = modelled_stack(settings.model, other, ran, manifests=settings.manifests)
    except HardwareError:
        if settings.from_dtype is not None:
            raise
        first = modelled_stack(settings.model, other, manifests=settings.manifests)
        note = (
            f"{other} states no peak for {ran}, in which it ran: its model computes {first.dtype}."
        )
        found = replace(found, notes=(*found.notes, note))
    on_b = None
    if settings.measured:
        known = {size: value / 1e3 for size, value in settings.measured.items()}
        on_b = Measurements(known, 0.0, stack.title, "measured, as given")
    elif first.device.digest == stack.device.digest and first.dtype == stack.dtype:
        on_b = found.measurements
    allowed = settings.allow_extrapolation
    return Transfer(first.predict, stack.predict, found.measurements, on_b, allowed), found


def _scaled_source(stack: ModelledStack, transfer: Transfer) -> str:
    first, last = transfer.grid
    where = f"{transfer.measured_a.source} ({transfer.measured_a.title}, batch sizes {first} to "
    return f"{where}{last}), scaled layer by layer; {stack.source}"


def _unlike(transfer: Transfer) -> Iterator[str]:
    """Say so where the device that was measured is hardly the one that its model is of."""
    ratio = max(transfer.ratios, key=lambda each: abs(log(each)))
    if abs(log(ratio)) > log(UNLIKE):
        times = f"{ratio:.3g} times" if ratio > 1 else f"1/{1 / ratio:.3g} of"
        yield (
            f"{transfer.measured_a.title} took {times} what the device model of "
            f"{transfer.device_a} says, and so will what it is scaled to. Is that what it was "
            "measured on? If not, say from_hardware=NAME."
        )


def _transfer_expectation(batches: list[BatchForecast], unknown: dict[str, list[int]]) -> str:
    """Say what intervals hold, and of every batch size without one why that is so."""
    said = [
        f"No interval at batch size {', '.join(map(str, sizes))}: {why}."
        for why, sizes in unknown.items()
    ]
    if any(each.low_ms is not None for each in batches):
        said.insert(
            0,
            "Intervals hold the noise of the measurement where it is known, the error of scaling "
            "it, and a part that grows with the distance from the nearest measured batch size.",
        )
    return " ".join(said)


# -- numbers -------------------------------------------------------------------------------------


def _modelled(prediction: Prediction) -> BatchForecast:
    known = prediction.calibration
    costs = (*prediction.costs, prediction.invocation)
    return _batch(
        prediction,
        tuple(one.seconds for one in costs),
        prediction.interval,
        None if known is None else known.coverage,
        prediction.evidence,
        energy_j=prediction.energy_j,
    )


def _batch(
    prediction: Prediction,
    seconds: tuple[float, ...],
    interval: tuple[float, float] | None,
    coverage: float | None,
    evidence: Evidence,
    *,
    energy_j: float | None,
    launch: float = 0.0,
) -> BatchForecast:
    """Sum up layers, of which ``launch`` is software's; the rest is as the device model has it."""
    total = sum(seconds)
    shares = dict.fromkeys(("accelerator", "movement", "framework"), 0.0)
    bounds = dict.fromkeys(("compute", "memory", "overhead"), 0.0)
    views = [*(layer.view for layer in prediction.network.layers), True]
    costs = (*prediction.costs, prediction.invocation)
    for cost, own, view in zip(costs, seconds, views, strict=True):
        extra = 0.0 if view else launch
        bounds[cost.bound if own >= 2 * extra else "overhead"] += own / total
        shares["framework"] += extra / total
        for name in shares:
            part = getattr(cost.parts, name) / cost.seconds if cost.seconds else 0.0
            shares[name] += part * (own - extra) / total
    low, high = (None, None) if interval is None else interval
    return BatchForecast(
        batch_size=prediction.network.batch,
        latency_ms=total * 1e3,
        low_ms=None if low is None else low * 1e3,
        high_ms=None if high is None else high * 1e3,
        coverage=coverage,
        evidence=evidence,
        bound=max(bounds, key=lambda name: bounds[name]),
        shares=shares,
        bound_shares=bounds,
        energy_j=energy_j,
    )


def _metrics(each: BatchForecast, energy: Evidence) -> Iterator[tuple[str, Metric]]:
    """Yield metrics under the names that profiles have; ``energy`` is the evidence of joules."""

    def metric(value: float, unit: str, low: float | None = None, high: float | None = None) -> Any:
        return Metric(value=value, low=low, high=high, unit=unit, evidence=each.evidence)

    at, rate = f"b{each.batch_size}", each.batch_size * 1e3
    low, high = each.low_ms, each.high_ms
    yield f"latency_mean_ms/{at}", metric(each.latency_ms, "ms", low, high)
    slow, fast = (None if end is None else rate / end for end in (high, low))
    yield f"throughput_rps/{at}", metric(rate / each.latency_ms, "1/s", slow, fast)
    if each.energy_j is not None:
        yield f"energy_j/{at}", Metric(value=each.energy_j, unit="J", evidence=energy)
    for name, share in each.shares.items():
        yield f"share_{name}/{at}", metric(share, "1")
    for name, share in each.bound_shares.items():
        yield f"share_{name}_bound/{at}", metric(share, "1")


def _rows(prediction: Prediction, seconds: tuple[float, ...]) -> Iterator[dict[str, Any]]:
    batch = prediction.network.batch
    for number, ((layer, cost), own) in enumerate(
        zip(prediction.layers(), seconds, strict=False)  # the invocation comes last
    ):
        yield _row(batch, number, cost, own) | {
            "name": layer.name, "op": layer.op, "dtype": layer.dtype, "macs": layer.macs,
            "ops": layer.ops, "bytes": layer.bytes,
        }  # fmt: skip
    if seconds[-1]:
        yield _row(batch, None, prediction.invocation, seconds[-1]) | {"name": "(invocation)"}


def _row(batch: int, number: int | None, cost: Any, seconds: float) -> dict[str, Any]:
    return {
        **dict.fromkeys(LAYER_COLUMNS), "batch_size": batch, "layer": number, "seconds": seconds,
        "accelerator_s": cost.parts.accelerator, "movement_s": cost.parts.movement,
        "framework_s": cost.parts.framework, "bound": cost.bound, "energy_j": cost.energy_j,
        "macs": 0, "ops": 0, "bytes": 0,
    }  # fmt: skip
