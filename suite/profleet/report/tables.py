"""Tables of results on standard output.

On a terminal they have color and fold into its width; elsewhere they are plain, aligned and never
cut, whatever the width.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from profleet.profile.metrics import offline_rps
from profleet.profile.schema import (
    ColdStartSummary,
    Estimate,
    IdleSummary,
    Latency,
    Point,
    PointSummary,
    Profile,
    Reading,
    ScenarioResult,
    Value,
    name_of,
)
from profleet.profile.statistics import CONFIDENCE, PERCENTILES
from profleet.profile.store import Result
from profleet.report.cells import (
    NONE,
    STYLES,
    bytes_text,
    condition_text,
    count_text,
    interval_text,
    number_text,
    percentile_cells,
    percentile_text,
    reading_text,
    safe_text,
    sentence,
    status_text,
    table_of,
)

WIDE = 100_000
USUAL_WIDTH = 80  # of a terminal
SHORT_NAME = 16
INTERVAL = f"[{100 * CONFIDENCE:g} % CI]"


@dataclass(frozen=True)
class JobRow:
    """One job among others: ``name`` is its folder, ``profile`` what it measured if it finished."""

    name: str
    result: Result
    profile: Profile | None = None

    @property
    def status(self) -> str:
        """Whether the job finished, and whether another run may give other numbers."""
        unstable = self.profile is not None and self.profile.status == "unstable"
        return "finished, unstable" if unstable else self.result.status


def make_console() -> Console:
    """Return a console on standard output: the terminal's width there, unlimited elsewhere."""
    if sys.stdout.isatty():
        return Console(markup=False, emoji=False, highlight=False)
    return Console(
        file=sys.stdout,
        width=WIDE,
        force_terminal=False,
        color_system=None,
        markup=False,
        emoji=False,
        highlight=False,
    )


def print_profile(profile: Profile, console: Console | None = None) -> None:
    """Print one profile: batches or scenario, cold start, idle gaps, copies, check, warnings."""
    console = console or make_console()
    stack = profile.stack
    parts = [stack.model, stack.framework, stack.hardware]
    parts += [profile.executor] if profile.container else []
    title = safe_text(" · ".join([*parts, ""]), "bold")
    console.print(title + status_text(profile.status))
    for table in profile_tables(profile):
        console.print()
        console.print(table)
    if profile.warnings:
        console.print()
    for warning in profile.warnings:
        console.print(safe_text(f"Warning: {warning}", "yellow"))


def print_jobs(jobs: Sequence[JobRow], console: Console | None = None) -> None:
    """Print one row a job, then why those that did not finish have no profile."""
    console = console or make_console()
    table = jobs_table(jobs)
    natural = console.measure(table, options=console.options.update(max_width=WIDE)).maximum
    if USUAL_WIDTH <= console.width < natural:
        _fold_at_spaces(table)
    console.print(table)
    failed = [job.result for job in jobs if job.result.status != "finished"]
    if failed:
        console.print()
    for result in failed:
        console.print(reason_text(result))


def _fold_at_spaces(table: Table) -> None:
    """Fold headers and statuses rather than short names, which have no spaces."""
    for column in table.columns:
        longest = max((len(str(cell)) for cell in column.cells), default=0)
        if column.header in {"model", "framework", "executor"}:
            column.no_wrap = longest <= SHORT_NAME
        elif column.header in {"first batch", "best batch"}:
            column.max_width = max(longest, len("first"), len("batch"))


def reason_text(result: Result) -> Text:
    """Say in one line why a job has no profile, and what to do about it."""
    told = [result.reason or "it left no reason", result.hint]
    why = " ".join(sentence(part) for part in told if part)
    stack = f"{name_of(result.stack.model)} · {name_of(result.stack.framework)}"
    return safe_text(f"{stack}: {result.status}: {why}", STYLES.get(result.status, ""))


def print_comparison(profiles: Sequence[Profile], console: Console | None = None) -> None:
    """Print several profiles batch by batch, each beside the first."""
    (console or make_console()).print(comparison_table(profiles))


def profile_tables(profile: Profile) -> list[Table]:
    """Return the tables of one profile, in reading order; empty ones are left out."""
    measurement = profile.measurement
    tables = []
    if profile.points:
        tables.append(_points(profile))
    if measurement.scenario is not None:
        tables.append(_scenario(measurement.scenario, profile.scenario))
    tables.append(_cold_start(profile.cold_start))
    if profile.idle:
        tables.append(_idle(profile.idle))
    if measurement.points:
        tables.append(_copies(measurement.points))
    tables.append(_check(profile))
    return tables


def jobs_table(jobs: Iterable[JobRow]) -> Table:
    """Return one row a job: its folder, latency of its first batch, its best throughput."""
    jobs = list(jobs)
    contained = any(job.result.executor not in {"process", None} for job in jobs)
    executor = ("executor",) if contained else ()
    table = table_of("Jobs", "job", "model", "framework", *executor, "status")
    for name in ("first batch", "p50 ms", "p99 ms", "best batch", "items/s"):
        table.add_column(name, justify="right", overflow="fold")
    for job in jobs:
        result = job.result
        first = _first_condition(result)
        best = max(
            (name for name in result.metrics if name.startswith("throughput_rps/")),
            key=lambda name: result.metrics[name].value,
            default="peak_rps",
        )
        table.add_row(
            safe_text(job.name),
            safe_text(name_of(result.stack.model)),
            safe_text(name_of(result.stack.framework)),
            *[safe_text(result.executor or NONE) for _ in executor],
            status_text(job.status),
            condition_text(first),
            _metric(result, f"latency_p50_ms/{first}"),
            _metric(result, f"latency_p99_ms/{first}"),
            condition_text(best.partition("/")[2]),
            _metric(result, best),
        )
    return table


def comparison_table(profiles: Sequence[Profile]) -> Table:
    """Return every batch of every profile, with its p50 as a ratio of the first profile's."""
    executor = ("executor",) if any(each.container for each in profiles) else ()
    table = table_of("Comparison", "batch", "model", "framework", *executor)
    for name in (f"p50 ms {INTERVAL}", "p50 ratio", "p99 ms", "items/s"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("status", overflow="fold")
    batches = sorted({point.batch_size for profile in profiles for point in profile.points})
    for batch in batches:
        base: float | None = None
        for number, profile in enumerate(profiles):
            found = [point for point in profile.points if point.batch_size == batch]
            for point in found[:1]:
                p50 = point.latency_ms.percentiles["p50"]
                value = p50.value if isinstance(p50, Estimate) else None
                base = value if number == 0 else base
                table.add_row(
                    str(batch),
                    safe_text(name_of(profile.stack.model)),
                    safe_text(name_of(profile.stack.framework)),
                    *[safe_text(profile.executor) for _ in executor],
                    interval_text(p50),
                    f"{value / base:.2f}" if value is not None and base else NONE,
                    percentile_text(point.latency_ms.percentiles["p99"]),
                    number_text(point.throughput_rps.value),
                    status_text(_point_status(profile, batch)),
                )
        table.add_section()
    return table


# -- the tables of one profile -------------------------------------------------------------------


def _points(profile: Profile) -> Table:
    table = table_of("Latency by batch size, ms", "batch", f"p50 {INTERVAL}")
    for name in ("p90", "p95", "p99", "n", "items/s", "peak RSS"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("status", overflow="fold")
    summaries = {summary.batch_size: summary for summary in profile.points}
    for point in profile.measurement.points:
        table.add_row(*_point_row(point, summaries.get(point.batch_size)))
    return table


def _point_row(point: Point, summary: PointSummary | None) -> list[Text | str]:
    cells = [NONE] * (len(PERCENTILES) + 2)
    if summary is not None:
        latency = summary.latency_ms
        rate = number_text(summary.throughput_rps.value)
        cells = [*percentile_cells(latency), str(latency.count), rate]
    shared = "*" if point.peak_rss_shared and isinstance(point.peak_rss_bytes, Value) else ""
    return [
        str(point.batch_size),
        *cells,
        reading_text(point.peak_rss_bytes, bytes_text) + shared,
        status_text(point.status),
    ]


def _scenario(result: ScenarioResult, latency: Latency | None) -> Table:
    name, offline = result.kind.replace("_", " "), result.kind == "offline"
    what = "wait since the test began" if offline else "latency of requests"
    rate = offline_rps(result) if offline else result.peak_rps
    table = table_of(f"MLPerf LoadGen, {name}: {what}, ms", "batch")
    for column in (*PERCENTILES, "n", "items/s" if offline else "peak req/s"):
        table.add_column(column, justify="right", overflow="fold")
    table.add_column("LoadGen says", overflow="fold")
    table.add_row(
        str(result.batch_size),
        *(percentile_text(latency.percentiles[p]) if latency else NONE for p in PERCENTILES),
        str(latency.count) if latency else NONE,
        number_text(rate) if rate is not None else NONE,
        status_text("valid" if result.valid else "invalid"),
    )
    if offline:
        table.caption = safe_text(
            "All items are issued at once: their wait grows with the length of the test, and only "
            "items/s compares."
        )
    return table


def _cold_start(summary: ColdStartSummary) -> Table:
    title = f"Cold start, median of {count_text(summary.processes, 'process', 'processes')}, s"
    first = f"first run (batch {summary.first_run_batch})"
    table = table_of(title, "start", "import", "load", "init", first)
    parts = (summary.start_s, summary.import_s, summary.load_s, summary.init_s, summary.first_run_s)
    table.add_row(*(number_text(part) for part in parts))
    if summary.first_run_processes < summary.processes:
        count = count_text(summary.first_run_processes, "process", "processes")
        table.caption = safe_text(f"First run: {count}, the others began with another batch size.")
    return table


def _idle(entries: Sequence[IdleSummary]) -> Table:
    table = table_of(
        "After a rest between requests", "batch", "gap ms", f"p50 ms {INTERVAL}", "ratio", "n"
    )
    for entry in entries:
        table.add_row(
            str(entry.batch_size),
            f"{entry.gap_ms:g}" if entry.gap_ms else "back-to-back",
            interval_text(entry.p50_ms),
            NONE if entry.ratio is None else f"{entry.ratio:.2f}",
            str(entry.count),
        )
    return table


def _copies(points: Sequence[Point]) -> Table:
    table = table_of(
        "Data and resources of one batch",
        "batch", "input", "output", "to device ms", "to host ms", "device memory", "energy J",
    )  # fmt: skip
    for point in points:
        device = point.peak_device_bytes
        shared = "*" if point.peak_rss_shared and isinstance(device, Value) else ""
        table.add_row(
            str(point.batch_size),
            bytes_text(point.input_bytes),
            bytes_text(point.output_bytes),
            reading_text(point.host_to_device_ms, number_text),
            reading_text(point.device_to_host_ms, number_text),
            reading_text(device, bytes_text) + shared,
            reading_text(point.energy_j, number_text),
        )
    reasons: dict[str, list[str]] = {}
    for name, attribute in (
        ("copies", "host_to_device_ms"),
        ("device memory", "peak_device_bytes"),
        ("energy", "energy_j"),
        ("peak RSS", "peak_rss_bytes"),
    ):
        reading: Reading = getattr(points[0], attribute)
        if not isinstance(reading, Value):
            reasons.setdefault(reading.unavailable, []).append(name)
    notes = [f"{NONE} {', '.join(names)}: {why}" for why, names in reasons.items()]
    if any(point.peak_rss_shared for point in points):
        notes.append("* peak memory of a process that had executed other batch sizes before")
    table.caption = safe_text("\n".join(notes)) if notes else None
    return table


def _check(profile: Profile) -> Table:
    check = profile.measurement.check
    table = table_of(
        f"Numeric check (seed {check.seed}, batch {check.batch})",
        "output", "max error", "allowed", "bit-identical", "result",
    )  # fmt: skip
    for name, output in check.outputs.items():
        table.add_row(
            safe_text(name),
            f"{output.max_error:.2g}",
            f"{output.allowed_error:.2g}",
            "yes" if output.bit_identical else "no",
            status_text("passed" if output.passed else "failed"),
        )
    return table


def _metric(result: Result, name: str) -> str:
    return number_text(result.metrics[name].value) if name in result.metrics else NONE


def _first_condition(result: Result) -> str:
    names = [name for name in result.metrics if name.startswith("latency_mean_ms/")]
    return names[0].partition("/")[2] if names else ""


def _point_status(profile: Profile, batch: int) -> str:
    return next((p.status for p in profile.measurement.points if p.batch_size == batch), "")
