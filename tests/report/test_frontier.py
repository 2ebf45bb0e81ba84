import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from profleet.report.frontier import front, knee

numbers = st.floats(0.01, 1000, allow_nan=False)
few = st.integers(0, 6).map(float)  # so that ties are common


def beaten(point, by):
    nowhere_worse = by[0] <= point[0] and by[1] <= point[1]
    return nowhere_worse and by != point


@given(st.lists(st.tuples(few, few) | st.tuples(numbers, numbers), max_size=30))
def test_the_front_is_what_nothing_beats(points):
    kept = front(points)
    expected = {
        index
        for index, point in enumerate(points)
        if not any(beaten(point, other) for other in points)
    }
    assert set(kept) == expected
    assert len(kept) == len(expected)
    assert [points[index] for index in kept] == sorted(points[index] for index in kept)


def test_the_knee_of_one_server_is_at_half_its_load():
    loads = [0.1, 0.3, 0.5, 0.7, 0.9]
    p99 = [math.log(100) / (1 - load) for load in loads]
    assert knee(loads, p99) == 2


def test_the_knee_is_not_named_beyond_what_was_simulated():
    assert knee([1, 2, 3], [1.0, 5.0, 20.0]) is None
    assert knee([1, 2, 3], [1.0, 1.0, 1.0]) is None
    assert knee([1, 2, 3], [1.0, 1.0, 1.0], ends=True) == 2
    assert knee([1, 2], [1.0, 1.0], ends=True) is None
    assert knee([], []) is None


@given(
    st.lists(st.tuples(numbers, numbers), min_size=3, max_size=12, unique_by=lambda pair: pair[0]),
    st.sampled_from([0.001, 0.125, 8.0, 1000.0]),
    st.booleans(),
)
def test_the_knee_does_not_depend_on_units(points, factor, ends):
    points = sorted(points)
    rates, latencies = [rate for rate, _ in points], [latency for _, latency in points]
    power = sorted(rate / latency for rate, latency in points)
    assume(power[-2] < power[-1] * (1 - 1e-9))
    scaled = [latency * factor for latency in latencies]
    assert knee(rates, latencies, ends=ends) == knee(rates, scaled, ends=ends)


@pytest.mark.parametrize("ends", [True, False])
def test_latencies_of_nothing_do_not_divide(ends):
    assert knee([1, 2, 3], [1.0, 0.0, 1.0], ends=ends) == 1
