"""One self-contained HTML page for a simulation, and one for a sweep of them, from their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from profleet.profile.metrics import Metric
from profleet.report.frontier import KNEE
from profleet.report.html import command_of, percent, pictures, write_page
from profleet.report.simulated import (
    Job,
    flatten,
    grouped,
    load_job,
    load_jobs,
    rate_text,
    title_of,
    why,
)
from profleet.report.simulation_plots import write_simulation_plots
from profleet.report.sweep import Axis, axis_of, curves, knee_of, last_steady
from profleet.report.sweep_plots import write_sweep_plots
from profleet.simulate.schema import SimulationResult

PAGE = "report.html"


class Quantity(NamedTuple):
    """A metric as people read it."""

    metric: str
    name: str


KEY = (
    Quantity("latency_p50_ms", "Latency p50, ms"),
    Quantity("latency_p99_ms", "Latency p99, ms"),
    Quantity("latency_p99_9_ms", "Latency p99.9, ms"),
    Quantity("throughput_rps", "Throughput, requests/s"),
    Quantity("goodput_rps", "Goodput, requests/s"),
    Quantity("utilization", "Utilization"),
    Quantity("batch_size_mean", "Batch size, mean"),
    Quantity("drop_ratio", "Share dropped"),
    Quantity("availability", "Availability"),
    Quantity("energy_per_request_j", "Energy, J per request"),
    Quantity("cost_per_million", "Cost of a million"),
)
"""What a page shows first, where it is stated."""

COLUMNS = (
    Quantity("latency_p50_ms", "p50, ms"),
    Quantity("latency_p99_ms", "p99, ms"),
    Quantity("throughput_rps", "Throughput, 1/s"),
    Quantity("goodput_rps", "Goodput, 1/s"),
    Quantity("offered_load", "Load"),
    Quantity("utilization", "Utilization"),
    Quantity("drop_ratio", "Dropped"),
    Quantity("energy_per_request_j", "J per request"),
    Quantity("cost_per_million", "Cost per 1e6"),
)
"""What a sweep compares, where any job states it."""

ALONE = {
    "latency": "Latency and its parts: share of requests at or below a time, and the tail above. "
    "A tail ends where fewer than 10 requests are above it.",
    "latency_by_group": "Latency of each model and group of replicas.",
    "levels": "Requests waiting and replicas at work over simulated time. Gray: warm-up, which "
    "does not count.",
    "utilization": "Share of the time that replicas are busy.",
    "batches": "How many requests were served together.",
}
TOGETHER = {
    "load_latency": f"Latency over load. Knee: {KNEE}. Crosses at the top: loads without a steady "
    "state.",
    "variants": "Latency quantiles of each job.",
    "latency": "Latency of each job: share of requests at or below a time, and the tail above.",
    "utilization": "Share of the time that replicas are busy.",
    "cost": "Cost against latency p99. Filled, along the line: no job is better in both.",
    "energy": "Energy against latency p99. Filled, along the line: no job is better in both.",
}


def write_simulation_report(folder: Path) -> Path:
    """Write ``report.html`` of one simulation and return its path; draw what is not drawn yet.

    Raises:
        StoreError: a file of the simulation is missing or damaged.
        OSError: the page cannot be written.
    """
    job = load_job(folder)
    if not (folder / "plots").is_dir():
        write_simulation_plots(folder)
    result = job.result
    command, hidden = command_of(job)
    return write_page(
        folder / PAGE,
        "simulation.html",
        _data(job),
        title=title_of(result),
        state=job.state,
        result=result,
        reasons=why(result),
        facts=_facts(job),
        tiles=_tiles(result),
        groups=_groups(result),
        plots=list(pictures(folder, ALONE)),
        refused=grouped(result.refused),
        workload=_stated(flatten(result.workload)),
        configuration=flatten(result.configuration),
        command=command,
        hidden=hidden,
        interval=percent(result.confidence) if result.replications > 1 else "",
        **_made([job]),
    )


def write_sweep_report(root: Path) -> Path:
    """Draw and write the comparison of all simulations below ``root``: ``report.html``.

    Raises:
        StoreError: ``root`` cannot be read, or a table is damaged.
        OSError: a file cannot be written.
    """
    jobs = load_jobs(root)
    write_sweep_plots(root, jobs)
    done = [job for job in jobs if job.result.metrics]
    commands = [command_of(job) for job in jobs]
    levels = {job.result.confidence for job in done if job.result.replications > 1}
    axis = axis_of(done) if done else None
    settings = list(dict.fromkeys(name for job in jobs for name in job.settings))
    return write_page(
        root / PAGE,
        "sweep.html",
        [_data(job) for job in jobs],
        title=f"{root.name}: {len(jobs)} simulations",
        states=_states(jobs),
        facts=[f"differ in {', '.join(settings)}"] if settings else [],
        jobs=[_row(root, job) for job in done],
        settings=settings,
        columns=[each for each in COLUMNS if _tells(each.metric, done)],
        promises=any(job.result.slo for job in done),
        plots=list(pictures(root, TOGETHER)),
        knees=[] if axis is None else _knees(axis, done),
        axis="" if axis is None else axis.label,
        rule=KNEE,
        failed=[
            {"name": job.name, "label": job.label, "state": job.state, "reasons": why(job.result)}
            for job in jobs
            if job.result.status != "finished"
        ],
        fleet=_fleets(done),
        notes=list(dict.fromkeys(note for job in done for note in job.result.notes)),
        common=_common(done),
        commands=[command for command, _ in commands if command],
        hidden=any(hidden for _, hidden in commands),
        interval=percent(levels.pop()) if len(levels) == 1 else "",
        replications=sum(job.result.replications for job in done),
        behavior=", ".join(sorted({job.result.behavior for job in done})),
        **_made(jobs),
    )


# -- parts of both ---------------------------------------------------------------------------------


def _made(jobs: Sequence[Job]) -> dict[str, str]:
    """By which versions and on which day."""
    known = [job.invocation for job in jobs if job.invocation is not None]
    versions = sorted({each.profleet_version for each in known})
    dates = [each.finished_at[:10] for each in known]
    return {"version": ", ".join(versions), "date": max(dates, default="")}


def _data(job: Job) -> dict[str, Any]:
    result = job.result
    return {
        "name": job.name,
        "settings": dict(job.settings),
        "status": result.status,
        "verdict": result.verdict,
        "metrics": {name: metric.model_dump() for name, metric in result.metrics.items()},
    }


def _stated(values: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value != "null"}


# -- one simulation --------------------------------------------------------------------------------


def _facts(job: Job) -> list[str]:
    result = job.result
    facts = []
    if result.capacity_rps:
        facts.append(f"the fleet can serve {rate_text(result.capacity_rps)}")
    if result.replications:
        facts.append(f"{result.replications} replications" if result.replications > 1
                     else "1 replication")  # fmt: skip
    if result.seed is not None:
        facts.append(f"seed {result.seed}")
    if result.events:
        facts.append(f"{result.events} events")
    if job.invocation is not None:
        facts.append(f"{job.invocation.wall_s:.3g} s")
        facts.append(f"Profleet {job.invocation.profleet_version}")
    return facts


def _tiles(result: SimulationResult) -> list[dict[str, Any]]:
    tiles = []
    for metric, name in KEY:
        found = result.metrics.get(metric)
        refused = result.refused.get(metric)
        if metric == "goodput_rps" and not result.slo:
            continue  # without a promise, every answer is good
        if metric == "drop_ratio" and found is not None and not (found.value or result.slo):
            continue
        if found is not None or (refused is not None and result.metrics):
            why_not = "no steady state" if result.verdict == "overloaded" else refused
            tiles.append({"name": name, "metric": found, "why": why_not})
    return tiles


def _groups(result: SimulationResult) -> list[dict[str, Any]]:
    counts = {served.group: served.count for served in result.fleet}

    def of_group(metric: str, group: str) -> Metric | None:
        return result.metrics.get(f"{metric}/{group}" if len(counts) > 1 else metric)

    rows = []
    for group, count in counts.items():
        load = of_group("offered_load", group)
        rows.append(
            {
                "name": group,
                "count": count,
                "load": load,
                "width": 0 if load is None else round(100 * min(1.0, load.value), 1),
                "utilization": of_group("utilization", group),
                "power": of_group("power_mean_w", group),
                "cost": of_group("cost_per_hour", group),
            }
        )
    return rows if result.metrics else []


# -- a sweep ---------------------------------------------------------------------------------------


def _states(jobs: Sequence[Job]) -> dict[str, int]:
    order = ("stable", "backlogged", "overloaded", "interrupted", "failed")
    counts = Counter(job.state for job in jobs)
    return {state: counts[state] for state in order if counts[state]}


def _tells(metric: str, jobs: Sequence[Job]) -> bool:
    """Whether a column says anything."""
    if metric == "drop_ratio":
        return any(found.value for job in jobs if (found := job.metric(metric)))
    if metric == "goodput_rps" and not any(job.result.slo for job in jobs):
        return False  # without a promise, every answer is good
    return any(job.metric(metric) for job in jobs)


def _row(root: Path, job: Job) -> dict[str, Any]:
    page = job.folder / PAGE
    linked = page.is_file() and page.is_relative_to(root)
    kept = [promise.kept for promise in job.result.slo]
    verdicts = {
        True: {"word": "kept", "look": "kept", "rank": 0},
        None: {"word": "not known", "look": "", "rank": 1},
        False: {"word": "not kept", "look": "broken", "rank": 2},
    }
    told = False if False in kept else None if None in kept else True
    return {
        "name": job.name,
        "link": f"./{quote(page.relative_to(root).as_posix())}" if linked else None,
        "settings": job.settings,
        "state": job.state,
        "result": job.result,
        "kept": verdicts[told] if kept else {"word": "", "look": "", "rank": 3},
    }


def _knees(axis: Axis, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    rows = []
    for curve in curves(jobs):
        if len(curve.jobs) < 2:
            continue
        numbers: list[float | None] = []
        for job in (knee_of(curve, axis), last_steady(curve)):
            p99 = None if job is None else job.metric("latency_p99_ms")
            numbers += [None if job is None else axis.of(job), None if p99 is None else p99.value]
        rows.append({"name": curve.name or "all", "numbers": numbers})
    return rows


def _fleets(jobs: Sequence[Job]) -> list[Any]:
    """Every group and model of all jobs, once for each way in which it is served."""
    unique = {served.model_dump_json(): served for job in jobs for served in job.result.fleet}
    return list(unique.values())


def _common(jobs: Sequence[Job]) -> dict[str, str]:
    flat = [flatten(job.result.configuration) for job in jobs if job.result.configuration]
    if not flat:
        return {}
    return {
        name: value
        for name, value in flat[0].items()
        if all(each.get(name) == value for each in flat)
    }
