"""What a sweep of the study says together."""

from __future__ import annotations

import pytest

from profleet.profile.metrics import Metric
from profleet.simulate.schema import SimulationResult
from profleet.simulate.study.ratios import summarize_study


def result(device, schedule, *, load=0.5, **means):
    numbers = {f"completion_mean_ns/{name.replace('_', '-')}": mean for name, mean in means.items()}
    numbers |= {"offered_load": load, "utilization": 0.4, "completed": 100}
    return SimulationResult(
        status="finished",
        verdict="stable" if load < 1 else "overloaded",
        metrics={
            name: Metric(value=value, unit="1", evidence="modelled")
            for name, value in numbers.items()
        },
        configuration={
            "study": {
                "kind": "lightspeed", "device": device, "trace": schedule, "granularity": 2048,
                "stop_after": 100, "rate_gbps": 0.06,
            }
        },
    )  # fmt: skip


def values(study):
    return {name: metric.value for name, metric in study.metrics.items()}


def test_ratios_are_taken_by_schedule_and_then_averaged():
    study = summarize_study(
        [
            result("mit-lightning", "one", AlexNet=1.0, DLRM=2.0),
            result("mit-lightning", "two", AlexNet=10.0, DLRM=1.0),
            result("lightspeed-a100@1.0.0", "one", load=2.4, AlexNet=8.0, DLRM=6.0),
            result("lightspeed-a100@1.0.0", "two", load=2.4, AlexNet=20.0, DLRM=1.0),
        ]
    )
    assert values(study) == pytest.approx(
        {
            "completion_ratio/lightspeed-a100/AlexNet": 5.0,  # of 8 and 2, not of 28 / 11
            "completion_ratio/lightspeed-a100/DLRM": 2.0,
            "completion_ratio_mean/lightspeed-a100": 3.5,
            "completion_ratio_min/lightspeed-a100": 1.5,
            "completion_ratio_max/lightspeed-a100": 5.5,
        }
    )
    assert [row.steady_state for row in study.rows] == [True, True, False, False]


def test_a_schedule_or_network_that_the_reference_lacks_has_no_ratio():
    study = summarize_study(
        [
            result("mit-lightning", "one", AlexNet=1.0),
            result("lightspeed-p4", "one", AlexNet=3.0, DLRM=6.0),
            result("lightspeed-p4", "two", AlexNet=50.0),
        ]
    )
    assert values(study)["completion_ratio_mean/lightspeed-p4"] == 3.0
    assert "completion_ratio/lightspeed-p4/DLRM" not in study.metrics
    assert study.rows[-1].ratio == {}


def test_other_simulations_are_no_study():
    assert summarize_study([SimulationResult(status="finished", configuration={})]) is None
    assert summarize_study([SimulationResult(status="failed", reason="no")]) is None
