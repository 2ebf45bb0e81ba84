"""A plan for people: one row a kind of hardware, and the promised latency over fleet sizes."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from profleet.profile.metrics import Metric
from profleet.report.cells import NONE, number_text, safe_text, sentence, table_of
from profleet.report.style import color, legend, marker, picture, plain_log, save
from profleet.report.tables import make_console
from profleet.simulate.plan import Answer, PlanResult

OBJECTIVE = {"count": "replicas", "cost": "cost per hour", "energy": "energy per request"}


def print_plan(result: PlanResult, console: Console | None = None) -> None:
    """Print the smallest fleet of every kind of hardware; the best is marked."""
    console = console or make_console()
    names = list(dict.fromkeys(name for each in result.answers for name in each.metrics))
    promised = [name for name in names if name.startswith("latency_")]
    others = ("utilization", "cost_per_hour", "power_mean_w", "energy_per_request_j")
    columns = [*promised, *(name for name in others if name in names)]
    heads = [_heading(name) for name in columns]
    table = table_of("Smallest fleets", "", "replicas", *heads, "evidence")
    table.columns[0].justify = table.columns[-1].justify = "left"
    for answer in result.answers:
        table.add_row(*_row(answer, columns))
    console.print(table)
    if len(result.answers) > 1 and result.best:
        console.print(f"Least {OBJECTIVE[result.objective]}: {result.best}.")
    for answer in result.answers:
        if answer.reason:
            console.print(safe_text(answer.reason))
    for text in result.notes:
        console.print(safe_text(f"Note: {sentence(text)}"))


def write_plan_plot(result: PlanResult, folder: Path) -> list[Path]:
    """Draw the tightest promised quantile over the sizes that were simulated; return the files.

    Raises:
        OSError: a file cannot be written.
    """
    bounds = {
        name.removesuffix("_ms"): bound
        for name, bound in result.configuration["slo"].items()
        if name.endswith("_ms") and bound is not None
    }
    quantile, bound = list(bounds.items())[-1]
    name = f"latency_{quantile}_ms"
    lines = {answer.hardware: _points(answer, name) for answer in result.answers}
    lines = {hardware: points for hardware, points in lines.items() if points}
    if not lines:
        return []
    sizes = [size for points in lines.values() for size, _ in points]
    values = [metric.value for points in lines.values() for _, metric in points]
    with picture(f"{quantile.replace('_', '.')} latency by size of the fleet") as (figure, axes):
        for number, (hardware, points) in enumerate(lines.items()):
            x, y = [size for size, _ in points], [metric.value for _, metric in points]
            low = [max(0.0, each.value - (each.low or each.value)) for _, each in points]
            high = [(each.high or each.value) - each.value for _, each in points]
            axes.errorbar(
                x, y, yerr=[low, high], label=hardware, color=color(number),
                marker=marker(number), capsize=3,
            )  # fmt: skip
        axes.axhline(bound, color="#555555", linestyle="--", linewidth=1.2, label="promised")
        plain_log(axes, "x", min(sizes), max(sizes))
        if not plain_log(axes, "y", min([*values, bound]), max([*values, bound])):
            axes.set_ylim(bottom=0)
        axes.set_xlabel("Replicas")
        axes.set_ylabel("Latency (ms)")
        legend(figure, axes)
        return save(figure, folder / "plots", "replicas")


def _points(answer: Answer, name: str) -> list[tuple[int, Metric]]:
    return [
        (probe.replicas, probe.metrics[name])
        for probe in answer.probes
        if name in probe.metrics and probe.verdict == "stable"
    ]


def _heading(name: str) -> str:
    for suffix, unit in (("_ms", "ms"), ("_w", "W"), ("_j", "J")):
        if name.endswith(suffix):
            return f"{name.removesuffix(suffix).replace('_', ' ')}, {unit}"
    return name.replace("_", " ")


def _row(answer: Answer, columns: list[str]) -> list[str]:
    if answer.replicas is None:
        return [answer.hardware, "none found", *(NONE for _ in columns), NONE]
    cells = [_cell(answer.metrics.get(name)) for name in columns]
    return [answer.hardware, str(answer.replicas), *cells, answer.metrics["replicas"].evidence]


def _cell(metric: Metric | None) -> str:
    if metric is None:
        return NONE
    if metric.low is None or metric.high is None:
        return number_text(metric.value)
    return f"{number_text(metric.value)} [{number_text(metric.low)}, {number_text(metric.high)}]"
