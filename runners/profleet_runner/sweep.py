"""What a worker does once its session is open: first run, check, points or scenario."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from profleet_runner import measure as measuring
from profleet_runner.check import check_outputs
from profleet_runner.frameworks import Request, Session, Tensors
from profleet_runner.inputs import draw
from profleet_runner.measure import IDLE, SCENARIO, STEADY, WARMUP, ExecutionError, rows, stack
from profleet_runner.protocol import Failure, storage_failure
from profleet_runner.resources import (
    energy_meter,
    peak_rss,
    reading_of,
    reset_peak_rss,
)
from profleet_runner.steady import Enough, trouble

if TYPE_CHECKING:
    from profleet_runner.worker import Worker

LARGEST_SHARE = 1 / 3
"""Of a point's time, for its warm-up and for its idle gaps each."""


def rotated(batch_sizes: list[int], number: int) -> list[int]:
    """Return the order of batch sizes in process ``number``.

    Process 1 starts with the first size, process 2 with the second ... and process 0, where the
    check ran before, with the last: with more processes than sizes every size comes first in a
    process that has done nothing else.
    """
    shift = (number - 1) % len(batch_sizes)
    return batch_sizes[shift:] + batch_sizes[:shift]


class Sweep:
    """Measures on an open session."""

    def __init__(self, worker: Worker, session: Session) -> None:
        self._worker = worker
        self._job = worker.job
        self._session = session
        sweeping = self._job.scenario["kind"] == "sweep"
        sizes = self._job.batch_sizes if sweeping else self._job.batch_sizes[:1]
        self.order = rotated(sizes, worker.number)
        self._requests: dict[int, Request] = {}
        self._inputs: dict[int, Tensors] = {}
        self._executed: set[int] = set()
        self._rows: list[dict[str, npt.NDArray[Any]]] = []
        self._origin = time.perf_counter_ns()
        self._cold_s = 0.0
        self._meter = energy_meter(self._job.framework.accelerator)

    def samples(self) -> dict[str, npt.NDArray[Any]]:
        """All rows so far."""
        return stack(self._rows)

    def first_run(self, batch_size: int) -> float:
        """Execute the first request of this process; seconds, inputs prepared before."""
        request = self._prepared(batch_size)
        with self._worker.framework_errors(f"executing batch {batch_size} for the first time"):
            began = time.perf_counter()
            request.execute()
            return time.perf_counter() - began

    def check(self) -> dict[str, Any]:
        """Compare the outputs with the manifest's reference, before anything is measured."""
        check = self._job.check
        self._worker.progress(phase="check", batch_size=check["batch"])
        inputs = self._draw(check["batch"], check["seed"])
        with self._worker.framework_errors("executing the check"):
            request = self._session.prepare(inputs)
            request.execute()
            outputs = request.outputs()
        self._executed.add(check["batch"])
        return check_outputs(outputs, check)

    def points(self) -> Iterator[dict[str, Any]]:
        """Measure every batch size, in the order of this process."""
        self._cold_s = time.monotonic() - self._worker.given.spawned
        for position, batch_size in enumerate(self.order):
            where = {
                "batch_size": batch_size,
                "point": position + 1,
                "points": len(self.order),
            }
            try:
                point = self._point(batch_size, len(self.order) - position, where)
            except ExecutionError as error:
                with self._worker.framework_errors(f"executing batch {batch_size}"):
                    raise error.__cause__ or error from None
            yield point

    def scenario(self) -> dict[str, Any]:
        """Execute the LoadGen scenario; its samples become rows."""
        from profleet_runner.scenarios import execute_scenario

        batch_size = self.order[0]
        with self._worker.framework_errors("executing the scenario"), measuring.quiet():
            try:
                result, samples = execute_scenario(
                    self._session,
                    self._job.scenario,
                    inputs=self._job.inputs,
                    batch_size=batch_size,
                    seed=self._job.measure.seed,
                    folder=self._job.folder,
                    progress=self._worker.progress,
                )
            except OSError as error:
                raise storage_failure(self._job.folder / "loadgen", error) from error
        self._rows.append(
            rows(SCENARIO, batch_size, self._worker.number, samples.start_ns, samples.latency_ns)
        )
        return result

    # -- one point -------------------------------------------------------------------------------

    def _share_s(self, points_left: int) -> float:
        """Seconds for one point: what the budget still has, over all that is still to measure.

        Later processes need their cold starts, which take as long as this one did.
        """
        later = self._job.processes - self._worker.number - 1
        left_s = self._worker.given.deadline - time.monotonic() - later * self._cold_s
        return max(0.0, left_s / (points_left + later * len(self.order)))

    def _point(self, batch_size: int, points_left: int, where: dict[str, Any]) -> dict[str, Any]:
        settings, worker = self._job.measure, self._worker
        clean = not self._executed - {batch_size}
        request = self._prepared(batch_size)
        no_peak = reset_peak_rss()
        with worker.framework_errors("reading its memory"):
            self._session.peak_device_bytes()
        share_s = self._share_s(points_left)
        entered = time.monotonic()

        def progress(phase: str) -> bool:
            return worker.progress(phase=phase, **where)

        with measuring.quiet():
            progress("warmup")
            longest = min(settings.warmup_max_seconds, share_s * LARGEST_SHARE)
            warm = measuring.warm_up(request.execute, longest, lambda: progress("warmup"))
            rounds, idle_s = self._plan_idle(warm.latency_s, share_s)
            steady = measuring.measure(
                request.execute,
                Enough(
                    settings.min_seconds,
                    settings.min_samples,
                    settings.max_samples,
                    settings.target_interval,
                ),
                latency_s=warm.latency_s,
                budget_s=share_s - (time.monotonic() - entered) - idle_s,
                max_samples=settings.max_samples,
                meter=self._meter,
                progress=lambda: progress("measure"),
            )
            if rounds:
                self._idle(request, batch_size, rounds, warm.latency_s, lambda: progress("idle"))
        self._keep(WARMUP, batch_size, warm.series)
        self._keep(STEADY, batch_size, steady.series)
        peak = no_peak or peak_rss()
        with worker.framework_errors(f"reading back batch {batch_size}"):
            device = self._session.peak_device_bytes()
            output_bytes = sum(array.nbytes for array in request.outputs().values())
        with worker.framework_errors(f"copying batch {batch_size}"):
            copies = self._copies(batch_size, share_s / 10)
        self._executed.add(batch_size)
        del self._requests[batch_size]
        return {
            "batch_size": batch_size,
            "reasons": self._reasons(warm, steady, share_s),
            "warm_up": {
                "process": worker.number,
                "runs": len(warm.series),
                "seconds": warm.seconds,
                "steady": warm.steady,
            },
            "samples": len(steady.series),
            "median_ns": float(np.median(steady.series.all())),
            "input_bytes": sum(array.nbytes for array in self._inputs[batch_size].values()),
            "output_bytes": output_bytes,
            "copies": copies,
            "peak_rss_bytes": reading_of(peak),
            "peak_rss_clean": clean,
            "peak_device_bytes": reading_of(device),
            "energy_j": reading_of(steady.energy_j),
            "energy_source": None if isinstance(self._meter, str) else self._meter.source,
        }

    def _plan_idle(self, latency_s: float, share_s: float) -> tuple[int, float]:
        """Rounds over the idle gaps and the seconds to keep for them; process 0 alone has any.

        One round is taken even where it takes longer than the idle gaps' part of the point's time.
        """
        settings = self._job.measure
        if self._worker.number or not settings.idle_gaps_ms:
            return 0, 0.0
        rounds = measuring.idle_rounds_fit(
            settings.idle_gaps_ms, settings.idle_samples, latency_s, share_s * LARGEST_SHARE
        )
        gaps = settings.idle_gaps_ms
        seconds = rounds * (sum(gaps) / 1e3 + 2 * (len(gaps) + 1) * latency_s)
        return rounds, min(seconds, share_s * LARGEST_SHARE)

    def _idle(
        self, request: Request, batch_size: int, rounds: int, latency_s: float, progress: Any
    ) -> None:
        gaps = self._job.measure.idle_gaps_ms
        taken = measuring.measure_idle(request.execute, gaps, rounds, latency_s, progress)
        gap_ms, start_ns, latency_ns = (np.array(column) for column in zip(*taken, strict=True))
        number = self._worker.number
        self._rows.append(
            rows(IDLE, batch_size, number, start_ns - self._origin, latency_ns, gap_ms)
        )

    def _keep(self, phase: int, batch_size: int, series: measuring.Series) -> None:
        starts = np.concatenate(series.starts) - self._origin
        self._rows.append(rows(phase, batch_size, self._worker.number, starts, series.all()))

    def _copies(self, batch_size: int, budget_s: float) -> list[tuple[float, float]] | str:
        """Times of single copies, within a budget (at least one), or why there are none."""
        taken: list[tuple[float, float]] = []
        began = time.monotonic()
        while len(taken) < self._job.measure.copy_samples:
            seconds = self._session.copy_seconds(self._inputs[batch_size])
            if isinstance(seconds, str):
                return seconds
            taken.append(seconds)
            if time.monotonic() - began > budget_s:
                break
        return taken

    def _reasons(
        self, warm: measuring.WarmedUp, steady: measuring.Measured, share_s: float
    ) -> list[str]:
        settings = self._job.measure
        count = len(steady.series)
        said = []
        if not warm.steady:
            said.append(
                f"latency was still changing when the warm-up ended after {warm.seconds:.1f} s "
                f"and {len(warm.series)} requests"
            )
        if steady.stopped != "interval":
            width = f"±{steady.half_width:.1%}" if np.isfinite(steady.half_width) else "unknown"
            end = (
                f"the budget ended ({share_s:.1f} s of {settings.budget_seconds:g} s were for "
                "this point)"
                if steady.stopped == "budget"
                else "max_samples was reached"
            )
            said.append(
                f"{end} with {count} samples (at least {settings.min_samples} are asked for) and "
                f"the 95 % interval of the median at {width} (target "
                f"±{settings.target_interval:.1%})"
            )
        said.extend(trouble(steady.series.all(), settings.target_interval))
        return said

    # -- inputs ----------------------------------------------------------------------------------

    def _prepared(self, batch_size: int) -> Request:
        if batch_size not in self._requests:
            inputs = self._draw(batch_size, self._job.measure.seed)
            self._inputs[batch_size] = inputs
            with self._worker.framework_errors(f"binding the inputs of batch {batch_size}"):
                self._requests[batch_size] = self._session.prepare(inputs)
        return self._requests[batch_size]

    def _draw(self, batch_size: int, seed: int) -> Tensors:
        try:
            return draw(self._job.inputs, batch_size, seed)
        except ValueError as error:
            raise Failure("invalid_job", f"job.json: model.inputs: {error}.") from None
