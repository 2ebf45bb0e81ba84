"""The configuration of ``profleet run``, checked once, before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from profleet.errors import ConfigError, did_you_mean
from profleet.hardware.settings import SetupMode

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Percent = Annotated[float, Field(gt=0, lt=1)]
BatchSize = Annotated[int, Field(gt=0, le=65536)]

MAX_THREADS = 1024  # a slip of the keyboard beyond it keeps a machine busy with starting threads


SMALLEST_MB = 64


class Settings(BaseModel):
    """Base of every part of the configuration: immutable, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MeasureSettings(Settings):
    """How a point is measured (``conf/measure``). Seconds unless the name says otherwise."""

    processes: int = Field(ge=1, le=100, description="fresh processes, each measures every point")
    min_seconds: Positive
    min_samples: int = Field(ge=1)
    max_samples: int = Field(ge=1)
    target_interval: Percent = Field(description="relative half-width of the median's interval")
    budget_seconds: Positive
    warmup_max_seconds: Positive
    idle_gaps_ms: tuple[Positive, ...]
    idle_samples: int = Field(ge=1)
    copy_samples: int = Field(ge=1)
    intra_op_threads: Annotated[int, Field(ge=1, le=MAX_THREADS)] | None
    inter_op_threads: int = Field(ge=1, le=MAX_THREADS)
    cpus: tuple[Annotated[int, Field(ge=0)], ...] | None
    seed: int = Field(ge=0)
    timeout_seconds: Positive

    @model_validator(mode="after")
    def _consistent(self) -> MeasureSettings:
        if self.max_samples < self.min_samples:
            raise ValueError(
                f"max_samples ({self.max_samples}) is below min_samples ({self.min_samples})"
            )
        return self


class Seeds(Settings):
    """Seeds of LoadGen's three random streams."""

    qsl: int = Field(ge=0)
    sample_index: int = Field(ge=0)
    schedule: int = Field(ge=0)


class SweepScenario(Settings):
    """The closed-loop batch sweep that feeds the simulator."""

    kind: Literal["sweep"]


class SingleStream(Settings):
    """MLPerf SingleStream: the next query when the last one is answered."""

    kind: Literal["single_stream"]
    min_seconds: Positive
    min_queries: int = Field(ge=1)
    seeds: Seeds


class MultiStream(Settings):
    """MLPerf MultiStream: queries of several samples, one after the other."""

    kind: Literal["multi_stream"]
    min_seconds: Positive
    min_queries: int = Field(ge=1)
    samples_per_query: int = Field(ge=1)
    seeds: Seeds


class Server(Settings):
    """MLPerf Server: Poisson arrivals at a target rate, latency from the scheduled arrival."""

    kind: Literal["server"]
    target_rps: Positive
    latency_bound_ms: Positive
    percentile: Percent
    min_seconds: Positive
    min_queries: int = Field(ge=1)
    seeds: Seeds


class Offline(Settings):
    """MLPerf Offline: all samples at once."""

    kind: Literal["offline"]
    expected_rps: Positive | None = Field(description="null: estimated before the test")
    min_seconds: Positive
    min_queries: int = Field(ge=1)
    seeds: Seeds


class FindPeak(Settings):
    """The highest Poisson rate that keeps a latency percentile within its bound."""

    kind: Literal["find_peak"]
    latency_bound_ms: Positive
    percentile: Percent
    start_rps: Positive | None = Field(description="null: half the closed-loop rate")
    tolerance: Percent
    min_seconds: Positive
    min_queries: int = Field(ge=1)
    seeds: Seeds


Scenario = Annotated[
    SweepScenario | SingleStream | MultiStream | Server | Offline | FindPeak,
    Field(discriminator="kind"),
]


class ProcessSettings(Settings):
    """A runner in a local process (``conf/executor/process.yaml``)."""

    kind: Literal["process"]
    python: str | None = Field(description="interpreter of the runner; null: the one that runs us")
    memory_limit_mb: Annotated[int, Field(ge=SMALLEST_MB)] | None


def _number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Word = Annotated[str, BeforeValidator(_number_as_text)]
"""Text that may look like a number: ``0`` on a command line is one for Hydra."""


def _megabytes(value: Any) -> Any:
    """Refuse in one sentence what a union would refuse in two."""
    number = isinstance(value, int) and not isinstance(value, bool)
    if value == "auto" or (number and value >= SMALLEST_MB):
        return value
    raise ValueError(f"should be a number of at least {SMALLEST_MB}, auto or null")


class DockerSettings(Settings):
    """A runner in a container (``conf/executor/docker.yaml``), hermetic unless loosened here."""

    kind: Literal["docker"]
    image: str | None = Field(min_length=1, description="null: the one of the framework's manifest")
    image_id: Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")] | None = Field(
        description="id or digest that the image must have, as a lock pins it; null: any"
    )
    memory_limit_mb: Annotated[int, Field(ge=SMALLEST_MB)] | None
    memory_mb: Annotated[int | Literal["auto"], BeforeValidator(_megabytes)] | None = Field(
        description="of the whole container, without swap; auto: 80 % of the engine's; null: none"
    )
    pids: Annotated[int, Field(ge=16)] | None = Field(description="processes and threads at most")
    user: Annotated[Word, Field(pattern=r"^\w[\w.-]*(:\w[\w.-]*)?$")] | None
    network: Annotated[str, Field(pattern=r"^[\w.:-]+$")]
    writable_root: bool
    cap_add: tuple[Annotated[str, Field(pattern="^[A-Z_]+$")], ...]
    seccomp: Literal["default", "unconfined"]
    numa_nodes: Annotated[Word, Field(pattern=r"^\d+([-,]\d+)*$")] | None
    tmp_mb: int = Field(ge=1)
    results_mb: int = Field(ge=8)
    weights: Literal["volume", "archive"]


ExecutorSettings = Annotated[ProcessSettings | DockerSettings, Field(discriminator="kind")]


class TrackingSettings(Settings):
    """Where runs are logged. ``uri: null`` turns tracking off."""

    uri: str | None
    artifacts: str | None
    experiment: str = Field(min_length=1)


class RunSettings(Settings):
    """The whole configuration of one Hydra job."""

    model: str | None
    framework: str
    hardware: str
    suite: str | None
    batch_sizes: tuple[BatchSize, ...] = Field(min_length=1)
    store: Annotated[Path, Field(strict=False)]
    resume: bool
    allow_unsupported: bool
    manifests: tuple[str, ...]
    setup: Annotated[SetupMode, BeforeValidator(lambda value: value or "off")]  # YAML's off: false
    measure: MeasureSettings
    scenario: Scenario
    executor: ExecutorSettings
    tracking: TrackingSettings

    @model_validator(mode="after")
    def _consistent(self) -> RunSettings:
        if (self.model is None) == (self.suite is None):
            raise ValueError(
                "name one model=... or one suite=...; `profleet manifest list` shows both"
            )
        if len(set(self.batch_sizes)) != len(self.batch_sizes):
            raise ValueError(f"batch_sizes holds a size twice: {list(self.batch_sizes)}")
        uri = self.tracking.uri
        if uri is not None and urlsplit(uri).scheme in {"", "file"}:  # said before measuring
            raise ValueError(
                f"tracking.uri={uri} names neither a database nor a server; say "
                "sqlite:///FOLDER/profleet.db, http://HOST:5000 or tracking=none"
            )
        return self


def parse(config: DictConfig) -> RunSettings:
    """Resolve and check a composed configuration.

    Raises:
        ConfigError: an interpolation or a value cannot be used; names the key.
    """
    return check(RunSettings, resolved(config))


def tracking_of(config: DictConfig) -> TrackingSettings:
    """Resolve and check only where to log; raises as :func:`parse` does."""
    return check(TrackingSettings, resolved(config)["tracking"])


def store_of(config: DictConfig) -> Path:
    """Resolve and check only where results go; raises as :func:`parse` does."""
    try:
        store = str("" if config.store is None else config.store)
    except OmegaConfBaseException as error:
        raise unresolved(error) from None
    if not store.strip():
        raise ConfigError("store is empty: name a folder, store=DIR or PROFLEET_STORE=DIR.")
    if store.startswith("~"):
        raise ConfigError(f"store={store}: nothing put your home folder for ~. Write it in full.")
    return Path(store).absolute()


def unresolved(error: OmegaConfBaseException) -> ConfigError:
    """Say in one sentence which interpolation or value cannot be resolved."""
    return ConfigError(f"The configuration cannot be resolved: {str(error).splitlines()[0]}.")


def resolved(config: DictConfig) -> dict[str, Any]:
    """Resolve everything but Hydra's own part, with the store as an absolute path."""
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        if missing := sorted(OmegaConf.missing_keys(own)):
            raise ConfigError(f"{missing[0]} has no default: say {missing[0]}=VALUE.")
        OmegaConf.update(own, "store", str(store_of(own)))
        plain = OmegaConf.to_container(own, resolve=True)
    except OmegaConfBaseException as error:
        raise unresolved(error) from None
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


S = TypeVar("S", bound=Settings)


def check(model: type[S], plain: Any) -> S:
    """Validate ``plain`` as ``model``; the first problem becomes one sentence."""
    try:
        return model.model_validate(plain)
    except ValidationError as error:
        raise ConfigError(_sentence(model, error, plain)) from None


def _sentence(model: type[BaseModel], error: ValidationError, plain: Any) -> str:
    found = error.errors(include_url=False)
    # A list with a bad item is also called too short: one mistake, said once.
    within = {location[:-1] for location in (problem["loc"] for problem in found)}
    problems = [one for one in found if one["type"] != "too_short" or one["loc"] not in within]
    first = problems[0]
    path = list(_path(first["loc"], plain, whole=first["type"] == "missing"))
    location = ".".join(path)
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = f"unknown key. {did_you_mean(path[-1], _known_keys(model, path[:-1], plain))}"
    elif first["type"] == "union_tag_invalid":
        tags = [tag.strip("'") for tag in first["ctx"]["expected_tags"].split(", ")]
        message = f"unknown kind '{first['ctx']['tag']}'. {did_you_mean(first['ctx']['tag'], tags)}"
    elif first["type"] == "tuple_type":
        given = first["input"]
        written = given if isinstance(given, str | int | float) else "1,2"
        message = f"must be a list such as {location}=[{written}] (got {given!r})."
    elif first["type"] in {"model_type", "model_attributes_type"}:
        message = f"must be a group of keys with values (got {first['input']!r})."
    elif first["type"] == "too_short":
        message = "must hold at least one value."
    elif location:
        given = "" if isinstance(first["input"], Mapping) else f" (got {first['input']!r})"
        message = f"{message[0].lower()}{message[1:]}{given}."
    message = message if message.endswith(".") else f"{message}."
    count = len(problems) - 1
    more = f" ({count} more {'problem' if count == 1 else 'problems'}.)" if count else ""
    where = f"{location}: " if location else ""
    return f"Configuration: {where}{message}{more}"


def _path(location: tuple[int | str, ...], plain: Any, whole: bool) -> Iterator[str]:
    """Leave out what the user never wrote: the tags of unions, which pydantic names too.

    ``whole`` keeps the last part, which is what is missing.
    """
    here, entered = plain, False
    for depth, part in enumerate(location, 1):
        tag = isinstance(here, Mapping) and here.get("kind") == part and not entered
        entered = tag  # a key of that name may follow
        if tag:
            continue
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            if not (whole and depth == len(location)):
                continue
        yield str(part)


def _known_keys(model: type[BaseModel], parents: Iterable[str], plain: Any) -> list[str]:
    """The keys below a path of keys, of the variant whose ``kind`` is given there."""
    models, here = [model], plain
    for part in parents:
        fields = [each.model_fields[part] for each in models if part in each.model_fields]
        inside = [found for field in fields for found in _models_in(field.annotation)]
        models = inside or models  # the place in a list, or a name in a mapping
        here = here[int(part) if isinstance(here, Sequence) else part]
        kind = here.get("kind") if isinstance(here, Mapping) else None
        models = [each for each in models if kind in _kinds(each)] or models
    return list(dict.fromkeys(key for each in models for key in each.model_fields))


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    return get_args(model.model_fields["kind"].annotation) if "kind" in model.model_fields else ()


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
