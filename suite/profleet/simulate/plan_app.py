"""``profleet plan``: the Hydra application that looks for the smallest fleet."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from profleet.application import launch
from profleet.errors import ProfleetError
from profleet.execute.invocation import say
from profleet.execute.settings import check, resolved
from profleet.profile.store import RESULT, write_json
from profleet.simulate.plan import PlanResult, PlanSettings, Probe, plan

MISTAKES: list[ProfleetError] = []
"""Raised after Hydra is done, past what it prints of exceptions."""

FAILED: list[str] = []
"""Plans without an answer."""


def main(arguments: Sequence[str]) -> int:
    """Run the application with the arguments after ``profleet plan``; return the exit code."""
    launch(_task, "plan", arguments)
    if MISTAKES:
        raise MISTAKES[0]
    return 1 if FAILED else 0


def _task(config: DictConfig) -> None:
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        result = plan(check(PlanSettings, resolved(config)), on_probe=_tell)
        _write(folder, result)
    except ProfleetError as error:
        MISTAKES.append(error)
        with suppress(OSError):  # a mistake before the first probe: no litter
            folder.rmdir()
        return
    from profleet.report.plans import print_plan

    print_plan(result)
    say(f"Results: {folder}")
    if result.status == "failed":
        FAILED.append(str(folder))


def _tell(hardware: str, probe: Probe) -> None:
    replicas = f"{probe.replicas} replica{'' if probe.replicas == 1 else 's'}"
    said = [
        f"{name.removesuffix('_ms').replace('_', ' ')} {probe.metrics[name].value:.4g} ms"
        for name in probe.metrics
        if name.startswith("latency_")
    ]
    say(f"{hardware}: {replicas}: {', '.join((probe.verdict, *said))}")


def _write(folder: Path, result: PlanResult) -> None:
    """Write the picture, and ``result.json`` last.

    Raises:
        StoreError: the folder cannot be written.
    """
    from profleet.report.plans import write_plan_plot

    paths = {}
    with suppress(OSError):  # a picture is not worth a failed plan
        paths = {path.name: f"plots/{path.name}" for path in write_plan_plot(result, folder)}
    whole = result.model_copy(update={"paths": paths})
    write_json(folder / RESULT, whole.model_dump(mode="json", by_alias=True))
