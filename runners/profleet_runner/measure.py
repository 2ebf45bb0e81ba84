"""Measuring one point in one process: warm-up, steady samples, idle gaps, copies.

A measured region is one ``execute()`` between two readings of the monotonic clock, written to
memory that was set aside before; nothing else happens between requests. Garbage collection is off
meanwhile. Statistics, progress and counters come between blocks of requests. A progress event
wakes other programs on the same processors, so requests that are executed but not recorded
(``settle``) come between an event and the next steady or idle sample.
"""

from __future__ import annotations

import gc
import math
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from profleet_runner.resources import Meter
from profleet_runner.steady import (
    LARGEST_WINDOW,
    Enough,
    Latencies,
    is_steady,
    median_half_width,
    window_size,
)

WARMUP, STEADY, IDLE, SCENARIO = range(4)
"""Codes of the column ``phase``."""

BLOCK_SECONDS = 0.25
LARGEST_BLOCK = 4096
LEAST_RUNS = 2
LEAST_SECONDS = 0.1
"""Steady samples are taken this long (and at least one is) even when the budget is used up."""

SETTLE_SECONDS = 0.03
"""Unrecorded requests fill this long, while the readers of a progress event do their work."""
SLOW_SECONDS = 1.0
"""Requests longer than this hardly show that work, and an unrecorded one would cost too much."""

Execute = Callable[[], object]
Report = Callable[[], bool]
"""Reports progress; tells whether an event was sent."""


class ExecutionError(Exception):
    """The framework raised in the measured region; the cause is what it raised."""


@dataclass
class Series:
    """Samples in the order they were taken: one entry a block."""

    starts: list[npt.NDArray[np.int64]] = field(default_factory=list)
    latencies: list[Latencies] = field(default_factory=list)

    def add(self, block: tuple[npt.NDArray[np.int64], Latencies]) -> Latencies:
        """Append a block; returns its latencies."""
        self.starts.append(block[0])
        self.latencies.append(block[1])
        return block[1]

    def all(self) -> Latencies:
        """Every latency, nanoseconds."""
        return np.concatenate(self.latencies) if self.latencies else np.empty(0, np.int64)

    def __len__(self) -> int:
        return sum(map(len, self.latencies))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the garbage collector out, and what exists by now out of its sight."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def run_block(execute: Execute, count: int) -> tuple[npt.NDArray[np.int64], Latencies]:
    """Execute ``count`` times back to back.

    Returns:
        Start of each request on the monotonic clock and its latency, both ``[count]``,
        nanoseconds.

    Raises:
        ExecutionError: the framework raised.
    """
    starts, ends = array("q", bytes(8 * count)), array("q", bytes(8 * count))
    clock = time.perf_counter_ns
    try:
        for number in range(count):
            start = clock()
            execute()
            ends[number] = clock()
            starts[number] = start
    except Exception as error:
        raise ExecutionError from error
    began = np.frombuffer(starts, np.int64)
    return began, np.frombuffer(ends, np.int64) - began


def settle(execute: Execute, latency_s: float) -> int:
    """Execute unrecorded requests for ``SETTLE_SECONDS``, at least one; returns how many.

    None where a request takes longer than ``SLOW_SECONDS``.

    Raises:
        ExecutionError: the framework raised.
    """
    if latency_s > SLOW_SECONDS:
        return 0
    count, end = 0, time.perf_counter() + SETTLE_SECONDS
    try:
        while count == 0 or time.perf_counter() < end:
            execute()
            count += 1
    except Exception as error:
        raise ExecutionError from error
    return count


# -- warm-up -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WarmedUp:
    """How the warm-up went; ``latency_s`` is the median of its last window."""

    series: Series
    seconds: float
    steady: bool
    latency_s: float


def warm_up(execute: Execute, max_seconds: float, progress: Report) -> WarmedUp:
    """Execute until two consecutive windows agree, or until ``max_seconds``.

    The clock starts after the first request, which may compile for this batch size. At least two
    requests are executed, and a third when those two disagree. The window grows to fit the
    latency as soon as that is known; see ``steady.window_size``.
    """
    entered = time.perf_counter()
    series = Series()
    series.add(run_block(execute, 1))
    series.add(run_block(execute, 1))
    began = time.perf_counter() - float(series.latencies[1][0]) / 1e9
    while True:
        recent = series.all()[-2 * LARGEST_WINDOW :]
        latency_s = float(np.median(recent[-5:])) / 1e9 if len(recent) > 3 else recent[-1] / 1e9
        window = window_size(latency_s, max_seconds)
        left_s = max_seconds - (time.perf_counter() - began)
        steady = len(recent) >= 2 * window and is_steady(
            recent[-2 * window : -window], recent[-window:]
        )
        if steady or (len(series) > LEAST_RUNS and left_s <= 0):
            break
        fits = max(1, int(left_s / max(latency_s, 1e-7)))
        series.add(run_block(execute, min(max(1, window // 2), fits)))
        progress()
    last_s = float(np.median(series.all()[-window:])) / 1e9
    return WarmedUp(series, time.perf_counter() - entered, steady, last_s)


# -- steady state --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Steady samples of one point in one process, and why measuring ended."""

    series: Series
    stopped: str
    half_width: float
    energy_j: float | str


def measure(
    execute: Execute,
    enough: Enough,
    *,
    latency_s: float,
    budget_s: float,
    max_samples: int,
    meter: Meter | str,
    progress: Report,
) -> Measured:
    """Take steady samples, block by block, until ``enough``.

    The first block, and each block after an event, follows requests that are not recorded.

    Args:
        execute: the measured region.
        enough: the stop rule.
        latency_s: what a request is expected to take, for the size of the blocks.
        budget_s: seconds that may be spent; ``LEAST_SECONDS`` are, and one sample is taken.
        max_samples: no more samples are taken.
        meter: energy counter around all blocks, or why there is none.
        progress: called between blocks, and once before the first.

    Returns:
        ``energy_j`` is energy per request, recorded or not, over the time of all blocks.
    """
    series, unrecorded = Series(), 0
    if progress():
        settle(execute, latency_s)
    budget_s = max(budget_s, LEAST_SECONDS)
    before = None if isinstance(meter, str) else meter.read()
    began = time.perf_counter()
    while True:
        left_s = budget_s - (time.perf_counter() - began)
        count = block_size(latency_s, left_s, max_samples - len(series))
        latency_s = float(np.median(series.add(run_block(execute, count)))) / 1e9
        seconds = time.perf_counter() - began
        stopped = enough.reached(series.latencies, seconds, budget_s - seconds)
        if stopped:
            break
        if progress():
            unrecorded += settle(execute, latency_s)
    energy: float | str
    if isinstance(meter, str):
        energy = meter
    else:
        joules = meter.joules(before, meter.read())
        requests = len(series) + unrecorded
        energy = joules / requests if joules > 0 else f"{meter.source} did not advance"
    return Measured(series, stopped, median_half_width(series.all()), energy)


def block_size(latency_s: float, left_s: float, left_samples: int) -> int:
    """Return how many requests fill a block: about ``BLOCK_SECONDS``, within what is left."""
    fits = math.ceil(min(BLOCK_SECONDS, max(left_s, 0.0)) / max(latency_s, 1e-7))
    return max(1, min(fits, LARGEST_BLOCK, left_samples))


# -- idle gaps -----------------------------------------------------------------------------------


def idle_rounds_fit(gaps_ms: list[float], samples: int, latency_s: float, budget_s: float) -> int:
    """Return how many rounds over all gaps fit the budget: at least one, at most ``samples``."""
    round_s = sum(gaps_ms) / 1e3 + 2 * (len(gaps_ms) + 1) * latency_s
    return max(1, min(samples, int(budget_s / max(round_s, 1e-6))))


def measure_idle(
    execute: Execute, gaps_ms: list[float], rounds: int, latency_s: float, progress: Report
) -> list[tuple[float, int, int]]:
    """Time one request after each idle gap, round after round, gap 0 (back to back) included.

    Before each gap one request is executed unmeasured, so that what came earlier does not show:
    a request "after 5 ms" rested 5 ms since the last one, and gap 0 not at all. Interleaving
    keeps drift out of the comparison of gaps. ``latency_s`` is what a request is expected to take.

    Returns:
        ``(gap_ms, start_ns, latency_ns)`` of every measured request.

    Raises:
        ExecutionError: the framework raised.
    """
    taken = []
    clock = time.perf_counter_ns
    for _ in range(rounds):
        if progress():
            settle(execute, latency_s)
        for gap_ms in (0.0, *gaps_ms):
            try:
                execute()
                if gap_ms:
                    time.sleep(gap_ms / 1e3)
                start = clock()
                execute()
                end = clock()
            except Exception as error:
                raise ExecutionError from error
            taken.append((gap_ms, start, end - start))
    return taken


# -- columns -------------------------------------------------------------------------------------

COLUMNS: dict[str, Any] = {
    "phase": np.int8,
    "batch_size": np.int32,
    "process": np.int16,
    "gap_ms": np.float32,
    "start_ns": np.int64,
    "latency_ns": np.int64,
}


def rows(
    phase: int,
    batch_size: int,
    process: int,
    start_ns: npt.ArrayLike,
    latency_ns: npt.ArrayLike,
    gap_ms: npt.ArrayLike = 0.0,
) -> dict[str, npt.NDArray[Any]]:
    """Return rows of ``samples.npz``; what is one number is repeated."""
    starts = np.asarray(start_ns, np.int64)
    given = {
        "phase": phase,
        "batch_size": batch_size,
        "process": process,
        "gap_ms": gap_ms,
        "start_ns": starts,
        "latency_ns": latency_ns,
    }
    return {
        name: np.ascontiguousarray(np.broadcast_to(np.asarray(given[name], dtype), starts.shape))
        for name, dtype in COLUMNS.items()
    }


def stack(parts: list[dict[str, npt.NDArray[Any]]]) -> dict[str, npt.NDArray[Any]]:
    """Put rows behind one another."""
    return {
        name: np.concatenate([np.empty(0, dtype), *(part[name] for part in parts)]).astype(dtype)
        for name, dtype in COLUMNS.items()
    }
