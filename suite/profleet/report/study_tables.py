"""The Lightning study on standard output, from its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from profleet.report.cells import NONE, number_text, safe_text, sentence, table_of
from profleet.report.tables import make_console
from profleet.simulate.results import load_simulation
from profleet.simulate.schema import SimulationResult
from profleet.simulate.study.networks import networks
from profleet.simulate.study.ratios import PUBLISHED, Row, StudySummary


def print_study(
    folders: Sequence[Path], study: StudySummary | None, console: Console | None = None
) -> None:
    """Print the study in these result folders, and why those without a result have none.

    Raises:
        StoreError: one is damaged.
    """
    console = console or make_console()
    results = [load_simulation(folder) for folder in folders]
    for result in results:
        if result.status != "finished":
            console.print(
                safe_text(sentence(result.reason or "Failed for no stated reason"), "red")
            )
    if study is None:
        return
    if len(study.rows) == 1:
        _print_one(console, next(each for each in results if each.status == "finished"))
        return
    console.print(_jobs(study.rows))
    console.print()
    ratios = _ratios(study)
    if ratios.row_count:
        console.print(ratios)
    if study.unsteady:
        console.print()
        console.print(
            safe_text(
                f"No steady state: {', '.join(study.unsteady)}. An offered load of 1 or more has "
                "no mean completion time of its own: it depends on when the study ends.",
                "yellow",
            )
        )


def _print_one(console: Console, result: SimulationResult) -> None:
    name = f"{result.fleet[0].group} · {result.workload['name']}"
    table = table_of(f"Lightning study: {name}", "model", "completion ns", "done", "alone ns")
    for graph in networks():
        mean = result.metrics.get(f"completion_mean_ns/{graph.name}")
        table.add_row(
            graph.name,
            NONE if mean is None else f"{mean.value:.3f}",
            f"{result.metrics[f'completed/{graph.name}'].value:.0f}",
            f"{result.metrics[f'completion_alone_ns/{graph.name}'].value:.3f}",
        )
    console.print(table)
    console.print()
    console.print(
        safe_text(
            f"Offered load {result.metrics['offered_load'].value:.3f}, utilization "
            f"{result.metrics['utilization'].value:.3f}, at most "
            f"{result.metrics['active_requests_max'].value:.0f} requests at once."
        )
    )
    for reason in result.reasons:
        console.print(safe_text(reason, "red"))
    for note in result.notes:
        console.print(safe_text(f"Note: {note}", "yellow"))


def _jobs(rows: Sequence[Row]) -> Table:
    names = [graph.name for graph in networks()]
    table = table_of("Lightning study: mean completion, ms")
    for column in ("device", "schedule"):
        table.add_column(column, overflow="fold")
    for column in ("load", "by law", "steady", "utilization", *names):
        table.add_column(column, justify="right", overflow="fold")
    for row in rows:
        means = [row.completion_mean_ns.get(name) for name in names]
        table.add_row(
            safe_text(row.device),
            safe_text(row.schedule),
            number_text(row.offered_load),
            NONE if row.offered_load_law is None else f"{row.offered_load_law:.3f}",
            Text("yes", "green") if row.steady_state else Text("no", "red"),
            number_text(row.utilization),
            *(NONE if mean is None else number_text(mean / 1e6) for mean in means),
        )
    return table


def _ratios(study: StudySummary) -> Table:
    names = [graph.name for graph in networks()]
    schedules = {row.schedule for row in study.rows}
    count = f"{len(schedules)} {'schedule' if len(schedules) == 1 else 'schedules'}"
    table = table_of(f"Times as long as on {study.reference}, mean over {count}")
    table.add_column("device", overflow="fold")
    for column in (*names, "mean", "schedules' means", "published"):
        table.add_column(column, justify="right", overflow="fold")
    for device in dict.fromkeys(row.device for row in study.rows):
        mean = study.metrics.get(f"completion_ratio_mean/{device}")
        if mean is None:
            continue
        cells = [study.metrics.get(f"completion_ratio/{device}/{name}") for name in names]
        low, high = (study.metrics[f"completion_ratio_{end}/{device}"].value
                     for end in ("min", "max"))  # fmt: skip
        table.add_row(
            safe_text(device),
            *(NONE if cell is None else f"{cell.value:.1f}" for cell in cells),
            f"{mean.value:.1f}",
            f"{low:.1f} to {high:.1f}",
            str(PUBLISHED.get(device, NONE)),
        )
    return table
