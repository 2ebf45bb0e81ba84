"""How every picture looks: one style, colors for color-blind eyes too, reproducible files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, cast

from profleet.profile.store import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
"""Okabe and Ito's palette, yellow replaced by a brown that is readable on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
FORMATS = ("svg", "png")
LONG_LABEL = 26
"""Longest label, in characters, of a legend beside the axes; longer ones go below."""

MANY_LABELS = 10
"""Most labels of a legend that has no place of its own."""

STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.labelcolor": "#222222",
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.dpi": 100,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.7,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "savefig.bbox": "standard",
    "savefig.dpi": 160,
    "svg.fonttype": "path",
    "svg.hashsalt": "profleet",
    "text.parse_math": False,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
}


@contextmanager
def picture(title: str) -> Iterator[tuple[Figure, Axes]]:
    """Give an empty figure of one axes, in the style above and apart from pyplot's state."""
    with panels(title, 1) as (figure, (axes,)):
        yield figure, axes


@contextmanager
def panels(title: str, rows: int, height: float = 4.2) -> Iterator[tuple[Figure, list[Axes]]]:
    """Give an empty figure as ``picture``, of axes one above the other that share x."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(cast("Any", STYLE)):
        figure = Figure(figsize=(6.8, height), layout="constrained")
        axes = list(figure.subplots(rows, sharex=True, squeeze=False)[:, 0])
        axes[0].set_title(fill(title, 58))
        yield figure, axes


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write ``name.svg`` and ``name.png``, atomically and without a date.

    Raises:
        OSError: a file cannot be written.
    """
    paths = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in another script
        for kind in FORMATS:
            path = folder / f"{name}.{kind}"
            with replacing(path) as temporary:
                metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {}
                figure.savefig(temporary, format=kind, metadata=metadata)
            paths.append(path)
    return paths


def words(text: str) -> str:
    """Make foreign text fit for a label: printable, and not hidden by a leading underscore."""
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return f" {printable}" if printable.startswith("_") else printable


def look(number: int) -> dict[str, Any]:
    """Return color and line style of the n-th line; the palette repeats dashed, then dotted."""
    styles = ("-", "--", ":")
    return {
        "color": color(number),
        "linestyle": styles[number // len(COLORS) % len(styles)],
    }


def color(number: int) -> str:
    """Return the n-th color of the palette, over and over."""
    return COLORS[number % len(COLORS)]


def marker(number: int) -> str:
    """Return the n-th marker, over and over."""
    return MARKERS[number % len(MARKERS)]


def label(
    axes: Axes, text: str, point: tuple[float, float], offset: tuple[int, int], n: int
) -> None:
    """Write beside a point of the n-th line, ``offset`` in typographic points."""
    across, up = offset
    axes.annotate(
        text,
        point,
        offset,
        textcoords="offset points",
        ha="center" if across == 0 else "left" if across > 0 else "right",
        va="bottom" if up > 0 else "top",
        fontsize=8.5,
        color=color(n),
    )


def legend(figure: Figure, axes: Axes, title: str | None = None) -> None:
    """Put the legend beside the axes or, if it is wide, below: it never hides data."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    if len(labels) > MANY_LABELS:  # beside the axes they would squeeze them
        figure.set_figheight(max(figure.get_figheight(), 0.21 * len(labels) + 1.1))
        figure.legend(handles, labels, title=title, loc="outside right upper", alignment="left")
        return
    if max(map(len, labels)) <= LONG_LABEL:
        axes.legend(title=title, loc="upper left", bbox_to_anchor=(1.01, 1.0), alignment="left")
        return
    figure.set_figheight(figure.get_figheight() + 0.2 * (len(labels) + 1))
    figure.legend(handles, labels, title=title, loc="outside lower left", alignment="left")


def batch_ticks(axes: Axes, batches: list[int]) -> None:
    """Make x logarithmic with ticks at the measured batch sizes, and only there."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    if min(batches) != max(batches):
        axes.set_xscale("log", base=2)
    else:
        axes.set_xlim(batches[0] - 1, batches[0] + 1)
    axes.xaxis.set_major_locator(FixedLocator([float(batch) for batch in batches]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FixedFormatter([str(batch) for batch in batches]))
    axes.set_xlabel("Batch size")


def plain_log(axes: Axes, axis: str, low: float, high: float) -> bool:
    """Make an axis logarithmic, with plain numbers, where it spans more than a factor of 8.

    Returns whether it is; a linear axis then starts at zero or not as the caller likes.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    if low <= 0 or high / low <= 8:
        return False
    (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
    chosen = axes.xaxis if axis == "x" else axes.yaxis
    subs = (1.0, 2.0, 5.0) if high / low < 2000 else (1.0,)
    chosen.set_major_locator(LogLocator(base=10, subs=subs))
    chosen.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    chosen.set_minor_locator(NullLocator())
    chosen.set_minor_formatter(NullFormatter())
    return True
