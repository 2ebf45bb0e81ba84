"""A prediction for people: one row a batch size, the longest layers, and what it is worth."""

from __future__ import annotations

from rich.console import Console

from profleet.hardware.forecast import Answer, BatchForecast
from profleet.report.cells import NONE, number_text, safe_text, sentence, table_of
from profleet.report.tables import make_console


def print_forecast(answer: Answer, layers: int, console: Console | None = None) -> None:
    """Print the numbers of every batch size, and the longest ``layers`` of the last one."""
    console = console or make_console()
    made = answer.forecast
    title = f"{made.model} on {made.hardware}" + (f" in {made.dtype}" if made.dtype else "")
    table = table_of(
        title, "batch", "latency, ms", "items/s", "bound by", "compute / memory / overhead",
        "accelerator / movement / framework", "energy, J", "evidence",
    )  # fmt: skip
    for each in made.batches:
        table.add_row(*_row(each))
    console.print(table)
    if layers and made.batches:
        _print_layers(answer, layers, console)
    for text in (made.expectation, f"Source: {made.source}", *made.notes):
        console.print(safe_text(sentence(text)))


def _print_layers(answer: Answer, count: int, console: Console) -> None:
    batch = answer.forecast.batches[-1].batch_size
    rows = [row for row in answer.layers if row["batch_size"] == batch]
    total = sum(row["seconds"] for row in rows)
    longest = sorted(rows, key=lambda row: -row["seconds"])[:count]
    shown = sum(row["seconds"] for row in longest)
    table = table_of(
        f"Longest layers at batch size {batch} ({shown / total:.0%} of {total * 1e3:.4g} ms)",
        "layer", "operator", "ms", "share", "bound by", "MMACs", "MB",
    )  # fmt: skip
    for column in (0, 1):
        table.columns[column].justify = "left"
    for row in longest:
        table.add_row(
            safe_text(str(row["name"])), safe_text(str(row["op"] or NONE)),
            number_text(row["seconds"] * 1e3), f"{row['seconds'] / total:.1%}", row["bound"],
            number_text(row["macs"] / 1e6), number_text(row["bytes"] / 1e6),
        )  # fmt: skip
    console.print(table)


def _row(each: BatchForecast) -> list[str]:
    latency = number_text(each.latency_ms)
    if each.low_ms is not None and each.high_ms is not None:
        latency += f" [{number_text(each.low_ms)}, {number_text(each.high_ms)}]"
    return [
        str(each.batch_size), latency, number_text(each.batch_size * 1e3 / each.latency_ms),
        each.bound, _shares(each.bound_shares), _shares(each.shares),
        NONE if each.energy_j is None else number_text(each.energy_j), each.evidence,
    ]  # fmt: skip


def _shares(shares: dict[str, float]) -> str:
    return " / ".join(f"{share:.0%}" for share in shares.values())
