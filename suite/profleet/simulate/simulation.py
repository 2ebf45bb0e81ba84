"""One configuration simulated: fleet and workload are built, replications executed, summed up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profleet.errors import ConfigError, did_you_mean
from profleet.profile.metrics import Metric
from profleet.simulate import policies
from profleet.simulate.advice import advice
from profleet.simulate.fleet import build_fleet
from profleet.simulate.fleet.arrays import Fleet
from profleet.simulate.metrics import Summary, summarize
from profleet.simulate.random import Streams
from profleet.simulate.records import FleetArrays, Outcome
from profleet.simulate.run import Record, simulate_once
from profleet.simulate.schema import Promise, Served, SimulationResult
from profleet.simulate.service.sources import Places
from profleet.simulate.settings import SimulateSettings, SloSettings
from profleet.simulate.tables import TABLES
from profleet.simulate.workload import Workload, model_shares

if TYPE_CHECKING:
    import pandas as pd

    from profleet.simulate.recording import Recording


@dataclass(frozen=True, eq=False)
class Scene:
    """A configuration made concrete: what serves, what comes, how it is decided."""

    settings: SimulateSettings
    fleet: Fleet
    workload: Workload
    capacity_rps: float

    @property
    def load(self) -> float | None:
        """Mean rate of the workload over what the fleet can do; None for a closed loop."""
        rate = self.workload.mean_rate_rps
        return None if rate is None else rate / self.capacity_rps


@dataclass(eq=False)
class Simulation:
    """A scene with the outcomes of its replications, the first ones first.

    ``interrupted`` when the user stopped it; what was finished is there. ``notes`` say what one
    should know of profiles and files.
    """

    scene: Scene
    arrays: FleetArrays
    outcomes: list[Outcome] = field(default_factory=list)
    interrupted: bool = False
    notes: tuple[str, ...] = ()

    def table(self, name: str) -> pd.DataFrame:
        """Return a table: ``latencies``, ``levels``, ``replicas``, ``batches``, ``replications``.

        ``profleet.simulate.tables`` describes their columns.

        Raises:
            ConfigError: there is no table of that name.
        """
        if name not in TABLES:
            raise ConfigError(f"Unknown table '{name}'. {did_you_mean(name, TABLES)}")
        return TABLES[name](self)

    def metrics(self) -> pd.DataFrame:
        """Return every metric: ``value``, ``low``, ``high``, ``unit``, ``evidence`` by name."""
        import pandas as pd

        rows = {name: metric.model_dump() for name, metric in self.summary().metrics.items()}
        return pd.DataFrame.from_dict(rows, orient="index")

    def plots(self, folder: str | Path) -> list[Path]:
        """Draw every picture there is data for into ``folder`` (SVG); return the files.

        Raises:
            StoreError: a file cannot be written.
        """
        from profleet.simulate.results import write_pictures

        return write_pictures(Path(folder), self)

    def save(self, folder: str | Path) -> SimulationResult:
        """Write what ``profleet simulate`` writes: result, tables, pictures, and a page.

        Raises:
            StoreError: a file cannot be written.
        """
        from profleet.simulate.results import new_invocation, save

        return save(Path(folder), self, new_invocation())

    def summary(self, replication: int | None = None) -> Summary:
        """Return the metrics, refusals and verdict of the replications that finished, or of one."""
        outcomes = self.outcomes if replication is None else [self.outcomes[replication]]
        confidence = self.scene.settings.confidence
        sheds = self.scene.settings.sheds
        return summarize(
            self.arrays, outcomes, confidence=confidence, load=self.scene.load, sheds=sheds
        )

    def result(self) -> SimulationResult:
        """Return what ``result.json`` holds, without paths."""
        settings, scene = self.scene.settings, self.scene
        known: dict[str, Any] = {
            "seed": settings.seed,
            "replications": len(self.outcomes),
            "events": sum(outcome.events for outcome in self.outcomes),
            "capacity_rps": scene.capacity_rps,
            "offered_rps": scene.workload.mean_rate_rps,
            "fleet": [Served.model_validate(row) for row in scene.fleet.describe()],
            "workload": scene.workload.describe(),
            "notes": [*scene.fleet.notes, *self.notes],
            "configuration": settings.stated(),
        }
        if not self.outcomes:
            none = "Interrupted before the first replication was finished."
            return SimulationResult(status="interrupted", reason=none, **known)
        summary = self.summary()
        known["notes"] += advice(scene.settings, self.outcomes, summary, scene.workload)
        done, wanted = len(self.outcomes), settings.replications
        reason = f"Interrupted after {done} of {wanted} replications." if done < wanted else None
        return SimulationResult(
            status="interrupted" if done < wanted else "finished",
            reason=reason,
            verdict=summary.verdict,
            reasons=list(summary.reasons),
            slo=list(promises(settings.slo, summary)),
            metrics=summary.metrics,
            refused=summary.refused,
            confidence=settings.confidence,
            **known,
        )


def prepare(settings: SimulateSettings) -> Scene:
    """Find profiles and traces, and check that everything fits together.

    Raises:
        ProfleetError: a profile, trace, plugin or setting cannot be used; says which.
    """
    policies.load_plugins(settings.plugins)
    settings = settings.with_deadlines()
    places = Places(settings.store, settings.tracking, settings.manifests)
    size = 1 if settings.batching.kind == "none" else settings.batching.size
    fleet = build_fleet(settings.fleet, places, max_batch=size, batch_field="batching.size")
    capacity = fleet.capacity_rps(model_shares(settings.workload, fleet.models))
    workload = Workload.build(settings.workload, fleet.models, capacity)
    return Scene(settings, fleet, workload, capacity)


def simulate_scene(
    scene: Scene,
    *,
    recording: Recording | None = None,
    on_replication: Callable[[int, Outcome], None] | None = None,
) -> Simulation:
    """Execute every replication of a scene; Ctrl-C keeps those that are finished.

    Args:
        scene: from ``prepare``.
        recording: keeps the requests and the timeline of the first replication.
        on_replication: told after each one, with its number and outcome.

    Raises:
        ProfleetError: the parts do not fit together, or a policy of the user failed.
    """
    settings = scene.settings
    simulation = Simulation(scene, _arrays(scene, 0))
    try:
        for replication in range(settings.replications):
            first = recording if replication == 0 else None
            outcome = _replication(scene, replication, Record() if first is None else first.record)
            simulation.outcomes.append(outcome)
            if first is not None:
                first.whole = True
            if on_replication is not None:
                on_replication(replication, outcome)
    except KeyboardInterrupt:
        simulation.interrupted = True
    return simulation


def _arrays(scene: Scene, replication: int) -> FleetArrays:
    return scene.fleet.arrays(Streams(scene.settings.seed, replication).generator("fleet"))


def _replication(scene: Scene, replication: int, record: Record) -> Outcome:
    settings, streams = scene.settings, Streams(scene.settings.seed, replication)
    period = settings.period(scene.workload.requests)
    return simulate_once(
        _arrays(scene, replication),
        scene.workload.chunks(streams.sequence("arrivals"), period.requests),
        settings.policy,
        streams,
        period,
        closed_loop=scene.workload.closed_loop,
        record=record,
    )


def promises(slo: SloSettings, summary: Summary) -> Iterator[Promise]:
    """Say of every promised latency, and of drops, whether it was kept.

    A promise is kept when the upper end of the interval keeps it.
    """
    for quantile, bound in slo.bounds.items():
        name = f"latency_{quantile}_ms"
        kept = _kept(summary.metrics.get(name), bound)
        if kept is None and summary.verdict == "overloaded":
            kept = False
        yield Promise(name=name, bound=bound, unit="ms", kept=kept)
    if slo.bounds or slo.max_drop_ratio is not None:
        kept = _kept(summary.metrics.get("drop_ratio"), slo.drop_ratio)
        yield Promise(name="drop_ratio", bound=slo.drop_ratio, unit="1", kept=kept)


def _kept(metric: Metric | None, bound: float) -> bool | None:
    if metric is None:
        return None
    return (metric.value if metric.high is None else metric.high) <= bound
