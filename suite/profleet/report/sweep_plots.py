"""Pictures of a sweep of simulations: how its jobs compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from profleet.profile.metrics import Metric
from profleet.report.frontier import KNEE
from profleet.report.simulated import Job, load_jobs, load_table
from profleet.report.simulation_plots import (
    Distribution,
    bounds_of,
    distribution,
    distribution_axes,
    draw_bounds,
    draw_distribution,
)
from profleet.report.style import (
    COLORS,
    color,
    legend,
    look,
    marker,
    panels,
    picture,
    plain_log,
    save,
    words,
)
from profleet.report.sweep import Axis, Curve, axis_of, best_of, curves, knee_of, p99_of, value_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = 20
"""Most jobs whose distributions are laid over each other."""

MOST_ROWS = 40
"""Most jobs that are compared one below the other."""

LINES = ("-", "--", ":")


def write_sweep_plots(root: Path, jobs: Sequence[Job] | None = None) -> list[Path]:
    """Draw every picture that a sweep has data for into ``plots``; return the files.

    ``latency``: distributions laid over each other; ``load_latency`` over the offered load where
    several loads were simulated, else ``variants``: latency of each; ``utilization``; ``cost`` and
    ``energy`` against latency p99, with the front of what nothing beats.

    Args:
        root: the folder of the sweep.
        jobs: what ``load_jobs(root)`` gives, if it is known.

    Raises:
        StoreError: a table is damaged.
        OSError: a file cannot be written.
    """
    jobs = load_jobs(root) if jobs is None else jobs
    shown = [job for job in jobs if job.result.metrics]
    folder = root / "plots"
    if not shown:
        return []
    paths = _latency(shown, folder)
    axis, found = axis_of(shown), curves(shown)
    if any(len(curve.jobs) > 1 for curve in found):
        paths += _load_latency(axis, found, folder)
        paths += _utilization_over_load(axis, found, folder)
    else:
        paths += _variants(shown, folder)
        paths += _utilizations(shown, folder)
    for name, metric, label in (
        ("cost", "cost_per_million", "Cost of a million requests"),
        ("energy", "energy_per_request_j", "Energy of a request, J"),
    ):
        paths += _pareto(shown, metric, label, folder, name)
    return paths


# -- the pictures ----------------------------------------------------------------------------------


def _latency(jobs: Sequence[Job], folder: Path) -> list[Path]:
    chosen, where = _comparable([job for job in jobs if job.state != "overloaded"])
    drawn: list[tuple[Job, Distribution]] = []
    for job in chosen[:MOST_LINES]:
        rows = load_table(job.folder, "latencies")
        if rows is not None and (rows["span"] == "latency").any():
            drawn.append((job, distribution(rows[rows["span"] == "latency"])))
    if not drawn:
        return []
    cut = f" (first {MOST_LINES} of {len(chosen)} jobs)" if len(chosen) > MOST_LINES else ""
    with panels(f"Latency{where}{cut}", 2, 5.6) as (figure, axes):
        looks = _looks([job for job, _ in drawn])
        for (job, times), line in zip(drawn, looks, strict=True):
            draw_distribution(axes, times, job.variant if where else job.label, line)
        distribution_axes(axes, [times for _, times in drawn])
        promised = [bounds_of(job) for job, _ in drawn]
        if all(each == promised[0] for each in promised):
            draw_bounds(axes, promised[0])
        legend(figure, axes[0])
        return save(figure, folder, "latency")


def _comparable(jobs: Sequence[Job]) -> tuple[Sequence[Job], str]:
    """Choose one load where there are too many for one picture, and say which.

    It is the highest load at which most variants have a steady state.
    """
    loads: dict[str, list[Job]] = {}
    for job in jobs:
        loads.setdefault(job.load, []).append(job)
    most = max((len(each) for each in loads.values()), default=0)
    if len(loads) <= len(LINES) or most < 2:
        return jobs, ""
    load = max(
        (load for load, members in loads.items() if len(members) == most),
        key=lambda load: max(job.result.offered_rps or 0.0 for job in loads[load]),
    )
    return loads[load], f" at {load}"


def _looks(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """One color a variant and one line style a load where that is enough, else one look a job."""
    variants = list(dict.fromkeys(job.variant for job in jobs))
    loads = list(dict.fromkeys(job.load for job in jobs))
    if 1 < len(loads) <= len(LINES) and len(variants) <= len(COLORS):
        return [
            {
                "color": color(variants.index(job.variant)),
                "linestyle": LINES[loads.index(job.load)],
            }
            for job in jobs
        ]
    return [look(number) for number in range(len(jobs))]


def _load_latency(axis: Axis, found: Sequence[Curve], folder: Path) -> list[Path]:
    p99s = [curve for curve in found if any(p99_of(job) for job in curve.jobs)]
    if not p99s:
        return []
    with panels("Latency over load", 2, 6.0) as (figure, axes):
        for part, name in zip(axes, ("latency_p99_ms", "latency_p50_ms"), strict=True):
            for number, curve in enumerate(found):
                _line(part, axis, curve, name, number)
            _scale_latency(part, [job for curve in found for job in curve.jobs], name)
        knees = False
        for number, curve in enumerate(found):
            job = knee_of(curve, axis)
            if job is not None:
                knees = True
                axes[0].plot(
                    [axis.of(job) or 0.0], [value_of(job, "latency_p99_ms")], "o", markersize=13,
                    markerfacecolor="none", markeredgewidth=1.6, color=color(number),
                )  # fmt: skip
        axes[0].set_ylabel("Latency p99, ms")
        axes[1].set_ylabel("Latency p50, ms")
        axes[1].set_xlabel(axis.label)
        notes = ["○ knee"] if knees else []
        over = any(job.state == "overloaded" for curve in found for job in curve.jobs)
        notes += ["x overloaded: no steady state"] if over else []
        if any(value_of(job, "latency_p99_ms", "low") for curve in found for job in curve.jobs):
            notes.append(f"bands: {_confidence(found[0].jobs)} intervals")
        legend(figure, axes[0], "\n".join(notes) or None)
        if knees:
            axes[1].annotate(
                f"Knee: {KNEE}.", (0, 0), (0, -40), xycoords="axes fraction",
                textcoords="offset points", fontsize=8, color="#555555", va="top",
            )  # fmt: skip
        return save(figure, folder, "load_latency")


def _line(part: Axes, axis: Axis, curve: Curve, name: str, number: int) -> None:
    """Draw a metric over the load where it is stated, and mark the loads without steady state."""
    stated = [(axis.of(job) or 0.0, metric) for job in curve.jobs if (metric := job.metric(name))]
    label = words(curve.name) or None
    if stated:
        x = [place for place, _ in stated]
        values = [metric.value for _, metric in stated]
        part.plot(x, values, marker=marker(number), label=label, **look(number))
        low = [_low(metric) for _, metric in stated]
        high = [_high(metric) for _, metric in stated]
        if len(x) > 1:
            part.fill_between(x, low, high, alpha=0.18, linewidth=0, color=color(number))
        else:
            part.vlines(x, low, high, alpha=0.4, linewidth=4, color=color(number))
    else:
        part.plot([], [], marker=marker(number), label=label, **look(number))
    over = [axis.of(job) or 0.0 for job in curve.jobs if job.state == "overloaded"]
    if over:
        part.plot(
            over, [1.0 - 0.035 * (number % 8)] * len(over), "x", color=color(number),
            transform=part.get_xaxis_transform(), clip_on=False, markersize=6.5,
            markeredgewidth=1.6,
        )  # fmt: skip


def _utilization_over_load(axis: Axis, found: Sequence[Curve], folder: Path) -> list[Path]:
    with picture("Utilization over load") as (figure, axes):
        for number, curve in enumerate(found):
            points = [(axis.of(job) or 0.0, job.metric("utilization")) for job in curve.jobs]
            stated = [(x, metric) for x, metric in points if metric is not None]
            x = [place for place, _ in stated]
            axes.plot(
                x, [metric.value for _, metric in stated], marker=marker(number),
                label=words(curve.name) or None, **look(number),
            )  # fmt: skip
            axes.fill_between(
                x, [_low(metric) for _, metric in stated], [_high(metric) for _, metric in stated],
                alpha=0.18, linewidth=0, color=color(number),
            )  # fmt: skip
        axes.set_ylim(0, 1.04)
        axes.set_ylabel("Share of time busy, all replicas")
        axes.set_xlabel(axis.label)
        legend(figure, axes)
        return save(figure, folder, "utilization")


def _variants(jobs: Sequence[Job], folder: Path) -> list[Path]:
    stated = [job for job in jobs if job.metric("latency_p50_ms") or job.state == "overloaded"]
    if not any(job.metric("latency_p50_ms") for job in stated):
        return []
    names = {"p50": "latency_p50_ms", "p90": "latency_p90_ms", "p99": "latency_p99_ms"}
    return _rows(
        stated, names, "Latency of each", "Latency, ms", folder, "variants", logarithmic=True
    )


def _utilizations(jobs: Sequence[Job], folder: Path) -> list[Path]:
    groups = sorted({name for job in jobs for name in job.result.metrics
                     if name.startswith("utilization/")})  # fmt: skip
    names = {"all replicas": "utilization"}
    if len(groups) <= 6:
        names |= {name.partition("/")[2]: name for name in groups}
    return _rows(
        jobs, names, "Utilization of each", "Share of time busy", folder, "utilization",
        logarithmic=False,
    )  # fmt: skip


def _rows(
    jobs: Sequence[Job],
    names: dict[str, str],
    title: str,
    label: str,
    folder: Path,
    file: str,
    *,
    logarithmic: bool,
) -> list[Path]:
    """Draw metrics of jobs one below the other, with intervals."""
    rows = list(jobs)[:MOST_ROWS]
    cut = f" (first {MOST_ROWS} of {len(jobs)} jobs)" if len(jobs) > MOST_ROWS else ""
    with panels(f"{title}{cut}", 1, 1.7 + 0.28 * len(rows)) as (figure, (axes,)):
        values: list[float] = []
        for number, (name, metric) in enumerate(names.items()):
            stated = [(y, found) for y, job in enumerate(rows) if (found := job.metric(metric))]
            if not stated:
                continue
            shift = 0.5 * ((number + 0.5) / len(names) - 0.5) if len(names) > 1 else 0.0
            places, metrics = [y + shift for y, _ in stated], [found for _, found in stated]
            values += [found.value for found in metrics]
            axes.hlines(
                places, [_low(found) for found in metrics], [_high(found) for found in metrics],
                color=color(number), alpha=0.4, linewidth=3,
            )  # fmt: skip
            axes.plot(
                [found.value for found in metrics], places, marker(number), label=words(name),
                color=color(number),
            )  # fmt: skip
        if not (logarithmic and plain_log(axes, "x", min(values), max(values))):
            axes.set_xlim(0, max(1.0, axes.get_xlim()[1]) if not logarithmic else None)
        for y, job in enumerate(rows):
            if job.state == "overloaded":
                axes.annotate(
                    " overloaded", (0, y), xycoords=("axes fraction", "data"), fontsize=8,
                    va="center", color="#B00020",
                )  # fmt: skip
        axes.set_yticks(range(len(rows)), [_short(words(job.label)) for job in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(label)
        legend(figure, axes, f"Bars: {_confidence(rows)}\nintervals")
        return save(figure, folder, file)


def _pareto(jobs: Sequence[Job], metric: str, label: str, folder: Path, name: str) -> list[Path]:
    able = [job for job in jobs if p99_of(job) and job.metric(metric)]
    if len(able) < 2:
        return []
    best = best_of(able, metric)
    variants = list(dict.fromkeys(job.variant for job in able))
    with picture(f"{label.partition(',')[0]} against latency p99") as (figure, axes):
        for number, variant in enumerate(variants):
            for on_front in (True, False):
                part = [job for job in able
                        if job.variant == variant and (job in best) == on_front]  # fmt: skip
                axes.errorbar(
                    [value_of(job, "latency_p99_ms") for job in part],
                    [value_of(job, metric) for job in part],
                    xerr=_spread(part, "latency_p99_ms"),
                    yerr=_spread(part, metric),
                    fmt=marker(number + number // len(COLORS)),
                    color=color(number),
                    markerfacecolor=color(number) if on_front else "white",
                    elinewidth=0.9,
                    markersize=6.5,
                    label=(words(variant) or None)
                    if on_front == _has_front(able, best, variant)
                    else None,
                )
        axes.step(
            [value_of(job, "latency_p99_ms") for job in best],
            [value_of(job, metric) for job in best],
            where="post", color="#777777", linewidth=1.1, zorder=1,
        )  # fmt: skip
        x = [value_of(job, "latency_p99_ms") for job in able]
        y = [value_of(job, metric) for job in able]
        if not plain_log(axes, "x", min(x), max(x)):
            axes.set_xlim(left=0)
        if not plain_log(axes, "y", min(y), max(y)):
            axes.set_ylim(bottom=0)
        axes.set_xlabel("Latency p99, ms")
        axes.set_ylabel(label)
        legend(figure, axes, "Filled: nothing is\nbetter in both")
        return save(figure, folder, name)


# -- parts -----------------------------------------------------------------------------------------


def _has_front(jobs: Sequence[Job], best: Sequence[Job], variant: str) -> bool:
    return any(job.variant == variant and job in best for job in jobs)


def _scale_latency(axes: Axes, jobs: Sequence[Job], name: str) -> None:
    values = [value_of(job, name) for job in jobs if job.metric(name)]
    if not values or not plain_log(axes, "y", min(values), max(values)):
        axes.set_ylim(bottom=0)


def _spread(jobs: Sequence[Job], name: str) -> Any:
    metrics = [metric for job in jobs if (metric := job.metric(name))]
    return np.array([
        [metric.value - _low(metric) for metric in metrics],
        [_high(metric) - metric.value for metric in metrics],
    ])  # fmt: skip


def _confidence(jobs: Sequence[Job]) -> str:
    levels = {job.result.confidence for job in jobs if job.result.confidence is not None}
    return f"{100 * levels.pop():g} %" if len(levels) == 1 else "confidence"


def _low(metric: Metric) -> float:
    return metric.value if metric.low is None else metric.low


def _high(metric: Metric) -> float:
    return metric.value if metric.high is None else metric.high


def _short(text: str) -> str:
    return text if len(text) <= 44 else f"{text[:43]}…"
