import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profleet.profile.statistics import (
    PERCENTILES,
    Interval,
    early_stopping_count,
    mean_estimate,
    needed,
    order_statistic_interval,
    process_half_width,
    quantile,
    quantile_estimate,
    t_quantile,
    throughput_estimate,
)

OVER = (0, 1, 2, 3, 5, 10, 50)
COUNTS = {
    0.90: (44, 64, 81, 97, 127, 197, 681),
    0.95: (90, 130, 165, 198, 259, 398, 1372),
    0.97: (152, 219, 277, 332, 433, 667, 2293),
    0.99: (459, 662, 838, 1001, 1307, 2010, 6898),
    0.999: (4603, 6636, 8403, 10042, 13105, 20140, 69058),
}

latencies = st.floats(0, 1e6, allow_nan=False)
groups = st.lists(
    st.lists(latencies, min_size=1, max_size=60).map(np.array), min_size=1, max_size=6
)
percentiles = st.sampled_from(list(PERCENTILES.values()))


@pytest.mark.parametrize("percentile", COUNTS)
def test_early_stopping_reproduces_mlperf(percentile):
    assert tuple(early_stopping_count(percentile, over) for over in OVER) == COUNTS[percentile]


def test_needed_is_one_sample_over_above_the_median():
    assert {name: needed(p) for name, p in PERCENTILES.items()} == {
        "p50": 6,
        "p90": 64,
        "p95": 130,
        "p99": 662,
    }


@given(st.floats(0.5, 0.999), st.integers(0, 40))
def test_early_stopping_count_grows_with_samples_over(percentile, over):
    assert early_stopping_count(percentile, over) < early_stopping_count(percentile, over + 1)


@given(st.floats(0.01, 0.99), st.integers(0, 12))
def test_early_stopping_count_is_the_smallest_that_satisfies_the_binomial(percentile, over):
    n = early_stopping_count(percentile, over)

    def few_over(count):
        return math.fsum(
            math.comb(count, k) * (1 - percentile) ** k * percentile ** (count - k)
            for k in range(over + 1)
        )

    assert few_over(n) <= 0.01 * (1 + 1e-9)
    assert n == over + 1 or few_over(n - 1) > 0.01 * (1 - 1e-9)


@pytest.mark.parametrize(
    ("percentile", "over", "confidence"),
    [(0.0, 1, 0.99), (1.0, 1, 0.99), (0.9, -1, 0.99), (0.9, 1, 1.0)],
)
def test_early_stopping_refuses_nonsense(percentile, over, confidence):
    with pytest.raises(ValueError, match="between 0 and 1"):
        early_stopping_count(percentile, over, confidence)


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.70620), (2, 4.30265), (3, 3.18245), (4, 2.77645), (5, 2.57058), (10, 2.22814),
     (29, 2.04523), (100, 1.98397), (120, 1.97993), (1000, 1.96234)],
)  # fmt: skip
def test_t_quantile_matches_printed_tables(freedom, expected):
    assert t_quantile(0.975, freedom) == pytest.approx(expected, abs=6e-6)


def test_t_quantile_is_continuous_where_the_method_changes():
    steps = -np.diff([t_quantile(0.975, freedom) for freedom in range(97, 106)])
    assert (steps > 0).all()
    assert steps.max() / steps.min() < 1.3


def test_quantile_is_loadgens():
    ordered = np.arange(1.0, 101.0)
    assert quantile(ordered, 0.99) == 100
    assert quantile(ordered, 0.90) == 91
    assert quantile(ordered[:1], 0.99) == 1


def test_order_statistic_interval_of_the_median_uses_the_textbook_ranks():
    ten = np.arange(1.0, 11.0)  # P[B <= 1] = 0.0107 and P[B <= 2] = 0.0547
    assert order_statistic_interval(ten, 0.5) == (2.0, 9.0)
    assert order_statistic_interval(ten[:6], 0.5) == (1.0, 6.0)


def test_no_bound_is_stated_that_the_samples_do_not_give():
    assert order_statistic_interval(np.arange(5.0), 0.5) == (None, None)
    low, high = order_statistic_interval(np.arange(100.0), 0.99)
    assert low is not None
    assert high is None


@given(groups, percentiles)
def test_an_interval_encloses_its_estimate_and_is_never_negative(samples, percentile):
    for value, low, high in (quantile_estimate(samples, percentile), mean_estimate(samples)):
        assert low is None or 0 <= low <= value * (1 + 1e-9)
        assert high is None or value * (1 - 1e-9) <= high


@given(groups, percentiles, st.floats(0.001, 1000))
def test_estimates_scale_with_the_unit(samples, percentile, factor):
    scaled = quantile_estimate([group * factor for group in samples], percentile)
    for bound, expected in zip(scaled, quantile_estimate(samples, percentile), strict=True):
        assert (bound is None) == (expected is None)
        if bound is not None:
            assert bound == pytest.approx(expected * factor, rel=1e-6, abs=1e-6)


@given(groups, percentiles, st.randoms(use_true_random=False))
def test_estimates_do_not_depend_on_order(samples, percentile, random):
    shuffled = [
        np.array(random.sample(list(g), len(g))) for g in random.sample(samples, len(samples))
    ]
    one, other = quantile_estimate(samples, percentile), quantile_estimate(shuffled, percentile)
    assert one.value == other.value
    assert (one.low or 0) == pytest.approx(other.low or 0, abs=1e-6)


@given(groups, percentiles)
def test_the_stated_interval_contains_both_of_its_sources(samples, percentile):
    value, low, high = quantile_estimate(samples, percentile)
    own_low, own_high = order_statistic_interval(np.sort(np.concatenate(samples)), percentile)
    half = process_half_width([quantile(np.sort(group), percentile) for group in samples])
    assert (low is None) == (own_low is None)
    if low is not None:
        assert low <= own_low
        assert low <= max(0, value - half)
    if high is not None:
        assert high >= own_high
        assert high >= value + half


def test_one_process_has_only_the_order_statistics():
    samples = np.sort(np.random.default_rng(1).lognormal(size=200))
    low, high = order_statistic_interval(samples, 0.5)
    assert quantile_estimate([samples], 0.5)[1:] == (low, high)


def test_empty_groups_are_passed_over_but_not_all_of_them():
    full, empty = np.arange(1.0, 20.0), np.array([])
    assert quantile_estimate([full, empty], 0.5) == quantile_estimate([full], 0.5)
    with pytest.raises(ValueError, match="no sample"):
        mean_estimate([empty])


def test_a_single_sample_has_a_mean_but_no_interval():
    assert mean_estimate([np.array([3.0])]) == Interval(3.0, None, None)


def test_throughput_turns_bounds_around():
    assert throughput_estimate(8, Interval(2.0, 1.0, 4.0)) == Interval(4.0, 2.0, 8.0)
    assert throughput_estimate(8, Interval(2.0, 0.0, None)) == Interval(4.0, None, None)


def coverage(estimate, truth, draw, rounds=400):
    """Share of ``rounds`` simulated measurements whose interval covers the truth."""
    random = np.random.default_rng(20260102)
    hits = 0
    for _ in range(rounds):
        _, low, high = estimate(draw(random))
        hits += low <= truth <= high
    return hits / rounds


@pytest.mark.parametrize(("percentile", "z"), [(0.5, 0.0), (0.9, 1.2815516)])
def test_coverage_of_independent_samples(percentile, z):
    share = coverage(
        lambda groups: quantile_estimate(groups, percentile),
        math.exp(0.1 * z),
        lambda random: list(random.lognormal(0, 0.1, (5, 60))),
    )
    assert 0.94 <= share <= 1.0


def test_coverage_with_processes_that_differ():
    """Every process has its own level; the median over processes and samples is 10."""

    def draw(random):
        return list(10 + random.normal(0, 0.5, (5, 1)) + random.normal(0, 0.1, (5, 200)))

    share = coverage(lambda groups: quantile_estimate(groups, 0.5), 10.0, draw)
    assert 0.92 <= share <= 0.985
    naive = coverage(lambda g: quantile_estimate([np.concatenate(g)], 0.5), 10.0, draw)
    assert naive < 0.5, "pooling correlated samples would claim far too much"


def test_coverage_of_the_mean_with_processes_that_differ():
    share = coverage(
        mean_estimate,
        10.0,
        lambda random: list(10 + random.normal(0, 0.5, (4, 1)) + random.normal(0, 0.1, (4, 100))),
    )
    assert 0.92 <= share <= 0.985
