"""From settings to a stream of requests: :class:`Workload`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from profleet.errors import ConfigError, did_you_mean
from profleet.simulate.records import Arrivals, ClosedLoop
from profleet.simulate.workload import processes
from profleet.simulate.workload import settings as kinds
from profleet.simulate.workload.gaps import gaps_of
from profleet.simulate.workload.rates import HORIZON_NS
from profleet.simulate.workload.replay import Replay
from profleet.simulate.workload.stream import (
    BLOCK,
    CLIENT_BLOCK,
    GAPS,
    MODELS,
    Marks,
    chunks,
    generator,
    merged,
)

LOWEST_RPS, HIGHEST_RPS = 1e-6, 1e9
"""Rates outside are refused: gaps of weeks, or of less than the clock's nanosecond."""

ALONE = "all"
"""Name of the client of a workload that has only one."""


@dataclass(frozen=True, eq=False)
class _Source:
    """One client: its settings, its mean rate where that is known, and what its requests carry."""

    name: str
    settings: kinds.Single | kinds.Closed
    rate_rps: float | None
    marks: Marks
    replay: Replay | None = None

    @property
    def requests(self) -> int | None:
        if self.replay is None or (isinstance(self.settings, kinds.Trace) and self.settings.loop):
            return None
        return self.replay.summary.rates.requests

    def blocks(self, seed: np.random.SeedSequence, block: int) -> Iterator[Arrivals]:
        models = generator(seed, self.name, MODELS)
        if self.replay is not None:
            yield from self.replay.blocks(self.marks, models)
        elif isinstance(self.settings, kinds.Closed):
            yield from self._thoughts(self.settings.think, seed, models)
        else:
            assert not isinstance(self.settings, kinds.Trace)
            for time_ns in processes.times(self.settings, self.rate_rps, seed, self.name, block):
                yield self.marks.put_on(time_ns, models)

    def _thoughts(
        self, think: kinds.Think, seed: np.random.SeedSequence, models: np.random.Generator
    ) -> Iterator[Arrivals]:
        gaps, rng = gaps_of(think.dist, think.cv), generator(seed, self.name, GAPS)
        while True:
            # A time that no clock can hold ends the run, like a user who never comes back.
            time_ns = np.minimum(gaps(rng, BLOCK) * (think.mean_ms * 1e6), 2.0**61)
            yield self.marks.put_on(time_ns.astype(np.int64), models)

    def describe(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "name": self.name,
            "rate_rps": self.rate_rps,
            "gap_cv": self._gap_cv(),
            **self.settings.model_dump(mode="json", exclude={"path"}),
        }
        if self.replay is not None:
            found["trace"] = self.replay.describe()
        return found

    def _gap_cv(self) -> float | None:
        """Standard deviation over mean of the gaps, where it is known beforehand."""
        if isinstance(self.settings, kinds.Deterministic):
            return 0.0
        if isinstance(self.settings, kinds.Poisson):
            return 1.0
        if isinstance(self.settings, kinds.Gamma | kinds.Weibull):
            return self.settings.cv
        if self.replay is not None:
            recorded = self.replay.summary.rates.gap_cv
            return None if math.isnan(recorded) else recorded
        return None


@dataclass(frozen=True, eq=False)
class Workload:
    """The requests that reach a fleet, as a recipe: the same seed gives the same requests.

    ``models`` and ``clients`` are the names that ``Arrivals.model`` and ``Arrivals.client`` index.
    ``mean_rate_rps`` is ``None`` where it depends on the answers (closed loop) or on nothing (all
    requests at once). ``closed_loop`` says that chunks hold think times, see
    :class:`~profleet.simulate.records.ClosedLoop`.
    """

    models: tuple[str, ...]
    clients: tuple[str, ...]
    mean_rate_rps: float | None
    closed_loop: ClosedLoop | None
    _kind: str
    _sources: tuple[_Source, ...]

    @classmethod
    def build(
        cls,
        settings: kinds.WorkloadSettings,
        models: Sequence[str],
        capacity_rps: float | None = None,
    ) -> Workload:
        """Check a workload against the models of a fleet and what it can serve.

        Traces are read once, from end to end.

        Args:
            settings: the group ``workload``.
            models: names of the models that the fleet serves.
            capacity_rps: requests per second that the fleet can serve; needed for ``load``.

        Raises:
            ConfigError: no rate, a rate out of range, a model that no replica serves, or a load
                without a capacity.
            TraceError: a trace is missing or not as its format says.
        """
        if not models:
            raise ConfigError("Configuration: fleet: it serves no model.")
        if isinstance(settings, kinds.Closed):
            marks = _marks(settings, 0, models, "workload")
            only = _Source(ALONE, settings, None, marks)
            loop = ClosedLoop(users=settings.users)
            return cls(tuple(models), (ALONE,), None, loop, settings.kind, (only,))
        if isinstance(settings, kinds.Mixture):
            sources = _clients(settings, models, capacity_rps)
        else:
            rate = _rate(settings.rate, settings.load, capacity_rps, "workload")
            sources = (_source(ALONE, 0, settings, rate, models, "workload"),)
        rates = [source.rate_rps for source in sources]
        known = [rate for rate in rates if rate is not None]
        return cls(
            models=tuple(models),
            clients=tuple(source.name for source in sources),
            mean_rate_rps=math.fsum(known) if len(known) == len(rates) else None,
            closed_loop=None,
            _kind=settings.kind,
            _sources=sources,
        )

    @property
    def requests(self) -> int | None:
        """How many requests there are in all; ``None`` where they never end."""
        counts = [source.requests for source in self._sources]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def chunks(
        self, seed: np.random.SeedSequence, requests: int | None = None, size: int = BLOCK
    ) -> Iterator[Arrivals]:
        """Yield the requests in chunks of ``size``, in order of time.

        They depend on ``seed`` alone, not on ``size``. The stream ends after ``requests`` or with
        its trace, else never. Columns may share memory between chunks: do not write to them.
        """
        if self._kind != "mixture":
            blocks = self._sources[0].blocks(seed, BLOCK)
        else:
            blocks = merged([source.blocks(seed, CLIENT_BLOCK) for source in self._sources])
        return chunks(blocks, size, requests)

    def describe(self) -> dict[str, Any]:
        """Return the workload as plain values, for results: every client with rate and source."""
        return {
            "kind": self._kind,
            "models": list(self.models),
            "mean_rate_rps": self.mean_rate_rps,
            "users": None if self.closed_loop is None else self.closed_loop.users,
            "clients": [source.describe() for source in self._sources],
        }


def _clients(
    settings: kinds.Mixture, models: Sequence[str], capacity_rps: float | None
) -> tuple[_Source, ...]:
    total = _rate(settings.rate, settings.load, capacity_rps, "workload")
    weights = math.fsum(client.weight for client in settings.clients.values())
    sources = []
    for index, (name, client) in enumerate(settings.clients.items()):
        where = f"workload.clients.{name}.arrivals"
        own = client.arrivals
        if total is None:
            rate = _rate(own.rate, own.load, capacity_rps, where)
        else:
            rate = _in_range(total * client.weight / weights, where)
        sources.append(_source(name, index, own, rate, models, where))
    return tuple(sources)


def _source(
    name: str,
    index: int,
    settings: kinds.Single,
    rate: float | None,
    models: Sequence[str],
    where: str,
) -> _Source:
    marks = _marks(settings, index, models, where)
    if isinstance(settings, kinds.Trace):
        replay = Replay(settings, rate, models, where)
        return _Source(name, settings, replay.rate_rps, marks, replay)
    if rate is None and isinstance(settings, kinds.Piecewise):
        rate = _in_range(processes.own_rate(settings), where)
    if rate is None:
        raise ConfigError(
            f"Configuration: {where}: say how many requests come, with "
            "workload.rate=REQUESTS_PER_SECOND or workload.load=FRACTION_OF_CAPACITY."
        )
    if isinstance(settings, kinds.Mmpp):
        processes.states(settings, rate)
    return _Source(name, settings, rate, marks)


def _rate(
    rate: float | None, load: float | None, capacity_rps: float | None, where: str
) -> float | None:
    if rate is not None:
        return _in_range(rate, f"{where}.rate")
    if load is None:
        return None
    if capacity_rps is None or not 0 < capacity_rps < math.inf:
        raise ConfigError(
            f"Configuration: {where}.load: what this fleet can serve is not known, so a fraction "
            f"of it means nothing; give {where}.rate."
        )
    return _in_range(load * capacity_rps, f"{where}.load")


def _in_range(rate: float, where: str) -> float:
    if not LOWEST_RPS <= rate <= HIGHEST_RPS:
        raise ConfigError(
            f"Configuration: {where}: {rate:g} requests per second is outside {LOWEST_RPS:g} to "
            f"{HIGHEST_RPS:g}, which is what a clock of nanoseconds can tell apart."
        )
    return rate


def _marks(settings: kinds.Marks, index: int, models: Sequence[str], where: str) -> Marks:
    wanted = dict.fromkeys(models, 1.0) if settings.models is None else settings.models
    for name in wanted:
        if name not in models:
            raise ConfigError(
                f"Configuration: {where}.models: no replica serves {name!r}. "
                f"{did_you_mean(name, models)}"
            )
    deadline = settings.deadline_ms
    return Marks(
        client=index,
        weights=[wanted.get(name, 0.0) for name in models],
        priority=settings.priority,
        deadline_ns=None if deadline is None else _deadline_ns(deadline, where),
    )


def _deadline_ns(deadline_ms: float, where: str) -> int:
    nanoseconds = max(1, round(deadline_ms * 1e6))
    if nanoseconds > HORIZON_NS // 2:
        raise ConfigError(f"Configuration: {where}.deadline_ms: longer than 73 years.")
    return nanoseconds
