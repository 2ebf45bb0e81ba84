"""Scenarios: MLPerf's four through LoadGen, and the search for the peak of Server.

What a *sample* of LoadGen is here:

* ``single_stream``, ``server``, ``find_peak``: one request of ``batch_size`` items (MLPerf: 1).
  A rate counts requests.
* ``multi_stream``, ``offline``: one item; ``batch_size`` of them are executed together.

Inputs are drawn and bound before a test; LoadGen picks among them by index. The server is one
first-in first-out queue in front of one session; it does not group requests.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from profleet_runner import loadgen
from profleet_runner.frameworks import Request, Session
from profleet_runner.inputs import draw
from profleet_runner.loadgen import Outcome, ScenarioSamples
from profleet_runner.peak import Peak, find_peak
from profleet_runner.service import InlineService, QueueService

DISTINCT = 8
"""Distinct inputs that are bound, where they fit ``INPUT_BYTES``."""

INPUT_BYTES = 256 * 2**20
"""Most bytes that the bound inputs take together; at least one input is always bound."""

HOPELESS = 10
"""A Server test is given up once too many requests take this many times the bound: it is far above
the capacity, and would drain its queue for long. One that is a little above is measured in full."""

MAX_PROBES = 40
"""Most rates that a peak search tries."""

FASTEST_NS = 15_000
"""LoadGen is never told to expect less: it generates queries in advance, about 600 bytes each."""

NONE = ScenarioSamples(np.empty(0, np.int64), np.empty(0, np.int64))

Progress = Callable[..., object]

__all__ = ["ScenarioSamples", "execute_scenario"]


def execute_scenario(
    session: Session,
    scenario: dict[str, Any],
    *,
    inputs: list[dict[str, Any]],
    batch_size: int,
    seed: int,
    folder: Path,
    progress: Progress,
) -> tuple[dict[str, Any], ScenarioSamples]:
    """Execute a scenario on a session.

    Args:
        session: a loaded model. Its requests are executed on the calling thread.
        scenario: ``scenario`` of ``job.json``, any kind but ``sweep``.
        inputs: ``model.inputs`` of ``job.json``.
        batch_size: see the top of the module.
        seed: of the inputs; input i of ``DISTINCT`` is drawn with ``seed + i``.
        folder: LoadGen's logs go to ``folder/loadgen`` (a folder for each probe of a search).
        progress: called with ``phase``, ``batch_size``, ``point`` and ``points`` before a test.

    Returns:
        ``ScenarioResult`` as JSON-ready data, and the samples: one entry a query, for Offline one
        a sample. A peak search returns those of its highest probe that met the bound.

    Raises:
        Unsupported: LoadGen is not installed.
        OSError: LoadGen's logs could not be written.
        Exception: whatever the framework raised, once LoadGen has ended its test.
    """
    loadgen.load()
    requests = _bind(session, inputs, batch_size, seed)
    service_ns = _service_ns(requests)
    logs = folder / "loadgen"
    if scenario["kind"] == "find_peak":
        return _find_peak(requests, scenario, service_ns, batch_size, logs, progress)
    progress(phase="scenario", batch_size=batch_size, point=1, points=1)
    if scenario["kind"] == "server":
        outcome, given_up = _server(requests, scenario, service_ns, logs, patience=HOPELESS)
        if given_up:
            outcome = replace(outcome, valid=False, reasons=[_hopeless(scenario)], samples=NONE)
    else:
        outcome = _execute(requests, scenario, service_ns, batch_size, logs)
    return _result(scenario["kind"], batch_size, outcome), outcome.samples


def _bind(
    session: Session, inputs: list[dict[str, Any]], batch_size: int, seed: int
) -> list[Request]:
    first = draw(inputs, batch_size, seed)
    size = sum(tensor.nbytes for tensor in first.values())
    count = max(1, min(DISTINCT, INPUT_BYTES // max(size, 1)))
    rest = (draw(inputs, batch_size, seed + number) for number in range(1, count))
    return [session.prepare(first), *(session.prepare(tensors) for tensors in rest)]


def _service_ns(requests: Sequence[Request]) -> int:
    """Shortest time of one request, after each was executed once: what LoadGen is told to expect.

    LoadGen generates queries for twice as long as it is told that they take.
    """
    for request in requests:
        request.execute()
    shortest, began = math.inf, time.perf_counter_ns()
    for _ in range(50):
        for request in requests:
            start = time.perf_counter_ns()
            request.execute()
            end = time.perf_counter_ns()
            shortest = min(shortest, end - start)
        if end - began > 100_000_000:
            break
    return max(FASTEST_NS, int(shortest))


# -- one test --------------------------------------------------------------------------------------


def _execute(
    requests: Sequence[Request],
    scenario: dict[str, Any],
    service_ns: int,
    batch_size: int,
    folder: Path,
) -> Outcome:
    module = loadgen.load()
    settings = _settings(scenario, service_ns, batch_size)
    group = batch_size if scenario["kind"] in {"multi_stream", "offline"} else 1
    service = InlineService(module, requests, group)
    return loadgen.execute(settings, service, len(requests), folder)


def _hopeless(scenario: dict[str, Any]) -> str:
    return (
        f"Given up: {scenario['target_rps']:g} requests/s are far above the capacity. More than "
        f"{1 - scenario['percentile']:.2g} of the requests took over {HOPELESS} times the bound of "
        f"{scenario['latency_bound_ms']:g} ms; the rest was answered without being executed, so "
        "there are no samples, and LoadGen's summary means nothing. Lower scenario.target_rps."
    )


def _settings(scenario: dict[str, Any], service_ns: int, batch_size: int) -> dict[str, Any]:
    """LoadGen's settings of a scenario, under the names of its ``TestSettings``."""
    seeds = scenario["seeds"]
    settings: dict[str, Any] = {
        "min_duration_ms": math.ceil(scenario["min_seconds"] * 1000),
        "min_query_count": scenario["min_queries"],
        "qsl_rng_seed": seeds["qsl"],
        "sample_index_rng_seed": seeds["sample_index"],
        "schedule_rng_seed": seeds["schedule"],
    }
    match scenario["kind"]:
        case "single_stream":
            return settings | {
                "scenario": "SingleStream",
                "single_stream_expected_latency_ns": service_ns,
                "single_stream_target_latency_percentile": 0.9,
            }
        case "multi_stream":
            samples = scenario["samples_per_query"]
            return settings | {
                "scenario": "MultiStream",
                "multi_stream_expected_latency_ns": service_ns * math.ceil(samples / batch_size),
                "multi_stream_samples_per_query": samples,
                "multi_stream_target_latency_percentile": 0.99,
            }
        case "offline":
            expected = scenario.get("expected_rps") or batch_size * 1e9 / service_ns
            return settings | {"scenario": "Offline", "offline_expected_qps": expected}
        case "server":
            return settings | {
                "scenario": "Server",
                "server_target_qps": scenario["target_rps"],
                "server_target_latency_ns": round(scenario["latency_bound_ms"] * 1e6),
                "server_target_latency_percentile": scenario["percentile"],
            }
        case kind:
            raise ValueError(f"'{kind}' is not a LoadGen scenario")


def _result(kind: str, batch_size: int, outcome: Outcome) -> dict[str, Any]:
    return {
        "kind": kind,
        "valid": outcome.valid,
        "reasons": outcome.reasons,
        "batch_size": batch_size,
        "settings": outcome.settings,
        "summary": outcome.summary,
        "summary_text": outcome.summary_text,
        "probes": [],
        "peak_rps": None,
    }


# -- the peak of Server ----------------------------------------------------------------------------


def _find_peak(
    requests: Sequence[Request],
    scenario: dict[str, Any],
    service_ns: int,
    batch_size: int,
    folder: Path,
    progress: Progress,
) -> tuple[dict[str, Any], ScenarioSamples]:
    """Search for the highest rate at which LoadGen calls a Server test VALID.

    VALID asks for LoadGen's early-stopping rule, so the peak errs on the low side where
    ``min_queries`` is small. Every probe has the same schedule seed: its arrivals are those of
    the others, scaled to its rate. What the arrivals of one seed really come to differs from the
    rate that was asked for by about 1 / sqrt(queries), so ``peak_rps`` is the rate that was
    scheduled at the peak (``scheduled_rps``), not the one that was asked for.
    """
    outcomes: list[Outcome] = []
    records: list[dict[str, Any]] = []

    def meets(rate: float) -> bool:
        number = len(records) + 1
        progress(phase="scenario", batch_size=batch_size, point=number, points=MAX_PROBES)
        name = f"probe-{number:02d}"
        probe = scenario | {"kind": "server", "target_rps": rate}
        outcome, given_up = _server(requests, probe, service_ns, folder / name, patience=1)
        met = outcome.valid and not given_up
        outcomes.append(outcome)
        records.append(_record(outcome, rate, met, given_up, f"loadgen/{name}"))
        return met

    start = scenario.get("start_rps") or 0.5e9 / service_ns
    peak = find_peak(meets, start, scenario["tolerance"], max_probes=MAX_PROBES)
    best = _best(peak)
    outcome = outcomes[best]
    samples = outcome.samples
    if records[best]["given_up"]:  # most of its queries were never executed
        samples = NONE
    result = _result("find_peak", batch_size, outcome) | {
        "valid": peak.bracketed,
        "reasons": [] if peak.reason is None else [f"Peak search: {peak.reason}."],
        "probes": records,
        "peak_rps": records[best]["scheduled_rps"] if peak.rate else 0.0,
    }
    result["settings"] |= {
        "start_rps": start,
        "tolerance": scenario["tolerance"],
        "max_probes": MAX_PROBES,
    }
    return result, samples


def _best(peak: Peak) -> int:
    """Index of the probe at the peak, or of the lowest rate when there is none."""
    if peak.rate:
        return max(i for i, probe in enumerate(peak.probes) if probe.rate == peak.rate)
    return min(range(len(peak.probes)), key=lambda i: peak.probes[i].rate)


def _server(
    requests: Sequence[Request],
    scenario: dict[str, Any],
    service_ns: int,
    folder: Path,
    *,
    patience: int,
) -> tuple[Outcome, bool]:
    """One Server test; also whether it was given up.

    It is once more requests than may be over the bound were over ``patience`` times the bound.
    """
    settings = _settings(scenario, service_ns, 1)
    mean = scenario["target_rps"] * scenario["min_seconds"]
    most_queries = max(scenario["min_queries"], mean + 6 * math.sqrt(mean)) + 6
    service = QueueService(
        loadgen.load(),
        requests,
        bound_ns=patience * settings["server_target_latency_ns"],
        most_over=math.ceil(most_queries * (1 - scenario["percentile"])),
    )
    outcome = loadgen.execute(settings, service, len(requests), folder)
    return outcome, service.given_up


def _record(outcome: Outcome, rate: float, met: bool, given_up: bool, logs: str) -> dict[str, Any]:
    """One entry of ``probes``."""
    percentile = outcome.settings["server_target_latency_percentile"]
    ordered = np.sort(outcome.samples.latency_ns)
    latency = None if given_up else float(ordered[int(len(ordered) * percentile)]) / 1e6
    reasons = list(outcome.reasons)
    if given_up:
        reasons = ["Given up: too many requests were over the bound; the rest was not executed."]
    return {
        "rate_rps": rate,
        "met": met,
        "given_up": given_up,
        "queries": len(ordered),
        "scheduled_rps": (len(ordered) - 1) * 1e9 / max(1, int(outcome.samples.start_ns.max())),
        "latency_percentile_ms": latency,
        "reasons": reasons,
        "logs": logs,
    }
