"""Tables of devices on standard output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from profleet.hardware.sheet import Entry, Sheet, compare, measures
from profleet.report.cells import NONE, number_text, safe_text, table_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from profleet.manifest.hardware_documents import Hardware

MARKS = {"recalled": "?", "derived": "~", "measured": "!"}
LEGEND = (
    "? recalled, nobody checked it   ~ derived   ! measured   + other sources disagree   "
    "no mark: data sheet"
)


def scaled(value: float, unit: str) -> str:
    """Write a number with its unit, in thousands as they are spoken: ``989 Top/s``, ``80 GB``."""
    if unit in {"W", "op/B"} or "/h" in unit or unit not in {"op/s", "B", "B/s", "op/J"}:
        return f"{number_text(value)} {unit}"
    for prefix, factor in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{number_text(value / factor)} {prefix}{unit}"
    return f"{number_text(value)} {unit}"


def entry_text(entry: Entry | None) -> str:
    """Write a number with the mark of where it is from."""
    if entry is None:
        return NONE
    mark = MARKS.get(entry.provenance or "", "")
    return f"{scaled(entry.value, entry.unit)}{mark}{'+' if entry.others else ''}"


def list_table(sheets: Iterable[Sheet]) -> Table:
    """Return one row a device: its highest peak, memory, power, price, and how far to trust it."""
    table = table_of(
        "", "device", "kind", "peak", "dtype", "bandwidth", "memory", "power", "price",
        "evidence", "error",
    )  # fmt: skip
    table.title = None
    for column in (0, 1, 3, 8):
        table.columns[column].justify = "left"
    for sheet in sheets:
        dtype, peak = max(sheet.peaks.items(), key=lambda item: item[1].value, default=(NONE, None))
        error = NONE if sheet.error is None else f"{100 * sheet.error['median']:.2g} %"
        table.add_row(
            safe_text(sheet.name),
            sheet.kind,
            entry_text(peak),
            dtype,
            entry_text(sheet.bandwidth),
            entry_text(sheet.capacity),
            entry_text(sheet.peak_power),
            entry_text(sheet.price),
            sheet.evidence,
            error,
        )
    table.caption = (
        f"{LEGEND}\nerror: median of the calibration; `hardware show` says what it is of"
    )
    return table


def compare_table(sheets: Sequence[Sheet]) -> Table:
    """Return one row a measure, one column a device; ratios are to the first device that has it."""
    table = table_of("", "measure", *(sheet.name for sheet in sheets))
    table.title = None
    table.columns[0].justify = "left"
    table.add_row("kind", *(sheet.kind for sheet in sheets))
    table.add_row("evidence", *(sheet.evidence for sheet in sheets))
    behind = [{label: entry for label, _, _, entry in measures(sheet)} for sheet in sheets]
    for (label, unit), values in compare(sheets).items():
        first = next(value for value in values if value is not None)
        cells = []
        for value, entries in zip(values, behind, strict=True):
            if value is None:
                cells.append(NONE)
                continue
            entry = entries[label]
            text = entry_text(entry) if entry is not None else scaled(value, unit)
            ratio = f" ({number_text(value / first)}x)" if first else ""
            cells.append(f"{text}{ratio}")
        table.add_row(label, *cells)
    table.caption = (
        f"{LEGEND}\n(x): ratio to the first device that states it   "
        "ridge: below so many operations a byte a layer waits for memory"
    )
    return table


def figures_table(hardware: Hardware) -> Table:
    """Return one row a number of a manifest: value, evidence, where it is from, alternatives."""
    from profleet.manifest.hardware_documents import figures

    table = table_of("", "number", "value", "evidence", "provenance", "source")
    table.title = None
    for column in (0, 2, 3, 4):
        table.columns[column].justify = "left"
    for path, figure in figures(hardware):
        rows = [(path, figure), *(("  or", other) for other in figure.alternatives)]
        for name, stated in rows:
            value = f"{stated.value:g}" + ("" if stated.unit == "1" else f" {stated.unit}")
            table.add_row(
                name,
                safe_text(value),
                stated.evidence,
                stated.provenance or NONE,
                safe_text(stated.source),
            )
    return table


def print_device(hardware: Hardware, sheet: Sheet, console: Console) -> None:
    """Print one device: what it is, every number with its source, ridge points, calibration."""
    console.print(
        safe_text(f"{sheet.name}@{sheet.version} · {sheet.kind} · {sheet.evidence}", "bold")
    )
    console.print(safe_text(sheet.description))
    table = figures_table(hardware)
    if table.row_count:
        console.print()
        console.print(table)
    lines = list(_remarks(hardware, sheet))
    if lines:
        console.print()
    for line in lines:
        console.print(safe_text(line))


def _remarks(hardware: Hardware, sheet: Sheet) -> Iterator[str]:
    """Yield what is to be said of a device beside its numbers, a line each."""
    if sheet.ridge:
        points = ", ".join(f"{name} {number_text(value)}" for name, value in sheet.ridge.items())
        yield f"Ridge points (operations a byte): {points}."
    for link in hardware.links:
        yield f"Link to {link.to}: {link.name}."
    fitted = hardware.calibration
    if fitted is not None:
        yield f"Calibrated on: {' '.join(fitted.fitted_on.split())}"
        if (error := fitted.error) is not None:
            seen = "the fit had not seen" if error.held_out else "it was fitted to"
            yield (
                f"Error on {error.points} points that {seen}: median {100 * error.median:.2g} %, "
                f"p90 {100 * error.p90:.2g} %; {100 * error.coverage:.0f} % of them between "
                f"{error.low:g} and {error.high:g} times the prediction. That is of "
                f"{fitted.scope}; of anything else no error is known."
            )
        if fitted.beyond is not None:
            yield " ".join(fitted.beyond.split())
    if hardware.aliases:
        yield f"Also called: {'; '.join(hardware.aliases)}."
    if hardware.provenance.notes:
        yield f"Note: {' '.join(hardware.provenance.notes.split())}"
