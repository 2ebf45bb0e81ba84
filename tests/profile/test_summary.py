import numpy as np
import pytest

from profleet.errors import StoreError
from profleet.profile.samples import COLUMNS, IDLE, SCENARIO, STEADY, WARMUP, Samples
from profleet.profile.schema import Estimate, Insufficient
from profleet.profile.statistics import quantile_estimate
from profleet.profile.summary import status_of, summarize
from support import Synthetic, make_measurement, make_samples

QUIET = Synthetic(batch_sizes=(2,), processes=2, samples=40, idle_gaps_ms=(), noise=0.01)


def rows(*entries):
    """Samples from (phase, batch size, process, gap in ms, latency in ms)."""
    phase, batch, process, gap, latency = zip(*entries, strict=True)
    values = {
        "phase": phase, "batch_size": batch, "process": process, "gap_ms": gap,
        "start_ns": [0] * len(entries), "latency_ns": [round(ms * 1e6) for ms in latency],
    }  # fmt: skip
    return Samples(**{name: np.array(values[name]).astype(kind) for name, kind in COLUMNS.items()})


def test_only_steady_samples_of_the_batch_count():
    steady = [(STEADY, 2, process, 0, 10.0) for process in (0, 1) for _ in range(10)]
    others = [(WARMUP, 2, 0, 0, 500.0), (IDLE, 2, 0, 5, 700.0), (STEADY, 4, 0, 0, 900.0)]
    (point,) = summarize(make_measurement(QUIET), rows(*steady, *others)).points
    latency = point.latency_ms
    assert (latency.count, latency.minimum, latency.maximum, latency.std) == (20, 10, 10, 0)
    assert latency.percentiles["p50"].value == 10


def test_throughput_counts_items_per_second_of_mean_latency():
    samples = rows(*[(STEADY, 2, 0, 0, ms) for ms in (4.0, 6.0)] * 10)
    (point,) = summarize(make_measurement(QUIET), samples).points
    assert point.throughput_rps.value == pytest.approx(2 / 0.005)
    assert point.throughput_rps.low == pytest.approx(2e3 / point.latency_ms.mean.high)
    assert point.throughput_rps.high == pytest.approx(2e3 / point.latency_ms.mean.low)


def test_no_interval_is_narrower_than_what_separates_runs():
    """Samples without any spread state +- 2 %; a wide interval stays as it is."""

    def stated(*latencies):
        samples = rows(*[(STEADY, 2, 0, 0, ms) for ms in latencies])
        return summarize(make_measurement(QUIET), samples).points[0]

    still = stated(*[10.0] * 20)
    for estimate in (still.latency_ms.mean, still.latency_ms.percentiles["p50"]):
        assert (estimate.low, estimate.value, estimate.high) == pytest.approx((9.8, 10, 10.2))
    rate = still.throughput_rps
    assert (rate.low, rate.value, rate.high) == pytest.approx((196, 200, 204))
    spread = np.arange(1.0, 41.0)
    wide = stated(*spread).latency_ms.percentiles["p50"]
    assert (wide.value, wide.low, wide.high) == quantile_estimate([spread], 0.5)


def test_percentiles_are_refused_below_mlperfs_counts():
    def percentiles(count):
        samples = rows(*[(STEADY, 2, 0, 0, 5.0 + i / count) for i in range(count)])
        return summarize(make_measurement(QUIET), samples).points[0].latency_ms.percentiles

    few, enough = percentiles(661), percentiles(662)
    assert isinstance(few["p95"], Estimate)
    assert few["p99"] == Insufficient(
        insufficient_samples="p99 needs 662 samples and has 661", have=661, need=662
    )
    assert isinstance(enough["p99"], Estimate)
    assert isinstance(percentiles(5)["p50"], Insufficient)
    assert isinstance(percentiles(63)["p90"], Insufficient)
    assert isinstance(percentiles(64)["p90"], Estimate)


def test_intervals_know_the_processes():
    samples = make_samples(Synthetic(batch_sizes=(1,), between=0.2, noise=0.001))
    (point,) = summarize(make_measurement(Synthetic(batch_sizes=(1,))), samples).points
    steady = samples.where(samples.phase == STEADY).latency_ms()
    pooled = quantile_estimate([np.concatenate(steady)], 0.5)
    p50 = point.latency_ms.percentiles["p50"]
    assert p50.low < pooled.low
    assert p50.high > pooled.high


def test_idle_gaps_are_compared_within_their_process():
    """Process 1 is twice as slow; both slow down by half after the rest."""
    samples = rows(
        *[(STEADY, 1, 0, 0, 10.0)] * 8, *[(STEADY, 1, 1, 0, 20.0)] * 8,
        *[(IDLE, 1, 0, 5, 15.0)] * 8, *[(IDLE, 1, 1, 5, 30.0)] * 2,
        *[(STEADY, 4, 2, 0, 99.0)] * 8,
    )  # fmt: skip
    base, rested = summarize(make_measurement(QUIET), samples).idle
    assert (base.gap_ms, base.ratio, base.count) == (0, 1.0, 16)
    assert (rested.gap_ms, rested.ratio, rested.count) == (5, 1.5, 10)
    assert rested.p50_ms.value == 15


def test_back_to_back_requests_of_the_idle_phase_come_first():
    samples = rows(
        *[(STEADY, 1, 0, 0, 99.0)] * 8, *[(IDLE, 1, 0, 0, 10.0)] * 8, *[(IDLE, 1, 0, 5, 12.0)] * 8
    )
    base, rested = summarize(make_measurement(QUIET), samples).idle
    assert (base.p50_ms.value, base.count, rested.ratio) == (10, 8, 1.2)


def test_few_samples_after_a_rest_are_refused_and_told():
    def idle(count, processes=(0,)):
        samples = rows(
            *[(STEADY, 1, p, 0, 10.0) for p in (0, 1)] * 8,
            *[(IDLE, 1, p, 5, 15.0) for p in processes for _ in range(count)],
        )
        summary = summarize(make_measurement(QUIET), samples)
        return summary.idle[1], [text for text in summary.warnings if "rest" in text]

    few, told = idle(5)
    assert (few.p50_ms.need, few.count, few.ratio) == (6, 5, None)
    assert told[0].startswith("Batch 1: too few samples to state the p50 after a rest of 5 ms")
    assert "measure.idle_samples" in told[0]
    enough, told = idle(6)
    assert (enough.p50_ms.value, enough.ratio) == (15, 1.5)
    assert len(told) == 1
    assert "rests were measured in one process" in told[0]
    assert idle(6, (0, 1))[1] == []


def test_a_ratio_needs_a_back_to_back_median_too():
    samples = rows(*[(IDLE, 1, 0, 0, 10.0)] * 5, *[(IDLE, 1, 0, 5, 12.0)] * 8)
    base, rested = summarize(make_measurement(QUIET), samples).idle
    assert isinstance(base.p50_ms, Insufficient)
    assert (rested.p50_ms.value, rested.ratio) == (12, None)


def test_a_gap_without_a_back_to_back_reference_is_left_out():
    samples = rows(*[(STEADY, 1, 1, 0, 10.0)] * 8, *[(IDLE, 1, 0, 5, 12.0)] * 8)
    assert summarize(make_measurement(QUIET), samples).idle == []


def test_cold_start_is_a_median_and_first_runs_are_of_one_batch_size():
    measurement = make_measurement(Synthetic(processes=3))
    for start, seconds, batch in zip(measurement.cold_start, (1, 2, 9), (1, 1, 8), strict=True):
        start.init_s, start.first_run_s, start.first_run_batch = seconds, seconds, batch
        start.start_s = seconds / 10
    cold = summarize(measurement, make_samples(Synthetic(processes=3))).cold_start
    assert (cold.processes, cold.start_s, cold.init_s, cold.first_run_s) == (3, 0.2, 2, 1.5)
    assert (cold.first_run_processes, cold.first_run_batch) == (2, 1)


def test_a_measurement_without_cold_start_is_refused():
    measurement = make_measurement(QUIET)
    measurement.cold_start.clear()
    with pytest.raises(StoreError, match="records no cold start"):
        summarize(measurement, make_samples(QUIET))


def test_a_scenario_has_the_latency_of_its_requests():
    what = Synthetic(scenario="server", samples=50, processes=1)
    summary = summarize(make_measurement(what), make_samples(what))
    assert summary.points == []
    assert summary.scenario.count == 50
    assert summarize(make_measurement(QUIET), make_samples(QUIET)).scenario is None


def test_a_scenario_states_no_intervals_and_why():
    what = Synthetic(scenario="server", samples=70, processes=1)
    summary = summarize(make_measurement(what), make_samples(what))
    latency = summary.scenario
    for estimate in (latency.mean, latency.percentiles["p50"], latency.percentiles["p90"]):
        assert (estimate.low, estimate.high) == (None, None)
        assert estimate.value > 0
    assert isinstance(latency.percentiles["p99"], Insufficient)
    assert "measured in one process" in summary.warnings[0]


@pytest.mark.parametrize(
    ("unstable", "valid", "status"),
    [((), True, "steady"), ((), None, "steady"), ((2,), None, "unstable"), ((), False, "unstable")],
)
def test_a_profile_is_steady_only_if_everything_in_it_is(unstable, valid, status):
    scenario = "sweep" if valid is None else "server"
    measurement = make_measurement(Synthetic(unstable=unstable, scenario=scenario))
    if valid is not None:
        measurement.scenario.valid = valid
    assert status_of(measurement) == status


# -- warnings ------------------------------------------------------------------------------------


def warnings(measurement, samples):
    return summarize(measurement, samples).warnings


def test_a_good_measurement_gives_no_warning():
    what = Synthetic(noise=0.01)
    assert warnings(make_measurement(what), make_samples(what)) == []


def test_an_unstable_point_says_what_that_means_and_why():
    what = Synthetic(unstable=(4,))
    (told,) = warnings(make_measurement(what), make_samples(what))
    assert told.startswith("Batch 4: unstable, another run may give other numbers. The budget of")


def test_the_same_warning_about_several_batches_is_given_once():
    what = Synthetic(processes=1, noise=0.01)
    told = warnings(make_measurement(what), make_samples(what))
    assert [text.split(":")[0] for text in told] == ["Batch 1, 2, 4, 8"] * 2 + ["Batch 1"]
    assert "one process" in told[0]
    assert "p99 (needs 662)" in told[1]
    assert "p95" not in told[1]


def test_a_batch_without_samples_is_told_and_not_invented():
    what = Synthetic(batch_sizes=(1, 2))
    samples = make_samples(what)
    summary = summarize(make_measurement(what), samples.where(samples.batch_size == 1))
    assert [point.batch_size for point in summary.points] == [1]
    assert any(text.startswith("Batch 2: no steady samples") for text in summary.warnings)


def test_varying_latency_and_unsteady_warm_up_are_told():
    what = Synthetic(batch_sizes=(1,), noise=0.5)
    measurement = make_measurement(what)
    measurement.points[0].warm_up[2].steady = False
    told = " ".join(warnings(measurement, make_samples(what)))
    assert "standard deviation is more than 10% of the mean" in told
    assert "still changing when the warm-up ended in 1 of 5 processes" in told


def test_a_failed_check_and_an_invalid_scenario_are_told():
    what = Synthetic(scenario="server", samples=700, processes=1)
    measurement, samples = make_measurement(what), make_samples(what)
    measurement.check.status = "failed"
    measurement.scenario.valid = False
    measurement.scenario.reasons = ["Too few queries."]
    assert [text.split(":")[0] for text in warnings(measurement, samples)] == [
        "The outputs disagree with the manifest's reference",
        "LoadGen calls the server run invalid",
        "The scenario",
    ]
    left = samples.where(samples.phase != SCENARIO)
    assert "The scenario left no samples" in warnings(measurement, left)[-1]


def test_a_ratio_is_that_of_the_medians_beside_it():
    base, rest = (10.0,) * 4 + (40.0,) * 4, (12.0,) * 4 + (20.0,) * 4
    samples = rows(
        *[(IDLE, 1, 0, 0, latency) for latency in base],
        *[(IDLE, 1, 0, 5, latency) for latency in rest],
    )
    back_to_back, rested = summarize(make_measurement(QUIET), samples).idle
    assert rested.ratio == pytest.approx(rested.p50_ms.value / back_to_back.p50_ms.value)


def test_what_is_true_of_rests_at_several_batches_is_said_once():
    samples = rows(
        *[(phase, batch, 0, 5 * (phase == IDLE), 12.0) for phase in (STEADY, IDLE)
          for batch in (1, 2) for _ in range(8)]
    )  # fmt: skip
    warnings = summarize(make_measurement(QUIET), samples).warnings
    (told,) = (text for text in warnings if "rests" in text)
    assert told.startswith("Batch 1, 2: rests were measured in one process")
