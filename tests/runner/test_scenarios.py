import json
import signal
import sys
import threading
import time

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

from profleet.execute.settings import Scenario
from profleet.paths import data_dir
from profleet.profile.schema import ScenarioResult
from profleet_runner import loadgen, scenarios
from profleet_runner.frameworks import Request, Unsupported
from profleet_runner.service import QueueService

SEEDS = {
    "qsl": 2085463073848966840,
    "sample_index": 2747215439041700203,
    "schedule": 16159082839903944936,
}
INPUTS = [
    {
        "name": "x",
        "dtype": "float32",
        "shape": ["batch", 3],
        "values": {"kind": "uniform", "low": 0.0, "high": 1.0, "value": None},
    }
]
SHORT = {"min_seconds": 0.3, "min_queries": 100, "seeds": SEEDS}
SINGLE = {"kind": "single_stream", **SHORT}
MULTI = {"kind": "multi_stream", "samples_per_query": 6, **SHORT}
OFFLINE = {"kind": "offline", "expected_rps": None, **SHORT}
SERVER = {
    "kind": "server", "target_rps": 400.0, "latency_bound_ms": 100.0, "percentile": 0.9, **SHORT,
}  # fmt: skip


class FakeSession:
    """Takes ``seconds`` a request; remembers what was executed, where.

    ``at`` is called with the number of requests that were executed since ``begin``.
    """

    def __init__(self, seconds=0.0005):
        self.seconds = seconds
        self.prepared = []
        self.executed = []
        self.threads = set()
        self.at = lambda _: None
        self.before = 10**9

    def prepare(self, inputs):
        number = len(self.prepared)
        self.prepared.append(inputs)
        return Request(execute=lambda: self.execute(number), outputs=dict)

    def execute(self, number):
        self.executed.append(number)
        self.threads.add(threading.get_ident())
        self.at(len(self.executed) - self.before)
        time.sleep(self.seconds)

    def begin(self):
        self.before = len(self.executed)


def execute(scenario, folder, session=None, batch_size=1, events=None):
    session = session or FakeSession()

    def progress(**event):
        session.begin()
        if events is not None:
            events.append(event)

    result, samples = scenarios.execute_scenario(
        session,
        scenario,
        inputs=INPUTS,
        batch_size=batch_size,
        seed=7,
        folder=folder,
        progress=progress,
    )
    ScenarioResult.model_validate_json(json.dumps(result, allow_nan=False))
    return result, samples


@pytest.mark.parametrize("scenario", [SINGLE, MULTI, OFFLINE, SERVER], ids=lambda s: s["kind"])
def test_latencies_are_those_of_loadgen(scenario, tmp_path):
    result, (start, latency) = execute(scenario, tmp_path)
    ordered = np.sort(latency)
    for name, percentile in (("50.00", 0.5), ("90.00", 0.9), ("99.00", 0.99)):
        loadgens = result["summary"][f"{name} percentile latency (ns)"]
        assert ordered[int(len(ordered) * percentile)] == loadgens
    assert result["summary"]["Max latency (ns)"] == ordered[-1]
    assert result["summary_text"] == (tmp_path / "loadgen/mlperf_log_summary.txt").read_text()
    assert not (tmp_path / "loadgen/mlperf_log_trace.json").exists()
    assert start.dtype == latency.dtype == np.int64
    assert start[0] == 0
    assert (np.diff(start) >= 0).all()
    assert len(latency) >= 100
    assert result["kind"] == scenario["kind"]


def test_single_stream_runs_back_to_back_over_all_inputs(tmp_path):
    session = FakeSession()
    events = []
    result, (start, latency) = execute(SINGLE, tmp_path, session, batch_size=3, events=events)
    assert result["valid"]
    assert result["reasons"] == []
    assert (np.diff(start) >= latency[:-1]).all()
    assert len(session.prepared) == scenarios.DISTINCT
    assert {tensors["x"].shape for tensors in session.prepared} == {(3, 3)}
    drawn = {tensors["x"].tobytes() for tensors in session.prepared}
    assert len(drawn) == scenarios.DISTINCT
    assert set(session.executed[-len(latency) :]) == set(range(scenarios.DISTINCT))
    assert events == [{"phase": "scenario", "batch_size": 3, "point": 1, "points": 1}]


def test_settings_say_what_loadgen_was_given(tmp_path):
    result, _ = execute(SERVER, tmp_path)
    settings = result["settings"]
    assert settings["qsl_rng_seed"] == SEEDS["qsl"]
    assert settings["sample_index_rng_seed"] == SEEDS["sample_index"]
    assert settings["schedule_rng_seed"] == SEEDS["schedule"]
    assert settings["server_target_qps"] == 400
    assert settings["server_target_latency_ns"] == 100_000_000
    assert settings["min_duration_ms"] == 300
    assert settings["mlperf_compliant"] is False
    assert "600000" in settings["mlperf_note"]
    parameters = result["summary"]["parameters"]
    assert parameters["schedule_rng_seed"] == SEEDS["schedule"]
    assert parameters["target_latency (ns)"] == 100_000_000
    assert parameters["min_duration (ms)"] == 300


def test_groups_execute_together(tmp_path):
    session = FakeSession()
    result, (_, latency) = execute(MULTI, tmp_path, session, batch_size=4)
    # Six samples are two executions of four; one entry a query.
    assert len(session.executed) - session.before == 2 * len(latency)
    assert result["settings"]["multi_stream_samples_per_query"] == 6
    assert len(latency) >= 100


def test_multi_stream_short_of_queries_says_why(tmp_path):
    result, _ = execute(MULTI, tmp_path)
    assert result["valid"] is False
    assert any("662 queries for early stopping" in reason for reason in result["reasons"])


def test_offline_counts_from_the_start_of_the_test(tmp_path):
    session = FakeSession()
    result, (start, latency) = execute(OFFLINE, tmp_path, session, batch_size=2)
    assert (start == 0).all()
    assert (np.diff(latency) >= 0).all()
    assert (latency[0::2][: len(latency) // 2] == latency[1::2]).all()
    assert result["valid"], result["reasons"]


def test_offline_with_too_low_a_rate_is_invalid_by_design(tmp_path):
    result, _ = execute(OFFLINE | {"expected_rps": 1.0}, tmp_path)
    assert result["valid"] is False
    assert any("expected QPS" in reason for reason in result["reasons"])


def test_server_queues_first_in_first_out(tmp_path):
    session = FakeSession(0.004)
    result, (start, latency) = execute(SERVER, tmp_path, session)
    assert result["valid"] is False
    assert any("performance constraints" in reason for reason in result["reasons"])
    done = start + latency
    assert (np.diff(done) > 0).all()  # one at a time, in order of arrival
    # Overloaded by more than half: the last request waited for most of the others.
    assert latency[-1] > 0.25 * done[-1]
    assert session.threads == {threading.get_ident()}


def test_server_far_above_its_capacity_is_given_up(tmp_path):
    session = FakeSession(0.01)
    flood = SERVER | {"target_rps": 20000.0, "latency_bound_ms": 2.0, "percentile": 0.999}
    result, samples = execute(flood, tmp_path, session)
    assert result["valid"] is False
    assert "Given up: 20000 requests/s" in result["reasons"][0]
    assert len(samples.latency_ns) == 0
    assert len(session.executed) - session.before < 200, "of thousands that were issued"


def test_server_a_little_above_its_bound_is_measured_in_full(tmp_path):
    session = FakeSession(0.003)
    result, samples = execute(SERVER | {"latency_bound_ms": 40.0}, tmp_path, session)
    assert result["valid"] is False
    assert len(samples.latency_ns) == len(session.executed) - session.before
    assert not any("Given up" in reason for reason in result["reasons"])


def test_server_schedule_does_not_depend_on_the_server(tmp_path):
    _, fast = execute(SERVER, tmp_path / "fast", FakeSession(0.0001))
    _, slow = execute(SERVER, tmp_path / "slow", FakeSession(0.003))
    # The schedule is LoadGen's, whatever the delay in issuing; its rate is the target.
    assert (fast.start_ns == slow.start_ns).all()
    assert len(fast.start_ns) / 0.3 == pytest.approx(400, rel=0.2)


@pytest.mark.parametrize("scenario", [SINGLE, MULTI, OFFLINE, SERVER], ids=lambda s: s["kind"])
def test_what_the_framework_raises_comes_out(scenario, tmp_path):
    session = FakeSession()

    def fail(count):
        if count == 20:
            raise MemoryError("no room")

    session.at = fail
    with pytest.raises(MemoryError, match="no room"):
        execute(scenario, tmp_path, session)
    assert len(session.executed) == session.before + 20  # nothing is executed after a failure
    result, _ = execute(SINGLE, tmp_path / "next")  # LoadGen is usable afterwards
    assert result["valid"]


@pytest.mark.parametrize("scenario", [SINGLE, SERVER], ids=lambda s: s["kind"])
def test_an_interrupt_ends_the_test_first(scenario, tmp_path):
    session = FakeSession()
    session.at = lambda count: signal.raise_signal(signal.SIGINT) if count == 20 else None
    with pytest.raises(KeyboardInterrupt):
        execute(scenario, tmp_path, session)
    assert len(session.executed) == session.before + 20
    assert (tmp_path / "loadgen/mlperf_log_summary.txt").stat().st_size > 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_audit_file_in_the_working_folder_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "audit.config").write_text("*.*.min_query_count = 123456\n")
    result, _ = execute(SINGLE, tmp_path)
    assert result["summary"]["parameters"]["min_query_count"] == 100


def test_a_clock_step_invalidates(tmp_path, monkeypatch):
    real = time.time_ns
    readings = iter([0, 50_000_000])
    monkeypatch.setattr(loadgen.time, "time_ns", lambda: real() + next(readings))
    result, _ = execute(SINGLE, tmp_path)
    assert result["valid"] is False
    assert "system clock moved by" in result["reasons"][0]


def test_missing_loadgen_is_unsupported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(Unsupported, match="install mlcommons-loadgen"):
        execute(SINGLE, tmp_path)


def test_logs_that_cannot_be_written_are_a_storage_error(tmp_path):
    (tmp_path / "loadgen").write_text("in the way")
    with pytest.raises(FileExistsError):
        execute(SINGLE, tmp_path)


def test_large_inputs_bind_fewer(tmp_path, monkeypatch):
    monkeypatch.setattr(scenarios, "INPUT_BYTES", 3 * 12)
    session = FakeSession()
    execute(SINGLE, tmp_path, session)
    assert len(session.prepared) == 3
    assert set(session.executed) == {0, 1, 2}


# -- the peak of Server ----------------------------------------------------------------------------

PEAK = {
    "kind": "find_peak", "start_rps": 100.0, "latency_bound_ms": 40.0, "percentile": 0.9,
    "tolerance": 0.2, "min_seconds": 0.2, "min_queries": 100, "seeds": SEEDS,
}  # fmt: skip


def test_peak_of_a_server(tmp_path):
    session = FakeSession(0.004)
    events = []
    result, samples = execute(PEAK, tmp_path, session, events=events)
    probes = result["probes"]
    assert result["valid"], result["reasons"]
    assert probes[0]["rate_rps"] == 100
    best = max((probe for probe in probes if probe["met"]), key=lambda probe: probe["rate_rps"])
    assert result["peak_rps"] == best["scheduled_rps"]
    assert len(samples.latency_ns) == best["queries"]
    assert np.quantile(samples.latency_ns, 0.9, method="lower") <= 40_000_000
    assert result["settings"]["server_target_qps"] == best["rate_rps"]
    assert min(probe["rate_rps"] for probe in probes if not probe["met"]) > best["rate_rps"]
    for probe in probes:
        assert (tmp_path / probe["logs"] / "mlperf_log_summary.txt").is_file()
        assert not (probe["met"] and probe["given_up"])
        assert (probe["latency_percentile_ms"] is None) == probe["given_up"]
        assert bool(probe["reasons"]) is not probe["met"]
    assert len({probe["logs"] for probe in probes}) == len(probes) == len(events)


def test_no_peak_where_one_request_is_over_the_bound(tmp_path):
    never = PEAK | {"latency_bound_ms": 1.0, "min_queries": 20, "min_seconds": 0.05}
    never["start_rps"] = 40000.0
    result, samples = execute(never, tmp_path, FakeSession(0.002))
    assert result["peak_rps"] == 0
    assert result["valid"] is False
    assert "no rate met the bound" in result["reasons"][0]
    assert all(probe["given_up"] for probe in result["probes"])
    assert len(samples.latency_ns) == 0  # what was given up is no measurement


def test_an_overloaded_probe_is_given_up_soon(tmp_path):
    session = FakeSession(0.002)
    requests = [session.prepare({})]
    service = QueueService(loadgen.load(), requests, bound_ns=20_000_000, most_over=5)
    settings = scenarios._settings(
        SERVER | {"target_rps": 20000.0, "percentile": 0.9999}, 20_000, 1
    )
    outcome = loadgen.execute(settings, service, 1, tmp_path)
    assert service.given_up
    assert not outcome.valid
    assert len(outcome.samples.latency_ns) > 1000  # every query was answered ...
    assert len(session.executed) < 100  # ... though few were executed


# -- what LoadGen writes ---------------------------------------------------------------------------

INVALID = """\
================================================
MLPerf Results Summary
================================================
SUT name : PySUT
Scenario : SingleStream
90.0th percentile latency (ns) : 1258261
Result is : INVALID
  Min duration satisfied : Yes
  Min queries satisfied : NO
  Early stopping satisfied: NO
Recommendations:
 * The test exited early, before enough queries were issued.
   See the detailed log for why this may have occurred.
Early Stopping Result:
 * Only processed 12 queries.
 * Need to process at least 64 queries for early stopping.

================================================
Additional Stats
================================================
QPS w/ loadgen overhead         : 831.29

================================================
Test Parameters Used
================================================
target_qps : inf
schedule_rng_seed : 16159082839903944936

2 warnings encountered. See detailed log.

1 ERROR encountered. See detailed log.
"""


def test_parses_a_summary():
    summary = loadgen.parse_summary(INVALID)
    assert summary["90.0th percentile latency (ns)"] == 1258261
    assert summary["QPS w/ loadgen overhead"] == 831.29
    (recommendation,) = summary["Recommendations"]
    assert recommendation.endswith(
        "were issued. See the detailed log for why this may have occurred."
    )
    assert len(summary["Early Stopping Result"]) == 2
    assert summary["parameters"] == {
        "target_qps": "inf",  # JSON has no infinity
        "schedule_rng_seed": 16159082839903944936,
    }
    assert (summary["warnings"], summary["errors"]) == (2, 1)
    json.dumps(summary, allow_nan=False)


def test_reasons_name_what_failed_and_the_errors():
    detail = (
        ':::MLLOG {"key": "a", "value": "fine", "metadata": {"is_error": false}}\n'
        ':::MLLOG {"key": "error_runtime", "value": "Ending early", '
        '"metadata": {"is_error": true, "is_warning": false}}\n'
    )
    reasons = loadgen.verdict_reasons(loadgen.parse_summary(INVALID), detail)
    assert reasons[0] == "LoadGen: min queries satisfied: no."
    assert any("at least 64 queries" in reason for reason in reasons)
    assert reasons[-1] == "LoadGen: Ending early"
    assert not any("duration" in reason or "fine" in reason for reason in reasons)
    assert loadgen.verdict_reasons({"Result is": "VALID"}, detail) == []


KINDS = ["single_stream", "multi_stream", "server", "offline", "find_peak"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_configuration_of_each_kind(kind):
    text = (data_dir("conf") / "scenario" / f"{kind}.yaml").read_text()
    scenario = yaml.safe_load(text.replace("???", "50.0"))
    assert scenario["kind"] == kind
    assert scenario["seeds"] == SEEDS
    checked = TypeAdapter(Scenario).validate_python(scenario).model_dump(mode="json")
    if kind != "find_peak":
        settings = scenarios._settings(checked, 1_000_000, 1)
        loadgen._test_settings(loadgen.load(), settings)  # LoadGen knows every name
