"""A hardware manifest in base units, to be listed and compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from profleet.errors import HardwareError
from profleet.hardware.catalog import evidence_of
from profleet.manifest.hardware_documents import Figure, Hardware, Stated

ANY = "any"
"""The dtype of a peak that does not depend on it."""


@dataclass(frozen=True)
class Entry:
    """A number in base units and why it is believed; ``others``: what other sources say."""

    value: float
    unit: str
    evidence: str
    provenance: str | None
    source: str
    others: tuple[float, ...] = ()


@dataclass(frozen=True)
class Sheet:
    """What one device is: peaks in operations/s, sizes in bytes, bandwidths in bytes/s, power in W.

    ``ridge`` is the roofline's ridge point by dtype, in operations a byte: below it a layer waits
    for memory. ``price`` is in the manifest's own unit, as prices have no common one.
    """

    name: str
    version: str
    kind: str
    description: str
    evidence: str
    peaks: dict[str, Entry]
    capacity: Entry | None
    bandwidth: Entry | None
    idle: Entry | None
    peak_power: Entry | None
    price: Entry | None
    ridge: dict[str, float]
    error: dict[str, Any] | None

    def plain(self) -> dict[str, Any]:
        """Return the sheet as JSON-ready data."""
        return asdict(self)


def sheet_of(hardware: Hardware) -> Sheet:
    """Return the sheet of a device; numbers that its manifest does not state are None or absent."""
    peaks: dict[str, Entry] = {
        name: _entry(figure, "op/s") for name, figure in hardware.peaks.items()
    }
    if hardware.core_array is not None and not peaks:
        peaks[ANY] = _core_peak(hardware)
    bandwidth = _given(hardware.memory.get("bandwidth"), "B/s")
    ridge = (
        {name: peak.value / bandwidth.value for name, peak in peaks.items()} if bandwidth else {}
    )
    fitted = hardware.calibration
    price = hardware.price
    return Sheet(
        name=hardware.name,
        version=hardware.version,
        kind=hardware.kind,
        description=" ".join(hardware.description.split()),
        evidence="measured" if hardware.kind == "measured" else evidence_of(hardware),
        peaks=peaks,
        capacity=_given(hardware.memory.get("capacity"), "B"),
        bandwidth=bandwidth,
        idle=_given(hardware.power.get("idle"), "W"),
        peak_power=_given(hardware.power.get("peak"), "W"),
        price=None
        if price is None
        else Entry(float(price.value), price.unit, price.evidence, price.provenance, price.source),
        ridge=ridge,
        error=fitted.error.model_dump() if fitted is not None and fitted.error else None,
    )


def measures(sheet: Sheet) -> Iterator[tuple[str, str, float, Entry | None]]:
    """Yield what devices are compared by: name, unit, value, and the number behind it if it is one.

    What the manifest does not state is left out.
    """
    for name, peak in sheet.peaks.items():
        yield f"peak {name}", "op/s", peak.value, peak
    for label, entry in (
        ("bandwidth", sheet.bandwidth), ("memory", sheet.capacity),
        ("power idle", sheet.idle), ("power peak", sheet.peak_power), ("price", sheet.price),
    ):  # fmt: skip
        if entry is not None:
            yield label, entry.unit, entry.value, entry
    for name, ridge in sheet.ridge.items():
        yield f"ridge {name}", "op/B", ridge, None
    if sheet.peak_power is not None:
        for name, peak in sheet.peaks.items():
            yield f"efficiency {name}", "op/J", peak.value / sheet.peak_power.value, None


def compare(sheets: Sequence[Sheet]) -> dict[tuple[str, str], list[float | None]]:
    """Return (measure, unit) -> the value of every device, in the order of the devices.

    Raises:
        HardwareError: there is nothing to compare.
    """
    if len(sheets) < 2:
        raise HardwareError("Name at least two devices to compare.")
    names = [sheet.name for sheet in sheets]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise HardwareError(f"'{twice[0]}' is named twice; name different devices to compare.")
    rows: dict[tuple[str, str], list[float | None]] = {}
    for index, sheet in enumerate(sheets):
        for label, unit, value, _ in measures(sheet):
            rows.setdefault((label, unit), [None] * len(sheets))[index] = value
    order = ("peak", "bandwidth", "memory", "power", "price", "ridge", "efficiency")
    return dict(sorted(rows.items(), key=lambda row: order.index(row[0][0].split()[0])))


def _entry(figure: Figure, unit: str) -> Entry:
    return Entry(
        figure.base,
        unit,
        figure.evidence,
        figure.provenance,
        figure.source,
        tuple(_base(other) for other in figure.alternatives),
    )


def _base(stated: Stated) -> float:
    return Figure(**stated.model_dump()).base


def _given(figure: object, unit: str) -> Entry | None:
    return _entry(figure, unit) if isinstance(figure, Figure) else None


def _core_peak(hardware: Hardware) -> Entry:
    """Return the peak of an array of cores: one multiply-accumulate a tick each."""
    assert hardware.core_array is not None
    cores, clock = hardware.core_array.cores, hardware.core_array.clock
    return Entry(
        2 * cores.base * clock.base, "op/s", "modelled", "derived",
        f"2 x cores x clock, {clock.source}",
    )  # fmt: skip
