"""What is measured for a validation, where it lies, and what a comparison says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from profleet.profile.schema import Record, Timestamp

VALIDATION_SCHEMA = "profleet/validation/v1"
PLAN_SCHEMA = "profleet/validation-plan/v1"
PLAN = "plan.json"
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

NOISE = 0.95
"""Share of the replications that the interval holds. It is that of one round's quantile; the median
of several varies less, so the verdict errs toward ``within noise``."""

Verdict = Literal["within noise", "outside", "too noisy to tell"]

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

    @field_validator("loads")
    @classmethod
    def _in_folders_of_their_own(cls, loads: list[float]) -> list[float]:
        if len({f"{load:g}" for load in loads}) < len(loads):
            raise ValueError("name every load once")
        return loads

    @model_validator(mode="after")
    def _a_rate_of_each_load(self) -> Self:
        if self.rates_rps and len(self.rates_rps) != len(self.loads):
            raise ValueError("rates_rps has not as many rates as there are loads")
        return self

    @property
    def estimated_seconds(self) -> float:
        """About how long measuring takes."""
        sweep = 5.0 * self.processes + 5
        return (self.rounds + 1) * sweep + self.rounds * len(self.loads) * (self.seconds + 5)


def sweep_folder(root: Path, number: int) -> Path:
    """Where a sweep is: number n comes before round n, n + 1 after it."""
    return root / f"sweep-{number:02d}"


def load_folder(root: Path, number: int, load: float) -> Path:
    """Where the Server scenario of a round and load is."""
    return root / f"round-{number:02d}" / f"load-{load:g}"


class Simulated(Record):
    """One quantile of simulated latency beside the measured one; milliseconds."""

    value_ms: float = Field(description="median over all replications")
    low_ms: float
    high_ms: float
    difference: float = Field(
        description="median of the measured ones over the simulated one, less 1"
    )
    verdict: Verdict = Field(description="where the median of the measured ones lies")


class Quantile(Record):
    """One quantile of latency: measured once a round, and simulated twice."""

    measured_ms: list[float] = Field(description="of every round")
    from_sweeps: Simulated = Field(description="service times of the sweeps around each round")
    from_serving: Simulated | None = Field(
        description="service times of the other rounds at this load; null with one round"
    )


class LoadResult(Record):
    """One load: the same schedule in all rounds."""

    load: float = Field(description="arrival rate times mean service time of the first sweep")
    rate_rps: float
    requests: list[int] = Field(description="of every round")
    offered_load: list[float] = Field(
        description="of every round, with the service time of the sweeps around it"
    )
    serving_mean_ms: list[float] = Field(
        description="of every round: mean time that the worker took for a request, waking up "
        "included"
    )
    waited_mean_ms: list[float | None] = Field(
        description="the same of the requests alone that found the worker busy; null: none did"
    )
    serving_ratio: float = Field(
        description="median over rounds of that mean over the one of the sweeps around"
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
    replications: int = Field(description="of every schedule with every source of service times")
    loads: list[LoadResult]
    warnings: list[str] = Field(description="of the profiles, each once")
