"""Pictures of profiles, as SVG and PNG. Matplotlib is imported only when one is drawn."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from profleet.profile.samples import SCENARIO, STEADY, Samples
from profleet.profile.schema import Estimate, IdleSummary, PointSummary, Profile, StackRef, name_of
from profleet.report.style import (
    batch_ticks,
    color,
    label,
    legend,
    look,
    marker,
    picture,
    plain_log,
    save,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVE_POINTS = 600
"""Most points a CDF is drawn with; every step beyond that is below the width of the line."""

FEW_STACKS = 4
"""Most stacks whose points are labelled one by one in a comparison."""


def write_plots(profile: Profile, samples: Samples, folder: Path) -> list[Path]:
    """Draw every picture that the profile has data for; return the files.

    ``latency`` and ``throughput`` over batch sizes, ``cdf`` of the latency of each batch size or
    of a scenario's requests, and ``idle``: latency after a rest.

    Raises:
        OSError: a file cannot be written.
    """
    paths: list[Path] = []
    if _medians([profile]):
        paths += _latency(profile, folder)
        paths += _throughput(profile, folder)
    if np.isin(samples.phase, (STEADY, SCENARIO)).any():
        paths += _cdf(profile, samples, folder)
    if any(isinstance(entry.p50_ms, Estimate) for entry in profile.idle):
        paths += _idle(profile, folder)
    return paths


def write_comparison(profiles: Sequence[Profile], folder: Path) -> list[Path]:
    """Draw latency over batch size and throughput over latency, one line a stack.

    Returns the files; none when no profile states a median for a batch size.

    Raises:
        OSError: a file cannot be written.
    """
    swept = [profile for profile in profiles if _medians([profile])]
    if not swept:
        return []
    names = stack_names([profile.stack for profile in swept], [each.executor for each in swept])
    batches = sorted({point.batch_size for profile in swept for point in profile.points})
    models = {name_of(profile.stack.model) for profile in swept}
    of_model = f": {models.pop()}" if len(models) == 1 else ""
    with picture(f"Median latency by batch size{of_model}") as (figure, axes):
        for number, (profile, name) in enumerate(zip(swept, names, strict=True)):
            _line(axes, profile.points, "p50", name, number)
        batch_ticks(axes, batches)
        _latency_axis(axes, swept)
        legend(figure, axes)
        paths = save(figure, folder, "latency")
    with picture(f"Throughput over median latency{of_model}") as (figure, axes):
        for number, (profile, name) in enumerate(zip(swept, names, strict=True)):
            below = None
            if len(swept) <= FEW_STACKS:
                below = {batch for batch in batches if _rank(swept, number, batch) % 2}
            _trade(axes, profile.points, name, number, below)
        _trade_axes(axes, swept)
        sizes = ", ".join(map(str, batches))
        legend(figure, axes, "Labels: batch size" if len(swept) <= FEW_STACKS else f"Batch {sizes}")
        paths += save(figure, folder, "throughput")
    return paths


def stack_names(stacks: Sequence[StackRef], executors: Sequence[str] = ()) -> list[str]:
    """Name stacks by the parts in which they differ; equal ones get a number.

    Args:
        stacks: what was measured.
        executors: what started the runner of each; nothing: the same for all.
    """
    parts = [
        (stack.model, stack.framework, stack.hardware, executor)
        for stack, executor in zip(stacks, executors or [""] * len(stacks), strict=True)
    ]
    differing = [index for index in range(4) if len({part[index] for part in parts}) > 1]
    names = [" · ".join(name_of(part[index]) for index in differing or (0, 1)) for part in parts]
    if len(set(names)) < len(set(parts)):  # they differ by version only
        names = [" · ".join(part[index] for index in differing) for part in parts]
    counted: dict[str, int] = {}
    for position, name in enumerate(names):
        counted[name] = counted.get(name, 0) + 1
        if names.count(name) > 1:
            names[position] = f"{name} #{counted[name]}" if counted[name] > 1 else name
    return names


# -- one profile -----------------------------------------------------------------------------------


def _latency(profile: Profile, folder: Path) -> list[Path]:
    with picture(f"Latency by batch size: {_title(profile)}") as (figure, axes):
        for number, percentile in enumerate(("p50", "p90", "p99")):
            _line(axes, profile.points, percentile, percentile, number)
        batch_ticks(axes, [point.batch_size for point in profile.points])
        _latency_axis(axes, [profile])
        legend(figure, axes, f"Bands: {100 * profile.confidence:g} %\nintervals")
        return save(figure, folder, "latency")


def _throughput(profile: Profile, folder: Path) -> list[Path]:
    with picture(f"Throughput over median latency: {_title(profile)}") as (figure, axes):
        _trade(axes, profile.points, None, 0)
        _trade_axes(axes, [profile])
        return save(figure, folder, "throughput")


def _cdf(profile: Profile, samples: Samples, folder: Path) -> list[Path]:
    steady = samples.where(samples.phase == STEADY)
    curves = {
        f"batch {batch}": steady.latency_ns[steady.batch_size == batch] / 1e6
        for batch in np.unique(steady.batch_size).tolist()
    }
    scenario = profile.measurement.scenario
    if scenario is not None:
        curves[scenario.kind.replace("_", " ")] = (
            samples.latency_ns[samples.phase == SCENARIO] / 1e6
        )
    what = "batches" if profile.points else "requests"
    with picture(f"Latency of {what}, CDF: {_title(profile)}") as (figure, axes):
        ends = []
        for number, (name, latencies) in enumerate(curves.items()):
            if len(latencies):
                x, share = _steps(np.sort(latencies))
                axes.step(
                    x, share, where="post", label=f"{name} (n={len(latencies)})", **look(number)
                )
                ends += [x[0], x[-1]]
        plain_log(axes, "x", min(ends), max(ends))
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("Latency, ms")
        axes.set_ylabel("Share of samples at or below")
        legend(figure, axes)
        return save(figure, folder, "cdf")


def _idle(profile: Profile, folder: Path) -> list[Path]:
    with picture(f"Median latency after a rest: {_title(profile)}") as (figure, axes):
        stated = [(e, e.p50_ms) for e in profile.idle if isinstance(e.p50_ms, Estimate)]
        gaps = sorted({entry.gap_ms for entry, _ in stated})
        for number, batch in enumerate(sorted({entry.batch_size for entry, _ in stated})):
            _rest(axes, [pair for pair in stated if pair[0].batch_size == batch], gaps, number)
        axes.set_xticks(range(len(gaps)), [f"{gap:g}" if gap else "back-to-back" for gap in gaps])
        axes.set_xlim(-0.4, len(gaps) - 0.6)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.05)
        axes.set_xlabel("Rest before the request, ms")
        axes.set_ylabel("Latency p50, ms")
        legend(figure, axes, f"Bars: {100 * profile.confidence:g} %\nintervals")
        return save(figure, folder, "idle")


def _rest(
    axes: Axes, entries: list[tuple[IdleSummary, Estimate]], gaps: list[float], number: int
) -> None:
    p50 = [estimate for _, estimate in entries]
    below = [e.value - e.low if e.low is not None else 0.0 for e in p50]
    above = [e.high - e.value if e.high is not None else 0.0 for e in p50]
    x = [gaps.index(entry.gap_ms) for entry, _ in entries]
    axes.errorbar(
        x,
        [e.value for e in p50],
        yerr=(below, above),
        marker=marker(number),
        capsize=3,
        label=f"batch {entries[0][0].batch_size}",
        color=color(number),
    )
    for place, (entry, estimate) in zip(x, entries, strict=True):
        if entry.gap_ms and entry.ratio is not None:
            beside = (place, estimate.low or estimate.value)
            sign = "×"  # noqa: RUF001 -- a multiplication sign
            label(axes, f"{sign}{entry.ratio:.2f}", beside, (0, -8), number)


# -- parts -----------------------------------------------------------------------------------------


def _line(axes: Axes, points: list[PointSummary], percentile: str, name: str, number: int) -> None:
    """Draw a percentile over batch size where it is stated, its interval as a band."""
    stated = [
        (point.batch_size, entry)
        for point in points
        if isinstance(entry := point.latency_ms.percentiles[percentile], Estimate)
    ]
    if not stated:
        return
    x = [batch for batch, _ in stated]
    axes.plot(x, [e.value for _, e in stated], marker=marker(number), label=name, **look(number))
    low = [e.value if e.low is None else e.low for _, e in stated]
    high = [e.value if e.high is None else e.high for _, e in stated]
    if len(x) > 1:
        axes.fill_between(x, low, high, alpha=0.18, linewidth=0, color=color(number))
    else:
        axes.vlines(x, low, high, alpha=0.4, linewidth=4, zorder=1.5, color=color(number))


def _trade(
    axes: Axes,
    points: list[PointSummary],
    name: str | None,
    number: int,
    below: Container[int] | None = (),
) -> None:
    """Draw throughput over p50, one point a batch size.

    Lines rise to the right, so a label above on the left, or for the batch sizes in ``below``
    below on the right, stays clear of its own line. ``None``: no labels.
    """
    stated = [
        (entry.value, point.throughput_rps.value, point.batch_size)
        for point in points
        if isinstance(entry := point.latency_ms.percentiles["p50"], Estimate)
    ]
    if not stated:
        return
    x, y, batches = zip(*stated, strict=True)
    axes.plot(x, y, marker=marker(number), label=name, **look(number))
    for place, height, batch in zip(x, y, batches, strict=True):
        if below is not None:
            text = str(batch) if name else f"batch {batch}"
            label(axes, text, (place, height), (4, -4) if batch in below else (-4, 4), number)


def _rank(profiles: Sequence[Profile], number: int, batch: int) -> int:
    """How many profiles have a higher throughput than the ``number``-th at a batch size.

    Labels of neighbors in this order go to opposite sides, so that they stay apart.
    """
    rates = [
        next((p.throughput_rps.value for p in profile.points if p.batch_size == batch), 0.0)
        for profile in profiles
    ]
    return sorted(range(len(rates)), key=lambda index: -rates[index]).index(number)


def _latency_axis(axes: Axes, profiles: Sequence[Profile]) -> None:
    values = _medians(profiles)
    if not values or not plain_log(axes, "y", min(values), max(values)):
        axes.set_ylim(bottom=0)
    axes.set_ylabel("Latency of a batch, ms")


def _trade_axes(axes: Axes, profiles: Sequence[Profile]) -> None:
    values = _medians(profiles)
    if values:
        plain_log(axes, "x", min(values), max(values))
    rates = [point.throughput_rps.value for profile in profiles for point in profile.points]
    if not plain_log(axes, "y", min(rates), max(rates)):
        axes.set_ylim(0, max(rates) * 1.15)
    axes.margins(x=0.12)
    axes.set_xlabel("Latency p50 of a batch, ms")
    axes.set_ylabel("Throughput, items per second")


def _medians(profiles: Sequence[Profile]) -> list[float]:
    entries = [
        point.latency_ms.percentiles["p50"] for profile in profiles for point in profile.points
    ]
    return [entry.value for entry in entries if isinstance(entry, Estimate)]


def _steps(ordered: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the empirical distribution, thinned evenly in rank but with both ends and the tail."""
    count = len(ordered)
    body = np.linspace(0, count - 1, min(count, CURVE_POINTS)).astype(np.int64)
    tail = np.arange(max(0, count - 50), count)
    ranks = np.unique(np.concatenate((body, tail)))
    return (
        np.concatenate((ordered[:1], ordered[ranks])),
        np.concatenate(([0.0], (ranks + 1) / count)),
    )


def _title(profile: Profile) -> str:
    return f"{name_of(profile.stack.model)} · {name_of(profile.stack.framework)}"
