"""The smallest fleet that keeps a promise, against brute force and queueing theory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from profleet.errors import ConfigError
from profleet.simulate import plan as planning
from profleet.simulate.api import configure
from profleet.simulate.plan import PlanResult, PlanSettings, plan
from profleet.simulate.simulation import prepare, simulate_scene
from queueing import erlang_c
from support import make_profile_dir


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")


def settings(
    fleet: Any = "theory",
    rate: float = 3000.0,
    *,
    p99_ms: float = 9.0,
    router: str = "central_queue",
    workload: Any = None,
    hardware: tuple[str, ...] | None = None,
    objective: str = "count",
    max_replicas: int = 4096,
    **own: Any,
) -> PlanSettings:
    groups = {"fleet": fleet, "workload": workload or {"rate": rate}, "router": router}
    groups["slo"] = {"p99_ms": p99_ms}
    given = {"batching": "none", "replications": 3, "requests": 3000, **own}
    checked = configure(groups, given)
    return PlanSettings(
        **{name: getattr(checked, name) for name in type(checked).model_fields},
        hardware=hardware, objective=objective, max_replicas=max_replicas,
    )  # fmt: skip


def kept(asked: PlanSettings, servers: int) -> bool:
    """Whether a fleet of this size keeps the promise, simulated without the planner."""
    fleet = asked.fleet.model_copy(update={"servers": servers})
    result = simulate_scene(prepare(asked.model_copy(update={"fleet": fleet}))).result()
    return result.verdict == "stable" and all(promise.kept for promise in result.slo)


def mmc_p99_ms(servers: int, rate: float, mean_ms: float = 1.0) -> float:
    """Response time of M/M/c that 99 % of the requests do not exceed, by bisection."""
    load = rate * mean_ms / 1e3 / servers
    waits = erlang_c(servers, load)
    spare = servers * (1 - load)

    def above(t: float) -> float:
        if abs(spare - 1) < 1e-9:
            return math.exp(-t) * (1 + waits * t)
        return math.exp(-t) * (1 - waits / (1 - spare)) + waits / (1 - spare) * math.exp(-spare * t)

    times = np.linspace(0, 200, 200_001)
    tail = np.array([above(time) for time in times])
    return float(times[np.argmax(tail <= 0.01)]) * mean_ms


@pytest.mark.parametrize(("rate", "p99_ms"), [(3000.0, 9.0), (3000.0, 6.0), (500.0, 8.0)])
def test_the_smallest_fleet_is_the_one_that_brute_force_finds(rate, p99_ms):
    asked = settings(rate=rate, p99_ms=p99_ms)
    (answer,) = plan(asked).answers
    least = next(n for n in range(1, 40) if kept(asked, n))
    assert answer.replicas == least
    assert len(answer.probes) < 12


def test_the_smallest_fleet_agrees_with_queueing_theory():
    rate, p99_ms = 6000.0, 5.5
    least = next(n for n in range(7, 40) if mmc_p99_ms(n, rate) <= p99_ms)
    (answer,) = plan(settings(rate=rate, p99_ms=p99_ms, requests=8000)).answers
    assert answer.replicas is not None
    assert least <= answer.replicas <= least + 1, "the interval's upper end has to keep it"
    simulated = answer.metrics["latency_p99_ms"]
    assert simulated.low is not None
    assert simulated.high is not None
    expected = mmc_p99_ms(answer.replicas, rate)
    assert simulated.low * 0.97 <= expected <= simulated.high * 1.03


def test_no_overloaded_fleet_is_simulated_first():
    (answer,) = plan(settings(rate=3000.0)).answers
    assert answer.probes[0].replicas >= 4, "three servers are offered exactly what they can do"
    assert {probe.verdict for probe in answer.probes} == {"stable"}


def test_probes_are_told_as_they_are_simulated_and_only_once():
    told: list[int] = []
    (answer,) = plan(settings(p99_ms=6.0), lambda name, probe: told.append(probe.replicas)).answers
    assert sorted(told) == [probe.replicas for probe in answer.probes]
    assert len(set(told)) == len(told)
    assert next(probe.replicas for probe in answer.probes if probe.kept) == answer.replicas


GROUPS = [
    {"name": "fast", "count": 1, "service": {"dist": "exponential", "mean_ms": 1},
     "price_per_hour": 9.0, "power": {"idle_w": 10, "active_w": 60}},
    {"name": "cheap", "count": 1, "service": {"dist": "exponential", "mean_ms": 2},
     "price_per_hour": 1.0, "power": {"idle_w": 60, "active_w": 300}},
]  # fmt: skip


@pytest.mark.parametrize(
    ("objective", "best"), [("count", "fast"), ("cost", "cheap"), ("energy", "fast")]
)
def test_kinds_of_hardware_are_compared_by_what_is_asked_for(objective, best):
    fleet = {"preset": "assumed", "groups": GROUPS}
    result = plan(settings(fleet, 1500.0, p99_ms=15.0, objective=objective))
    assert result.best == best
    fast, cheap = result.answers
    assert (fast.hardware, cheap.hardware) == ("fast", "cheap")
    assert fast.replicas < cheap.replicas
    assert result.metrics["cost_per_hour/fast"].value == 9.0 * fast.replicas
    assert result.metrics["replicas/cheap"].value == cheap.replicas
    assert result.metrics["replicas/cheap"].evidence == "assumed"


def test_every_hardware_with_a_profile_is_compared_and_named_ones_alone(tmp_path):
    for name, base in (("a", 1.5), ("b", 6.0)):
        make_profile_dir(tmp_path / name, samples=40, processes=2, base_ms=base, slope_ms=0.5)
    profiles = [{"path": str(tmp_path / name), "hardware": name.upper()} for name in "ab"]
    fleet = {"preset": "quickstart", "profiles": profiles, "hardware": None}
    asked = settings(fleet, 800.0, p99_ms=60.0, batching="dynamic", router="jsq")
    result = plan(asked)
    assert [answer.hardware for answer in result.answers] == ["A", "B"]
    assert all(answer.replicas for answer in result.answers)
    assert result.answers[0].replicas < result.answers[1].replicas
    assert result.best == "A"
    assert result.answers[0].served[0].evidence[0] == "measured"
    only = plan(settings(fleet, 800.0, p99_ms=60.0, batching="dynamic", hardware=("B",)))
    assert [answer.hardware for answer in only.answers] == ["B"]


def test_a_promise_that_no_fleet_keeps_ends_with_a_reason():
    result = plan(settings(rate=500.0, p99_ms=2.0))
    assert result.status == "failed"
    assert result.best is None
    assert "almost idle" in str(result.reason)


@pytest.mark.parametrize("most", [1, 5])
def test_the_search_never_goes_beyond_the_limit(most):
    result = plan(settings(rate=3000.0, p99_ms=4.7, max_replicas=most))
    assert result.status == "failed"
    assert f"{most} replicas (max_replicas) are too few" in str(result.reason)
    tried = [probe.replicas for probe in result.answers[0].probes]
    assert tried == ([] if most == 1 else [4, 5]), "and tries the limit itself"


def test_a_closed_loop_starts_with_one_replica():
    workload = {"kind": "closed_loop", "users": 6, "think": {"mean_ms": 5}}
    (answer,) = plan(settings(workload=workload, p99_ms=9.0)).answers
    assert answer.replicas is not None
    assert answer.probes[0].replicas == 1


def test_drops_break_a_promise():
    asked = settings(rate=3000.0, p99_ms=9.0, queue={"limit": 0})
    (answer,) = plan(asked).answers
    lost = [probe for probe in answer.probes if not probe.kept]
    assert lost, "requests that find every server busy are dropped"
    assert answer.replicas is not None
    assert answer.replicas > 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"workload": {"load": 0.5}}, "workload.load is a fraction"),
        ({"workload": {"kind": "poisson"}}, r"come per second: workload\.rate=5000\.$"),
        ({"workload": "mixture"}, r"come per second: workload\.rate=5000\.$"),
        ({"objective": "cost"}, "fleet.price_per_hour"),
        ({"hardware": ("A",)}, "hardware: this fleet says itself"),
        ({"requests": 300}, r"latency_p99_ms cannot be told: 270 requests.*requests=1200"),
    ],
)
def test_what_cannot_be_planned_is_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        plan(settings(**change))


def test_an_interrupt_keeps_the_answers_that_are_there(monkeypatch):
    real = planning._answer

    def answer(asked: PlanSettings, kind: planning.Kind, tell: Any) -> planning.Answer:
        if kind.name == "cheap":
            raise KeyboardInterrupt
        return real(asked, kind, tell)

    monkeypatch.setattr(planning, "_answer", answer)
    result = plan(settings({"preset": "assumed", "groups": GROUPS}, 1500.0, p99_ms=15.0))
    assert result.status == "interrupted"
    assert [answer.hardware for answer in result.answers] == ["fast"]
    assert "replicas/fast" in result.metrics


# -- the command -----------------------------------------------------------------------------------


def test_the_command_prints_and_writes_the_plan(desk):
    done = desk.plan("fleet.servers=1", "workload.rate=1500", "slo.p99_ms=9", "requests=2000")
    assert done.code == 0, done
    (folder,) = desk.folders()
    result = PlanResult.model_validate_json((folder / "result.json").read_text("utf-8"))
    assert result.status == "finished"
    assert f"servers  {result.answers[0].replicas:>8}" in done.out
    assert all((folder / path).is_file() for path in result.paths.values())
    assert result.paths
    for probe in result.answers[0].probes:
        assert f"servers: {probe.replicas} replica" in done.err


def test_a_plan_without_an_answer_exits_with_1(desk):
    done = desk.plan("workload.rate=1500", "slo.p99_ms=2", "max_replicas=3")
    assert done.code == 1, done
    assert "none found" in done.out
    assert "max_replicas" in done.out
    assert desk.results()[0]["status"] == "failed"


def test_a_sweep_of_plans_goes_on_after_a_mistake(desk):
    done = desk.plan("-m", "workload.rate=1500", "slo.p99_ms=9,0,12", "requests=2000")
    assert done.code == 1, done
    assert "Traceback" not in done.err, done.err
    assert "[1] Configuration: slo.p99_ms" in done.err
    assert [result["status"] for result in desk.results()] == ["finished", "finished"]
