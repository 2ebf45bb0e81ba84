import re

import pytest

from profleet.profile.metrics import metrics_of
from profleet.profile.schema import Value
from support import Synthetic, make_profile

UNITS = {"ms": "ms", "s": "s", "rps": "1/s", "bytes": "B", "j": "J", "ratio": "1"}


def names(**what):
    return metrics_of(make_profile(Synthetic(**what))[0])


def test_names_units_and_values_come_from_the_profile():
    profile, _ = make_profile(Synthetic())
    metrics = metrics_of(profile)
    p99 = profile.points[3].latency_ms.percentiles["p99"]
    metric = metrics["latency_p99_ms/b8"]
    assert (metric.value, metric.low, metric.high) == (p99.value, p99.low, p99.high)
    assert (metric.unit, metric.evidence) == ("ms", "measured")
    assert metrics["throughput_rps/b4"].value == profile.points[2].throughput_rps.value
    assert metrics["peak_rss_bytes/b1"].value == 116_000_000
    assert metrics["latency_idle_p50_ms/b1/gap20"].value > metrics["latency_p50_ms/b1"].value
    cold = {"start_s", "import_s", "load_s", "init_s", "first_run_s", "cold_start_s"}
    assert cold <= metrics.keys()


def test_every_name_carries_its_unit_and_is_one_that_mlflow_takes():
    for what in (Synthetic(), Synthetic(scenario="find_peak")):
        for name, metric in metrics_of(make_profile(what)[0]).items():
            assert re.fullmatch(r"[a-z0-9_]+(/[a-z0-9_.]+)*", name)
            assert metric.unit == UNITS[name.split("/")[0].rsplit("_", 1)[1]]


def test_what_was_not_measured_is_left_out_and_not_zero():
    metrics = names(samples=20)
    assert "latency_p50_ms/b1" in metrics
    assert not [name for name in metrics if "p99" in name]
    assert not [name for name in metrics if name.startswith(("energy", "host_to", "peak_device"))]
    assert all(metric.value > 0 for metric in metrics.values())


def test_readings_that_were_taken_are_there():
    profile, _ = make_profile(Synthetic(batch_sizes=(2,)))
    point = profile.measurement.points[0]
    point.energy_j, point.host_to_device_ms = Value(value=1.5), Value(value=0)
    metrics = metrics_of(profile)
    assert (metrics["energy_j/b2"].value, metrics["energy_j/b2"].unit) == (1.5, "J")
    assert metrics["host_to_device_ms/b2"].value == 0


def test_cold_start_is_the_median_of_whole_starts():
    profile, _ = make_profile(Synthetic(processes=3))
    parts = [(1, 1, 1, 10), (2, 2, 8, 1), (3, 0, 0, 0)]
    for start, values in zip(profile.measurement.cold_start, parts, strict=True):
        start.import_s, start.load_s, start.init_s, start.first_run_s = values
        start.start_s = 0.5
    assert metrics_of(profile)["cold_start_s"].value == 13.5


def test_offline_states_loadgens_throughput_and_no_latency_of_requests():
    metrics = names(scenario="offline")
    assert metrics["throughput_rps/offline"].value == 88.5
    assert not [name for name in metrics if name.startswith("latency")]


@pytest.mark.parametrize("told", [None, "many", True, 0, -1.0])
def test_an_offline_rate_that_is_no_rate_is_left_out(told):
    profile, _ = make_profile(Synthetic(scenario="offline"))
    profile.measurement.scenario.summary["Samples per second"] = told
    assert "throughput_rps/offline" not in metrics_of(profile)


def test_refused_rests_are_left_out():
    metrics = names(idle_samples=5, processes=1)
    assert "latency_p50_ms/b1" in metrics
    assert not [name for name in metrics if name.startswith("latency_idle")]


@pytest.mark.parametrize("kind", ["server", "single_stream", "find_peak"])
def test_a_scenario_names_its_kind(kind):
    metrics = names(scenario=kind)
    assert f"latency_p99_ms/{kind}" in metrics
    assert not [name for name in metrics if "/b" in name]
    assert ("peak_rps" in metrics) == (kind == "find_peak")
