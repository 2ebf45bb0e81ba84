"""From a hardware manifest to the device model that it describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from profleet.errors import HardwareError
from profleet.hardware.devices.base import Calibration, Device, Evidence
from profleet.hardware.devices.cim import Cim
from profleet.hardware.devices.core_array import CoreArray
from profleet.hardware.devices.nvdla_like import NvdlaLike
from profleet.hardware.devices.roofline import Roofline
from profleet.hardware.devices.soc import SoC
from profleet.hardware.devices.systolic import Systolic
from profleet.manifest.fields import Strict
from profleet.manifest.hardware_documents import (
    SECTIONS,
    Figure,
    Hardware,
    SocSection,
    figures,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS: Mapping[str, type[Device]] = {
    "roofline": Roofline, "systolic": Systolic, "nvdla_like": NvdlaLike,
    "core_array": CoreArray, "cim": Cim,
}  # fmt: skip
SUFFIXES = ("", "_s", "_hz", "_bytes", "_w")
"""What a parameter of a device has behind the name of its key, by unit."""


def device_of(hardware: Hardware, dtype: str | None = None, *, beyond: bool = False) -> Device:
    """Return the device model of a manifest, all numbers in base units.

    Args:
        hardware: of any kind but ``measured``.
        dtype: what will be computed; it decides which peaks count for the evidence. None: all.
        beyond: what will be computed is something else than it was calibrated with.

    Raises:
        HardwareError: it is measured, so a profile answers for it; or its numbers are impossible.
    """
    if hardware.kind == "measured":
        raise HardwareError(
            f"Hardware '{hardware.name}' is measured, not modelled: measure on it with `profleet "
            "run`. `profleet hardware list` shows the modelled ones."
        )
    made = MODELS[hardware.kind]
    taken: dict[str, Any] = dict(_shared(hardware, beyond))
    names = {field.name for field in fields(made)}
    if "peaks" in names:
        taken["peaks"] = {name: peak.base for name, peak in hardware.peaks.items()}
    if "bandwidth" in names:
        taken["bandwidth"] = hardware.memory["bandwidth"].base
    taken |= _overheads(hardware, names)
    if hardware.kind in SECTIONS:
        section = getattr(hardware, hardware.kind)
        taken |= dict(parameters(section, made))
        if (soc := getattr(section, "soc", None)) is not None:
            taken["soc"] = SoC(**dict(parameters(soc, SoC)))
    return made(**taken, evidence=evidence_of(hardware, dtype, beyond=beyond))


def evidence_of(hardware: Hardware, dtype: str | None = None, *, beyond: bool = False) -> Evidence:
    """Return the evidence of what a device model with these numbers predicts.

    ``calibrated`` where it was fitted to such things, ``assumed`` where a number that it uses is.
    That is of times; `energy_evidence_of` is of energy.
    """
    if hardware.calibration is not None and not beyond:
        return "calibrated"
    soc = hardware.nvdla_like.soc if hardware.nvdla_like is not None else None
    if soc is not None and soc.memcpy_bandwidth is None:
        return "assumed"  # the device model's own assumption of what software costs
    for path, figure in figures(hardware):
        used = path.startswith(("memory.bandwidth", "overheads", *SECTIONS)) or (
            hardware.kind == "roofline"
            and path.startswith("peaks.")
            and dtype in {None, path.removeprefix("peaks.")}
        )
        if used and figure.evidence == "assumed":
            return "assumed"
    return "modelled"


def energy_evidence_of(hardware: Hardware, times: Evidence) -> Evidence:
    """Return the evidence of predicted energy: no device model was compared with a joule.

    ``times`` is the evidence of the time that it is computed from.
    """
    used = ("power.idle", "power.peak", "energy.", "cim.joule_per_read", "cim.leakage")
    assumed = any(
        figure.evidence == "assumed" and path.startswith(used) for path, figure in figures(hardware)
    )
    return "assumed" if assumed or times == "assumed" else "modelled"


def parameters(section: Strict, made: type[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the parameters of ``made`` that a section states, in base units.

    Raises:
        LookupError: ``made`` has no parameter for a key: a mistake in this program.
    """
    whole = {field.name: str(field.type).startswith("int") for field in fields(made)}
    for key in type(section).model_fields:
        value = getattr(section, key)
        if value is None or isinstance(value, SocSection):
            continue
        name = next((key + suffix for suffix in SUFFIXES if key + suffix in whole), None)
        if name is None:
            raise LookupError(f"{made.__name__} has no parameter for '{key}'")
        plain = _plain(value)
        yield name, round(plain) if whole[name] and plain == round(plain) else plain


def _plain(value: Any) -> Any:
    if isinstance(value, Figure):
        return value.base
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _shared(hardware: Hardware, beyond: bool) -> Iterator[tuple[str, Any]]:
    """Yield what every device model has."""
    yield "name", hardware.name
    yield "source", hardware.provenance.source
    given = (
        ("memory_bytes", hardware.memory.get("capacity")),
        ("idle_w", hardware.power.get("idle")),
        ("peak_w", hardware.power.get("peak")),
        ("joule_per_mac", hardware.energy.get("mac")),
        ("joule_per_byte", hardware.energy.get("byte")),
    )
    yield from ((name, figure.base) for name, figure in given if figure is not None)
    fitted = hardware.calibration
    if fitted is None:
        return
    for name in ("compute_efficiency", "memory_efficiency"):
        figure = getattr(fitted, name)
        if figure is not None:
            yield name, figure.base
    if fitted.error is not None and fitted.error.held_out and not beyond:
        error = fitted.error.model_dump(exclude={"held_out"})
        yield "calibration", Calibration(**error, source=" ".join(fitted.fitted_on.split()))


def _overheads(hardware: Hardware, names: set[str]) -> dict[str, float]:
    """Return what software takes, under the names the device model has for it."""
    wanted = {"layer": ("op_s", "layer_s"), "invocation": ("invoke_s",)}
    found = {}
    for key, figure in hardware.overheads.items():
        assert isinstance(figure, Figure)
        name = next((each for each in wanted[key] if each in names), None)
        if name is None:
            raise HardwareError(
                f"Hardware '{hardware.name}': overheads.{key} is not for kind {hardware.kind}."
            )
        found[name] = figure.base
    return found
