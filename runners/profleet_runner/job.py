"""``job.json``: reading it strictly. What is wrong is said with its path inside the document."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from profleet_runner.protocol import Failure

JOB_SCHEMA = "profleet/job/v1"
DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


@dataclass(frozen=True)
class Artifact:
    """The file to execute; ``path`` is absolute."""

    path: Path
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Framework:
    """The framework that the job asks for."""

    name: str
    runner: str
    accelerator: str
    packages: dict[str, str]
    options: dict[str, Any]


@dataclass(frozen=True)
class Measure:
    """Measurement settings; every duration in seconds unless the name says otherwise."""

    processes: int
    min_seconds: float
    min_samples: int
    max_samples: int
    target_interval: float
    budget_seconds: float
    warmup_max_seconds: float
    idle_gaps_ms: list[float]
    idle_samples: int
    copy_samples: int
    intra_op_threads: int | None
    inter_op_threads: int
    cpus: list[int] | None
    seed: int

    def document(self) -> dict[str, Any]:
        """The settings as they stand in the job."""
        return asdict(self)


@dataclass(frozen=True)
class Job:
    """A job that was found to be valid."""

    folder: Path
    run_id: str
    artifact: Artifact
    inputs: list[dict[str, Any]]
    check: dict[str, Any]
    framework: Framework
    batch_sizes: list[int]
    measure: Measure
    memory_limit_bytes: int | None
    scenario: dict[str, Any]

    @property
    def processes(self) -> int:
        """Workers to start: a scenario is one test, so it has one."""
        return self.measure.processes if self.scenario["kind"] == "sweep" else 1


def read_job(folder: Path) -> Job:
    """Read and validate ``folder/job.json``.

    Raises:
        Failure: kind ``invalid_job``.
    """
    path = folder / "job.json"
    try:
        document = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except OSError as error:
        raise Failure("invalid_job", f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        raise Failure("invalid_job", f"{path} is not JSON: {error}.") from None
    _match(document, _JOB, "")
    measure = Measure(**document["measure"])
    if measure.max_samples < measure.min_samples:
        _wrong("measure.max_samples", "at least measure.min_samples", measure.max_samples)
    sizes = document["batch_sizes"]
    if len(set(sizes)) != len(sizes):
        _wrong("batch_sizes", "different numbers", sizes)
    model, framework = document["model"], document["framework"]
    artifact = model["artifact"]
    for number, one in enumerate(model["inputs"]):
        _match_values(one["values"], f"model.inputs[{number}].values")
    return Job(
        folder=folder,
        run_id=document["run_id"],
        artifact=Artifact(folder / artifact["path"], artifact["sha256"], artifact["bytes"]),
        inputs=model["inputs"],
        check=model["check"],
        framework=Framework(
            framework["name"],
            framework["runner"],
            framework["accelerator"],
            framework["packages"],
            framework["options"],
        ),
        batch_sizes=sizes,
        measure=measure,
        memory_limit_bytes=document.get("memory_limit_bytes"),
        scenario=document["scenario"],
    )


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


# -- what each place of the document must hold ---------------------------------------------------


def _wrong(path: str, expected: str, value: object) -> None:
    shown = json.dumps(value)
    if len(shown) > 60:
        shown = shown[:57] + "..."
    raise Failure(
        "invalid_job",
        f"job.json: {path or 'the document'} should be {expected}, not {shown}.",
        "runners/README.md describes the job.",
    )


@dataclass(frozen=True)
class _Is:
    """A value that passes a test."""

    expected: str
    test: Callable[[Any], bool]


@dataclass(frozen=True)
class _ListOf:
    item: Any
    least: int = 0


@dataclass(frozen=True)
class _MapOf:
    item: Any
    least: int = 0


@dataclass(frozen=True)
class _OrNull:
    item: Any


@dataclass(frozen=True)
class _Optional:
    """A key that may be absent."""

    item: Any


@dataclass(frozen=True)
class _ByKind:
    """An object whose other keys depend on ``kind``."""

    kinds: dict[str, dict[str, Any]]


def _integer(least: int, expected: str | None = None) -> _Is:
    return _Is(
        expected or f"an integer of at least {least}",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _one_of(*words: str) -> _Is:
    return _Is(f"one of {', '.join(words)}", lambda value: value in words)


_TEXT = _Is("a non-empty string", lambda value: isinstance(value, str) and value != "")
_NUMBER = _Is("a number", _is_number)
_POSITIVE = _Is("a number above 0", lambda value: _is_number(value) and value > 0)
_NOT_NEGATIVE = _Is("a number of at least 0", lambda value: _is_number(value) and value >= 0)
_SHARE = _Is("a number between 0 and 1", lambda value: _is_number(value) and 0 < value < 1)
_SHA256 = _Is(
    "64 hexadecimal digits",
    lambda value: (
        isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
    ),
)
_RELATIVE = _Is(
    "a path inside the job's folder",
    lambda value: (
        isinstance(value, str)
        and value != ""
        and not Path(value).is_absolute()
        and ".." not in Path(value).parts
    ),
)
_DIMENSION = _Is(
    "a positive integer, 'batch' or 'dynamic'",
    lambda value: (
        value in ("batch", "dynamic")
        or (isinstance(value, int) and not isinstance(value, bool) and value > 0)
    ),
)
_SCALAR = _Is(
    "a boolean, number or string",
    lambda value: isinstance(value, bool | str) or _is_number(value),
)
_NUMBER_OR_BOOLEAN = _Is(
    "a number or boolean", lambda value: isinstance(value, bool) or _is_number(value)
)

_SEEDS = {"qsl": _integer(0), "sample_index": _integer(0), "schedule": _integer(0)}
_TEST = {"min_seconds": _POSITIVE, "min_queries": _integer(1), "seeds": _SEEDS}
_BOUND = {"latency_bound_ms": _POSITIVE, "percentile": _SHARE}

_SCENARIO = _ByKind(
    {
        "sweep": {},
        "single_stream": _TEST,
        "multi_stream": {**_TEST, "samples_per_query": _integer(1)},
        "server": {**_TEST, **_BOUND, "target_rps": _POSITIVE},
        "offline": {**_TEST, "expected_rps": _OrNull(_POSITIVE)},
        "find_peak": {
            **_TEST,
            **_BOUND,
            "start_rps": _OrNull(_POSITIVE),
            "tolerance": _SHARE,
        },
    }
)

_VALUES = {
    "kind": _one_of("uniform", "integers", "constant"),
    "low": _Optional(_OrNull(_NUMBER)),
    "high": _Optional(_OrNull(_NUMBER)),
    "value": _Optional(_OrNull(_NUMBER_OR_BOOLEAN)),
}

_REFERENCE = {
    "shape": _ListOf(_integer(0)),
    "sha256": _SHA256,
    "positions": _ListOf(_integer(0)),
    "values": _ListOf(_NUMBER),
    "mean": _NUMBER,
    "std": _NUMBER,
    "abs_max": _NUMBER,
}

_MODEL = {
    "name": _TEXT,
    "version": _TEXT,
    "artifact": {
        "path": _RELATIVE,
        "format": _one_of("onnx"),
        "sha256": _SHA256,
        "bytes": _integer(1),
    },
    "inputs": _ListOf(
        {
            "name": _TEXT,
            "dtype": _one_of(*DTYPES),
            "shape": _ListOf(_DIMENSION),
            "values": _VALUES,
        },
        least=1,
    ),
    "outputs": _ListOf(
        {"name": _TEXT, "dtype": _one_of(*DTYPES), "shape": _ListOf(_DIMENSION)}, least=1
    ),
    "check": {
        "seed": _integer(0),
        "batch": _integer(1),
        "producer": _TEXT,
        "rtol": _NOT_NEGATIVE,
        "atol": _NOT_NEGATIVE,
        "outputs": _MapOf(_REFERENCE, least=1),
    },
}

_JOB = {
    "schema": _one_of(JOB_SCHEMA),
    "run_id": _TEXT,
    "run_key": _TEXT,
    "model": _MODEL,
    "framework": {
        "name": _TEXT,
        "version": _TEXT,
        "runner": _TEXT,
        "accelerator": _one_of("cpu", "cuda"),
        "packages": _MapOf(_Is("a version range", lambda value: isinstance(value, str)), least=1),
        "options": _MapOf(_SCALAR),
    },
    "batch_sizes": _ListOf(_integer(1), least=1),
    "measure": {
        "processes": _integer(1),
        "min_seconds": _POSITIVE,
        "min_samples": _integer(1),
        "max_samples": _integer(1),
        "target_interval": _SHARE,
        "budget_seconds": _POSITIVE,
        "warmup_max_seconds": _POSITIVE,
        "idle_gaps_ms": _ListOf(_POSITIVE),
        "idle_samples": _integer(1),
        "copy_samples": _integer(1),
        "intra_op_threads": _OrNull(_integer(1)),
        "inter_op_threads": _integer(1),
        "cpus": _OrNull(_ListOf(_integer(0), least=1)),
        "seed": _integer(0),
    },
    "memory_limit_bytes": _Optional(_OrNull(_integer(1))),
    "scenario": _SCENARIO,
}


def _match(value: Any, spec: Any, path: str) -> None:
    match spec:
        case _Is():
            if not spec.test(value):
                _wrong(path, spec.expected, value)
        case _OrNull():
            if value is not None:
                _match(value, spec.item, path)
        case _ListOf():
            if not isinstance(value, list) or len(value) < spec.least:
                _wrong(path, "a non-empty list" if spec.least else "a list", value)
            for number, item in enumerate(value):
                _match(item, spec.item, f"{path}[{number}]")
        case _MapOf():
            if not isinstance(value, dict) or len(value) < spec.least:
                _wrong(path, "a non-empty object" if spec.least else "an object", value)
            for name, item in value.items():
                _match(item, spec.item, _join(path, name))
        case _ByKind():
            _match_kind(value, spec, path)
        case _:
            _match_object(value, spec, path)


def _match_kind(value: Any, spec: _ByKind, path: str) -> None:
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in spec.kinds:
        _wrong(_join(path, "kind"), f"one of {', '.join(spec.kinds)}", kind)
    _match_object(value, {"kind": _TEXT, **spec.kinds[str(kind)]}, path)


def _match_object(value: Any, spec: dict[str, Any], path: str) -> None:
    if not isinstance(value, dict):
        _wrong(path, "an object", value)
    for name in value:
        if name not in spec:
            raise Failure(
                "invalid_job",
                f"job.json: unknown key {_join(path, name)}.",
                f"The keys there are {', '.join(sorted(spec))}.",
            )
    for name, item in spec.items():
        if isinstance(item, _Optional):
            if name in value:
                _match(value[name], item.item, _join(path, name))
        elif name not in value:
            raise Failure(
                "invalid_job",
                f"job.json: {_join(path, name)} is missing.",
                "runners/README.md describes the job.",
            )
        else:
            _match(value[name], item, _join(path, name))


def _match_values(values: dict[str, Any], path: str) -> None:
    needed = ("value",) if values["kind"] == "constant" else ("low", "high")
    if any(values.get(name) is None for name in needed):
        names = " and ".join(f"'{name}'" for name in needed)
        raise Failure("invalid_job", f"job.json: {path}: {values['kind']} needs {names}.")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
