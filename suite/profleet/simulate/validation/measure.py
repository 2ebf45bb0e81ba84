"""Measure what a validation compares: batch sweeps, and schedules served between them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from profleet.errors import ProfleetError
from profleet.profile.store import load_profile, writing
from profleet.simulate.validation.compare import mean_ms
from profleet.simulate.validation.records import PLAN, Plan, load_folder, sweep_folder

if TYPE_CHECKING:
    from profleet.execute.plan import Job
    from profleet.execute.settings import RunSettings

NO_BOUND_MS = 60_000.0
"""Latency bound of the scenario: out of reach, so that no test is given up."""


def measure(plan: Plan, root: Path) -> None:
    """Execute every job of a plan below ``root``.

    Raises:
        ProfleetError: a job cannot be planned, or did not finish.
        KeyboardInterrupt: rounds that are complete stay.
    """
    _job(plan, sweep_folder(root, 0), "scenario=sweep")  # a mistake shows before any file is there
    _note(root, plan)
    for number in range(plan.rounds + 1):
        _execute(plan, sweep_folder(root, number), "scenario=sweep")
        if number == 0:
            mean_s = mean_ms(load_profile(sweep_folder(root, 0))) / 1e3
            plan = plan.model_copy(update={"rates_rps": [load / mean_s for load in plan.loads]})
            _note(root, plan)
        if number < plan.rounds:
            for load, rate in zip(plan.loads, plan.rates_rps, strict=True):
                _execute(
                    plan,
                    load_folder(root, number, load),
                    "scenario=server",
                    f"scenario.target_rps={rate:.9g}",
                    f"scenario.latency_bound_ms={NO_BOUND_MS}",
                    f"scenario.min_seconds={plan.seconds}",
                )


def _note(root: Path, plan: Plan) -> None:
    root.mkdir(parents=True, exist_ok=True)
    with writing(root / PLAN) as path:
        path.write_text(plan.model_dump_json(by_alias=True, indent=2) + "\n", "utf-8")


def _execute(plan: Plan, folder: Path, *scenario: str) -> None:
    from profleet.execute.job import execute_job
    from profleet.execute.progress import Progress

    job = _job(plan, folder, *scenario)
    budget = job.settings.measure.budget_seconds
    with Progress(f"{job.title} · {folder.name}", budget) as progress:
        result = execute_job(job, folder, None, progress)
    if result.status != "finished":
        raise ProfleetError(f"{folder.name}: {result.status}: {result.reason} {result.hint or ''}")


def _job(plan: Plan, folder: Path, *scenario: str) -> Job:
    from profleet.execute.plan import plan as jobs_of

    (job,) = jobs_of(_settings(plan, folder.parent, scenario), frozenset())
    return job


def _settings(plan: Plan, store: Path, scenario: tuple[str, ...]) -> RunSettings:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from profleet.execute.settings import parse
    from profleet.paths import data_dir

    overrides = [
        "batch_sizes=[1]",
        "tracking=none",
        "measure=quick",
        f"measure.processes={plan.processes}",
        f"measure.intra_op_threads={plan.threads}",
        "measure.min_seconds=2",
        "measure.min_samples=200",
        "measure.target_interval=0.02",
        "measure.budget_seconds=60",
        "measure.timeout_seconds=7200",
        *scenario,
    ]
    with initialize_config_dir(config_dir=str(data_dir("conf")), version_base="1.3"):
        config = compose("run", overrides=overrides)
    as_given = {"model": plan.model, "framework": plan.framework, "store": str(store)}
    for key, value in as_given.items():  # not as overrides: a path may hold any sign
        OmegaConf.update(config, key, value)
    return parse(config)
