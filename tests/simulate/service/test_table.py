import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profleet.errors import ConfigError
from profleet.simulate.service.table import MAX_BATCH, POINTS, build_table, quantile_row

TIMES = st.integers(1, 10**9)
SAMPLES = st.lists(TIMES, min_size=1, max_size=300).map(lambda v: np.array(v, dtype=np.int64))
PROCESSES = st.lists(SAMPLES, min_size=1, max_size=4)
SHARES = (0.001, 0.1, 0.5, 0.9, 0.99, 0.999)


def quantile(processes, share):
    """The smallest time that a mixture of equal parts of the processes stays below so often."""
    pooled = sorted((time, 1 / len(each) / len(processes)) for each in processes for time in each)
    reached = 0.0
    for time, weight in pooled:
        reached += weight
        if reached >= share - 1e-9:
            return time
    return pooled[-1][0]


@given(PROCESSES)
def test_a_row_keeps_the_mean_over_processes(processes):
    mean = np.mean([each.mean() for each in processes])
    assert quantile_row(processes).mean() == pytest.approx(mean, rel=1e-9, abs=0.5)


@given(PROCESSES, st.sampled_from(SHARES))
def test_every_quantile_of_a_row_is_a_quantile_of_the_samples_one_slice_away(processes, share):
    row = quantile_row(processes)
    found = row[min(POINTS - 1, int(share * POINTS))]
    low = quantile(processes, max(share - 1 / POINTS, 1e-9))
    high = quantile(processes, min(share + 1 / POINTS, 1.0))
    assert low - 1 <= found <= high + 1


@given(PROCESSES)
def test_a_row_is_sorted_and_stays_within_what_was_seen(processes):
    row = quantile_row(processes)
    assert row.shape == (POINTS,)
    assert row.dtype == np.int64
    assert (np.diff(row) >= 0).all()
    assert min(map(min, processes)) <= row[0] <= row[-1] <= max(map(max, processes))


def test_p999_of_many_samples_is_kept():
    samples = np.random.default_rng(1).lognormal(15, 0.5, 100_000).astype(np.int64)
    row = quantile_row([samples])
    drawn = row[(np.random.default_rng(2).random(400_000) * POINTS).astype(int)]
    for share in (0.5, 0.9, 0.99, 0.999):
        assert np.quantile(drawn, share) == pytest.approx(np.quantile(samples, share), rel=0.02)
    assert row[int(0.999 * POINTS)] == pytest.approx(np.quantile(samples, 0.999), rel=0.02)


def test_a_process_with_many_samples_does_not_outweigh_the_others():
    fast, slow = np.full(1000, 10), np.full(10, 30)
    row = quantile_row([fast, slow])
    assert row.mean() == 20
    assert [row[POINTS // 2 - 1], row[POINTS // 2]] == [10, 30]


def test_processes_without_samples_are_passed_over():
    samples = np.array([3, 5])
    assert (quantile_row([samples, samples[:0]]) == quantile_row([samples])).all()


def row(time):
    return np.full(POINTS, time, dtype=np.int64)


def table(rows, largest, *, allow=False):
    return build_table(
        rows, largest, allow_extrapolation=allow, field="batching.max_size", what="X"
    )


ROWS = st.dictionaries(st.integers(2, 40), PROCESSES.map(quantile_row), min_size=0, max_size=4)


@settings(max_examples=30, deadline=None)
@given(PROCESSES.map(quantile_row), ROWS)
def test_interpolated_times_lie_between_their_neighbors_slice_by_slice(first, others):
    rows = {1: first, **others}
    sizes = sorted(rows)
    made = table(rows, sizes[-1])
    assert len(made.evidence) == len(made.quantiles) == sizes[-1]
    for size, quantiles, evidence in zip(range(1, 99), made.quantiles, made.evidence, strict=False):
        if size in rows:
            assert evidence == "measured"
            assert (quantiles == rows[size]).all()
            continue
        assert evidence == "interpolated"
        below = rows[max(each for each in sizes if each < size)]
        above = rows[min(each for each in sizes if each > size)]
        assert (quantiles >= np.minimum(below, above)).all()
        assert (quantiles <= np.maximum(below, above)).all()
        assert (np.diff(quantiles) >= 0).all()


def test_interpolation_is_linear_in_the_batch_size():
    made = table({1: row(100), 5: row(300)}, 5)
    assert made.quantiles[:, 0].tolist() == [100, 150, 200, 250, 300]


@pytest.mark.parametrize(
    ("sizes", "largest", "said"),
    [
        ((1, 2, 4), 8, "batches of sizes 5 to 8 can occur.*at batch sizes 1, 2, 4 only"),
        ((1, 2), 3, "batches of size 3 can occur"),
        ((4, 8), 8, "batches of sizes 1 to 3 can occur"),
        ((2, 4), 6, "sizes below 2 and above 4"),
    ],
)
def test_sizes_outside_the_grid_are_refused_by_the_name_of_the_setting(sizes, largest, said):
    with pytest.raises(ConfigError, match=rf"^batching\.max_size: .*{said}") as caught:
        table({size: row(100 * size) for size in sizes}, largest)
    assert "fleet.allow_extrapolation=true" in str(caught.value)


def test_extrapolation_follows_the_last_two_sizes_and_says_so():
    made = table({1: row(100), 2: row(150), 4: row(350)}, 6, allow=True)
    assert made.quantiles[:, 0].tolist() == [100, 150, 250, 350, 450, 550]
    assert made.evidence[4:] == ("modelled", "modelled")


def test_extrapolation_below_follows_the_first_two_sizes():
    made = table({2: row(100), 4: row(160), 8: row(500)}, 2, allow=True)
    assert made.quantiles[:, 0].tolist() == [70, 100]
    assert made.evidence == ("modelled", "measured")


def test_one_size_gives_no_line():
    with pytest.raises(ConfigError, match=r"batch size 4 only, and one size gives no line"):
        table({4: row(100)}, 8, allow=True)


@pytest.mark.parametrize(
    ("rows", "largest"),
    [({1: 100, 2: 90}, 64), ({2: 100, 4: 300}, 4)],
    ids=["falling above", "not positive below"],
)
def test_a_line_that_leads_nowhere_is_refused(rows, largest):
    with pytest.raises(ConfigError, match="no line to extrapolate along"):
        table({size: row(time) for size, time in rows.items()}, largest, allow=True)


def test_a_table_has_an_end():
    with pytest.raises(ConfigError, match=rf"^batching\.max_size: .*{MAX_BATCH}"):
        table({1: row(1), 2: row(2)}, MAX_BATCH + 1, allow=True)
