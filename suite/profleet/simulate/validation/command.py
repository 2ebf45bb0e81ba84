"""``profleet validate``: measure, simulate the same schedule, and show both side by side."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.table import Table

    from profleet.simulate.validation.records import Plan, Quantile, Simulated, Validation

DESCRIPTION = """\
Serve a schedule of requests for real (MLPerf Server scenario: one worker, first in first out) and
simulate the very same schedule: from profiles that are measured before and after, and from how
long the worker took for every request in the other rounds. Prints measured and simulated latencies
with the interval that the noise of this machine allows, and writes validation.json and a picture.
Leave the machine alone meanwhile.
"""
NAME = "validation"
SOURCES = ("the sweeps", "the serving of other rounds")
Line = Literal["-", ":"]
LINES: tuple[Line, Line] = ("-", ":")
"""How a picture draws what is simulated from each source."""


def add_parsers(subparsers: Any) -> None:
    """Add ``validate`` to the command line."""
    validate = subparsers.add_parser(
        "validate",
        help="compare the simulator with this machine, on the same schedule",
        description=DESCRIPTION,
    )
    validate.add_argument("--model", default="squeezenet", help="manifest reference")
    validate.add_argument("--framework", default="onnxruntime", help="manifest reference")
    validate.add_argument("--threads", type=int, default=1, help="of one request (default 1)")
    validate.add_argument(
        "--loads", type=float, nargs="+", default=[0.5, 0.7, 0.85], metavar="LOAD",
        help="arrival rate times mean service time (default 0.5 0.7 0.85)",
    )  # fmt: skip
    validate.add_argument("--rounds", type=int, default=3, help="every load so often (default 3)")
    validate.add_argument(
        "--seconds", type=float, default=30.0, help="of every load in every round (default 30)"
    )
    validate.add_argument(
        "--processes", type=int, default=5, help="of every profile, at least 2 (default 5)"
    )
    validate.add_argument(
        "--store", type=Path, metavar="DIR", help="where measurements go (as `profleet run`)"
    )
    validate.add_argument(
        "--output", type=Path, metavar="DIR",
        help="folder for validation.json and the picture (default: with the measurements)",
    )  # fmt: skip
    validate.add_argument(
        "--again", type=Path, metavar="DIR", help="measure nothing: compare what is in this folder"
    )
    validate.set_defaults(execute=execute)


def execute(parsed: argparse.Namespace) -> int:
    """Execute ``validate``; return the exit code.

    Raises:
        ProfleetError: a setting, job or file cannot be used; says which.
    """
    from profleet.execute.invocation import say
    from profleet.profile.store import write_json
    from profleet.simulate.validation.compare import compare
    from profleet.simulate.validation.measure import measure

    root = parsed.again
    if root is None:
        plan = _plan(parsed)
        root = _folder(parsed.store)
        minutes = plan.estimated_seconds / 60
        say(f"Measuring takes about {minutes:.0f} minutes: leave the machine alone until then.")
        measure(plan, root)
    validation = compare(root, say)
    output = parsed.output or root
    write_json(output / f"{NAME}.json", validation.model_dump(mode="json", by_alias=True))
    _draw(validation, output)
    _print(validation)
    for warning in validation.warnings:
        say(f"Note: {warning}")
    say(f"Results: {output}")
    return 0


def _plan(parsed: argparse.Namespace) -> Plan:
    from pydantic import ValidationError

    from profleet.errors import ConfigError
    from profleet.simulate.validation.records import Plan

    try:
        return Plan(
            model=parsed.model,
            framework=parsed.framework,
            threads=parsed.threads,
            loads=parsed.loads,
            rounds=parsed.rounds,
            seconds=parsed.seconds,
            processes=parsed.processes,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        said = first["msg"].removeprefix("Value error, ")
        said = said[0].lower() + said[1:]
        raise ConfigError(f"--{first['loc'][0]}: {said} (got {first['input']!r}).") from None


def _folder(store: Path | None) -> Path:
    base = store or Path(os.environ.get("PROFLEET_STORE", "profleet-results"))
    now = datetime.now()
    return (base / "validations" / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S-%f}").absolute()


def _print(validation: Validation) -> None:
    from profleet.execute.invocation import say
    from profleet.report.tables import make_console

    console = make_console()
    console.print(_table(validation, SOURCES[0], lambda quantile: quantile.from_sweeps))
    if any(each.from_serving for each in validation.loads[0].quantiles.values()):
        console.print(_table(validation, SOURCES[1], lambda quantile: quantile.from_serving))
    for load in validation.loads:
        say(
            f"Load {load.load:g}: while serving, a request took the worker "
            f"{load.serving_ratio - 1:+.1%} compared with the sweeps."
        )


def _table(
    validation: Validation, source: str, side: Callable[[Quantile], Simulated | None]
) -> Table:
    from rich.table import Table

    rounds = len(validation.loads[0].requests)  # that are complete
    each = f"{validation.plan.seconds:g} s each"
    table = Table(
        title=f"{validation.stack}, milliseconds (rounds: {rounds}, {each});"
        f" service times of {source}",
        title_justify="left",
    )
    for head in ("load", "req/s", "latency", "measured", "simulated", "noise", "difference", ""):
        table.add_column(head, justify="left" if head in {"latency", ""} else "right")
    for load in validation.loads:
        for name, quantile in load.quantiles.items():
            first = name == next(iter(load.quantiles))
            simulated = side(quantile)
            if simulated is None:
                continue
            table.add_row(
                f"{load.load:g}" if first else "",
                f"{load.rate_rps:.1f}" if first else "",
                name,
                _measured(quantile),
                f"{simulated.value_ms:.2f}",
                f"{simulated.low_ms:.2f} to {simulated.high_ms:.2f}",
                f"{simulated.difference:+.1%}",
                simulated.verdict,
            )
    return table


def _measured(quantile: Quantile) -> str:
    import statistics

    values = quantile.measured_ms
    text = f"{statistics.median(values):.2f}"
    return text if len(values) < 2 else f"{text} ({min(values):.2f} to {max(values):.2f})"


def _draw(validation: Validation, folder: Path) -> None:
    from profleet.profile.store import replacing
    from profleet.report.style import color, legend, marker, picture, plain_log

    with picture(f"Measured and simulated latency: {validation.stack}") as (figure, axes):
        names = list(validation.loads[0].quantiles)
        places = range(len(validation.loads))
        shown: list[float] = []
        for number, name in enumerate(names):
            quantiles = [load.quantiles[name] for load in validation.loads]
            shift = 0.25 * (number - (len(names) - 1) / 2)
            for place, each in zip(places, quantiles, strict=True):
                shown += each.measured_ms
                axes.plot(
                    [place + shift] * len(each.measured_ms), each.measured_ms,
                    linestyle="", marker=marker(number), color=color(number), alpha=0.7,
                    label=f"{name}, measured" if place == 0 else None,
                )  # fmt: skip
            served = [each.from_serving for each in quantiles if each.from_serving]
            sides: tuple[tuple[list[Simulated], float, Line], ...] = (
                ([each.from_sweeps for each in quantiles], -0.06, LINES[0]),
                (served, 0.06, LINES[1]),
            )
            for side, aside, line in sides:
                if not side:
                    continue
                middle = [each.value_ms for each in side]
                errors = [
                    [each.value_ms - each.low_ms for each in side],
                    [each.high_ms - each.value_ms for each in side],
                ]
                shown += [end for each in side for end in (each.low_ms, each.high_ms)]
                drawn = axes.errorbar(
                    [place + shift + aside for place in places], middle, yerr=errors, fmt="_",
                    capsize=4, color=color(number),
                )  # fmt: skip
                drawn.lines[2][0].set_linestyle(line)  # of the bars
        for source, line in zip(SOURCES, LINES, strict=True):
            axes.plot([], [], color="gray", linestyle=line, label=f"simulated from {source}")
        axes.set_xticks(list(places), [f"{load.load:g}" for load in validation.loads])
        axes.set_xlim(-0.5, len(validation.loads) - 0.5)
        axes.set_xlabel("load")
        axes.set_ylabel("latency, ms")
        if not plain_log(axes, "y", min(shown), max(shown)):
            axes.set_ylim(bottom=0)
        legend(figure, axes)
        with replacing(folder / f"{NAME}.svg") as path:
            figure.savefig(path, format="svg", metadata={"Date": None})
