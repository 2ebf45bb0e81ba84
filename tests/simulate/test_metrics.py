"""Intervals and verdicts: do intervals hold what they promise, and are verdicts right?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import profleet
import queueing
from profleet.simulate.metrics import judge, offered_load, summarize
from profleet.simulate.simulation import Simulation


def theory(load: float, servers: int = 1, **settings: Any) -> Simulation:
    given = {"router": "central_queue", "batching": "none", "replications": 3, "seed": 2}
    workload = settings.pop("workload", {"kind": "poisson", "load": load})
    fleet = settings.pop("fleet", {"preset": "theory", "servers": servers})
    return profleet.simulate(fleet, workload, **{**given, **settings})


@pytest.fixture(scope="module")
def many() -> Simulation:
    """1,000 short replications of M/M/1: 200 simulations of five."""
    return theory(0.5, replications=1000, requests=10_000)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("latency_mean_ms", 2.0),
        ("wait_mean_ms", 1.0),
        ("utilization", 0.5),
        ("offered_load", 0.5),
        ("throughput_rps", 500.0),
    ],
)
def test_intervals_hold_the_true_value_as_often_as_they_say(many, name, exact, confidence):
    held = 0
    for start in range(0, 1000, 5):
        five = many.outcomes[start : start + 5]
        metric = summarize(many.arrays, five, confidence=confidence, load=0.5).metrics[name]
        held += metric.low <= exact <= metric.high
    spread = np.sqrt(confidence * (1 - confidence) / 200)
    assert abs(held / 200 - confidence) < 3.3 * spread


@pytest.mark.parametrize("name", ["p50", "p99"])
def test_intervals_of_quantiles_hold_them_at_least_as_often(many, name):
    """They are wider: by what the histogram does not resolve."""
    exact = queueing.mmc_wait_quantile(1, 0.5, {"p50": 0.5, "p99": 0.99}[name]) + 1e-9
    held = 0
    for start in range(0, 1000, 5):
        five = many.outcomes[start : start + 5]
        metric = summarize(many.arrays, five, load=0.5).metrics[f"wait_{name}_ms"]
        held += metric.low <= exact <= metric.high
    assert held / 200 > 0.95 - 3.3 * np.sqrt(0.95 * 0.05 / 200)


def test_one_replication_has_no_interval(many):
    metric = summarize(many.arrays, many.outcomes[:1], load=0.5).metrics["latency_mean_ms"]
    assert metric.low is None
    assert metric.high is None


@pytest.mark.parametrize("router", ["central_queue", "round_robin"])
@pytest.mark.parametrize("load", [0.5, 0.9, 0.95])
def test_loads_below_one_are_stable(load, router):
    for seed in range(6):
        simulation = theory(load, 4, router=router, requests=50_000, seed=seed)
        assert simulation.summary().verdict == "stable"
        assert offered_load(simulation.arrays, simulation.outcomes[0]) == [
            pytest.approx(load, rel=0.03)
        ]


@pytest.mark.parametrize("router", ["central_queue", "round_robin"])
@pytest.mark.parametrize("load", [1.0, 1.05, 3.0])
def test_from_one_on_a_fleet_is_overloaded_and_states_no_latency(load, router):
    simulation = theory(load, 4, router=router, requests=50_000)
    summary = simulation.summary()
    assert summary.verdict == "overloaded"
    assert "have no steady state" in summary.reasons[0]
    assert not [name for name in summary.metrics if name.startswith(("latency_", "wait_"))]
    assert summary.refused["latency_p99_ms"] == summary.reasons[0]
    assert summary.refused["wait_mean_ms"] == summary.reasons[0]
    assert summary.metrics["offered_load"].value == pytest.approx(load, rel=0.03)
    assert summary.metrics["throughput_rps"].value == pytest.approx(4000, rel=0.03)
    assert {"latency_mean_ms", "wait_mean_ms"}.isdisjoint(simulation.table("replications"))


@pytest.mark.parametrize("load", [1.05, 1.5])
@pytest.mark.parametrize("end", [{"requests": 40_000}, {"requests": None, "duration_s": 10.0}])
def test_what_happened_is_enough_to_see_an_overload(load, end):
    """Without the rate of the workload; whether requests end or time does."""
    for router in ("central_queue", "round_robin"):
        simulation = theory(load, 4, router=router, **end)
        verdict, _ = judge(simulation.arrays, simulation.outcomes)
        assert verdict == "overloaded"


def test_one_of_several_groups_can_be_overloaded_alone():
    group = {"service": {"dist": "exponential", "mean_ms": 1.0}, "count": 1}
    groups = [{**group, "name": "quick", "count": 3}, {**group, "name": "slow"}]
    groups[1] = {**groups[1], "service": {"dist": "exponential", "mean_ms": 5.0}}
    fleet = {"preset": "assumed", "groups": groups}
    alike = theory(0.6, fleet=fleet, router="round_robin", requests=30_000).summary()
    assert alike.verdict == "overloaded"
    assert "Group slow was offered" in alike.reasons[0]
    assert alike.metrics["offered_load/quick"].value == pytest.approx(0.6 * 3.2 / 4, rel=0.03)
    assert alike.metrics["offered_load/slow"].value == pytest.approx(0.6 * 3.2 / 4 * 5, rel=0.03)
    central = theory(0.6, fleet=fleet, requests=30_000).summary()
    assert central.verdict == "stable"
    assert central.metrics["offered_load/quick"].value == pytest.approx(0.6, rel=0.03)
    assert central.metrics["offered_load/slow"].value == pytest.approx(0.6, rel=0.03)


@pytest.mark.parametrize("end", [{"requests": 400_000}, {"requests": None, "duration_s": 0.22}])
def test_many_servers_are_as_busy_as_the_load_says(end):
    """The last requests of a short period take a good part of it to leave: that does not count."""
    metrics = theory(0.9, 2000, warmup=0.2, **end).summary().metrics
    assert metrics["utilization"].value == pytest.approx(0.9, rel=0.01)
    assert metrics["throughput_rps"].value == pytest.approx(1.8e6, rel=0.01)
    assert metrics["goodput_rps"].value == pytest.approx(1.8e6, rel=0.01)


@pytest.mark.parametrize("end", [{"requests": 50_000}, {"requests": None, "duration_s": 5.0}])
def test_an_overloaded_fleet_does_all_it_can_and_no_more(end):
    """Also of requests that came in the warm-up and were still waiting after it."""
    metrics = theory(3.0, 4, warmup=0.4, **end).summary().metrics
    assert metrics["utilization"].value == pytest.approx(1.0, abs=1e-3)
    assert metrics["throughput_rps"].value == pytest.approx(4000, rel=0.03)
    assert metrics["goodput_rps"].value <= metrics["throughput_rps"].value


def test_a_backlog_below_the_capacity_is_told():
    """A replica that goes down for good; the queue has no other to go to."""
    fleet = {
        "preset": "assumed",
        "groups": [
            {
                "name": "batched",
                "count": 1,
                "service": {"dist": "deterministic", "mean_ms": 1.0, "per_request_ms": 0.1},
                "max_batch": 8,
            }
        ],
    }
    full = {"kind": "dynamic", "size": 8}
    kept_up = theory(0.5, fleet=fleet, batching=full, requests=20_000)
    assert kept_up.summary().verdict == "stable"
    down = {"failures": {"outages": [{"at_s": 2.0}]}}
    stopped = {**fleet, "groups": [{**fleet["groups"][0], **down}]}
    simulation = theory(0.5, fleet=stopped, batching=full, requests=20_000)
    summary = simulation.summary()
    assert summary.verdict == "backlogged"
    assert "kept growing" in summary.reasons[0]


def test_the_warm_up_does_not_count_as_load():
    simulation = theory(0.7, 4, warmup=0.5, requests=50_000)
    assert simulation.summary().metrics["offered_load"].value == pytest.approx(0.7, rel=0.02)
    assert simulation.summary().metrics["injected"].value == 25_000


def test_shares_and_their_intervals_are_at_most_one():
    busy = theory(0.9, 4, requests=200, replications=2).summary().metrics["utilization"]
    assert busy.low < busy.value < busy.high == 1


def test_no_quantile_exceeds_the_maximum():
    service = {"dist": "deterministic", "mean_ms": 1.0}
    metrics = theory(0.2, fleet={"preset": "theory", "service": service}).summary().metrics
    assert metrics["service_p50_ms"].value == metrics["service_max_ms"].value == 1.0


def test_an_overloaded_fleet_that_turns_requests_away_states_the_times_of_the_others():
    simulation = theory(1.5, 4, requests=50_000)
    for load in (1.5, None):
        summary = summarize(simulation.arrays, simulation.outcomes, load=load, sheds=True)
        assert summary.verdict == "overloaded"
        assert "turned away" in summary.reasons[0]
        assert "latency_p99_ms" in summary.metrics


def test_a_burst_is_told_from_an_overload():
    """On average there is a load below 1, but what was simulated is the busy half of it."""
    pieces = [{"seconds": 1.0, "level": 2.0}, {"seconds": 1.0, "level": 0.0}]
    workload = {"kind": "piecewise", "pieces": pieces, "load": 0.6}
    simulation = theory(0.6, workload=workload, requests=500)
    result = simulation.result()
    assert result.verdict == "overloaded"
    assert "but by chance 1.1" in result.reasons[0]
    assert any("changes over 2 s" in note for note in result.notes)


def test_a_warm_up_too_short_to_fill_the_fleet_is_told():
    short = theory(0.7, 1000, router="round_robin", requests=10_000).result()
    assert any("still filling" in note for note in short.notes)
    assert not theory(0.7, 1000, router="round_robin", requests=100_000).result().notes


def noted(**given: Any) -> str:
    return " ".join(profleet.simulate({"preset": "theory"}, **given).result().notes)


def test_a_trace_shorter_than_what_was_asked_for_is_told(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("t\n" + "".join(f"{second / 10}\n" for second in range(100)))
    trace = {"preset": "csv", "path": str(path), "csv": {"time": "t"}}
    assert "100 of the 500 requests asked for" in noted(workload=trace, requests=500)
    assert "of the 30 s asked for" in noted(workload=trace, duration_s=30)
    for asked in ({"requests": 100}, {"requests": 60}, {"duration_s": 8}, {}):
        assert "asked for" not in noted(workload=trace, **asked)
    assert "asked for" not in noted(workload=trace | {"loop": True}, requests=500)


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("router=slo_aware", {"router": "slo_aware"}),
        ("batching=deadline", {"batching": "deadline"}),
        ("queue.order=edf", {"queue": {"order": "edf"}}),
    ],
)
def test_what_goes_by_deadlines_where_there_are_none_is_told(key, given):
    short = {"requests": 500, "replications": 1}
    workload = {"kind": "poisson", "load": 0.5}
    assert f"{key} goes by deadlines" in noted(workload=workload, **given, **short)
    assert "deadlines" not in noted(workload=workload, slo={"p99_ms": 50}, **given, **short)
    due = workload | {"deadline_ms": 50}
    assert "deadlines" not in noted(workload=due, **given, **short)


def test_a_timeline_after_the_end_is_told(tmp_path):
    workload = {"kind": "poisson", "load": 0.5}
    given = {"workload": workload, "requests": 500, "replications": 1}
    given |= {"trace": True, "folder": tmp_path}
    assert "The timeline is empty" in noted(trace_window_ms=[90_000, 99_000], **given)
    assert "timeline" not in noted(trace_window_ms=[0, 10], **given)


def test_a_fleet_that_answers_nothing_is_no_stable_one():
    group = {"name": "down", "count": 2, "failures": {"outages": [{"at_s": 0}]},
             "service": {"dist": "deterministic", "mean_ms": 1.0}}  # fmt: skip
    simulation = profleet.simulate(
        {"preset": "assumed", "groups": [group]},
        {"kind": "poisson", "rate": 100.0},
        router="random",
        batching="none",
        requests=500,
        replications=2,
        queue={"on_failure": "drop"},
    )
    summary = simulation.summary()
    assert summary.metrics["drop_ratio"].value == 1
    assert summary.verdict == "overloaded"
    assert summary.reasons[0].startswith("Every request was dropped")
