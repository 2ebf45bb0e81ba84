"""Is the simulator faithful? The same schedule of requests served for real, and simulated.

In every round each load is measured with MLPerf's Server scenario: one worker, first in first out,
Poisson arrivals. A batch sweep before and after the round measures the service time. The schedule
that LoadGen issued is then simulated as a trace on one replica with each of the two profiles, many
times: every replication draws other service times, and a speed of its own from how much the
processes of the profile differed. What these replications span is the noise of the machine as the
profiles know it; a measurement should lie within.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from profleet import __version__
from profleet.errors import ConfigError, ProfleetError, StoreError
from profleet.profile.samples import SCENARIO
from profleet.profile.schema import Profile, Record, Timestamp
from profleet.profile.store import load_document, load_profile, load_result, load_samples, writing
from profleet.simulate.engine import histogram
from profleet.simulate.records import Floats, Ints
from profleet.simulate.schema import BEHAVIOR

if TYPE_CHECKING:
    from profleet.execute.settings import RunSettings
    from profleet.simulate.simulation import Simulation

VALIDATION_SCHEMA = "profleet/validation/v1"
PLAN_SCHEMA = "profleet/validation-plan/v1"
PLAN = "plan.json"
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
REPLICATIONS = 200
"""Of every schedule with every profile."""

NOISE = 0.95
"""Share of the replications that the interval holds."""

TELLING = 2.0
"""An interval whose ends differ by more than this factor tells nothing."""

Verdict = Literal["within noise", "outside", "too noisy to tell"]

NO_BOUND_MS = 60_000.0
"""Latency bound of the scenario: out of reach, so that no test is given up."""

Load = Annotated[float, Field(gt=0, lt=1)]


class Plan(Record):
    """What is measured; times in seconds."""

    schema_: Annotated[str, Field(alias="schema")] = PLAN_SCHEMA
    model: str
    framework: str
    threads: Annotated[int, Field(ge=1, le=1024)]
    loads: Annotated[list[Load], Field(min_length=1)]
    rounds: Annotated[int, Field(ge=1, le=100)]
    seconds: Annotated[float, Field(ge=1, le=3600)]
    processes: Annotated[int, Field(ge=2, le=100)]
    rates_rps: list[float] = Field(
        default_factory=list, description="of each load, from the first sweep; empty before it"
    )

    @property
    def estimated_seconds(self) -> float:
        """About how long measuring takes."""
        sweep = 5.0 * self.processes + 5
        return (self.rounds + 1) * sweep + self.rounds * len(self.loads) * (self.seconds + 5)


class Quantile(Record):
    """One quantile of latency, in milliseconds: measured once a round, and simulated."""

    measured_ms: list[float] = Field(description="of every round")
    simulated_ms: float = Field(description="median over all replications")
    low_ms: float
    high_ms: float
    difference: float = Field(
        description="median of the measured ones over the simulated one, less 1"
    )
    verdict: Verdict = Field(description="where the median of the measured ones lies")


class LoadResult(Record):
    """One load: the same schedule in all rounds."""

    load: float = Field(description="arrival rate times mean service time of the first sweep")
    rate_rps: float
    requests: list[int] = Field(description="of every round")
    offered_load: list[float] = Field(
        description="of every round, with the service time of the sweeps around it"
    )
    quantiles: dict[str, Quantile]


class Validation(Record):
    """``validation.json``."""

    schema_: Annotated[str, Field(alias="schema")] = VALIDATION_SCHEMA
    profleet_version: str
    behavior: str
    stack: str
    measured_at: Timestamp
    plan: Plan
    service_mean_ms: list[float] = Field(description="of every sweep, in order")
    process_cv: list[float] = Field(description="how much its processes differed")
    confidence: float = NOISE
    replications: int = Field(description="behind every simulated quantile")
    loads: list[LoadResult]
    warnings: list[str] = Field(description="of the profiles, each once")


# -- measuring -------------------------------------------------------------------------------------


def measure(plan: Plan, root: Path) -> None:
    """Execute every job of a plan below ``root``.

    Raises:
        ProfleetError: a job cannot be planned, or did not finish.
        KeyboardInterrupt: rounds that are complete stay.
    """
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


def sweep_folder(root: Path, number: int) -> Path:
    """Where a sweep is: number n comes before round n, n + 1 after it."""
    return root / f"sweep-{number:02d}"


def load_folder(root: Path, number: int, load: float) -> Path:
    """Where the Server scenario of a round and load is."""
    return root / f"round-{number:02d}" / f"load-{load:g}"


def mean_ms(profile: Profile) -> float:
    """Return the mean service time of one request."""
    return profile.points[0].latency_ms.mean.value


def _note(root: Path, plan: Plan) -> None:
    root.mkdir(parents=True, exist_ok=True)
    with writing(root / PLAN) as path:
        path.write_text(plan.model_dump_json(by_alias=True, indent=2) + "\n", "utf-8")


def _execute(plan: Plan, folder: Path, *scenario: str) -> None:
    from profleet.execute.job import execute_job
    from profleet.execute.plan import plan as jobs_of
    from profleet.execute.progress import Progress

    (job,) = jobs_of(_settings(plan, folder.parent, scenario), frozenset())
    budget = job.settings.measure.budget_seconds
    with Progress(f"{job.title} · {folder.name}", budget) as progress:
        result = execute_job(job, folder, None, progress)
    if result.status != "finished":
        raise ProfleetError(f"{folder.name}: {result.status}: {result.reason} {result.hint or ''}")


def _settings(plan: Plan, store: Path, scenario: tuple[str, ...]) -> RunSettings:
    from hydra import compose, initialize_config_dir

    from profleet.execute.settings import parse
    from profleet.paths import data_dir

    overrides = [
        f"model='{plan.model}'",
        f"framework='{plan.framework}'",
        "batch_sizes=[1]",
        "tracking=none",
        f"store='{store}'",
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
        return parse(compose("run", overrides=overrides))


# -- comparing -------------------------------------------------------------------------------------


def compare(root: Path) -> Validation:
    """Simulate what was measured below ``root``, and hold both side by side.

    Rounds that are not complete are left out.

    Raises:
        StoreError: no round is complete, or a file is missing or damaged.
    """
    plan = load_document(root / PLAN, PLAN_SCHEMA, Plan)
    rounds = list(_complete(root, plan))
    if not rounds:
        raise StoreError(f"{root} holds no complete round. Measure again with `profleet validate`.")
    sweeps = [load_profile(sweep_folder(root, n)) for n in range(len(rounds) + 1)]
    seen = [_simulated(root, plan, number, load) for load in plan.loads for number in rounds]
    width = len(rounds)
    return Validation(
        profleet_version=__version__,
        behavior=BEHAVIOR,
        stack=seen[0].stack,
        measured_at=sweeps[0].measurement.started_at,
        plan=plan,
        service_mean_ms=[mean_ms(sweep) for sweep in sweeps],
        process_cv=[_process_cv(sweep_folder(root, n)) for n in range(len(sweeps))],
        replications=2 * REPLICATIONS * width,
        warnings=list(dict.fromkeys(each for sweep in sweeps for each in sweep.warnings)),
        loads=[
            _side_by_side(load, rate, seen[n * width : (n + 1) * width])
            for n, (load, rate) in enumerate(zip(plan.loads, plan.rates_rps, strict=True))
        ],
    )


class _Seen:
    """One schedule: the latencies measured, and the quantiles of every replication."""

    def __init__(self, latency_ns: Ints, simulations: list[Simulation], load: float) -> None:
        self.latency_ms = np.sort(latency_ns) / 1e6
        self.load = load
        self.stack = simulations[0].result().fleet[0].stack
        outcomes = [outcome for simulation in simulations for outcome in simulation.outcomes]
        self.simulated_ms: dict[str, Floats] = {
            name: np.array([histogram.quantile(o.histogram[0, 0], share) for o in outcomes]) / 1e6
            for name, share in QUANTILES.items()
        }

    def measured_ms(self, share: float) -> float:
        """The sample quantile, as the simulator defines it."""
        return float(self.latency_ms[max(1, math.ceil(share * len(self.latency_ms))) - 1])


def _simulated(root: Path, plan: Plan, number: int, load: float) -> _Seen:
    from profleet.simulate.api import simulate

    folder = load_folder(root, number, load)
    samples = load_samples(folder)
    scenario = samples.where(samples.phase == SCENARIO)
    schedule = folder / "schedule.csv"
    with writing(schedule) as path:
        lines = "\n".join(map(str, np.sort(scenario.start_ns).tolist()))
        path.write_text(f"arrival_ns\n{lines}\n", "utf-8")
    around = [sweep_folder(root, number), sweep_folder(root, number + 1)]
    simulations = [
        simulate(
            {
                "preset": "assumed",
                "groups": [
                    {
                        "name": "machine",
                        "count": 1,
                        "profile": {"path": str(profile)},
                        "speed_cv": "measured",
                    }
                ],
            },
            {
                "preset": "csv",
                "path": str(schedule),
                "csv": {"time": "arrival_ns", "unit": "ns"},
            },
            router="central_queue",
            batching="none",
            requests=None,
            warmup=0.0,
            replications=REPLICATIONS,
            seed=number,
        )
        for profile in around
    ]
    rate = (len(scenario) - 1) / (int(scenario.start_ns.max()) / 1e9)
    service_s = np.mean([mean_ms(load_profile(profile)) for profile in around]) / 1e3
    return _Seen(scenario.latency_ns, simulations, float(rate * service_s))


def _side_by_side(load: float, rate: float, seen: list[_Seen]) -> LoadResult:
    quantiles = {}
    for name, share in QUANTILES.items():
        measured = [each.measured_ms(share) for each in seen]
        simulated = np.concatenate([each.simulated_ms[name] for each in seen])
        low, middle, high = np.quantile(simulated, [(1 - NOISE) / 2, 0.5, (1 + NOISE) / 2])
        low, high = low * (1 - histogram.RELATIVE_ERROR), high * (1 + histogram.RELATIVE_ERROR)
        typical = float(np.median(measured))
        quantiles[name] = Quantile(
            measured_ms=measured,
            simulated_ms=float(middle),
            low_ms=float(low),
            high_ms=float(high),
            difference=float(typical / middle - 1),
            verdict=_verdict(low, typical, high),
        )
    return LoadResult(
        load=load,
        rate_rps=rate,
        requests=[len(each.latency_ms) for each in seen],
        offered_load=[each.load for each in seen],
        quantiles=quantiles,
    )


def _verdict(low: float, value: float, high: float) -> Verdict:
    if high > TELLING * low:
        return "too noisy to tell"
    return "within noise" if low <= value <= high else "outside"


def _complete(root: Path, plan: Plan) -> Iterator[int]:
    for number in range(plan.rounds):
        folders = [load_folder(root, number, load) for load in plan.loads]
        folders += [sweep_folder(root, number), sweep_folder(root, number + 1)]
        if not all(_finished(folder) for folder in folders):
            return
        yield number


def _finished(folder: Path) -> bool:
    return (folder / "result.json").is_file() and load_result(folder).status == "finished"


def _process_cv(folder: Path) -> float:
    from profleet.profile.samples import STEADY

    samples = load_samples(folder)
    steady = samples.where(samples.phase == STEADY)
    means = [steady.latency_ns[steady.process == each].mean() for each in np.unique(steady.process)]
    if len(means) < 2:
        raise ConfigError(f"{folder}: one process cannot tell how processes differ.")
    return float(np.std(means, ddof=1) / np.mean(means))
