"""``profleet plan``: the Hydra application that looks for the smallest fleet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from profleet.application import launch
from profleet.errors import ProfleetError
from profleet.execute.collect import now
from profleet.execute.invocation import say
from profleet.execute.settings import check, resolved
from profleet.profile.store import RESULT, write_json
from profleet.simulate.app import track
from profleet.simulate.invocation import COMMAND, check_store
from profleet.simulate.plan import PlanResult, PlanSettings, Probe, plan
from profleet.simulate.results import INVOCATION, new_invocation
from profleet.simulate.schema import InvocationRecord
from profleet.tracking import log_plan


def main(arguments: Sequence[str]) -> int:
    """Run the application with the arguments after ``profleet plan``; return the exit code."""
    try:
        launch(_task, "plan", arguments)
        if COMMAND.mistake is not None:
            raise COMMAND.mistake
    except KeyboardInterrupt:
        COMMAND.interrupted = True
    finally:
        COMMAND.tidy()
    if COMMAND.interrupted:
        say("Interrupted.")
        return 130
    return int(COMMAND.failed)


def _task(config: DictConfig) -> None:
    """Plan for one composed configuration; a mistake fails this job, not the sweep around it."""
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    multirun = hydra_config.mode == RunMode.MULTIRUN
    number = f"[{hydra_config.job.num}] " if multirun else ""
    begun = new_invocation(
        [str(each) for each in hydra_config.overrides.task],
        Path(hydra_config.sweep.dir).name if multirun else None,
    )
    started = time.perf_counter()
    try:
        settings = check(PlanSettings, resolved(config))
        check_store(settings.store)
        result = plan(settings, on_probe=lambda name, probe: _tell(f"{number}{name}", probe))
        if result.answers:
            wall = round(time.perf_counter() - started, 6)
            _write(folder, result, begun.model_copy(update={"finished_at": now(), "wall_s": wall}))
            track(folder, settings.tracking, log_plan)
    except ProfleetError as error:
        if not multirun:
            COMMAND.mistake = error  # raised in main, past what Hydra prints of exceptions
            return
        say(f"{number}{error}")
        COMMAND.failed = True
        return
    _show(result, folder)


def _show(result: PlanResult, folder: Path) -> None:
    if result.answers:
        from profleet.report.plans import print_plan

        print_plan(result)
        say(f"Results: {folder}")
    COMMAND.failed |= result.status == "failed"
    if result.status == "interrupted":
        raise KeyboardInterrupt


def _tell(hardware: str, probe: Probe) -> None:
    replicas = f"{probe.replicas} replica{'' if probe.replicas == 1 else 's'}"
    said = [
        f"{name.removesuffix('_ms').replace('_', ' ')} {probe.metrics[name].value:.4g} ms"
        for name in probe.metrics
        if name.startswith("latency_")
    ]
    say(f"{hardware}: {replicas}: {', '.join((probe.verdict, *said))}")


def _write(folder: Path, result: PlanResult, invocation: InvocationRecord) -> None:
    """Write the picture and ``invocation.json``, and ``result.json`` last.

    Raises:
        StoreError: the folder cannot be written.
    """
    from profleet.report.plans import write_plan_plot

    paths = {}
    with suppress(OSError):  # a picture is not worth a failed plan
        paths = {path.name: f"plots/{path.name}" for path in write_plan_plot(result, folder)}
    write_json(folder / INVOCATION, invocation.model_dump(mode="json", by_alias=True))
    whole = result.model_copy(update={"paths": {"invocation": INVOCATION, **paths}})
    write_json(folder / RESULT, whole.model_dump(mode="json", by_alias=True))
