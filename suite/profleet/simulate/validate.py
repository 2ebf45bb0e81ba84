"""``profleet validate``: measure, simulate the same schedule, and show both side by side."""

from __future__ import annotations

import argparse
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profleet.simulate.fidelity import Plan, Quantile, Validation

DESCRIPTION = """\
Serve a schedule of requests for real (MLPerf Server scenario: one worker, first in first out) and
simulate the very same schedule from profiles that are measured before and after. Prints measured
and simulated latencies with the interval that the noise of this machine allows, and writes
validation.json and a picture. Leave the machine alone meanwhile.
"""
NAME = "validation"


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
    from profleet.simulate.fidelity import compare, measure

    root = parsed.again
    if root is None:
        plan = _plan(parsed)
        root = _folder(parsed.store)
        minutes = plan.estimated_seconds / 60
        say(f"Measuring takes about {minutes:.0f} minutes: leave the machine alone until then.")
        measure(plan, root)
    validation = compare(root)
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
    from profleet.simulate.fidelity import Plan

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
        said = first["msg"][0].lower() + first["msg"][1:]
        raise ConfigError(f"--{first['loc'][0]}: {said} (got {first['input']!r}).") from None


def _folder(store: Path | None) -> Path:
    base = store or Path(os.environ.get("PROFLEET_STORE", "profleet-results"))
    now = datetime.now()
    return (base / "validations" / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S-%f}").absolute()


def _print(validation: Validation) -> None:
    from rich.table import Table

    from profleet.report.tables import make_console

    plan = validation.plan
    table = Table(
        title=f"{validation.stack}, milliseconds (rounds: {plan.rounds}, {plan.seconds:g} s each)",
        title_justify="left",
    )
    for head in ("load", "req/s", "latency", "measured", "simulated", "noise", "difference", ""):
        table.add_column(head, justify="left" if head in {"latency", ""} else "right")
    for load in validation.loads:
        for name, quantile in load.quantiles.items():
            first = name == next(iter(load.quantiles))
            table.add_row(
                f"{load.load:g}" if first else "",
                f"{load.rate_rps:.1f}" if first else "",
                name,
                _measured(quantile),
                f"{quantile.simulated_ms:.2f}",
                f"{quantile.low_ms:.2f} to {quantile.high_ms:.2f}",
                f"{quantile.difference:+.1%}",
                quantile.verdict,
            )
    make_console().print(table)


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
        for number, name in enumerate(names):
            quantiles = [load.quantiles[name] for load in validation.loads]
            shift = 0.2 * (number - (len(names) - 1) / 2)
            middle = [each.simulated_ms for each in quantiles]
            errors = [
                [each.simulated_ms - each.low_ms for each in quantiles],
                [each.high_ms - each.simulated_ms for each in quantiles],
            ]
            axes.errorbar(
                [place + shift for place in places], middle, yerr=errors, fmt="_", capsize=5,
                color=color(number), label=f"{name}: points measured, bar simulated with noise",
            )  # fmt: skip
            for place, each in zip(places, quantiles, strict=True):
                axes.plot(
                    [place + shift] * len(each.measured_ms), each.measured_ms,
                    linestyle="", marker=marker(number), color=color(number), alpha=0.7,
                )  # fmt: skip
        axes.set_xticks(list(places), [f"{load.load:g}" for load in validation.loads])
        axes.set_xlim(-0.5, len(validation.loads) - 0.5)
        axes.set_xlabel("load")
        axes.set_ylabel("latency, ms")
        shown = [q for load in validation.loads for q in load.quantiles.values()]
        low = min(min(each.low_ms, *each.measured_ms) for each in shown)
        high = max(max(each.high_ms, *each.measured_ms) for each in shown)
        if not plain_log(axes, "y", low, high):
            axes.set_ylim(bottom=0)
        legend(figure, axes)
        with replacing(folder / f"{NAME}.svg") as path:
            figure.savefig(path, format="svg", metadata={"Date": None})
