"""The measured record: schema, units and history.

History of ``profleet/measurement`` (written by a runner) and ``profleet/profile`` (the same,
completed by the host with statistics and provenance):

* v1: first version.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MEASUREMENT_SCHEMA = "profleet/measurement/v1"
PROFILE_SCHEMA = "profleet/profile/v1"
RESULT_SCHEMA = "profleet/result/v1"

PHASES = ("warmup", "steady", "idle", "scenario")
"""Meaning of the codes 0-3 in the column ``phase`` of the samples."""


def _moment(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("the time does not say its zone; write UTC, such as 2026-01-02T03:04:05Z")
    return text


Timestamp = Annotated[str, AfterValidator(_moment)]
"""A moment as text: ISO 8601, with its zone (UTC)."""


class Record(BaseModel):
    """Base of every part of a record. Unknown keys are an error: they mean a newer writer."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Value(Record):
    """A reading that was taken."""

    value: float | int | str | bool | list[float | int | str] | None


class Unavailable(Record):
    """A reading that could not be taken, and why. It is not zero."""

    unavailable: str = Field(min_length=1)


Reading = Value | Unavailable


class RunnerInfo(Record):
    """The program that measured."""

    name: str
    version: str
    python: str


class FrameworkInfo(Record):
    """The framework as it really ran."""

    name: str
    accelerator: Literal["cpu", "cuda"]
    device: str = Field(description="device name as the framework reports it")
    packages: dict[str, str] = Field(description="distribution -> installed version")
    options: dict[str, Any] = Field(description="options in effect, read back where possible")
    threads: dict[str, Reading] = Field(
        description="intra_op, inter_op: threads in effect, read back from the framework"
    )


class ColdStart(Record):
    """One fresh process from nothing to its first answer. Seconds."""

    process: int
    start_s: float = Field(
        description="starting the interpreter and numpy, before the framework is imported"
    )
    import_s: float = Field(description="importing the framework")
    load_s: float = Field(description="reading the artifact from storage into memory")
    init_s: float = Field(description="building the session: parsing, optimizing, allocating")
    first_run_s: float = Field(description="the first request, never part of the warm samples")
    first_run_batch: int


class WarmUp(Record):
    """Warm-up of one point in one process: until steady, or until its budget ended."""

    process: int
    runs: int
    seconds: float
    steady: bool


class Point(Record):
    """One batch size under the closed-loop sweep."""

    batch_size: int
    status: Literal["steady", "unstable"]
    reasons: list[str] = Field(description="why it is unstable, one sentence each")
    processes: int
    warm_up: list[WarmUp]
    input_bytes: int = Field(description="bytes of all inputs of one batch")
    output_bytes: int = Field(description="bytes of all outputs of one batch")
    host_to_device_ms: Reading = Field(description="median time to copy the inputs of one batch")
    device_to_host_ms: Reading = Field(description="median time to copy the outputs of one batch")
    peak_rss_bytes: Reading = Field(description="peak resident memory of the measuring process")
    peak_rss_shared: bool = Field(
        description="true when other batch sizes ran before in every process that measured it: "
        "both peaks may be theirs"
    )
    peak_device_bytes: Reading = Field(
        description="peak device memory, like RSS from processes that did nothing else, if any"
    )
    energy_j: Reading = Field(description="energy per batch, whole package or device")
    energy_source: str | None = None


class OutputCheck(Record):
    """Comparison of one output with the reference of the manifest."""

    bit_identical: bool
    max_error: float = Field(description="largest |value - reference| over compared elements")
    allowed_error: float = Field(description="atol + rtol * abs_max")
    passed: bool


class CheckResult(Record):
    """The numeric check of the manifest under this stack."""

    status: Literal["passed", "failed"]
    seed: int
    batch: int
    outputs: dict[str, OutputCheck]


class ScenarioResult(Record):
    """One MLPerf LoadGen scenario or a peak search.

    ``settings`` are what LoadGen was given, seeds included; ``summary`` is LoadGen's own summary
    parsed into key and value; ``summary_text`` is the file as LoadGen wrote it.
    """

    kind: Literal["single_stream", "multi_stream", "server", "offline", "find_peak"]
    valid: bool
    reasons: list[str]
    batch_size: int
    settings: dict[str, Any]
    summary: dict[str, Any]
    summary_text: str
    probes: list[dict[str, Any]] = Field(
        default_factory=list, description="find_peak: every rate tried and its outcome"
    )
    peak_rps: float | None = None


class Measurement(Record):
    """What a runner writes as ``profile.json``."""

    schema_: str = Field(alias="schema")
    run_id: str
    runner: RunnerInfo
    framework: FrameworkInfo
    started_at: Timestamp = Field(description="UTC, ISO 8601")
    finished_at: Timestamp
    cold_start: list[ColdStart]
    points: list[Point]
    check: CheckResult
    scenario: ScenarioResult | None = None
    settings: dict[str, Any] = Field(description="measurement settings in effect")


# -- completed by the host ---------------------------------------------------------------------


class Estimate(Record):
    """A statistic with its confidence interval (null bounds: no interval can be stated)."""

    value: float
    low: float | None
    high: float | None


class Insufficient(Record):
    """A percentile that was refused: ``have`` samples where MLPerf's rule asks for ``need``."""

    insufficient_samples: str
    have: int
    need: int


Percentile = Estimate | Insufficient


class Latency(Record):
    """Latency of one batch, milliseconds."""

    count: int
    mean: Estimate
    std: float
    minimum: float
    maximum: float
    percentiles: dict[str, Percentile] = Field(description="p50, p90, p95, p99")


class PointSummary(Record):
    """Statistics of one batch size, from the steady samples."""

    batch_size: int
    latency_ms: Latency
    throughput_rps: Estimate = Field(description="items per second: batch size / mean latency")


class IdleSummary(Record):
    """Latency when the device rested ``gap_ms`` between requests (0: back-to-back)."""

    batch_size: int
    gap_ms: float
    count: int
    p50_ms: Percentile
    ratio: float | None = Field(
        description="p50 over the back-to-back p50 of the same process; null: one is refused"
    )


class ColdStartSummary(Record):
    """Medians over processes, seconds; of ``first_run_s`` over ``first_run_processes`` of them."""

    processes: int
    start_s: float
    import_s: float
    load_s: float
    init_s: float
    first_run_s: float = Field(description="where the first request was the smallest first batch")
    first_run_processes: int = Field(description="processes whose first batch was first_run_batch")
    first_run_batch: int = Field(description="the smallest batch that came first in a process")


class StackRef(Record):
    """The stack that was measured, by exact reference."""

    model: str
    framework: str
    hardware: str


def name_of(reference: str) -> str:
    """Return the name in an exact reference: ``resnet50`` of ``resnet50@1.0.0``."""
    return reference.partition("@")[0]


Capability = Literal[
    "applied", "already", "would apply", "not permitted", "absent", "in use by another run"
]


class SettingRecord(Record):
    """One setting of the machine that the hardware manifest asks for, and what became of it.

    Where processors differ, ``before`` and ``after`` name every value, joined by a comma.
    """

    setting: str
    wanted: str
    before: str | None = Field(description="null: it cannot be read")
    after: str | None = Field(description="in force while this was measured")
    capability: Capability
    reason: str | None = Field(default=None, description="why it is not as wanted")
    restored: bool | None = Field(
        default=None, description="whether 'before' is in force again; null: nothing was changed"
    )


class Container(Record):
    """The container that a runner was executed in. Sizes are bytes; null: no limit, or unknown."""

    engine: dict[str, Any] = Field(description="name, version and address of the container engine")
    image: dict[str, Any] = Field(description="reference, id, digest, architecture, labels")
    limits: dict[str, Any] = Field(description="what the container could use")
    loosened: list[str] = Field(description="settings that depart from the hermetic default")
    weights: Literal["volume", "archive"] = Field(description="how the artifact got in")
    memory_peak_bytes: int | None = Field(
        description="most memory in use, of all processes with the files they read; null: unknown"
    )
    refused: list[str] = Field(description="what was not taken out of the container, and why")


class Profile(Record):
    """A finished ``profile.json``: the measurement, its statistics and its provenance."""

    schema_: Annotated[str, Field(alias="schema")] = PROFILE_SCHEMA
    evidence: Literal["measured"] = "measured"
    run_id: str
    run_key: str = Field(description="sha256 that identifies stack, settings and machine class")
    lock_sha256: str
    profleet_version: str
    executor: str
    container: Container | None = Field(default=None, description="null: a local process")
    stack: StackRef
    status: Literal["steady", "unstable"]
    warnings: list[str]
    setup: list[SettingRecord] = Field(
        default_factory=list, description="settings of the machine for the time of the measurement"
    )
    measurement: Measurement
    points: list[PointSummary]
    idle: list[IdleSummary]
    cold_start: ColdStartSummary
    scenario: Latency | None = Field(
        default=None,
        description="latency of the scenario's requests, from the scheduled arrival (offline: from "
        "the start of the test); no intervals, as the requests of one process depend on each other",
    )
    confidence: float = Field(description="confidence level of every interval")
