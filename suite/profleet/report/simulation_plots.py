"""Pictures of one simulation, as SVG and PNG. Matplotlib is imported only when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from profleet.report.simulated import Job, load_job, load_table
from profleet.report.style import (
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

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

TAIL = 10
"""A distribution is drawn up to where this many requests are above."""

FEW_REPLICAS = 48
"""Most replicas that are drawn one by one."""

FEW_SIZES = 24
"""Most batch sizes that are drawn as bars."""

GRID = 300
"""Points of a level over time."""

QUANTILE_TICKS = {
    0.5: "p50",
    0.1: "p90",
    0.01: "p99",
    1e-3: "p99.9",
    1e-4: "p99.99",
    1e-5: "p99.999",
}


class Distribution(NamedTuple):
    """What a histogram says: ``share`` of the times are at or below ``ms``."""

    ms: Floats
    share: Floats
    requests: int


def write_simulation_plots(folder: Path) -> list[Path]:
    """Draw every picture that a simulation has data for into ``plots``; return the files.

    ``latency``: distributions of the times of a request; ``latency_by_group`` where several models
    or groups served; ``levels``: waiting requests and busy replicas over time; ``utilization`` of
    the replicas; ``batches``: sizes of batches, where there are several.

    Raises:
        StoreError: a result or table is missing or damaged.
        OSError: a file cannot be written.
    """
    job = load_job(folder)
    paths: list[Path] = []
    for table, draw in (
        ("latencies", _latency),
        ("levels", _levels),
        ("replicas", _utilization),
        ("batches", _batches),
    ):
        rows = load_table(folder, table)
        if rows is not None and len(rows):
            paths += draw(job, rows, folder / "plots")
    return paths


def distribution(rows: pd.DataFrame) -> Distribution:
    """Sum histograms up: rows of the table ``latencies`` of one span, of any cells."""
    counts = rows.groupby(["to_ms", "from_ms"], sort=True)["count"].sum()
    edges = counts.index.to_frame()
    below = counts.to_numpy().cumsum()
    middle = np.where(edges["from_ms"] > 0, (edges["from_ms"] + edges["to_ms"]) / 2, 0.0)
    return Distribution(middle, below / below[-1], int(below[-1]))


def draw_distribution(
    axes: Sequence[Axes], times: Distribution, name: str, line: dict[str, Any]
) -> None:
    """Draw a distribution: share at or below in the first axes, the tail above in the second."""
    body, tail = axes
    ms = np.concatenate((times.ms[:1], times.ms))
    share = np.concatenate(([0.0], times.share))
    body.step(ms, share, where="post", label=words(name), **line)
    above = 1 - share
    shown = above * times.requests >= TAIL
    shown[0] = True
    tail.step(ms[shown], above[shown], where="post", **line)


def distribution_axes(axes: Sequence[Axes], drawn: Sequence[Distribution]) -> None:
    """Label the axes of ``draw_distribution``; quantiles are the ticks of the tail."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    body, tail = axes
    body.set_ylim(0, 1.02)
    body.set_ylabel("Share at or below")
    tail.set_yscale("log")
    least = max(1e-6, min(TAIL / max(TAIL, times.requests) for times in drawn))
    tail.set_ylim(least / 1.5, 1.2)
    ticks = {share: name for share, name in QUANTILE_TICKS.items() if share >= least / 1.5}
    tail.yaxis.set_major_locator(FixedLocator(list(ticks)))
    tail.yaxis.set_major_formatter(FixedFormatter(list(ticks.values())))
    tail.yaxis.set_minor_locator(NullLocator())
    tail.set_ylabel("Tail, by quantile")
    tail.set_xlabel("Time, ms")
    low, high = span_of(drawn)
    if plain_log(tail, "x", low, high):
        tail.set_xlim(low, high * 1.1)
    else:
        tail.set_xlim(0, max(high * 1.1, 1e-6))


def span_of(drawn: Sequence[Distribution]) -> tuple[float, float]:
    """Return the times between which distributions are drawn, in milliseconds.

    The longest time is in it; of short ones the lowest tenth is not: a wait of a microsecond would
    stretch a logarithmic axis by decades.
    """
    tenths = [float(times.ms[np.searchsorted(times.share, 0.1)]) for times in drawn]
    high = max(float(times.ms[-1]) for times in drawn)
    low = min((tenth / 2 for tenth in tenths if tenth > 0), default=high / 100)
    return max(low, high / 1e5), high


def draw_bounds(axes: Sequence[Axes], bounds: dict[str, float]) -> None:
    """Mark promised latencies that are not far off what is drawn."""
    right = axes[-1].get_xlim()[1]
    shown = {name: bound for name, bound in bounds.items() if bound < 3 * right}
    if not shown:
        return
    axes[-1].set_xlim(right=max(right, max(shown.values()) * 1.15))
    for number, (name, bound) in enumerate(shown.items()):
        dots = (0, (1, 1 + number))
        for each in axes:
            each.axvline(
                bound, color="#555555", linewidth=1.2, linestyle=dots, label=f"{name} promised"
            )


def bounds_of(job: Job) -> dict[str, float]:
    """Return the latencies that were promised, in milliseconds: ``p99`` -> bound."""
    names = {each.name: each.bound for each in job.result.slo if each.unit == "ms"}
    return {
        name.removeprefix("latency_").removesuffix("_ms").replace("_", "."): bound
        for name, bound in names.items()
    }


# -- the pictures ----------------------------------------------------------------------------------


def _latency(job: Job, rows: pd.DataFrame, folder: Path) -> list[Path]:
    spans = [span for span in ("latency", "wait", "forming", "wire", "service")
             if (rows.loc[rows["span"] == span, "to_ms"] > 1e-6).any()]  # fmt: skip
    curves = {span: distribution(rows[rows["span"] == span]) for span in spans}
    paths = _curves(job, curves, "Times of a request", folder, "latency")
    latency = rows[rows["span"] == "latency"]
    cells = list(latency.groupby(["group", "model"], sort=True))
    if len(cells) > 1:
        models = latency["model"].nunique() > 1
        groups = latency["group"].nunique() > 1
        parts = {
            " · ".join([str(group)] * groups + [str(model)] * models): distribution(cell)
            for (group, model), cell in cells[:20]
        }
        what = " and ".join(["group"] * groups + ["model"] * models)
        paths += _curves(job, parts, f"Latency by {what}", folder, "latency_by_group")
    return paths


def _curves(
    job: Job, curves: dict[str, Distribution], title: str, folder: Path, name: str
) -> list[Path]:
    if not curves:
        return []
    low, _ = span_of(list(curves.values()))
    curves = {label: times for label, times in curves.items() if times.ms[-1] > low}
    with panels(title + _caveat(job), 2, 5.6) as (figure, axes):
        for number, (label, times) in enumerate(curves.items()):
            below = {"linewidth": 3.4, "alpha": 0.75} if label == "latency" else {}
            draw_distribution(axes, times, label, {**look(number), **below})
        distribution_axes(axes, list(curves.values()))
        draw_bounds(axes, bounds_of(job))
        count = next(iter(curves.values())).requests
        legend(figure, axes[0], f"{count} requests" if name == "latency" else None)
        return save(figure, folder, name)


def _levels(job: Job, rows: pd.DataFrame, folder: Path) -> list[Path]:
    groups = list(dict.fromkeys(rows["group"]))
    end = rows.groupby("replication")["time_s"].max().min()
    grid = np.linspace(0, float(end), GRID)
    warmup = job.result.configuration.get("warmup")
    with panels(f"Waiting requests and busy replicas over time{_caveat(job)}", 2, 5.0) as (
        figure,
        (waiting, busy),
    ):
        for number, group in enumerate(groups):
            of_group = rows[rows["group"] == group]
            for axes, level in ((waiting, "waiting"), (busy, "busy")):
                paths = np.array([
                    _sampled(each["time_s"].to_numpy(), each[level].to_numpy(), grid)
                    for _, each in of_group.groupby("replication")
                ])  # fmt: skip
                mean = paths.mean(axis=0)
                axes.plot(grid, mean, label=words(str(group)), linewidth=1.3, **look(number))
                if len(paths) > 1:
                    axes.fill_between(
                        grid, paths.min(axis=0), paths.max(axis=0),
                        alpha=0.18, linewidth=0, color=color(number),
                    )  # fmt: skip
        if isinstance(warmup, float) and warmup > 0:
            for axes in (waiting, busy):
                axes.axvspan(0, warmup * float(end), color="#999999", alpha=0.12, linewidth=0)
        waiting.set_ylabel("Waiting requests")
        busy.set_ylabel("Busy replicas")
        busy.set_xlabel("Simulated time, s")
        busy.set_xlim(0, float(end) or 1.0)
        for axes in (waiting, busy):
            axes.set_ylim(bottom=0, top=max(1.0, axes.get_ylim()[1]))
        replications = rows["replication"].nunique()
        note = "Lines: mean; bands:\nall replications" if replications > 1 else None
        legend(figure, waiting, note)
        return save(figure, folder, "levels")


def _sampled(time: Floats, level: Floats, grid: Floats) -> Floats:
    """The level at each point of a grid: a step function, known at its samples."""
    return level[np.maximum(0, np.searchsorted(time, grid, side="right") - 1)].astype(np.float64)


def _utilization(job: Job, rows: pd.DataFrame, folder: Path) -> list[Path]:
    groups = list(dict.fromkeys(rows["group"]))
    replicas = rows.groupby("replica")["utilization"].agg(["mean", "min", "max"])
    group_of = rows.groupby("replica")["group"].first()
    single = len(replicas) <= FEW_REPLICAS
    with picture(f"Utilization of the replicas{_caveat(job)}") as (figure, axes):
        for number, group in enumerate(groups):
            part = replicas[group_of == group]
            if single:
                axes.vlines(
                    part.index,
                    part["min"],
                    part["max"],
                    color=color(number),
                    alpha=0.4,
                    linewidth=3,
                )
                axes.plot(
                    part.index,
                    part["mean"],
                    marker(number),
                    label=words(str(group)),
                    color=color(number),
                )
            else:
                ordered = np.sort(part["mean"].to_numpy())
                share = (np.arange(len(ordered)) + 0.5) / len(ordered)
                axes.plot(share, ordered, label=words(f"{group} ({len(ordered)})"), **look(number))
        axes.set_ylim(0, 1.02)
        axes.set_ylabel("Share of time busy")
        if single:
            axes.set_xlabel("Replica")
            axes.set_xlim(-0.8, len(replicas) - 0.2)
            axes.locator_params(axis="x", integer=True)
        else:
            axes.set_xlim(0, 1)
            axes.set_xlabel("Share of the replicas, least busy first")
        several = rows["replication"].nunique() > 1 and single
        legend(figure, axes, "Bars: all\nreplications" if several else None)
        return save(figure, folder, "utilization")


def _batches(job: Job, rows: pd.DataFrame, folder: Path) -> list[Path]:
    largest = int(rows["size"].max())
    if largest == 1:
        return []
    groups = list(dict.fromkeys(rows["group"]))
    with picture(f"Sizes of batches{_caveat(job)}") as (figure, axes):
        for number, group in enumerate(groups):
            part = rows[rows["group"] == group]
            share = np.zeros(largest + 1)
            share[part["size"]] = part["count"] / part["count"].sum()
            mean = float((part["size"] * part["count"]).sum() / part["count"].sum())
            label, sizes = words(f"{group} (mean {mean:.2f})"), np.arange(1, largest + 1)
            if largest <= FEW_SIZES and len(groups) <= 4:
                width = 0.8 / len(groups)
                shift = (number - (len(groups) - 1) / 2) * width
                axes.bar(sizes + shift, share[1:], width, label=label, color=color(number))
            else:
                axes.step(sizes, share[1:], where="mid", label=label, **look(number))
        axes.set_ylim(bottom=0)
        axes.set_xlim(0.4, largest + 0.6)
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("Requests in a batch")
        axes.set_ylabel("Share of the batches")
        legend(figure, axes)
        return save(figure, folder, "batches")


def _caveat(job: Job) -> str:
    """What a title adds where the picture shows no steady state."""
    says = {"overloaded": " (overloaded)", "backlogged": " (backlogged)"}
    return says.get(job.state, " (interrupted)" if job.state == "interrupted" else "")
