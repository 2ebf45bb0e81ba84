"""Tables of simulations on standard output, from their files.

They look as those of profiles do (``report.tables``): color and folding on a terminal, plain and
never cut elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from profleet.profile.metrics import Metric
from profleet.report.cells import NONE, number_text, safe_text, sentence, status_text, table_of
from profleet.report.simulated import Job, grouped, load_job, load_jobs, title_of, why
from profleet.report.tables import make_console
from profleet.simulate.schema import Promise, SimulationResult

SPANS = ("latency", "wait", "forming", "wire", "service")
QUANTILES = ("mean", "p50", "p90", "p95", "p99", "p99_9")

SINGLE = (
    ("throughput_rps", "throughput, 1/s"),
    ("goodput_rps", "goodput, 1/s"),
    ("drop_ratio", "dropped, share"),
    ("batch_size_mean", "batch size, mean"),
    ("availability", "availability"),
    ("power_mean_w", "power, W"),
    ("energy_per_request_j", "energy per request, J"),
    ("cost_per_hour", "cost per hour"),
    ("cost_per_million", "cost per million requests"),
)
GROUP = (
    ("offered_load", "offered load"),
    ("utilization", "utilization"),
    ("power_mean_w", "power W"),
    ("cost_per_hour", "cost/h"),
)
SWEEP = (
    ("latency_p50_ms", "p50 ms"),
    ("latency_p99_ms", "p99 ms"),
    ("throughput_rps", "req/s"),
    ("goodput_rps", "good/s"),
    ("offered_load", "load"),
    ("utilization", "utilization"),
    ("energy_per_request_j", "J/req"),
    ("cost_per_million", "cost/1e6"),
)
"""Metric -> head of its column; columns that no job states are left out."""


def print_simulation(folder: Path, console: Console | None = None) -> None:
    """Print one simulation: verdict, times, rates, groups, promises, what is not stated and why.

    Raises:
        StoreError: ``result.json`` is missing or damaged.
    """
    console = console or make_console()
    job = load_job(folder)
    console.print(safe_text(f"{title_of(job.result)} · ", "bold") + status_text(job.state))
    for reason in why(job.result):
        console.print(safe_text(reason))
    for table in simulation_tables(job.result):
        console.print()
        console.print(table)
    notes = [safe_text(f"Note: {note}", "yellow") for note in job.result.notes]
    if notes:
        console.print()
    for note in notes:
        console.print(note)


def print_simulations(folders: Path | Iterable[Path], console: Console | None = None) -> None:
    """Print one row a simulation, then why those without a result have none.

    Args:
        folders: those of the simulations, or one above all of them.
        console: where to.

    Raises:
        StoreError: the folder cannot be read.
    """
    console = console or make_console()
    jobs = load_jobs(folders)
    console.print(sweep_table(jobs))
    without = [job for job in jobs if job.result.status != "finished"]
    if without:
        console.print()
    for job in without:
        reasons = " ".join(map(sentence, why(job.result))) or "It left no reason."
        console.print(safe_text(f"{job.name} ({job.label}): {job.state}: {reasons}", "red"))


def simulation_tables(result: SimulationResult) -> list[Table]:
    """Return the tables of one simulation, in reading order; empty ones are left out."""
    if not result.metrics:
        return []
    tables = [_times(result), _rates(result), _groups(result)]
    if result.slo:
        tables.append(_promises(result))
    if result.refused:
        tables.append(_refused(result))
    return [table for table in tables if table.row_count]


def sweep_table(jobs: Sequence[Job]) -> Table:
    """Return one row a job: the settings in which jobs differ, verdict, promises and metrics."""
    settings = list(dict.fromkeys(name for job in jobs for name in job.settings))
    promised = any(job.result.slo for job in jobs)
    columns = [
        (metric, head)
        for metric, head in SWEEP
        if any(job.metric(metric) for job in jobs) and (promised or metric != "goodput_rps")
    ]
    table = table_of("Simulations", "job")
    for name in settings:
        table.add_column(safe_text(name), overflow="fold")
    table.add_column("verdict", overflow="fold")
    for _, head in columns:
        table.add_column(head, justify="right", overflow="fold")
    if promised:
        table.add_column("promises", overflow="fold")
    for job in jobs:
        table.add_row(
            safe_text(job.name),
            *(safe_text(job.settings.get(name, NONE)) for name in settings),
            status_text(job.state),
            *(_number(job.metric(metric)) for metric, _ in columns),
            *([_kept(job.result.slo)] if promised else []),
        )
    levels = {job.result.confidence for job in jobs if job.result.replications > 1}
    if levels:
        table.caption = "Intervals are in result.json and report.html of each job."
    return table


# -- the tables of one simulation ------------------------------------------------------------------


def _times(result: SimulationResult) -> Table:
    table = _table(f"Times of a request, ms{_interval(result)}")
    heads = [name for name in QUANTILES
             if any(f"{span}_{name}_ms" in result.metrics for span in SPANS)]  # fmt: skip
    for name in heads:
        table.add_column(name.replace("_", "."), justify="right", overflow="fold")
    for span in SPANS:
        metrics = [result.metrics.get(f"{span}_{name}_ms") for name in heads]
        if any(metrics):
            cells = [
                _with_interval(metric) if name in {"p50", "p99"} else _number(metric)
                for name, metric in zip(heads, metrics, strict=True)
            ]
            table.add_row(span, *cells)
    return table


def _rates(result: SimulationResult) -> Table:
    table = _table("Rates and resources")
    table.add_column(f"value{_interval(result)}", justify="right", overflow="fold")
    table.add_column("evidence", overflow="fold")
    for name, label in SINGLE:
        metric = result.metrics.get(name)
        if metric is not None and (result.slo or name != "goodput_rps"):
            table.add_row(label, _with_interval(metric), metric.evidence)
    return table


def _groups(result: SimulationResult) -> Table:
    groups = {served.group: served.count for served in result.fleet}
    table = _table("Groups of replicas", "replicas")
    for _, head in GROUP:
        table.add_column(head, justify="right", overflow="fold")
    for name, count in groups.items():
        suffix = f"/{name}" if len(groups) > 1 else ""
        metrics = [result.metrics.get(f"{metric}{suffix}") for metric, _ in GROUP]
        table.add_row(safe_text(name), str(count), *map(_with_interval, metrics))
    return table


def _promises(result: SimulationResult) -> Table:
    table = _table("Promises", "at most")
    table.add_column("simulated", justify="right", overflow="fold")
    table.add_column("kept", overflow="fold")
    for promise in result.slo:
        metric = result.metrics.get(promise.name)
        bound = number_text(promise.bound)
        table.add_row(promise.name, bound, _with_interval(metric), _kept([promise]))
    return table


def _refused(result: SimulationResult) -> Table:
    table = _table("Not stated")
    table.add_column("metrics", overflow="fold")
    for reason, names in grouped(result.refused).items():
        told = "no steady state" if reason in result.reasons else reason
        table.add_row(safe_text(told), safe_text(", ".join(names)))
    return table


# -- cells -----------------------------------------------------------------------------------------


def _table(title: str, *columns: str) -> Table:
    """Return an empty table whose first column names the rows."""
    table = table_of(title, "", *columns)
    table.columns[0].justify = "left"
    return table


def _interval(result: SimulationResult) -> str:
    several = result.replications > 1 and result.confidence is not None
    return f" [{100 * (result.confidence or 0):g} % CI]" if several else ""


def _number(metric: Metric | None) -> str:
    return NONE if metric is None else number_text(metric.value)


def _with_interval(metric: Metric | None) -> str:
    if metric is None or metric.low is None or metric.high is None:
        return _number(metric)
    return f"{_number(metric)} [{number_text(metric.low)}, {number_text(metric.high)}]"


def _kept(promises: Sequence[Promise]) -> Text:
    kept = [promise.kept for promise in promises]
    if not kept:
        return Text(NONE)
    if False in kept:
        return Text("not kept", "red")
    return Text("not known", "yellow") if None in kept else Text("kept", "green")
