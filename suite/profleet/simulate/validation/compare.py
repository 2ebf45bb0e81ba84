"""Simulate the schedules that were served, and hold both side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from profleet import __version__
from profleet.errors import ConfigError, StoreError
from profleet.profile.samples import SCENARIO, STEADY
from profleet.profile.schema import Profile
from profleet.profile.store import load_document, load_profile, load_result, load_samples, writing
from profleet.simulate.api import Given, configure
from profleet.simulate.engine import histogram
from profleet.simulate.random import Streams
from profleet.simulate.records import Arrivals, Floats, Ints, Outcome
from profleet.simulate.run import simulate_once
from profleet.simulate.schema import BEHAVIOR
from profleet.simulate.simulation import Scene, prepare, simulate_scene
from profleet.simulate.validation.records import (
    NOISE,
    PLAN,
    PLAN_SCHEMA,
    QUANTILES,
    LoadResult,
    Plan,
    Quantile,
    Simulated,
    Validation,
    Verdict,
    load_folder,
    sweep_folder,
)

REPLICATIONS = 200
"""Of every schedule with every source of service times."""

TELLING = 2.0
"""To lie within an interval whose ends differ by more than this factor tells nothing."""


def compare(root: Path, said: Callable[[str], object] = lambda text: None) -> Validation:
    """Simulate what was measured below ``root``, and hold both side by side.

    Rounds that are not complete are left out.

    Args:
        root: where ``measure`` wrote.
        said: told what is being simulated.

    Raises:
        StoreError: no round is complete, or a file is missing or damaged.
    """
    if not (root / PLAN).is_file():
        raise StoreError(f"{root} holds no {PLAN}: name a folder that `profleet validate` wrote.")
    plan = load_document(root / PLAN, PLAN_SCHEMA, Plan)
    rounds = list(_complete(root, plan))
    if not rounds or not plan.rates_rps:
        raise StoreError(f"{root} holds no complete round. Measure again with `profleet validate`.")
    sweeps = [load_profile(sweep_folder(root, n)) for n in range(len(rounds) + 1)]
    results = []
    for load, rate in zip(plan.loads, plan.rates_rps, strict=True):
        said(f"Simulating what was served at load {load:g} ...")
        served = [_Served.read(root, n, load) for n in rounds]
        results.append(_compared(root, served, load, rate))
    return Validation(
        profleet_version=__version__,
        behavior=BEHAVIOR,
        stack=_scene(root, served[0], 0).fleet.describe()[0]["stack"],
        measured_at=sweeps[0].measurement.started_at,
        plan=plan,
        service_mean_ms=[mean_ms(sweep) for sweep in sweeps],
        process_cv=[_process_cv(sweep_folder(root, n)) for n in range(len(sweeps))],
        replications=REPLICATIONS,
        warnings=list(dict.fromkeys(each for sweep in sweeps for each in sweep.warnings)),
        loads=results,
    )


def mean_ms(profile: Profile) -> float:
    """Return the mean service time of one request, from a batch sweep."""
    return profile.points[0].latency_ms.mean.value


def serving_ns(arrival_ns: Ints, latency_ns: Ints) -> Ints:
    """Return how long one worker took for each request, first in first out.

    A request is begun when it is there and the one before it is done (Lindley's recursion, read
    backwards), so what passes until an idle worker wakes up counts.

    Args:
        arrival_ns: shape ``(n,)``, sorted.
        latency_ns: from arrival to answer, shape ``(n,)``.
    """
    done = arrival_ns + latency_ns
    free = np.concatenate((arrival_ns[:1], np.maximum.accumulate(done)[:-1]))
    taken: Ints = np.maximum(done - np.maximum(arrival_ns, free), 1)
    return taken


@dataclass(frozen=True)
class _Served:
    """One Server test: round, its schedule as a trace, and its requests in order of arrival."""

    number: int
    schedule: Path
    arrival_ns: Ints
    latency_ns: Ints

    @classmethod
    def read(cls, root: Path, number: int, load: float) -> _Served:
        folder = load_folder(root, number, load)
        samples = load_samples(folder)
        scenario = samples.where(samples.phase == SCENARIO)
        order = np.argsort(scenario.start_ns, kind="stable")
        served = cls(
            number, folder / "schedule.csv", scenario.start_ns[order], scenario.latency_ns[order]
        )
        with writing(served.schedule) as path:
            lines = "\n".join(map(str, served.arrival_ns.tolist()))
            path.write_text(f"arrival_ns\n{lines}\n", "utf-8")
        return served

    @property
    def taken_ns(self) -> Ints:
        return serving_ns(self.arrival_ns, self.latency_ns)

    @property
    def waited_ns(self) -> Ints:
        """Of ``taken_ns``, what it took for requests that found the worker busy."""
        done = self.arrival_ns + self.latency_ns
        found_busy = np.maximum.accumulate(done)[:-1] > self.arrival_ns[1:]
        waited: Ints = self.taken_ns[1:][found_busy]
        return waited

    @property
    def rate_rps(self) -> float:
        return (len(self.arrival_ns) - 1) / (int(self.arrival_ns.max()) / 1e9)

    def measured_ms(self, share: float) -> float:
        """The sample quantile, as the simulator defines it."""
        ordered = np.sort(self.latency_ns)
        return float(ordered[max(1, math.ceil(share * len(ordered))) - 1]) / 1e6


def _compared(root: Path, served: Sequence[_Served], load: float, rate: float) -> LoadResult:
    serving_ms = [float(each.taken_ns.mean()) / 1e6 for each in served]
    around_ms = [
        float(np.mean([mean_ms(load_profile(sweep_folder(root, n))) for n in _around(each)]))
        for each in served
    ]
    from_sweeps, from_serving = [], []
    for each in served:
        scenes = [_scene(root, each, sweep) for sweep in _around(each)]
        from_sweeps += [outcome for scene in scenes for outcome in simulate_scene(scene).outcomes]
        for other in served:
            if other.number != each.number:
                from_serving += list(_as_served(scenes[0], each, other))
    sweeps, serving = _Quantiles(from_sweeps), _Quantiles(from_serving)
    quantiles = {}
    for name, share in QUANTILES.items():
        measured = [each.measured_ms(share) for each in served]
        typical = float(np.median(measured))
        quantiles[name] = Quantile(
            measured_ms=measured,
            from_sweeps=sweeps.beside(typical, name),
            from_serving=serving.beside(typical, name) if from_serving else None,
        )
    ratios = [own / around for own, around in zip(serving_ms, around_ms, strict=True)]
    return LoadResult(
        load=load,
        rate_rps=rate,
        requests=[len(each.latency_ns) for each in served],
        offered_load=[
            each.rate_rps * mean / 1e3 for each, mean in zip(served, around_ms, strict=True)
        ],
        serving_mean_ms=serving_ms,
        waited_mean_ms=[
            float(each.waited_ns.mean()) / 1e6 if len(each.waited_ns) else None for each in served
        ],
        serving_ratio=float(np.median(ratios)),
        quantiles=quantiles,
    )


def _around(served: _Served) -> tuple[int, int]:
    """The sweeps before and after."""
    return served.number, served.number + 1


def _scene(root: Path, served: _Served, sweep: int) -> Scene:
    """One replica with the service times of a sweep, and the schedule that was served."""
    group = {
        "name": "machine",
        "count": 1,
        "profile": {"path": str(sweep_folder(root, sweep))},
        "speed_cv": "measured",
    }
    groups: dict[str, Given] = {
        "fleet": {"preset": "assumed", "groups": [group]},
        "workload": {
            "preset": "csv",
            "path": str(served.schedule),
            "csv": {"time": "arrival_ns", "unit": "ns"},
        },
        "router": "central_queue",
        "batching": "none",
    }
    settings = {
        "requests": None,
        "warmup": 0.0,
        "replications": REPLICATIONS,
        "seed": served.number,
    }
    return prepare(configure(groups, settings))


def _as_served(scene: Scene, served: _Served, other: _Served) -> Iterator[Outcome]:
    """Simulate the schedule with the times that the worker took in another round.

    They stay in their order, from a random place on and around: a slow spell of the machine, which
    makes a queue that independent times never make, stays whole. But they meet other requests than
    theirs: what an idle worker takes longer for now also falls to requests that wait, and lengthens
    the queue a little.
    """
    (group,) = scene.fleet.groups
    ((model, service),) = group.services.items()
    mean_ns = float(other.taken_ns.mean())
    same = np.array([[round(mean_ns)]])
    services = {model: replace(service, quantiles=same, mean_ns=same[:, 0].astype(np.float64))}
    fleet = replace(scene.fleet, groups=(replace(group, services=services, speed_cv=0.0),))
    work = np.resize(other.taken_ns / round(mean_ns), len(served.arrival_ns))
    for number in range(REPLICATIONS):
        streams = Streams(served.number, number)
        first = int(
            np.random.default_rng((served.number, other.number, number)).integers(len(work))
        )
        chunks = scene.workload.chunks(streams.sequence("arrivals"))
        yield simulate_once(
            fleet.arrays(streams.generator("fleet")),
            _worked(chunks, np.roll(work, first)),
            scene.settings.policy,
            streams,
            scene.settings.period(scene.workload.requests),
        )


def _worked(chunks: Iterable[Arrivals], work: Floats) -> Iterator[Arrivals]:
    """Say of each request how its service time compares with the mean."""
    done = 0
    for chunk in chunks:
        yield replace(chunk, work=work[done : done + len(chunk)])
        done += len(chunk)


class _Quantiles:
    """Quantiles of latency in every replication, milliseconds."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self._ms: dict[str, Floats] = {
            name: np.array([histogram.quantile(o.histogram[0, 0], share) for o in outcomes]) / 1e6
            for name, share in QUANTILES.items()
        }

    def beside(self, measured_ms: float, name: str) -> Simulated:
        low, middle, high = np.quantile(self._ms[name], [(1 - NOISE) / 2, 0.5, (1 + NOISE) / 2])
        low, high = low * (1 - histogram.RELATIVE_ERROR), high * (1 + histogram.RELATIVE_ERROR)
        return Simulated(
            value_ms=float(middle),
            low_ms=float(low),
            high_ms=float(high),
            difference=float(measured_ms / middle - 1),
            verdict=_verdict(low, measured_ms, high),
        )


def _verdict(low: float, value: float, high: float) -> Verdict:
    if not low <= value <= high:
        return "outside"
    return "within noise" if high <= TELLING * low else "too noisy to tell"


def _complete(root: Path, plan: Plan) -> Iterator[int]:
    for number in range(plan.rounds):
        folders = [load_folder(root, number, load) for load in plan.loads]
        folders += [sweep_folder(root, number), sweep_folder(root, number + 1)]
        if not all(_finished(folder) for folder in folders):
            return
        yield number


def _finished(folder: Path) -> bool:
    return (folder / "result.json").is_file() and load_result(folder).status == "finished"


def _process_cv(folder: Path) -> float:
    samples = load_samples(folder)
    steady = samples.where(samples.phase == STEADY)
    means = [steady.latency_ns[steady.process == each].mean() for each in np.unique(steady.process)]
    if len(means) < 2:
        raise ConfigError(f"{folder}: one process cannot tell how processes differ.")
    return float(np.std(means, ddof=1) / np.mean(means))
