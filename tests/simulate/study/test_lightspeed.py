"""The Lightning study, to the printed digit, and what is refused."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from profleet.errors import HardwareError, ManifestError
from profleet.simulate.study.lightspeed import simulate_study
from profleet.simulate.study.networks import networks
from profleet.simulate.study.settings import LightspeedSettings
from profleet.simulate.workload.traces import TraceError
from workloads import shared_data

NAMES = [graph.name for graph in networks()]
PUBLISHED = {
    "mit-lightning": [
        (432671.813, 20), (648975.156, 10), (1202393.164, 19), (941751.711, 10),
        (9071268.801, 10), (43244606.546, 10), (169816.953, 21),
    ],
    "lightspeed-a100": [
        (77695612.556, 54), (223271492.379, 51), (142886725.23, 47), (188566874.615, 29),
        (936067898.208, 19), (1717452231.56, 10), (46386539.45, 64),
    ],
    "lightspeed-a100x": [
        (81396839.425, 56), (235747061.22, 53), (146864289.731, 48), (207724569.366, 31),
        (960435661.889, 19), (1732233244.965, 10), (33416589.783, 64),
    ],
    "lightspeed-brainwave": [
        (21678763.6, 20), (29182622.909, 11), (22200316.364, 22), (37777259.6, 10),
        (120569282.182, 11), (330350611.6, 10), (40352799.429, 21),
    ],
}  # fmt: skip
"""Mean completion time in ns and finished requests of schedule 1 at 0.06 Gbit/s, by network."""


def settings(**given):
    plain = {
        "kind": "lightspeed", "device": "mit-lightning", "trace": None, "traces": "",
        "rate_gbps": 0.06, "granularity": 2048, "stop_after": 100,
    }  # fmt: skip
    return LightspeedSettings.model_validate({**plain, **given})


@pytest.mark.parametrize("device", PUBLISHED)
def test_mean_completion_times_are_those_of_the_study(device):
    trace = shared_data("lightning-traces") / "mixed_0.06Gbps_1.csv.gz"
    metrics = simulate_study(settings(device=device, trace=trace)).result(0).metrics
    found = [
        (round(metrics[f"completion_mean_ns/{name}"].value, 3), metrics[f"completed/{name}"].value)
        for name in NAMES
    ]
    assert found == PUBLISHED[device]
    assert {metric.evidence for metric in metrics.values()} == {"modelled"}


@pytest.mark.parametrize(
    ("device", "load", "verdict"),
    [
        ("mit-lightning", 0.423, "stable"),
        ("lightspeed-a100", 2.42, "overloaded"),
        ("lightspeed-a100x", 2.42, "overloaded"),
        ("lightspeed-brainwave", 0.984, "stable"),
        ("lightspeed-p4", 8.28, "overloaded"),
    ],
)
def test_the_offered_load_says_who_has_a_steady_state(device, load, verdict):
    study = simulate_study(settings(device=device, stop_after=1))
    result = study.result(0)
    assert result.metrics["offered_load_law"].value == pytest.approx(load, abs=0.0051)
    assert result.metrics["offered_load"].value == pytest.approx(load, rel=0.1)
    assert result.verdict == verdict
    assert any("No steady state" in why for why in result.reasons) == (verdict == "overloaded")


def written(path, rows):
    text = "model,arrival_ns\n" + "".join(f"{model},{time}\n" for model, time in rows)
    path.write_bytes(gzip.compress(text.encode()))
    return path


def test_a_request_that_is_alone_takes_the_latency_and_its_layers(tmp_path):
    trace = written(tmp_path / "one.csv.gz", [("AlexNet", 1000)])
    study = simulate_study(settings(trace=trace, granularity=1))
    metrics = study.result(0).metrics
    spent = metrics["completion_mean_ns/AlexNet"].value
    assert spent == metrics["completion_alone_ns/AlexNet"].value
    assert 920 + 12_800 < spent < 1.1 * (920 + 12_800)
    assert metrics["completed/AlexNet"].value == 1
    assert metrics["completed/VGG-16"].value == 0
    assert "completion_mean_ns/VGG-16" not in metrics
    assert 0 < metrics["utilization"].value < 1
    assert any("fewer requests" in note for note in study.result(0).notes)


def test_the_same_seed_draws_the_same_schedule():
    def result(seed):
        return simulate_study(settings(stop_after=20), seed).result(seed).model_dump(mode="json")

    assert json.dumps(result(1)) == json.dumps(result(1))
    assert result(1)["metrics"] != result(2)["metrics"]


def test_a_drawn_schedule_follows_the_law():
    schedule = simulate_study(settings(stop_after=1), 3).schedule
    assert len(schedule.arrival_ns) == 5_000
    assert schedule.gap_ns == pytest.approx(11.86e6, rel=0.06)
    assert np.bincount(schedule.network) == pytest.approx([5_000 / 7] * 7, rel=0.15)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([("AlexNet", 5), ("LeNet", 6)], r"no network 'LeNet'.*Available: AlexNet"),
        ([("AlexNet", 5), ("DLRM", 4)], "line 3: earlier than the line before"),
        ([("AlexNet", "soon")], "line 2"),
        ([("AlexNet", -1)], "line 2"),
        ([], "no requests"),
        ([("AlexNet", 2**61)], "too late to count"),
    ],
)
def test_schedules_that_cannot_be_used_are_refused(tmp_path, rows, problem):
    with pytest.raises(TraceError, match=problem):
        simulate_study(settings(trace=written(tmp_path / "bad.csv.gz", rows)))


def test_a_schedule_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(TraceError, match=r"none\.csv cannot be read"):
        simulate_study(settings(trace=tmp_path / "none.csv"))


def test_devices_that_are_no_core_arrays_are_refused():
    with pytest.raises(ManifestError, match=r"study\.device: .*Did you mean 'mit-lightning'"):
        simulate_study(settings(device="mit-lightnin"))
    for device in ("nvidia-l4", "local"):
        with pytest.raises(HardwareError, match="needs an array of cores: lightspeed-a100"):
            simulate_study(settings(device=device))
