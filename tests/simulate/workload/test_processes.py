"""Arrival processes against theory, with fixed seeds."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from profleet.errors import ConfigError
from profleet.simulate.workload.gaps import gaps_of, weibull_shape
from profleet.simulate.workload.processes import diurnal, piecewise, states
from profleet.simulate.workload.rates import Pattern, jumping, modulated, repeating, steady
from profleet.simulate.workload.settings import parse
from workloads import drawn, workload

ALPHA = 1e-3
"""A fixed seed either passes for good or fails for good; a wrong law gives p below 1e-12 here."""


def times(kind, requests=200_000, seed=1, **plain):
    return drawn(workload(kind, **plain), requests, seed).time_ns


def test_poisson_gaps_are_exponential_and_independent():
    gaps = np.diff(times("poisson", rate=1000.0))
    assert stats.kstest(gaps, stats.expon(scale=1e6).cdf).pvalue > ALPHA
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 4 / math.sqrt(len(gaps))


def test_poisson_counts_have_the_variance_of_their_mean():
    counts = np.bincount(times("poisson", rate=1000.0) // 10**8)[:-1]
    assert counts.mean() == pytest.approx(100, rel=0.01)
    assert counts.var() / counts.mean() == pytest.approx(1, abs=4 * math.sqrt(2 / len(counts)))


LAWS = {
    "gamma": lambda cv: stats.gamma(a=cv**-2, scale=cv**2),
    "weibull": lambda cv: stats.weibull_min(
        c=weibull_shape(cv), scale=1 / math.gamma(1 + 1 / weibull_shape(cv))
    ),
}


@pytest.mark.parametrize("kind", LAWS)
@pytest.mark.parametrize("cv", [0.25, 0.9, 2.0, 4.0])
def test_gaps_have_their_law(kind, cv):
    gaps = gaps_of(kind, cv)(np.random.default_rng(2), 200_000)
    assert stats.kstest(gaps, LAWS[kind](cv).cdf).pvalue > ALPHA


@pytest.mark.parametrize("kind", LAWS)
@pytest.mark.parametrize("cv", [0.25, 0.9, 2.0])
def test_renewal_processes_have_the_rate_and_variation_asked_for(kind, cv):
    gaps = np.diff(times(kind, rate=100.0, cv=cv))
    assert gaps.mean() == pytest.approx(1e7, rel=4 * cv / math.sqrt(len(gaps)))
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 4 / math.sqrt(len(gaps))


@pytest.mark.parametrize("cv", [0.01, 0.3, 1.0, 2.5, 30.0, 100.0])
def test_weibull_shape_gives_the_wanted_variation(cv):
    law = stats.weibull_min(c=weibull_shape(cv))
    assert law.std() / law.mean() == pytest.approx(cv, rel=1e-6)


@pytest.mark.parametrize("distribution", ["deterministic", "exponential", "gamma", "weibull"])
def test_gaps_have_mean_one(distribution):
    gaps = gaps_of(distribution, 1.5)(np.random.default_rng(3), 400_000)
    assert gaps.mean() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("rate", [3.0, 7e8, 0.1, 1000.0])
def test_equal_gaps_are_exact_to_the_nanosecond_after_a_million(rate):
    found = times("deterministic", requests=1_000_000, rate=rate)
    exact = np.arange(1, 1_000_001) * 10**10 // round(rate * 10)
    assert np.abs(found - exact).max() <= 1


def test_fractions_of_a_nanosecond_are_carried_from_block_to_block():
    blocks = itertools.repeat(np.ones(1000), 500)
    last = list(steady(blocks, 3e8))[-1][-1]
    assert last == pytest.approx(500_000 * 1e9 / 3e8, abs=1)


def test_a_stream_that_leaves_the_clock_is_refused_only_when_it_gets_there():
    slow = workload("poisson", rate=1e-6)
    assert len(drawn(slow, 1000)) == 1000
    with pytest.raises(ConfigError, match="146 years"):
        drawn(slow, 65_536)
    regular = workload("deterministic", rate=1e-6)
    assert drawn(regular, 4611).time_ns[-1] == 4611 * 10**15
    with pytest.raises(ConfigError, match="146 years"):
        drawn(regular, 4612)


# Rates that change. By the time-rescaling theorem the integral of the rate between two requests of
# a Poisson process is exponential with mean 1; the integrals here are worked out independently.


def rescaled(times_ns, rate_at, step_ns):
    grid = np.arange(0, times_ns[-1] + 2 * step_ns, step_ns)
    mass = np.concatenate([[0], np.cumsum(rate_at(grid[:-1] + step_ns / 2)) * step_ns * 1e-9])
    return np.diff(np.interp(times_ns, grid, mass))


PIECES = [
    {"seconds": 2.0, "level": 50.0},
    {"seconds": 3.0, "level": 50.0, "end_level": 400.0},
    {"seconds": 1.0, "level": 0.0},
    {"seconds": 4.0, "level": 400.0, "end_level": 0.0},
]
KNOTS = ([0, 2, 5, 5, 6, 6, 10], [50, 50, 400, 0, 0, 400, 0])


def rate_of_pieces(at_ns):
    return np.interp(at_ns * 1e-9 % 10, *KNOTS)


def test_piecewise_levels_are_requests_per_second():
    found = times("piecewise", requests=100_000, pieces=PIECES, cv=1.0)
    gaps = rescaled(found, rate_of_pieces, 10**5)
    assert stats.kstest(gaps, stats.expon.cdf).pvalue > ALPHA


def test_each_piece_gets_the_integral_of_its_rate():
    found = times("piecewise", requests=400_000, pieces=PIECES, cv=1.0)
    periods = found[-1] // 10**10
    found = found[found < periods * 10**10]
    counts = np.histogram(found * 1e-9 % 10, [0, 2, 5, 6, 10])[0]
    expected = np.array([100, 675, 0, 800]) * periods
    assert counts[2] == 0
    assert np.all(np.abs(counts - expected) <= 4 * np.sqrt(expected))


def test_piecewise_levels_are_relative_once_there_is_a_rate():
    found = workload("piecewise", pieces=PIECES, cv=1.0, rate=1575.0)
    assert found.mean_rate_rps == 1575.0
    assert workload("piecewise", pieces=PIECES, cv=1.0).mean_rate_rps == pytest.approx(157.5)
    pattern = piecewise(parse({"kind": "piecewise", "pieces": PIECES, "cv": 1.0}), 1575.0)
    assert pattern.rate * 1e9 == pytest.approx([500, 500, 0, 4000])
    assert pattern.mass[-1] == pytest.approx(15750)


def test_gaps_within_a_pattern_can_be_more_even_than_poisson():
    found = times("piecewise", requests=50_000, pieces=PIECES, cv=0.2)
    gaps = rescaled(found, rate_of_pieces, 10**5)
    assert stats.kstest(gaps, stats.gamma(a=25, scale=1 / 25).cdf).pvalue > ALPHA


DIURNAL = {"period_seconds": 100.0, "swing": 0.8, "peak_seconds": 30.0, "cv": 1.0}


def test_diurnal_rate_is_the_sine_it_says():
    found = times("diurnal", rate=500.0, **DIURNAL)

    def rate_at(at_ns):
        return 500 * (1 + 0.8 * np.cos(2 * np.pi * (at_ns * 1e-9 - 30) / 100))

    assert stats.kstest(rescaled(found, rate_at, 10**6), stats.expon.cdf).pvalue > ALPHA


def test_diurnal_rate_peaks_when_it_says():
    found = times("diurnal", requests=500_000, rate=500.0, **DIURNAL) * 1e-9
    found = found[found < 1000]
    wave = np.exp(2j * np.pi * found / 100).mean()
    assert abs(wave) == pytest.approx(0.8 / 2, abs=0.01)
    assert np.angle(wave) / (2 * np.pi) * 100 == pytest.approx(30, abs=0.3)
    assert len(found) == pytest.approx(500_000, abs=4 * math.sqrt(500_000))


def test_a_diurnal_rate_may_fall_to_zero_and_keeps_its_mean():
    plain = {**DIURNAL, "swing": 1.0, "kind": "diurnal"}
    pattern = diurnal(parse(plain), 500.0)
    assert pattern.mass[-1] == pytest.approx(500 * 100, rel=1e-12)
    assert pattern.rate.min() >= 0
    assert len(times("diurnal", requests=1000, rate=1e-3, **{**DIURNAL, "swing": 1.0})) == 1000


def test_a_pattern_far_shorter_than_a_gap_costs_no_more():
    pieces = [{"seconds": 1e-6, "level": 1}, {"seconds": 1e-6, "level": 3}]
    found = times("piecewise", requests=50_000, rate=1.0, cv=1.0, pieces=pieces)
    assert stats.kstest(np.diff(found), stats.expon(scale=1e9).cdf).pvalue > ALPHA


def test_inversion_finds_the_time_of_a_known_mass():
    pattern = Pattern.of(
        np.array([10**9, 2 * 10**9, 10**9]), np.array([2.0, 0.0, 4.0]), np.array([2.0, 0.0, 0.0])
    )
    assert pattern.mass == pytest.approx([0, 2, 2, 4])
    found = pattern.times(np.array([0.0, 1.0, 1.999, 2.0, 2.0 + 1.5, 4.0]))
    # In the last piece the mass is 4x - 2x^2: 1.5 at x = 0.5.
    exact = [0, 5e8, 9.995e8, 3e9, 3.5e9, 4e9]
    assert found == pytest.approx(exact, abs=1)


# MMPP


STATES = {
    "calm": {"level": 1.0, "mean_seconds": 0.8},
    "burst": {"level": 9.0, "mean_seconds": 0.2},
}


def test_mmpp_states_share_time_by_their_mean_stay_and_keep_the_rate():
    settings = parse({"kind": "mmpp", "rate": 1000.0, "states": STATES})
    rates, mean_ns = states(settings, 1000.0)
    assert rates == pytest.approx([1000 / 2.6, 9000 / 2.6])
    rng = np.random.default_rng(5)
    found = list(itertools.islice(modulated(rng, rates, mean_ns), 40))
    length = np.concatenate([pattern.length_ns for pattern in found])
    rate = np.concatenate([pattern.rate for pattern in found]) * 1e9
    calm = np.isclose(rate, rates[0])
    assert np.all(calm[1:] != calm[:-1])
    assert length[calm].sum() / length.sum() == pytest.approx(0.8, abs=0.01)
    assert stats.kstest(length[calm], stats.expon(scale=8e8).cdf).pvalue > ALPHA
    assert stats.kstest(length[~calm], stats.expon(scale=2e8).cdf).pvalue > ALPHA


def test_mmpp_enters_all_states_equally_often_and_never_the_one_it_is_in():
    rates = np.array([1.0, 2.0, 3.0, 4.0])
    rng = np.random.default_rng(6)
    found = itertools.islice(modulated(rng, rates, np.full(4, 1e9)), 20)
    visited = np.rint(np.concatenate([pattern.rate for pattern in found]) * 1e9).astype(int)
    assert np.all(visited[1:] != visited[:-1])
    counts = np.bincount(visited)[1:]
    assert counts / counts.sum() == pytest.approx(np.full(4, 0.25), abs=0.01)
    pairs = np.bincount(visited[:-1] * 5 + visited[1:])
    assert pairs[pairs > 0] / pairs.sum() == pytest.approx(np.full(12, 1 / 12), abs=0.01)


@pytest.mark.parametrize("window", [0.1, 2.0])
def test_mmpp_counts_are_dispersed_as_theory_says(window):
    """Index of dispersion of a two-state MMPP in a window of T seconds.

    1 + 2 p1 p2 (r1 - r2)^2 / (s r) (1 - (1 - exp(-s T)) / (s T)), with s = 1/d1 + 1/d2.
    """
    found = times("mmpp", requests=4_000_000, rate=1000.0, states=STATES)
    counts = np.bincount(found // round(window * 1e9))[:-1]
    s, apart = 1 / 0.8 + 1 / 0.2, 8000 / 2.6
    spread = 2 * 0.8 * 0.2 * apart**2 / (s * 1000)
    theory = 1 + spread * (1 - (1 - math.exp(-s * window)) / (s * window))
    assert counts.mean() == pytest.approx(1000 * window, rel=0.03)
    assert counts.var() / counts.mean() == pytest.approx(theory, rel=0.1)


def test_no_request_comes_while_the_rate_is_zero():
    on_off = {"on": {"level": 1, "mean_seconds": 0.05}, "off": {"level": 0, "mean_seconds": 0.95}}
    found = times("mmpp", requests=1_000_000, rate=1000.0, states=on_off)
    assert len(found) / (found[-1] * 1e-9) == pytest.approx(1000, rel=0.12)
    quiet = np.diff(found)[np.diff(found) > 10**7]
    # Between bursts of 20,000 requests a second, only the silences last 10 ms.
    assert stats.kstest(quiet - 10**7, stats.expon(scale=9.5e8).cdf).pvalue > ALPHA


def test_jumping_goes_on_where_the_last_pattern_ended():
    def patterns():
        for rate in itertools.cycle([0.0, 2.0]):
            yield Pattern.of(np.array([10**9]), np.array([rate]), np.array([rate]))

    blocks = iter([np.full(3, 0.75), np.full(3, 0.75)])
    found = np.concatenate(list(itertools.islice(jumping(blocks, patterns()), 2)))
    # Mass 2 per 2 seconds, all in the second one.
    exact = [1.375, 1.75, 3.125, 3.5, 3.875, 5.25]
    assert found == pytest.approx(np.array(exact) * 1e9, abs=1)


def test_repeating_goes_on_where_the_last_block_ended():
    pattern = Pattern.of(
        np.array([10**9, 10**9]), np.array([0.0, 2.0]), np.array([0.0, 2.0])
    )  # fmt: skip
    found = np.concatenate(
        list(itertools.islice(repeating(iter([np.full(3, 0.75)] * 2), pattern), 2))
    )
    assert found == pytest.approx(
        np.array([1.375, 1.75, 3.125, 3.5, 3.875, 5.25]) * 1e9, abs=1
    )  # fmt: skip


def test_states_that_change_faster_than_requests_come_are_refused():
    fast = {"a": {"level": 1, "mean_seconds": 1e-6}, "b": {"level": 2, "mean_seconds": 1e-6}}
    with pytest.raises(ConfigError, match=r"workload\.states: they change 1,000,000 times"):
        workload("mmpp", rate=1.0, states=fast)
