"""MLPerf LoadGen: one test from settings to its result, with every latency as LoadGen counted it.

LoadGen keeps per-sample latencies to itself but for its trace, so the trace is on, read and then
removed; what it held is in the samples. Its latencies count from the *scheduled* time of a query:
for Server the Poisson schedule, whatever the delay in issuing; for Offline the start of the test;
for the streams the moment a query is issued. Writing the trace costs LoadGen's logging thread
about 5 microseconds of processor time a query, outside the thread that executes.

LoadGen's clock is the system's real-time clock. A step of it would corrupt latencies, so it is
compared with the monotonic clock around every test.

Format and meaning: ``loadgen/results.cc``, ``logging.h`` and ``issue_query_controller.cc`` of
https://github.com/mlcommons/inference.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from profleet_runner.frameworks import Unsupported

Latencies = npt.NDArray[np.int64]

MLPERF_MIN_MS = 600_000
"""Shortest duration of an MLPerf submission, milliseconds."""

_BULLET = re.compile(r"^ \* (.*)")
_ENTRY = re.compile(r"^ {0,2}(\S.*?)\s*:\s*(.*)$")
_TROUBLE = re.compile(r"^(No|\d+) (warning|error)s? encountered", re.IGNORECASE)
_SAMPLE = '{"name":"Sample","cat":"default","ph":"b"'


class ScenarioSamples(NamedTuple):
    """One entry a query (Offline: a sample), nanoseconds.

    ``start_ns`` is the scheduled arrival since the first one; ``latency_ns`` counts from it.
    """

    start_ns: Latencies
    latency_ns: Latencies


@dataclass(frozen=True)
class Outcome:
    """A finished test: LoadGen's verdict, its summary and every sample."""

    valid: bool
    reasons: list[str]
    settings: dict[str, Any]
    summary: dict[str, Any]
    summary_text: str
    samples: ScenarioSamples


class Query(Protocol):
    """LoadGen's ``QuerySample``."""

    id: int
    index: int


class Service(Protocol):
    """What is under test."""

    def issue(self, samples: Sequence[Query]) -> None:
        """Take a query. Must not raise: LoadGen cannot carry an exception."""
        ...

    def run(self, test: Callable[[], None]) -> None:
        """Let ``test`` take place; return when it is over, raising what went wrong inside."""
        ...


def load() -> Any:
    """Import LoadGen.

    Raises:
        Unsupported: it is not installed.
    """
    try:
        import mlperf_loadgen
    except ImportError as error:
        raise Unsupported(
            f"scenarios need MLPerf LoadGen ({error}): install mlcommons-loadgen in the "
            "environment of the runner, or use scenario=sweep"
        ) from None
    return mlperf_loadgen


def execute(settings: Mapping[str, Any], service: Service, samples: int, folder: Path) -> Outcome:
    """Execute one test in PerformanceOnly mode.

    Args:
        settings: attributes of LoadGen's ``TestSettings``; ``scenario`` by its name there.
        service: answers the queries.
        samples: how many distinct samples there are; a query names them by index.
        folder: for LoadGen's logs; made if missing.

    Raises:
        Unsupported: LoadGen is not installed.
        OSError: the logs could not be written.
    """
    loadgen = load()
    folder.mkdir(parents=True, exist_ok=True)
    requested, effective = _test_settings(loadgen, settings)
    output = loadgen.LogOutputSettings()
    output.outdir = str(folder)
    output.copy_summary_to_stdout = False
    output.copy_detail_to_stdout = False
    logging = loadgen.LogSettings()
    logging.log_output = output
    logging.enable_trace = True

    sut = loadgen.ConstructSUT(service.issue, _nothing)
    qsl = loadgen.ConstructQSL(samples, samples, _nothing, _nothing)
    before = time.time_ns() - time.monotonic_ns()
    began = time.monotonic_ns()
    try:
        # No audit file: the default, ``audit.config`` in the working folder, would override.
        service.run(
            lambda: loadgen.StartTestWithLogSettings(
                sut, qsl, requested, logging, audit_config_filename=""
            )
        )
    finally:
        loadgen.DestroyQSL(qsl)
        loadgen.DestroySUT(sut)
    shift_ns = abs(time.time_ns() - time.monotonic_ns() - before)
    elapsed_ns = time.monotonic_ns() - began

    trace = folder / "mlperf_log_trace.json"
    per_query = settings["scenario"] != "Offline"
    collected = read_trace(trace, per_query=per_query)
    trace.unlink()
    text = (folder / "mlperf_log_summary.txt").read_text(encoding="utf-8")
    summary = parse_summary(text)
    if "Result is" not in summary or not len(collected.latency_ns):
        raise OSError(f"LoadGen left no result in {folder}; is the disk full?")
    reasons = verdict_reasons(summary, (folder / "mlperf_log_detail.txt").read_text("utf-8"))
    valid = summary["Result is"] == "VALID"
    if shift_ns > 1_000_000 + elapsed_ns // 1000:
        valid = False
        reasons.append(
            f"The system clock moved by {shift_ns / 1e6:.1f} ms during the test, and LoadGen "
            "counts with it: repeat the run."
        )
    return Outcome(valid, reasons, effective, summary, text, collected)


def _nothing(*_: object) -> None:
    """Flush, load and unload: requests are bound in advance and nothing is held back."""


def _test_settings(loadgen: Any, settings: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """LoadGen's settings, and the same as they read back."""
    requested = loadgen.TestSettings()
    requested.scenario = getattr(loadgen.TestScenario, settings["scenario"])
    requested.mode = loadgen.TestMode.PerformanceOnly
    rest = {name: value for name, value in settings.items() if name != "scenario"}
    for name, value in rest.items():
        setattr(requested, name, value)
    effective: dict[str, Any] = {"scenario": settings["scenario"], "mode": "PerformanceOnly"}
    effective |= {name: getattr(requested, name) for name in rest}
    try:
        effective["loadgen_version"] = version("mlcommons-loadgen")
    except PackageNotFoundError:
        effective["loadgen_version"] = "unknown: built from source"
    effective["mlperf_compliant"] = False
    short = effective["min_duration_ms"] < MLPERF_MIN_MS
    effective["mlperf_note"] = (
        f"Not an MLPerf result: {effective['min_duration_ms']} ms is below the "
        f"{MLPERF_MIN_MS} ms that MLPerf asks for."
        if short
        else "Not an MLPerf result: drawn inputs, and no accuracy run."
    )
    return requested, effective


# -- reading what LoadGen wrote --------------------------------------------------------------------


def read_trace(path: Path, *, per_query: bool) -> ScenarioSamples:
    """Read scheduled times and latencies from ``mlperf_log_trace.json``.

    Args:
        path: the trace.
        per_query: one entry a query, answered when its last sample is; else one entry a sample.

    Returns:
        Entries in the order in which LoadGen made the queries or samples.
    """
    rows: dict[int, tuple[int, int]] = {}
    key = "query_seq" if per_query else "sample_seq"
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(_SAMPLE):
                event = json.loads(line.rstrip().rstrip(","))
                number, latency = event["args"][key], event["args"]["complete_ns"]
                _, slowest = rows.get(number, (0, latency))
                # Three decimals of a microsecond: nanoseconds, exactly.
                rows[number] = (round(event["ts"] * 1000), max(latency, slowest))
    table = np.array([rows[number] for number in sorted(rows)], np.int64).reshape(-1, 2)
    start = table[:, 0] - table[:, 0].min(initial=np.iinfo(np.int64).max)
    return ScenarioSamples(start, table[:, 1].copy())


def parse_summary(text: str) -> dict[str, Any]:
    """Parse ``mlperf_log_summary.txt``.

    Keys are as LoadGen writes them. Numbers become numbers. ``Recommendations`` and ``Early
    Stopping Result`` are lists of sentences, ``parameters`` holds the section "Test Parameters
    Used", ``warnings`` and ``errors`` are counts.
    """
    summary: dict[str, Any] = {}
    target = summary
    bullets: list[str] | None = None
    for line in text.splitlines():
        if line.strip() == "Test Parameters Used":
            target = summary.setdefault("parameters", {})
        elif trouble := _TROUBLE.match(line):
            count = 0 if trouble[1] == "No" else int(trouble[1])
            summary[f"{trouble[2].lower()}s"] = count
        elif bullets is not None and (bullet := _BULLET.match(line)):
            bullets.append(bullet[1].strip())
        elif bullets and line.startswith(" "):
            bullets[-1] += f" {line.strip()}"
        elif entry := _ENTRY.match(line):
            bullets = None
            if entry[2]:
                target[entry[1]] = _number(entry[2].strip())
            elif line.endswith(":"):
                bullets = summary.setdefault(entry[1], [])
        else:
            bullets = None
    return summary


def _number(text: str) -> int | float | str:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        return text
    return value if np.isfinite(value) else text


def verdict_reasons(summary: Mapping[str, Any], detail: str) -> list[str]:
    """Why LoadGen calls a test INVALID, one sentence each; none when it is VALID.

    Args:
        summary: a parsed summary.
        detail: text of ``mlperf_log_detail.txt``, whose errors are included.
    """
    if summary.get("Result is") == "VALID":
        return []
    reasons = [
        f"LoadGen: {name.lower()}: no."
        for name, value in summary.items()
        if name.endswith("satisfied") and value == "NO"
    ]
    reasons += [f"LoadGen: {line}" for line in summary.get("Recommendations", [])]
    if summary.get("Early stopping satisfied") == "NO":
        reasons.append("LoadGen: " + " ".join(summary.get("Early Stopping Result", [])))
    for line in detail.splitlines():
        if '"is_error": true' in line:
            reasons.append(f"LoadGen: {json.loads(line[line.index('{') :])['value']}")
    return list(dict.fromkeys(reasons)) or ["LoadGen: the result is INVALID."]
