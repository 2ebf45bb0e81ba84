"""Settings of the group ``workload`` (``conf/workload``): which requests reach the fleet, and when.

Rates are in requests per second. Every open workload takes ``rate`` (absolute) or ``load`` (as a
fraction of what the fleet can serve), never both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from profleet.execute.settings import Positive, Settings, check
from profleet.simulate.workload.gaps import Distribution
from profleet.simulate.workload.traces import DATASETS, FORMATS, CsvSettings

Weight = Annotated[float, Field(ge=0, le=1e12)]
Share = Annotated[float, Field(gt=0, le=1e12)]
Speed = Annotated[float, Field(ge=1e-9, le=1e9)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
Variation = Annotated[float, Field(ge=0.01, le=100, description="standard deviation over mean")]


class Marks(Settings):
    """What requests carry besides their time."""

    models: dict[str, Weight] | None = Field(
        None, description="weight of each model; null: every model of the fleet, equally"
    )
    priority: int = Field(0, ge=-1_000_000, le=1_000_000, description="lower goes first")
    deadline_ms: Positive | None = Field(None, description="from the arrival; null: none")

    @model_validator(mode="after")
    def _some_model(self) -> Marks:
        if self.models is not None and not any(self.models.values()):
            raise ValueError("models: give at least one model a weight above 0")
        return self


class Open(Marks):
    """Base of workloads whose requests do not wait for answers."""

    rate: Positive | None = Field(None, description="mean requests per second")
    load: Positive | None = Field(None, description="mean rate as a fraction of capacity")

    @model_validator(mode="after")
    def _one_rate(self) -> Open:
        if self.rate is not None and self.load is not None:
            raise ValueError("rate and load are two ways to say the same: give one, not both")
        return self


class Deterministic(Open):
    """Equally spaced requests."""

    kind: Literal["deterministic"]


class Poisson(Open):
    """Independent requests: exponential gaps."""

    kind: Literal["poisson"]


class Gamma(Open):
    """Independent gaps with a gamma distribution of a chosen coefficient of variation."""

    kind: Literal["gamma"]
    cv: Variation


class Weibull(Open):
    """Independent gaps with a Weibull distribution of a chosen coefficient of variation."""

    kind: Literal["weibull"]
    cv: Variation


class State(Settings):
    """One state of a modulated workload."""

    level: Weight = Field(description="rate in this state, relative to the other states")
    mean_seconds: Annotated[float, Field(ge=1e-6, le=1e8)]


class Mmpp(Open):
    """A Poisson process whose rate jumps between states at random times (MMPP, on-off bursts)."""

    kind: Literal["mmpp"]
    states: dict[str, State] = Field(min_length=2, max_length=1000)

    @model_validator(mode="after")
    def _some_rate(self) -> Mmpp:
        if not any(state.level for state in self.states.values()):
            raise ValueError("states: give at least one state a level above 0")
        return self


class Diurnal(Open):
    """A rate that swings around its mean like a sine, once in ``period_seconds``."""

    kind: Literal["diurnal"]
    period_seconds: Annotated[float, Field(ge=1e-3, le=1e8)]
    swing: Annotated[float, Field(ge=0, le=1, description="peak is 1 + swing times the mean")]
    peak_seconds: Annotated[float, Field(ge=0, description="when the rate is highest")]
    cv: Variation = Field(description="of the gaps at a constant rate; 1 is Poisson")


class Piece(Settings):
    """A stretch of a piecewise rate."""

    seconds: Annotated[float, Field(ge=1e-6, le=1e8)]
    level: Weight
    end_level: Weight | None = Field(None, description="null: constant; else linear up to this")


class Piecewise(Open):
    """A rate made of constant and linear pieces, over and over again.

    With neither ``rate`` nor ``load`` the levels are requests per second; otherwise they are
    relative, and scaled to the wanted mean.
    """

    kind: Literal["piecewise"]
    pieces: tuple[Piece, ...] = Field(min_length=1, max_length=100_000)
    cv: Variation = Field(description="of the gaps at a constant rate; 1 is Poisson")

    @model_validator(mode="after")
    def _some_rate(self) -> Piecewise:
        if not any(piece.level or piece.end_level for piece in self.pieces):
            raise ValueError("pieces: give at least one piece a level above 0")
        return self


class Work(Settings):
    """Service time from token counts, as a multiple of what the profile measured.

    ``constant + per_input * input_tokens + per_output * output_tokens``; with ``relative`` divided
    by its mean over the trace, so that the mean request is one like those measured. ``load`` counts
    requests: without ``relative`` it says nothing about how busy they keep the fleet.
    """

    constant: Weight = 0.0
    per_input: Weight = 0.0
    per_output: Weight = 0.0
    relative: bool = True

    @model_validator(mode="after")
    def _something(self) -> Work:
        if not (self.constant or self.per_input or self.per_output):
            raise ValueError("give constant, per_input or per_output a value above 0")
        return self


class Trace(Open):
    """Requests as they were recorded, at their own rate unless told otherwise."""

    kind: Literal["trace"]
    dataset: str | None = Field(None, description="a known public trace; names format and file")
    format: str | None = Field(None, description="of the file at path")
    path: Annotated[Path, Field(strict=False)] | None = None
    csv: CsvSettings | None = Field(None, description="columns, for format csv only")
    speed: Speed | None = Field(None, description="times faster than recorded")
    window_seconds: tuple[Seconds, Seconds] | None = Field(
        None, description="from and to, since the first request; null: all"
    )
    loop: bool = Field(False, description="start again after the last request")
    trace_models: Literal["ignore", "keep", "spread"] = Field(
        "ignore", description="ignore: by models; keep: the names; spread: names in turn"
    )
    rename: dict[str, str] = Field({}, description="model names of the trace to those of the fleet")
    work: Work | None = Field(None, description="null: every request is like those measured")

    @model_validator(mode="after")
    def _consistent(self) -> Trace:
        for field, known in (("dataset", DATASETS), ("format", FORMATS)):
            name = getattr(self, field)
            if name is not None and name not in known:
                raise ValueError(f"{field}: unknown {name!r}; available: {', '.join(known)}")
        if (self.dataset is None) == (self.format is None):
            raise ValueError("give either a dataset or the format of the file at path")
        if self.format is not None and self.path is None:
            raise ValueError("path: name the file to read")
        if (self.format == "csv") != (self.csv is not None):
            raise ValueError("csv: says which columns a file of format csv has; only for those")
        if sum(value is not None for value in (self.rate, self.load, self.speed)) > 1:
            raise ValueError("rate, load and speed all set the rate: give one at most")
        if self.window_seconds and self.window_seconds[0] >= self.window_seconds[1]:
            raise ValueError("window_seconds: its start is not before its end")
        if self.trace_models != "ignore" and self.models is not None:
            raise ValueError("models: has no effect unless trace_models is 'ignore'")
        if self.rename and self.trace_models != "keep":
            raise ValueError("rename: has no effect unless trace_models is 'keep'")
        return self


Single = Annotated[
    Deterministic | Poisson | Gamma | Weibull | Mmpp | Diurnal | Piecewise | Trace,
    Field(discriminator="kind"),
]


class Client(Settings):
    """One of several sources of requests."""

    weight: Share = Field(1.0, description="share of the rate of the whole mixture")
    arrivals: Single


class Mixture(Settings):
    """Several clients at once, each with a process, models, priority and deadline of its own.

    Either the mixture has ``rate`` or ``load`` and the weights share it out, or every client has
    a rate of its own.
    """

    kind: Literal["mixture"]
    rate: Positive | None = None
    load: Positive | None = None
    clients: dict[str, Client] = Field(min_length=1, max_length=1000)

    @model_validator(mode="after")
    def _one_rate(self) -> Mixture:
        if self.rate is not None and self.load is not None:
            raise ValueError("rate and load are two ways to say the same: give one, not both")
        if self.rate is None and self.load is None:
            if len({client.arrivals.load is None for client in self.clients.values()}) > 1:
                raise ValueError(
                    "clients: some have a load and some have not; what a fleet can serve depends "
                    "on their mix, so give all of them a load, or none"
                )
            return self
        for name, client in self.clients.items():
            arrivals = client.arrivals
            speed = arrivals.speed if isinstance(arrivals, Trace) else None
            if (arrivals.rate, arrivals.load, speed) != (None, None, None):
                raise ValueError(
                    f"clients.{name}: has a rate of its own, but the mixture shares out one by "
                    "weight; give rates in one of the two places"
                )
        return self


class Think(Settings):
    """How long a user thinks between an answer and the next request."""

    dist: Distribution
    mean_ms: Annotated[float, Field(ge=0, le=1e11)]
    cv: Variation = Field(1.0, description="for gamma and weibull")


class Closed(Marks):
    """A fixed number of users, each with at most one request in the system."""

    kind: Literal["closed_loop"]
    users: int = Field(ge=1, le=10_000_000)
    think: Think


WorkloadSettings = Annotated[
    Deterministic
    | Poisson
    | Gamma
    | Weibull
    | Mmpp
    | Diurnal
    | Piecewise
    | Trace
    | Mixture
    | Closed,
    Field(discriminator="kind"),
]
"""The whole group; a field of this type goes into the settings of ``profleet simulate``."""


class _Group(Settings):
    workload: WorkloadSettings


def parse(plain: Any) -> WorkloadSettings:
    """Check the plain values of the group ``workload``.

    Raises:
        ConfigError: names the field that cannot be used.
    """
    return check(_Group, {"workload": plain}).workload
