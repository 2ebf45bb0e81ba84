from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profleet.errors import ConfigError
from profleet.simulate.api import configure
from profleet.simulate.settings import REQUESTS, SimulateSettings


def settings(workload: Any = None, slo: Any = "none", **own: Any) -> SimulateSettings:
    groups = {"fleet": "theory", "workload": workload or {"load": 0.5}, "slo": slo}
    return configure(groups, {"batching": "none", **own})


PLAIN = settings()


def test_what_ships_is_a_whole_configuration():
    assert configure({"workload": {"rate": 10}}, {}).replications == 5


@pytest.mark.parametrize(
    ("own", "available", "requests", "warmup"),
    [
        ({}, None, REQUESTS, REQUESTS // 10),
        ({}, 19_366, 19_366, 1_936),
        ({"requests": 500}, None, 500, 50),
        ({"requests": 500}, 200, 200, 20),
        ({"requests": 500, "warmup": 0}, None, 500, 0),
        ({"requests": 1}, None, 1, 0),
    ],
)
def test_requests_end_a_replication_and_a_share_of_those_that_come_is_warm_up(
    own, available, requests, warmup
):
    period = settings(**own).period(available)
    assert (period.requests, period.warmup_requests) == (requests, warmup)
    assert period.duration_ns is None
    assert period.warmup_ns == 0


def test_a_large_fleet_gets_more_requests():
    fleet = {"preset": "theory", "servers": 10_000}
    large = configure({"fleet": fleet, "workload": {"load": 0.5}}, {})
    assert large.period(None).requests == 500_000
    assert large.period(20_000).requests == 20_000


@pytest.mark.parametrize(
    ("own", "sheds"),
    [
        ({}, False),
        ({"queue": {"limit": 0}}, True),
        ({"router": "slo_aware"}, False),
        ({"router": "slo_aware", "slo": {"p99_ms": 5.0}}, True),
    ],
)
def test_queues_end_where_they_are_limited_or_requests_would_be_late(own, sheds):
    assert settings(**own).sheds == sheds


@pytest.mark.parametrize("available", [None, 100])
def test_a_duration_takes_the_place_of_requests(available):
    period = settings(duration_s=2.5, warmup=0.2).period(available)
    assert period.requests is None
    assert (period.duration_ns, period.warmup_ns) == (2_500_000_000, 500_000_000)
    assert period.warmup_requests == 0


@given(st.integers(1, 10**9), st.none() | st.integers(1, 10**9), st.floats(0, 0.999))
def test_warm_up_never_takes_every_request(requests, available, warmup):
    checked = PLAIN.model_copy(update={"requests": requests, "warmup": warmup})
    period = checked.period(available)
    assert period.requests is not None
    assert 1 <= period.requests <= requests
    assert 0 <= period.warmup_requests < period.requests


def test_promises_are_ordered_by_quantile():
    slo = settings(slo={"p99_9_ms": 90, "p50_ms": 10, "p99_ms": 40}).slo
    assert list(slo.bounds.items()) == [("p50", 10), ("p99", 40), ("p99_9", 90)]
    assert slo.drop_ratio == 0.01
    assert settings(slo={"p99_ms": 40, "max_drop_ratio": 0}).slo.drop_ratio == 0


def test_promises_that_contradict_each_other_are_refused():
    with pytest.raises(ConfigError, match=r"p99_ms \(5\) is below p50_ms \(10\)"):
        settings(slo={"p50_ms": 10, "p99_ms": 5})


def test_the_highest_promise_is_the_deadline_of_requests_that_have_none():
    promised = {"p50_ms": 10, "p99_ms": 40}
    assert settings(slo=promised).with_deadlines().workload.deadline_ms == 40
    own = settings({"load": 0.5, "deadline_ms": 7}, promised).with_deadlines()
    assert own.workload.deadline_ms == 7
    assert settings().with_deadlines().workload.deadline_ms is None
    clients = {
        "a": {"arrivals": {"kind": "poisson", "deadline_ms": 3}},
        "b": {"arrivals": {"kind": "poisson"}},
    }
    mixture = {"kind": "mixture", "load": 0.5, "clients": clients}
    mixed = settings(mixture, promised).with_deadlines().workload
    assert mixed.clients["a"].arrivals.deadline_ms == 3
    assert mixed.clients["b"].arrivals.deadline_ms == 40


def test_what_is_stated_tells_nothing_of_where_results_go():
    stated = settings(store="/somewhere/private", tracking="sqlite").stated()
    assert "private" not in str(stated)
    assert stated["requests"] is None
    assert stated["router"]["kind"] == "jsq"


def test_stated_settings_can_be_simulated_again():
    first = settings({"kind": "closed_loop", "users": 7}, {"p99_ms": 3}, requests=50)
    stated = first.stated()
    groups = {name: stated.pop(name) for name in ("fleet", "workload", "slo", "router", "batching")}
    again = configure(groups, stated)
    assert again.stated() == first.stated()
