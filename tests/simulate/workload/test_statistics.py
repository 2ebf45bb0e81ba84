from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profleet.simulate.workload import RateStatistics

times = st.lists(st.integers(0, 10**11), min_size=1, max_size=60).map(sorted)


@given(times, st.lists(st.integers(0, 60), max_size=6), st.sampled_from([1e-9, 0.1, 1.0, 7.0]))
def test_figures_are_those_of_the_whole_stream(times, cuts, window):
    times = np.array(times, dtype=np.int64)
    counted = RateStatistics(window)
    for part in np.split(times, sorted(cuts)):
        counted.add(part)
    found = counted.result()
    gaps = np.diff(times)
    assert found.requests == len(times)
    assert found.span_ns == times[-1] - times[0]
    bins = np.unique((times - times[0]) // round(window * 1e9), return_counts=True)[1]
    assert found.peak_rps == pytest.approx(bins.max() / window)
    if found.span_ns:
        assert found.mean_rps == pytest.approx(1e9 / gaps.mean())
        assert found.gap_cv == pytest.approx(gaps.std() / gaps.mean(), rel=1e-9, abs=1e-9)
    else:
        assert math.isnan(found.mean_rps)
        assert math.isnan(found.gap_cv)


def test_nothing_is_no_rate():
    found = RateStatistics().result()
    assert (found.requests, found.peak_rps) == (0, 0)
    assert math.isnan(found.mean_rps)


def test_equal_gaps_far_from_zero_have_no_spread():
    counted = RateStatistics()
    for start in range(5):
        counted.add(10**18 + np.arange(start * 1000, start * 1000 + 1000) * 10**9)
    assert counted.result().gap_cv == pytest.approx(0, abs=1e-12)
    assert counted.result().mean_rps == pytest.approx(1)
