"""A model on a device that is known by its manifest only: what `predict` and the simulator ask."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from profleet.errors import HardwareError, did_you_mean
from profleet.hardware.catalog import device_of
from profleet.hardware.devices.base import Device
from profleet.hardware.devices.core_array import CoreArray
from profleet.hardware.layers import DTYPE_BYTES, Network
from profleet.hardware.predict import Prediction, predict
from profleet.hardware.signatures import network_of
from profleet.manifest.documents import Model
from profleet.manifest.hardware_documents import Hardware
from profleet.manifest.library import Library, Resolved

TRAINED = "float32"
"""The precision that models are in unless their graph says otherwise."""

WIDEST_FIRST = (TRAINED, "bfloat16", "float16", "float8", "float4", "int8", "int4", "float64")
"""The precision to compute in where none is asked for: the first that the device has."""

OVERHEADS = ("op_s", "invoke_s")
"""Parameters of what software takes; device models without them have it elsewhere."""


@dataclass(frozen=True, eq=False)
class ModelledStack:
    """A model and a device to predict it with.

    ``dtype`` is the precision that floating-point layers are computed in, None where the device
    does not depend on it. ``notes`` are what a user should know about the choice.
    """

    model: Resolved[Model]
    hardware: Resolved[Hardware]
    device: Device
    dtype: str | None
    notes: tuple[str, ...] = ()
    cache: Path | None = None

    def predict(self, batch: int) -> Prediction:
        """Return what an invocation with ``batch`` items costs.

        Raises:
            ProfleetError: the model does not take this batch size, does not fit, or the device
                cannot compute one of its layers.
        """
        model = self.model.document
        key = (model.name, model.artifact.sha256, batch, self.cache)
        return predict(_network(_Asked(key, self.model)), self.device, self.dtype)

    @property
    def title(self) -> str:
        """The stack for people."""
        how = "" if self.dtype is None else f" in {self.dtype}"
        return f"{self.model.document.name}{how} on {self.hardware.document.name}"

    @property
    def source(self) -> str:
        """What predicts, by exact reference, with the digest of the manifest."""
        return (
            f"{self.device.kind} of {self.hardware.reference} ({self.hardware.sha256[:12]}), "
            f"{self.model.reference}" + ("" if self.dtype is None else f" in {self.dtype}")
        )

    @property
    def expectation(self) -> str:
        """What error is to be expected, in a few sentences."""
        fitted = self.hardware.document.calibration
        if fitted is None or not self.beyond:
            return expectation(self.device)
        name, beyond = self.hardware.document.name, " ".join((fitted.beyond or "").split())
        said = f"No expected error can be stated: the calibration of {name} is of {fitted.scope}."
        return f"{said} {beyond}".rstrip()

    @property
    def beyond(self) -> bool:
        """Whether this is something else than the device was calibrated with."""
        return _beyond(self.model.document, self.hardware.document, self.dtype)


def modelled_stack(
    model: str,
    hardware: str,
    dtype: str | None = None,
    *,
    manifests: Iterable[str | Path] = (),
    cache: Path | None = None,
) -> ModelledStack:
    """Return a model on a device of the catalogue.

    Args:
        model, hardware: references.
        dtype: precision to compute in; None: float32, or else the widest that the device has.
        manifests: further folders with manifests.
        cache: the cache folder; None: the default.

    Raises:
        ManifestError: a reference names nothing, or its manifest is not valid.
        HardwareError: the hardware is measured, impossible, or has no peak for ``dtype``.
    """
    library = Library.standard(manifests)
    device = library.resolve("hardware", hardware)
    return stack_of(library.resolve("model", model), device, dtype, cache)


def stack_of(
    model: Resolved[Model],
    hardware: Resolved[Hardware],
    dtype: str | None = None,
    cache: Path | None = None,
) -> ModelledStack:
    """Return a model on a device; as `modelled_stack`, of manifests that are already resolved."""
    chosen = precision_of(hardware.document, dtype)
    if hardware.document.kind == "core_array":
        chosen = None  # a core multiplies whatever comes, in one tick
    notes = []
    if dtype is None and chosen not in {None, TRAINED}:
        notes.append(
            f"{hardware.document.name} states no peak for {TRAINED}: computed in {chosen}, the "
            f"widest it has; whether {model.document.name} keeps its accuracy in it is another "
            "question."
        )
    beyond = _beyond(model.document, hardware.document, chosen)
    device = _device(_Asked((hardware.sha256, chosen, beyond), hardware))
    if isinstance(device, CoreArray) and not device.knows(model.document.name):
        notes.append(
            f"{device.name} states a latency of the datapath for {', '.join(device.datapath_s)}, "
            f"and none for {model.document.name}: it counts as "
            f"{device.default_datapath_s * 1e6:.4g} us."
        )
    return ModelledStack(model, hardware, device, chosen, tuple(notes), cache)


@dataclass(frozen=True)
class _Asked:
    """What is remembered in this process: layers of models, and devices with their costs."""

    key: tuple[object, ...]
    manifest: Resolved[Any] = field(compare=False)


@lru_cache(maxsize=64)
def _network(asked: _Asked) -> Network:
    _, _, batch, cache = asked.key
    model = asked.manifest
    return network_of(model.document, batch, model.path.parent, cache)  # type: ignore[arg-type]  # as the key was made


def _beyond(model: Model, hardware: Hardware, dtype: str | None) -> bool:
    fitted = hardware.calibration
    return fitted is not None and not fitted.covers(model.name, dtype)


@lru_cache(maxsize=256)
def _device(asked: _Asked) -> Device:
    _, dtype, beyond = asked.key
    return device_of(asked.manifest.document, dtype, beyond=beyond)  # type: ignore[arg-type]  # as the key was made


def precision_of(hardware: Hardware, dtype: str | None) -> str | None:
    """Return the precision to compute in; None: the device computes whatever comes.

    Raises:
        HardwareError: ``dtype`` is unknown, or the device has no peak for it.
    """
    known: Iterable[str] = hardware.peaks
    if not hardware.peaks and hardware.cim is not None:
        known = [f"int{round(hardware.cim.input_bits.base)}"]
    if dtype is None:
        return next((name for name in WIDEST_FIRST if name in known), None)
    known = known or DTYPE_BYTES
    if dtype not in known:
        raise HardwareError(
            f"Hardware '{hardware.name}' has no peak for dtype={dtype}. "
            f"{did_you_mean(dtype, known, 'It has')}"
        )
    return dtype


def expectation(device: Device) -> str:
    """Say in a sentence or two how far a device's predictions were from measurements."""
    known = device.calibration
    if known is None and device.evidence == "calibrated":
        return (
            f"No expected error can be stated: {device.name} was compared only with what it was "
            "fitted to."
        )
    if known is None:
        silent = not any(getattr(device, name, 1) for name in OVERHEADS)
        return (
            f"No expected error can be stated: predictions of {device.name} were never compared "
            "with measurements."
        ) + (
            " It states no overhead of driver and framework: real latencies are longer, at small "
            "batches by far."
            if silent
            else ""
        )
    points = "1 measured point" if known.points == 1 else f"{known.points} measured points"
    where = known.source.rstrip(".")
    return (
        f"Expected error: {known.median:.1%} (median), {known.p90:.1%} (p90); "
        f"{known.coverage:.0%} of measurements lie between {known.low:.3g} and {known.high:.3g} "
        f"times the prediction. From {points} that the fit had not seen: {where}."
    )
