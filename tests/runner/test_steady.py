"""Warm-up detection, the stop rule and the signs of trouble, on series whose nature is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profleet_runner.steady import (
    Enough,
    drift,
    is_steady,
    median_half_width,
    median_rank,
    trouble,
    window_size,
)

MS = 1_000_000


def noise(count: int, level: float = 1.0, spread: float = 0.02, seed: int = 0):
    """Lognormal latencies around ``level`` milliseconds."""
    random = np.random.default_rng(seed)
    return (level * MS * np.exp(spread * random.standard_normal(count))).astype(np.int64)


# -- warm-up -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_is_steady(seed):
    series = noise(80, seed=seed)
    assert is_steady(series[:40], series[40:])


def test_step_between_the_windows_is_not_steady():
    assert not is_steady(noise(40, 2.0), noise(40, 1.0, seed=1))
    assert not is_steady(noise(40, 1.0), noise(40, 1.2, seed=1))


def test_step_inside_the_older_window_is_not_steady():
    older = np.concatenate([noise(15, 3.0), noise(25, 1.0, seed=1)])
    assert not is_steady(older, noise(40, 1.0, seed=2))


def test_slow_drift_is_not_steady():
    falling = noise(80) * np.linspace(1.3, 1.0, 80)
    assert not is_steady(falling[:40].astype(np.int64), falling[40:].astype(np.int64))


def test_slow_beginning_is_not_steady():
    older = noise(40)
    older[:5] *= 5
    assert not is_steady(older, noise(40, seed=1))


def test_one_preempted_request_does_not_unsettle():
    newer = noise(40, seed=1)
    newer[17] *= 50
    assert is_steady(noise(40), newer)


def test_stationary_mixture_is_steady():
    """Two modes in a fixed proportion will never become one: there is nothing to wait for."""
    modes = np.tile([1.0, 1.0, 1.0, 1.0, 4.0], 40)
    series = (noise(200) * modes).astype(np.int64)
    assert is_steady(series[:100], series[100:])


def test_switch_of_mode_is_not_steady():
    assert not is_steady(noise(40, 4.0), noise(40, 1.0, seed=1))


def test_two_requests_of_a_slow_model():
    second = 1000 * MS
    assert is_steady(np.array([3 * second]), np.array([int(2.8 * second)]))
    assert not is_steady(np.array([9 * second]), np.array([3 * second]))


@given(st.floats(1e-6, 100.0), st.floats(0.01, 60.0))
def test_windows_fit_the_warm_up(latency_s, max_seconds):
    window = window_size(latency_s, max_seconds)
    assert window >= 1
    assert window == 1 or 4 * window * latency_s <= max_seconds * (1 + 1e-9)


def test_window_covers_time_and_count():
    assert window_size(0.001, 5.0) * 0.001 >= 0.05
    assert window_size(0.02, 5.0) == 20
    assert window_size(3.0, 5.0) == 1


# -- the interval of the median ------------------------------------------------------------------


@pytest.mark.parametrize(("count", "rank"), [(5, 0), (6, 1), (9, 2), (20, 6), (50, 18), (100, 40)])
def test_ranks_of_the_sign_test(count, rank):
    """Known values of the distribution-free interval at 95 %."""
    assert median_rank(count) == rank


@given(st.integers(6, 3000))
def test_ranks_cover_with_95_percent_and_no_wider(count):
    rank = median_rank(count)
    half = 2.0**-count if count < 1000 else 0.0
    if half:
        below = sum(math.comb(count, k) for k in range(rank)) * half
        assert below <= 0.025 + 1e-12
    assert abs(rank - (count - 1.96 * math.sqrt(count)) / 2) <= 1.5


def test_half_width_is_relative():
    series = np.arange(900, 1101, dtype=np.int64) * MS
    rank = median_rank(201)
    assert median_half_width(series) == pytest.approx((201 - 2 * rank + 1) / 2 / 1000, abs=1e-3)
    assert median_half_width(series[:5]) == math.inf


# -- the stop rule -------------------------------------------------------------------------------


def enough(**changed):
    settings = {"min_seconds": 1.0, "min_samples": 50, "max_samples": 1000, "target": 0.02}
    return Enough(*{**settings, **changed}.values())


def test_all_three_are_asked_for():
    blocks = [noise(60)]
    assert enough().reached(blocks, 2.0, 10.0) == "interval"
    assert enough().reached(blocks, 0.5, 10.0) is None, "too short"
    assert enough(min_samples=61).reached(blocks, 2.0, 10.0) is None, "too few"
    assert enough().reached([noise(60, spread=0.5)], 2.0, 10.0) is None, "too wide"


def test_maximum_and_budget():
    wide = [noise(1000, spread=2.0)]
    assert enough().reached(wide, 0.1, 10.0) == "maximum"
    assert enough().reached([noise(1000)], 0.1, 10.0) == "interval", "narrow at the maximum"
    assert enough().reached([noise(10)], 0.1, 0.0) == "budget"
    assert enough().reached([noise(60)], 2.0, -1.0) == "interval", "enough, budget or not"


def test_interval_is_not_looked_at_after_every_block(monkeypatch):
    looked = []
    monkeypatch.setattr(
        "profleet_runner.steady.median_half_width", lambda _: looked.append(1) or math.inf
    )
    rule = enough(max_samples=10**9)
    for count in range(100, 1100):
        rule.reached([noise(count)], 2.0, 10.0)
    assert 20 <= len(looked) <= 30, "about ln(11) / ln(1.1)"


# -- trouble -------------------------------------------------------------------------------------


def test_quiet_series_has_no_trouble():
    assert trouble(noise(200), 0.02) == []


def test_noise_and_drift_are_told():
    (said,) = trouble(noise(200, spread=0.3, seed=3), 0.5)
    assert "standard deviation" in said
    stepped = np.concatenate([noise(100, 1.0), noise(100, 1.1, seed=1)])
    (said,) = trouble(stepped, 0.02)
    assert "+10" in said or "+9" in said
    assert drift(stepped, 0.2) is None, "within twice the target"


@given(st.integers(0, 10_000))
def test_drift_is_rarely_seen_in_noise(seed):
    assert drift(noise(200, seed=seed), 0.02) is None
