"""Cells of tables: numbers, intervals and statuses as text, and the table that holds them."""

from __future__ import annotations

from collections.abc import Callable

from rich import box
from rich.table import Table
from rich.text import Text

from profleet.profile.schema import Estimate, Latency, Percentile, Reading, Value
from profleet.profile.statistics import PERCENTILES

NONE = "-"
STYLES = {
    "stable": "green", "backlogged": "yellow", "overloaded": "red",
    "steady": "green", "finished": "green", "passed": "green", "valid": "green",
    "unstable": "yellow", "unsupported": "yellow", "interrupted": "yellow",
    "finished, unstable": "yellow",
    "failed": "red", "invalid": "red",
}  # fmt: skip


def table_of(title: str, *columns: str) -> Table:
    """Return an empty table; columns of words go to the left, of numbers to the right."""
    table = Table(
        title=safe_text(title),
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        min_width=min(len(title), 60),  # a title is folded where its table ends
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    words = {"job", "model", "framework", "status", "output", "result"}
    for column in columns:
        table.add_column(column, justify="left" if column in words else "right", overflow="fold")
    return table


def sentence(text: str) -> str:
    """End with a full stop, once."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def number_text(value: float) -> str:
    """Write a number with four significant digits, all digits before the point included."""
    size = abs(value)
    if size >= 1000:
        return f"{value:.0f}"
    if size >= 1e-4:
        return f"{value:#.4g}".rstrip(".")
    return f"{value:.3e}" if size else "0"


def interval_text(percentile: Percentile) -> str:
    """Write ``value [low, high]``, or how many samples it needs."""
    if not isinstance(percentile, Estimate):
        return f"needs {percentile.need}"
    low, high = (
        NONE if bound is None else number_text(bound) for bound in (percentile.low, percentile.high)
    )
    return f"{number_text(percentile.value)} [{low}, {high}]"


def percentile_cells(latency: Latency) -> list[str]:
    """Write every percentile, p50 with its interval, the others without."""
    entries = [latency.percentiles[name] for name in PERCENTILES]
    return [interval_text(entries[0]), *(percentile_text(entry) for entry in entries[1:])]


def percentile_text(percentile: Percentile) -> str:
    """Write the value, or how many samples it needs."""
    if isinstance(percentile, Estimate):
        return number_text(percentile.value)
    return f"needs {percentile.need}"


def reading_text(reading: Reading, write: Callable[[float], str]) -> str:
    """Write a number that was read; ``NONE`` where there is none."""
    value = reading.value if isinstance(reading, Value) else None
    return write(value) if isinstance(value, int | float) else NONE


def bytes_text(count: float) -> str:
    """Write a size with three digits and its binary unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.3g} {unit}"


def condition_text(condition: str) -> str:
    """Turn ``b4`` into ``4`` and ``single_stream`` into ``single stream``."""
    if condition[:1] == "b" and condition[1:].isdecimal():
        return condition[1:]
    return condition.replace("_", " ") or NONE


def count_text(number: int, one: str, many: str) -> str:
    """Write ``1 process``, ``2 processes``."""
    return f"{number} {one if number == 1 else many}"


def status_text(status: str) -> Text:
    """Color a status."""
    return Text(status, style=STYLES.get(status, ""))


def safe_text(content: str, style: str = "") -> Text:
    """Make foreign text harmless: nothing in a record may drive the terminal."""
    safe = "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in content
    )
    return Text(safe, style=style)
