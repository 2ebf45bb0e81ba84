"""Users who wait for their answers: the machine repairman's model, exact for any number."""

import pytest

import queueing


def users(count, think_ms, dist="exponential"):
    think = {"dist": dist, "mean_ms": think_ms, "cv": 0.5 if dist == "gamma" else 1.0}
    return {"kind": "closed_loop", "users": count, "think": think}


@pytest.mark.parametrize(
    ("servers", "count", "think_ms", "dist"),
    [
        (1, 5, 4.0, "exponential"),
        (1, 7, 4.0, "deterministic"),
        (4, 30, 5.0, "exponential"),
        (4, 30, 5.0, "gamma"),
    ],
)
def test_throughput_and_latency(theory, servers, count, think_ms, dist):
    simulation = theory.simulate(servers, workload=users(count, think_ms, dist))
    throughput, latency = queueing.repairmen(servers, count, think_ms)
    theory.agrees(simulation, "latency_mean_ms", latency, within=0.02)
    theory.agrees(simulation, "throughput_rps", 1000 * throughput, within=0.01)
    theory.agrees(simulation, "utilization", throughput / servers)
    if servers == 1:
        exact = queueing.mean_value_analysis(count, think_ms)
        assert exact == pytest.approx((throughput, latency))


def test_a_saturated_loop_is_stable_and_its_latency_is_stated(theory):
    simulation = theory.simulate(1, workload=users(50, 1.0), replications=3)
    summary = simulation.summary()
    assert summary.verdict == "stable"
    assert summary.metrics["latency_mean_ms"].value == pytest.approx(50 - 1, rel=0.02)
