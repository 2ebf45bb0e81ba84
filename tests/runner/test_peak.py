import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profleet_runner.peak import find_peak

MU, BOUND = 1000.0, 0.02  # service rate 1/s, bound on the p99 of the time in the system, seconds
# M/M/1: the time in the system is exponential with rate mu - lambda.
MM1_PEAK = MU - math.log(100) / BOUND


def simulated_p99(rate: float, n: int = 400_000) -> float:
    """p99 of the time in an M/M/1 system, by Lindley's recursion, with common random numbers."""
    generator = np.random.default_rng(1)
    gaps = generator.exponential(1 / rate, n)
    service = generator.exponential(1 / MU, n)
    steps = np.concatenate(([0.0], service[:-1] - gaps[1:]))
    walk = np.cumsum(steps)
    waits = walk - np.minimum.accumulate(walk)
    return float(np.quantile(waits + service, 0.99))


@given(
    peak=st.floats(1e-3, 1e6),
    offset=st.floats(-6, 6),
    tolerance=st.floats(1e-3, 0.3),
)
def test_brackets_any_threshold(peak, offset, tolerance):
    found = find_peak(lambda rate: rate <= peak, peak * 2**offset, tolerance, max_probes=100)
    assert found.bracketed
    assert found.reason is None
    assert found.rate <= peak <= found.rate * (1 + tolerance) * (1 + 1e-12)


def test_analytic_peak_of_mm1():
    found = find_peak(lambda rate: rate < MU and rate <= MM1_PEAK, start=50.0)
    assert found.rate == pytest.approx(MM1_PEAK, rel=0.01)
    assert len(found.probes) <= 4 + 1 + 7  # doublings, the first failure, bisection to 1 %


def test_simulated_mm1_agrees_with_the_formula():
    found = find_peak(lambda rate: simulated_p99(rate) <= BOUND, start=3000.0)
    assert found.rate == pytest.approx(MM1_PEAK, rel=0.02)


def test_every_probe_is_recorded_in_order():
    tried = []

    def meets(rate: float) -> bool:
        tried.append(rate)
        return rate <= 100

    found = find_peak(meets, 10.0, tolerance=0.1)
    assert [probe.rate for probe in found.probes] == tried
    assert tried[:5] == [10, 20, 40, 80, 160]
    assert [probe.met for probe in found.probes] == [rate <= 100 for rate in tried]


@pytest.mark.parametrize("seed", range(20))
def test_noise_near_the_peak_gives_a_rate_that_met(seed):
    noise = random.Random(seed)
    found = find_peak(lambda rate: rate * noise.uniform(0.95, 1.05) <= 100, 1.0)
    assert 95 <= found.rate <= 106
    assert any(probe.rate == found.rate and probe.met for probe in found.probes)
    failed = [probe.rate for probe in found.probes if not probe.met]
    assert found.rate < min(failed) <= found.rate * 1.01


def test_never_meets():
    found = find_peak(lambda _: False, 64.0, floor=1.0)
    assert found.rate == 0
    assert not found.bracketed
    assert [probe.rate for probe in found.probes] == [64, 32, 16, 8, 4, 2, 1]
    assert "no rate met the bound" in found.reason
    assert "1/s" in found.reason


def test_always_meets_stops_at_most_probes():
    found = find_peak(lambda _: True, 1.0, max_probes=6)
    assert found.rate == 32
    assert len(found.probes) == 6
    assert not found.bracketed
    assert "6 probes" in found.reason
    assert "no rate failed" in found.reason


def test_always_meets_stops_at_the_ceiling():
    found = find_peak(lambda _: True, 1.0, ceiling=5.0)
    assert [probe.rate for probe in found.probes] == [1, 2, 4, 5]
    assert found.rate == 5
    assert "ceiling" in found.reason


def test_probes_end_within_the_bracket():
    found = find_peak(lambda rate: rate <= 100, 64.0, tolerance=1e-6, max_probes=5)
    assert len(found.probes) == 5
    assert not found.bracketed
    assert found.rate == 96
    assert "104/s failed" in found.reason


@pytest.mark.parametrize(
    "limits", [{"start": 0.0}, {"start": 2.0, "ceiling": 1.0}, {"start": 1.0, "tolerance": 0.0}]
)
def test_refuses_an_empty_search(limits):
    with pytest.raises(ValueError, match=r"need|between"):
        find_peak(lambda _: True, **limits)
