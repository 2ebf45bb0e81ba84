"""Replay of traces: scaling, repeating, windows, models and work."""

from __future__ import annotations

import gzip
import hashlib
import json

import numpy as np
import pytest

from profleet.errors import ConfigError
from profleet.simulate.workload import TraceError
from workloads import drawn, same, shared_data, workload

ROWS = [(2.0, "big", 100, 10), (2.5, "small", 300, 0), (4.0, "big", 0, 20), (6.0, "tiny", 200, 50)]
COLUMNS = {"time": "at", "unit": "s", "model": "model", "input_tokens": "i", "output_tokens": "o"}


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace.csv"
    lines = [",".join(map(str, row)) for row in ROWS]
    path.write_text("\n".join(["at,model,i,o", *lines]) + "\n")

    def trace(**plain):
        return workload("trace", format="csv", path=str(path), csv=COLUMNS, **plain)

    trace.path = path
    return trace


def seconds(source, requests=100):
    return (drawn(source, requests).time_ns * 1e-9).tolist()


def test_as_recorded(trace):
    found = trace()
    assert seconds(found) == [0, 0.5, 2, 4]
    assert found.mean_rate_rps == pytest.approx(3 / 4)


@pytest.mark.parametrize("scale", [{"speed": 4.0}, {"rate": 3.0}, {"load": 0.5, "capacity": 6.0}])
def test_scaled_to_four_times_the_rate(trace, scale):
    found = trace(**scale)
    assert seconds(found) == [0, 0.125, 0.5, 1]
    assert found.mean_rate_rps == pytest.approx(3.0)
    assert found.describe()["clients"][0]["trace"]["speed"] == pytest.approx(4)


def test_a_loop_goes_on_one_mean_gap_after_the_last_request(trace):
    found = drawn(trace(loop=True, speed=2.0), 4 * 10_000)
    period = 4 * 4 / 3 / 2
    assert found.time_ns[4] == pytest.approx(period * 1e9, abs=1)
    rounds = found.time_ns.reshape(-1, 4)
    assert np.all(rounds - rounds[:, :1] == rounds[0])
    assert len(found) / (found.time_ns[-1] * 1e-9) == pytest.approx(1.5, rel=1e-3)


def test_a_window_starts_at_its_own_zero(trace):
    assert seconds(trace(window_seconds=[0.5, 4.0])) == [0, 1.5]
    assert trace(window_seconds=[0.5, 4.0]).mean_rate_rps == pytest.approx(1 / 1.5)
    assert seconds(trace(window_seconds=[0.25, 100.0])) == pytest.approx([0.25, 1.75, 3.75])
    with pytest.raises(TraceError, match=r"no request from 5 to 6 seconds.*window_seconds"):
        trace(window_seconds=[5.0, 6.0])


def test_models_of_the_trace_are_kept_renamed_or_spread(trace):
    kept = trace(trace_models="keep", rename={"tiny": "small"}, served=("small", "big"))
    assert drawn(kept, 9).model.tolist() == [1, 0, 1, 0]
    spread = trace(trace_models="spread", served=("x", "y"))
    assert drawn(spread, 9).model.tolist() == [0, 1, 0, 0]
    ignored = trace(models={"y": 1.0}, served=("x", "y"))
    assert drawn(ignored, 9).model.tolist() == [1, 1, 1, 1]


def test_a_model_that_nobody_serves_is_refused(trace):
    with pytest.raises(ConfigError, match=r"workload\.rename: the trace asks for 'tiny'"):
        trace(trace_models="keep", served=("small", "big"))


def test_work_is_off_unless_asked_for(trace):
    assert drawn(trace(), 9).work.tolist() == [1, 1, 1, 1]


def test_work_from_tokens(trace):
    costs = [100 + 30, 300 + 0, 0 + 60, 200 + 150]
    found = drawn(trace(work={"per_input": 1.0, "per_output": 3.0, "relative": False}), 9)
    assert found.work.tolist() == costs
    relative = drawn(trace(work={"per_input": 1.0, "per_output": 3.0}), 9).work
    assert relative == pytest.approx(np.array(costs) / np.mean(costs))
    assert relative.mean() == pytest.approx(1)


def test_work_of_nothing_is_refused(trace):
    with pytest.raises(ConfigError, match=r"workload\.work: a request .*work\.constant"):
        drawn(trace(work={"per_input": 1.0}), 9)
    assert drawn(trace(work={"per_input": 1.0, "constant": 5.0}), 9).work.min() > 0


def test_work_without_token_counts_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("model,arrival_ns\na,1\na,5\n")
    with pytest.raises(ConfigError, match=r"workload\.work\.per_output: .* no such token counts"):
        workload("trace", format="lightning", path=str(path), work={"per_output": 1.0})


def test_requests_that_all_come_at_once_have_no_rate(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("model,arrival_ns\na,7\na,7\n")
    plain = {"kind": "trace", "format": "lightning", "path": str(path)}
    found = workload(**plain)
    assert found.mean_rate_rps is None
    assert drawn(found, 9).time_ns.tolist() == [7, 7]
    json.dumps(found.describe(), allow_nan=False)
    for more in ({"rate": 1.0}, {"loop": True}):
        with pytest.raises(TraceError, match="all its requests at one time"):
            workload(**plain, **more)


def test_a_trace_can_be_one_of_several_clients(trace):
    arrivals = {"kind": "trace", "format": "csv", "path": str(trace.path), "csv": COLUMNS}
    clients = {
        "replayed": {"weight": 1, "arrivals": arrivals},
        "other": {"weight": 2, "arrivals": {"kind": "deterministic"}},
    }
    found = drawn(workload("mixture", rate=9.0, clients=clients), 30)
    assert (found.time_ns[found.client == 0] * 1e-9).tolist() == [0, 0.125, 0.5, 1]
    assert np.bincount(found.client).tolist() == [4, 26]


def test_the_chunk_size_changes_nothing_here_either(trace):
    source = trace(loop=True, rate=1e4, served=("a", "b"))
    assert same(drawn(source, 1000), drawn(source, 1000, size=7))


def test_a_trace_that_changes_after_it_was_checked_is_refused(trace, monkeypatch):
    monkeypatch.setattr("profleet.simulate.workload.replay._MOST_KEPT", 3)
    source = trace(loop=True)
    chunks = source.chunks(np.random.SeedSequence(1), 10_000, 2)
    next(chunks)
    trace.path.write_text(trace.path.read_text() + "7,big,1,1\n")
    with pytest.raises(TraceError, match="changed after it was checked"):
        list(chunks)
    with pytest.raises(TraceError, match="changed after it was checked"):
        next(source.chunks(np.random.SeedSequence(1)))


def test_a_long_trace_loops_like_a_short_one(trace, monkeypatch):
    kept = drawn(trace(loop=True), 50)
    monkeypatch.setattr("profleet.simulate.workload.replay._MOST_KEPT", 3)
    assert same(drawn(trace(loop=True), 50), kept)


def test_a_description_says_which_file_and_what_was_done_to_it(trace):
    found = trace(rate=3.0, trace_models="spread").describe()
    json.dumps(found, allow_nan=False)
    (client,) = found["clients"]
    described = client["trace"]
    assert described["sha256"] == hashlib.sha256(trace.path.read_bytes()).hexdigest()
    assert described["file"] == "trace.csv"
    assert described["requests"] == 4
    assert described["recorded_rps"] == pytest.approx(0.75)
    assert described["labels"] == {"big": 2, "small": 1, "tiny": 1}
    assert described["mean_input_tokens"] == 150
    assert client["rate_rps"] == pytest.approx(3)
    gaps = np.array([0.5, 1.5, 2.0])
    assert client["gap_cv"] == pytest.approx(gaps.std() / gaps.mean())


# Public traces by name.


def test_a_public_trace_that_is_not_here_says_what_to_do(monkeypatch):
    monkeypatch.delenv("PROFLEET_SHARED_DATA", raising=False)
    with pytest.raises(TraceError) as error:
        workload("trace", dataset="azure_llm_2023_conv")
    message = str(error.value)
    for part in (
        "AzureLLMInferenceTrace_conv.csv",
        "https://github.com/Azure/AzurePublicDataset (CC-BY 4.0)",
        "workload.path=FILE",
        "$PROFLEET_SHARED_DATA/azure-llm-2023/AzureLLMInferenceTrace_conv.csv",
    ):
        assert part in message


def test_a_public_trace_is_found_in_the_shared_folder(monkeypatch):
    path = shared_data("azure-llm-2023/AzureLLMInferenceTrace_conv.csv.gz")
    monkeypatch.setenv("PROFLEET_SHARED_DATA", str(path.parents[1]))
    found = workload("trace", dataset="azure_llm_2023_conv", load=0.5, capacity=100.0)
    requests = drawn(found, 20_000)
    assert len(requests) == 19_366
    assert found.mean_rate_rps == pytest.approx(50)
    assert 19_365 / (requests.time_ns[-1] * 1e-9) == pytest.approx(50)
    assert "CC-BY 4.0" in found.describe()["clients"][0]["trace"]["source"]


def test_a_public_trace_cut_off_between_lines_is_noticed(tmp_path):
    path = shared_data("azure-llm-2023/AzureLLMInferenceTrace_code.csv.gz")
    short = tmp_path / "short.csv"
    short.write_bytes(b"\n".join(gzip.decompress(path.read_bytes()).split(b"\n")[:5000]))
    with pytest.raises(TraceError, match="holds 4,999 requests where the published file has 8,819"):
        workload("trace", dataset="azure_llm_2023_code", path=str(short))
    found = workload("trace", format="azure_llm_2023", path=str(short))
    assert len(drawn(found, 10_000)) == 4999
