"""The loops: what is executed how often, and what is recorded of it."""

from __future__ import annotations

import gc
import io
import itertools
import json

import numpy as np
import pytest

from profleet_runner import measure, protocol
from profleet_runner.measure import ExecutionError, block_size, rows, run_block, stack
from profleet_runner.steady import Enough


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until told; both clocks of the loops show it."""

    class Clock:
        ns = 10**9

        def advance(self, seconds: float) -> None:
            self.ns += round(seconds * 1e9)

    clock = Clock()
    monkeypatch.setattr(measure.time, "perf_counter_ns", lambda: clock.ns)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock.ns / 1e9)
    monkeypatch.setattr(measure.time, "sleep", clock.advance)
    return clock


def taking(clock, latencies):
    """An ``execute`` that takes the latencies given, seconds, one after the other."""
    series = iter(latencies)
    return lambda: clock.advance(next(series))


def test_block_records_start_and_latency(clock):
    starts, latencies = run_block(taking(clock, [0.001, 0.003, 0.002]), 3)
    assert latencies.tolist() == [1_000_000, 3_000_000, 2_000_000]
    assert (starts - starts[0]).tolist() == [0, 1_000_000, 4_000_000]


def test_error_in_the_measured_region_keeps_its_cause():
    def execute():
        raise RuntimeError("kernel failed")

    with pytest.raises(ExecutionError) as caught:
        run_block(execute, 3)
    assert str(caught.value.__cause__) == "kernel failed"


def test_garbage_collection_is_off_while_measuring():
    seen = []
    with measure.quiet():
        run_block(lambda: seen.append(gc.isenabled()), 2)
    assert seen == [False, False]
    assert gc.isenabled()


def test_warm_up_ends_when_steady(clock):
    warming = [0.05, 0.03, 0.02, 0.015, *itertools.repeat(0.01, 500)]
    warm = measure.warm_up(taking(clock, warming), 5.0, lambda: False)
    assert warm.steady
    assert 24 <= len(warm.series) <= 120
    assert warm.latency_s == pytest.approx(0.01)


def test_warm_up_gives_up_when_its_time_is_over(clock):
    slower = (0.01 * 1.02**n for n in itertools.count())
    warm = measure.warm_up(taking(clock, slower), 2.0, lambda: False)
    assert not warm.steady
    assert warm.seconds < 3.0


def test_first_request_that_compiles_does_not_count(clock):
    compiled = [30.0, *itertools.repeat(0.01, 500)]
    warm = measure.warm_up(taking(clock, compiled), 2.0, lambda: False)
    assert warm.steady
    assert warm.latency_s == pytest.approx(0.01)


def test_slow_model_is_warm_after_two_requests(clock):
    warm = measure.warm_up(taking(clock, [3.1, 3.0, 3.0]), 1.0, lambda: False)
    assert warm.steady
    assert len(warm.series) == 2


def test_no_budget_still_gives_a_sample(clock):
    measured = measure.measure(
        taking(clock, itertools.repeat(0.5)),
        Enough(1.0, 50, 1000, 0.02),
        latency_s=0.5, budget_s=-3.0, max_samples=1000, meter="none", progress=lambda: False,
    )  # fmt: skip
    assert measured.stopped == "budget"
    assert len(measured.series) == 1
    assert measured.energy_j == "none"


class Meter:
    """Ten watts."""

    source = "test"

    def __init__(self, clock):
        self._clock = clock

    def read(self):
        return self._clock.ns

    def joules(self, before, after):
        return (after - before) * 10e-9


def test_energy_is_per_request(clock):
    measured = measure.measure(
        taking(clock, itertools.repeat(0.01)),
        Enough(1.0, 50, 1000, 0.02),
        latency_s=0.01, budget_s=60.0, max_samples=1000, meter=Meter(clock),
        progress=lambda: False,
    )  # fmt: skip
    assert measured.stopped == "interval"
    assert measured.energy_j == pytest.approx(0.1, rel=1e-6)


def numbered(clock, executed, seconds=0.01):
    """An ``execute`` that notes when each request began."""

    def execute():
        executed.append(clock.ns)
        clock.advance(seconds)

    return execute


def test_requests_after_an_event_are_not_recorded(clock):
    executed, events = [], []

    def progress():
        if len(events) in (0, 2):
            events.append(clock.ns)
            clock.advance(0.05)
            return True
        events.append(None)
        return False

    measured = measure.measure(
        numbered(clock, executed), Enough(1.0, 50, 1000, 0.02),
        latency_s=0.01, budget_s=60.0, max_samples=1000, meter=Meter(clock), progress=progress,
    )  # fmt: skip
    recorded = np.concatenate(measured.series.starts)
    assert len(events) >= 3
    missing = sorted(set(executed) - set(recorded.tolist()))
    for event in filter(None, events):
        after = recorded[recorded > event][0]
        settling = [start for start in missing if event < start < after]
        assert len(settling) >= 3
        assert after - event >= (0.05 + measure.SETTLE_SECONDS) * 1e9 * 0.999
    # ten watts: 0.1 J a request, and 0.5 J that an event's pause of 50 ms took
    total = 0.1 * (len(executed) - 3) + 0.5
    assert measured.energy_j == pytest.approx(total / (len(executed) - 3), rel=1e-6)


def test_slow_requests_settle_once_and_very_slow_ones_never(clock):
    executed = []
    assert measure.settle(numbered(clock, executed, seconds=0.9), 0.9) == len(executed) == 1
    assert measure.settle(numbered(clock, executed, seconds=3.0), 3.0) == 0


def test_idle_gaps_do_not_follow_an_event_at_once(clock):
    executed = []
    taken = measure.measure_idle(numbered(clock, executed, 0.01), [5.0], 1, 0.01, lambda: True)
    first = taken[0][1]
    assert len([start for start in executed if start < first]) == 3 + 1


def test_progress_tells_whether_it_sent(monkeypatch):
    seconds = [100.0]
    monkeypatch.setattr(protocol.time, "monotonic", lambda: seconds[0])
    stream = io.StringIO()
    progress = protocol.Progress(stream, 100.0, 60.0)
    sent = []
    for phase, at in (("warmup", 0), ("warmup", 4.9), ("measure", 4.9), ("measure", 10)):
        seconds[0] = 100.0 + at
        sent.append(progress(phase=phase))
    assert sent == [True, False, True, True]
    assert [json.loads(line)["elapsed_s"] for line in stream.getvalue().splitlines()] == [
        0,
        4.9,
        10,
    ]


def test_blocks_stay_within_what_is_left():
    assert block_size(0.001, 60.0, 10_000) == 250
    assert block_size(0.001, 60.0, 7) == 7
    assert block_size(0.001, 0.01, 10_000) == 10
    assert block_size(3.0, 60.0, 100) == 1
    assert block_size(1e-7, 60.0, 10**9) == measure.LARGEST_BLOCK


def test_idle_gaps_are_interleaved_and_precede_their_request(clock):
    taken = measure.measure_idle(
        taking(clock, itertools.repeat(0.001)), [5.0, 20.0], 3, 0.001, lambda: False
    )
    assert [gap for gap, _, _ in taken] == [0.0, 5.0, 20.0] * 3
    assert {latency for _, _, latency in taken} == {1_000_000}
    starts = [start for _, start, _ in taken]
    # an unmeasured request of 1 ms comes before each gap
    assert np.diff(starts)[:3].tolist() == [7_000_000, 22_000_000, 2_000_000]


@pytest.mark.parametrize(
    ("latency_s", "budget_s", "rounds"), [(0.001, 60.0, 32), (1.0, 12.2, 2), (1.0, 0.0, 1)]
)
def test_idle_rounds_fit_their_budget(latency_s, budget_s, rounds):
    assert measure.idle_rounds_fit([5.0, 20.0], 32, latency_s, budget_s) == rounds


def test_rows_have_the_columns_of_the_protocol():
    one = rows(measure.IDLE, 4, 1, [5, 9], [2, 3], [0.0, 20.0])
    both = stack([one, rows(measure.STEADY, 8, 0, [1], [1])])
    assert {name: str(column.dtype) for name, column in both.items()} == {
        "phase": "int8", "batch_size": "int32", "process": "int16", "gap_ms": "float32",
        "start_ns": "int64", "latency_ns": "int64",
    }  # fmt: skip
    assert both["batch_size"].tolist() == [4, 4, 8]
    assert both["gap_ms"].tolist() == [0.0, 20.0, 0.0]
    assert all(len(column) == 0 for column in stack([]).values())
