"""The Lightning study, done again: mean completion times of seven networks on one device.

``simulate_study`` follows the study to the digit: its schedules, its networks, its round-robin
cores, its end when the first 100 requests are done. What the study did not say stands beside it:
the offered load, and whether there is a steady state at all. After Zhong et al.: "Lightning"
(SIGCOMM 2023) and Williams: "LightSpeed" (MIT, 2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from profleet.errors import HardwareError, ManifestError
from profleet.hardware.catalog import device_of
from profleet.hardware.devices.core_array import CoreArray
from profleet.manifest.library import Library
from profleet.profile.metrics import Metric
from profleet.simulate.metrics import Verdict
from profleet.simulate.records import Ints
from profleet.simulate.schema import Served, SimulationResult
from profleet.simulate.study.engine import (
    GHZ,
    Outcome,
    arrival_ticks,
    simulate_layers,
    work_of,
)
from profleet.simulate.study.loop import Requests, Work
from profleet.simulate.study.networks import networks
from profleet.simulate.study.schedule import Schedule, draw_schedule, read_schedule
from profleet.simulate.study.settings import LightspeedSettings
from profleet.simulate.workload.traces import TraceError

MAX_CORES = 10_000_000
LATEST_TICK = 2**61
SAME_RATE = 0.1
"""How far the rate of a schedule may be from the stated one to be taken for it."""


@dataclass(frozen=True, eq=False)
class Study:
    """One device under one schedule, before and after it is simulated."""

    settings: LightspeedSettings
    device: CoreArray
    reference: str
    schedule: Schedule
    work: Work
    requests: Requests
    wanted: int
    outcome: Outcome
    alone: tuple[Outcome, ...]
    """Each network on the idle device."""

    @property
    def ghz(self) -> float:
        """Ticks per nanosecond."""
        return self.device.clock_hz / GHZ

    @cached_property
    def busy_ns(self) -> tuple[float, ...]:
        """How long each network keeps all cores busy, without latencies and gaps."""
        return tuple(graph.macs / self.device.cores / self.ghz for graph in networks())

    @property
    def offered_load(self) -> float:
        """Mean busy time of the schedule's requests over the mean gap between them."""
        counts = np.bincount(self.schedule.network, minlength=len(networks()))
        mean = float(np.dot(counts, self.busy_ns)) / len(self.schedule.network)
        return mean / self.schedule.gap_ns

    @property
    def law_load(self) -> float | None:
        """The offered load by the law of the study at its rate; None: the schedule has another."""
        bits = [8 * graph.input_bytes for graph in networks()]
        counts = np.bincount(self.schedule.network, minlength=len(bits))
        rate = float(np.dot(counts, bits)) / float(self.schedule.arrival_ns[-1])
        if abs(rate / self.settings.rate_gbps - 1) > SAME_RATE:
            return None
        return sum(self.busy_ns) / (sum(bits) / self.settings.rate_gbps)

    def completion_ns(self, network: int) -> list[float]:
        """Completion times of the requests for a network that were done, in that order."""
        done = self.outcome.done
        chosen = done[self.requests.network[done] == network]
        spent = self.outcome.ended[chosen] - self.outcome.started[chosen]
        return [int(each) / self.ghz for each in spent]

    def result(self, seed: int) -> SimulationResult:
        """Return what ``result.json`` holds, without paths."""
        metrics = {
            name: Metric(value=value, unit=unit, evidence=self.device.evidence)
            for name, value, unit in self._numbers()
        }
        stated = self.settings.model_dump(mode="json", exclude={"traces", "trace"})
        drawn = self.schedule.sha256 is None
        verdict, reasons = self._verdict()
        return SimulationResult(
            status="finished",
            verdict=verdict,
            reasons=reasons,
            metrics=metrics,
            seed=seed if drawn else None,
            replications=1,
            events=self.outcome.events,
            capacity_rps=1e9 / (self.offered_load * self.schedule.gap_ns),
            offered_rps=1e9 / self.schedule.gap_ns,
            fleet=list(self._served()),
            workload={
                "kind": "trace",
                "format": "lightning",
                "name": self.schedule.name,
                "sha256": self.schedule.sha256,
                "requests": len(self.schedule.arrival_ns),
            },
            notes=list(self._notes()),
            configuration={"study": {**stated, "trace": self.schedule.name}},
        )

    def _numbers(self) -> Iterator[tuple[str, float, str]]:
        everything: list[float] = []
        for network, graph in enumerate(networks()):
            times = self.completion_ns(network)
            everything += times
            yield f"completed/{graph.name}", len(times), "1"
            if times:
                yield f"completion_mean_ns/{graph.name}", sum(times) / len(times), "ns"
            idle = self.alone[network]
            yield f"completion_alone_ns/{graph.name}", int(idle.ended[0]) / self.ghz, "ns"
        yield "completed", len(everything), "1"
        yield "completion_mean_ns", sum(everything) / len(everything), "ns"
        yield "offered_load", self.offered_load, "1"
        if self.law_load is not None:
            yield "offered_load_law", self.law_load, "1"
        yield "steady_state", float(self._verdict()[0] == "stable"), "1"
        end = max(1, self.outcome.now)
        yield "utilization", self.outcome.busy / self.device.cores / end, "1"
        yield "active_requests_max", self.outcome.most, "1"

    def _verdict(self) -> tuple[Verdict, list[str]]:
        load = max(self.offered_load, self.law_load or 0.0)
        if load >= 1:
            why = (
                f"No steady state: the offered load is {load:.3g}, so the mean completion time "
                "depends on when the study ends."
            )
            return "overloaded", [why]
        return "stable", []

    def _notes(self) -> Iterator[str]:
        left = int((self.requests.arrival <= self.outcome.now).sum()) - len(self.outcome.done)
        yield (
            f"Means count from an empty device, without warm-up, until request {self.wanted:,} of "
            f"{len(self.requests.arrival):,} was done; {left:,} that had arrived by then are not "
            "among them. One schedule gives no interval."
        )
        if self.settings.stop_after is not None and self.wanted < self.settings.stop_after:
            yield f"study.stop_after is {self.settings.stop_after:,}: the trace has fewer requests."

    def _served(self) -> Iterator[Served]:
        for graph, idle, busy in zip(networks(), self.alone, self.busy_ns, strict=True):
            yield Served(
                group=self.device.name,
                count=1,
                model=graph.name,
                stack=f"{graph.name} on {self.reference}",
                source=self.device.source,
                evidence=[self.device.evidence],
                max_batch=1,
                service_mean_ms=[int(idle.ended[0]) / self.ghz / 1e6],
                capacity_rps=1e9 / busy,
            )


def simulate_study(
    settings: LightspeedSettings, seed: int = 0, manifests: tuple[str, ...] = ()
) -> Study:
    """Simulate one device under one schedule.

    Args:
        settings: which.
        seed: of a schedule that is drawn.
        manifests: further folders with hardware manifests.

    Raises:
        ManifestError: there is no such hardware.
        HardwareError: it is not an array of cores, or an impossible one.
        TraceError: the schedule cannot be used.
    """
    device, reference = core_array(settings.device, settings.granularity, manifests)
    if settings.trace is None:
        schedule = draw_schedule(seed, settings.rate_gbps)
    else:
        schedule = read_schedule(settings.trace)
    if float(schedule.arrival_ns[-1]) * device.clock_hz / GHZ > LATEST_TICK:
        raise TraceError(
            f"Trace {schedule.name} ends after {schedule.arrival_ns[-1] / 1e9:.3g} s: too late to "
            f"count the ticks of '{device.name}'."
        )
    work = work_of(networks(), device)
    requests = Requests(arrival_ticks(schedule.arrival_ns, device.clock_hz), schedule.network)
    wanted = min(settings.stop_after or len(schedule.network), len(schedule.network))
    zero: Ints = np.zeros(1, dtype=np.int64)
    alone = tuple(
        simulate_layers(work, Requests(zero, zero + network), device.cores)
        for network in range(len(networks()))
    )
    outcome = simulate_layers(work, requests, device.cores, wanted)
    return Study(
        settings, device, reference, schedule, work, requests, wanted, outcome, alone
    )  # fmt: skip


def core_array(
    reference: str, granularity: int, manifests: tuple[str, ...] = ()
) -> tuple[CoreArray, str]:
    """Return the device of a hardware manifest, and the exact reference of that.

    Raises:
        ManifestError: there is no such hardware.
        HardwareError: it is not an array of cores.
    """
    library = Library.standard(manifests)
    try:
        found = library.resolve("hardware", reference)
    except ManifestError as error:
        raise ManifestError(f"study.device: {error}") from None
    device = device_of(found.document) if found.document.kind != "measured" else None
    if not isinstance(device, CoreArray):
        known = [
            entry.name
            for entry in library.entries("hardware")
            if library.resolve("hardware", entry.name).document.kind == "core_array"
        ]
        raise HardwareError(
            f"study.device: '{reference}' is {found.document.kind}, and the study needs an array "
            f"of cores: {', '.join(sorted(set(known)))}."
        )
    if device.cores > MAX_CORES:
        raise HardwareError(
            f"study.device: '{reference}' has {device.cores:,} cores, more than the "
            f"{MAX_CORES:,} that can be simulated."
        )
    return replace(device, granularity=granularity), found.reference
