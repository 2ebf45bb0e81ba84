"""The comparison of `profleet validate`, on measurements that are made up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profleet.cli import main
from profleet.profile.samples import COLUMNS, SCENARIO, STEADY, Samples
from profleet.profile.store import load_samples
from profleet.simulate.engine import histogram
from profleet.simulate.validation import compare as comparing
from profleet.simulate.validation.compare import compare, serving_ns
from profleet.simulate.validation.measure import _settings
from profleet.simulate.validation.records import Plan, load_folder, sweep_folder
from support import Synthetic, make_profile_dir, make_samples

LOADS = [0.5, 0.85]
REQUESTS = 2000


@pytest.fixture(autouse=True)
def fewer_replications(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "REPLICATIONS", 40)


def measured(
    root: Path,
    *,
    rounds: int = 2,
    slower: float = 1.0,
    slow_spells: bool = False,
    always: int | None = None,
) -> Path:
    """A folder as measuring leaves it; a queue of one server made the latencies."""
    random = np.random.default_rng(3)
    steady = make_samples(Synthetic(batch_sizes=(1,)))
    service = steady.latency_ns[steady.phase == STEADY]
    rates = [load / (service.mean() / 1e9) for load in LOADS]
    plan = Plan(
        schema="profleet/validation-plan/v1", model="squeezenet", framework="onnxruntime",
        threads=1, loads=LOADS, rounds=rounds, seconds=5, processes=5, rates_rps=rates,
    )  # fmt: skip
    root.mkdir()
    (root / "plan.json").write_text(plan.model_dump_json(by_alias=True))
    for number in range(rounds + 1):
        make_profile_dir(sweep_folder(root, number), batch_sizes=(1,), seed=number)
    for number in range(rounds):
        for load, rate in zip(LOADS, rates, strict=True):
            folder = load_folder(root, number, load)
            make_profile_dir(folder, batch_sizes=(1,), scenario="server")
            schedule = np.random.default_rng(int(100 * load))  # the same in all rounds
            start = np.cumsum(schedule.exponential(1e9 / rate, REQUESTS)).astype(np.int64)
            start -= start[0]
            taken = (random.choice(service, REQUESTS) * slower).astype(np.int64)
            if slow_spells:  # every tenth block of requests takes three times as long
                taken[np.arange(REQUESTS) // 50 % 10 == 9] *= 3
            if always is not None:
                taken[:] = always
            served(start, taken).to_parquet(folder / "samples.parquet")
    return root


def served(start: np.ndarray, taken: np.ndarray, *, queue: bool = True) -> Samples:
    values = {
        "phase": np.full(REQUESTS, SCENARIO), "batch_size": np.ones(REQUESTS),
        "process": np.zeros(REQUESTS), "gap_ms": np.zeros(REQUESTS),
        "start_ns": start, "latency_ns": queued(start, taken) if queue else taken,
    }  # fmt: skip
    return Samples(**{name: values[name].astype(dtype) for name, dtype in COLUMNS.items()})


def queued(start: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Latencies of one worker, first in first out."""
    free, latency = 0, []
    for arrived, service in zip(start.tolist(), taken.tolist(), strict=True):
        free = max(free, arrived) + service
        latency.append(free - arrived)
    return np.array(latency)


def test_a_machine_that_is_as_its_profile_lies_within_the_noise(tmp_path):
    validation = compare(measured(tmp_path / "v"))
    assert [load.load for load in validation.loads] == LOADS
    for load in validation.loads:
        assert load.requests == [REQUESTS, REQUESTS]
        assert load.offered_load == pytest.approx([load.load] * 2, rel=0.08)
        assert load.serving_ratio == pytest.approx(1, abs=0.02)
        for quantile in load.quantiles.values():
            simulated = quantile.from_sweeps
            assert simulated.low_ms < simulated.value_ms < simulated.high_ms
            assert simulated.verdict == "within noise"
            assert abs(simulated.difference) < 0.15
    assert validation.stack.startswith("squeezenet under onnxruntime")
    assert validation.replications == 40


def test_a_worker_slower_than_its_profile_differs_from_the_sweeps_alone(tmp_path):
    validation = compare(measured(tmp_path / "v", slower=1.12))
    for load in validation.loads:
        median = load.quantiles["p50"]
        assert median.from_sweeps.verdict == "outside"
        assert median.from_sweeps.difference > 0.1
        assert load.serving_ratio == pytest.approx(1.12, abs=0.02)
        for quantile in load.quantiles.values():
            assert quantile.from_serving is not None
            assert abs(quantile.from_serving.difference) < 0.1


def test_slow_spells_are_in_the_serving_and_not_in_the_sweeps(tmp_path):
    quantile = compare(measured(tmp_path / "v", slow_spells=True)).loads[0].quantiles["p99"]
    assert quantile.from_sweeps.verdict == "outside"
    assert quantile.from_sweeps.difference > 1
    assert quantile.from_serving is not None
    assert quantile.from_serving.verdict == "within noise"
    assert abs(quantile.from_serving.difference) < 0.15


def test_the_queue_of_equal_times_is_simulated_to_the_error_of_the_histogram(tmp_path):
    for load in compare(measured(tmp_path / "v", always=6_500_000)).loads:
        for quantile in load.quantiles.values():
            assert quantile.from_serving is not None
            assert abs(quantile.from_serving.difference) <= histogram.RELATIVE_ERROR
            assert quantile.from_serving.high_ms < 1.02 * quantile.from_serving.low_ms
            assert quantile.from_serving.verdict == "within noise"


def test_one_round_has_no_other_to_take_service_times_from(tmp_path):
    (first, *_) = compare(measured(tmp_path / "v", rounds=1)).loads
    assert first.quantiles["p50"].from_serving is None


@given(
    gaps=st.lists(st.integers(0, 10**7), min_size=1, max_size=50),
    services=st.lists(st.integers(1, 10**7), min_size=50, max_size=50),
)
def test_the_time_a_worker_took_is_found_again(gaps, services):
    arrival, taken = np.cumsum(gaps), np.array(services[: len(gaps)])
    latency = queued(arrival, taken)
    assert (serving_ns(arrival, latency) == taken).all()


def test_profiles_that_disagree_by_far_tell_nothing(tmp_path):
    root = measured(tmp_path / "v", rounds=1)
    make_profile_dir(sweep_folder(root, 1), batch_sizes=(1,), base_ms=12.0)
    assert compare(root).loads[0].quantiles["p50"].from_sweeps.verdict == "too noisy to tell"


def test_rounds_that_are_not_complete_do_not_count(tmp_path, capsys):
    root = measured(tmp_path / "v", rounds=2)
    (sweep_folder(root, 2) / "result.json").unlink()
    assert compare(root).loads[0].requests == [REQUESTS]
    assert main(["validate", "--again", str(root)]) == 0
    assert "(rounds: 1, 5 s each)" in capsys.readouterr().out


@pytest.mark.parametrize("idle_takes", [1.0, 1.5])
def test_what_requests_took_that_waited_is_told_apart(tmp_path, idle_takes):
    """A worker at rest takes longer for the request that wakes it up."""
    root = measured(tmp_path / "v", rounds=1, always=6_000_000)
    folder = load_folder(root, 0, 0.5)
    start = load_samples(folder).start_ns
    free, latency = 0, []
    for arrived in start.tolist():
        free = free + 6_000_000 if arrived < free else arrived + int(idle_takes * 6_000_000)
        latency.append(free - arrived)
    served(start, np.array(latency), queue=False).to_parquet(folder / "samples.parquet")
    load = compare(root).loads[0]
    assert load.waited_mean_ms == [pytest.approx(6.0)]
    assert (load.serving_mean_ms[0] > 6.5) == (idle_takes > 1)


def test_the_store_may_have_any_sign_in_its_name(tmp_path):
    plan = Plan(
        model="squeezenet", framework="onnxruntime", threads=1, loads=LOADS, rounds=1, seconds=5,
        processes=2,
    )  # fmt: skip
    store = tmp_path / 'o\'brien, "2" {of} [3]'
    assert _settings(plan, store, ("scenario=sweep",)).store == store


def test_the_command_compares_again_and_writes_what_it_shows(tmp_path, capsys):
    root, output = measured(tmp_path / "v"), tmp_path / "out"
    assert main(["validate", "--again", str(root), "--output", str(output)]) == 0
    document = json.loads((output / "validation.json").read_text())
    assert document["schema"] == "profleet/validation/v1"
    p99 = document["loads"][1]["quantiles"]["p99"]
    shown = capsys.readouterr().out
    assert f"{p99['from_sweeps']['value_ms']:.2f}" in shown
    assert f"{p99['from_serving']['value_ms']:.2f}" in shown
    assert f"{p99['measured_ms'][0]:.2f}" in shown
    assert (output / "validation.svg").read_text().startswith("<?xml")
    first = (output / "validation.json").read_bytes()
    assert main(["validate", "--again", str(root), "--output", str(output)]) == 0
    assert (output / "validation.json").read_bytes() == first


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--loads", "1.2"], "--loads: input should be less than 1 (got 1.2)"),
        (["--loads", "nan"], "--loads"),
        (["--loads", "0.5", "0.50000001"], "--loads: name every load once (got [0.5, 0.50000001])"),
        (["--rounds", "0"], "--rounds"),
        (["--processes", "1"], "--processes"),
        (["--seconds", "inf"], "--seconds"),
        (["--again", "nowhere"], "nowhere holds no plan.json: name a folder that"),
        (["--model", "nothing"], "Unknown model 'nothing'"),
        (["--model", "it's"], "is not a manifest name"),
    ],
)
def test_mistakes_are_said_before_anything_is_measured(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["validate", *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("rates", "said"), [([], "holds no complete round"), ([1.0], "rates_rps has not as many")]
)
def test_a_plan_without_a_rate_of_each_load_is_no_traceback(tmp_path, capsys, rates, said):
    root = measured(tmp_path / "v", rounds=1)
    plan = json.loads((root / "plan.json").read_text())
    (root / "plan.json").write_text(json.dumps({**plan, "rates_rps": rates}))
    assert main(["validate", "--again", str(root)]) == 2
    assert said in capsys.readouterr().err


def test_nothing_complete_is_said(tmp_path, capsys):
    root = measured(tmp_path / "v", rounds=1)
    (load_folder(root, 0, 0.5) / "result.json").unlink()
    assert main(["validate", "--again", str(root)]) == 2
    assert "holds no complete round" in capsys.readouterr().err
