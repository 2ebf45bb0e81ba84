"""What the engine refuses, and what it must never let pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from profleet.errors import ConfigError
from profleet.simulate.engine import invariants
from profleet.simulate.engine import layout as at
from profleet.simulate.engine.state import State
from profleet.simulate.random import SUBSYSTEMS, Streams
from profleet.simulate.records import FleetArrays
from profleet.simulate.run import Period
from simulate.engine.small import arrivals, fleet, policy, service, simulate


@pytest.mark.parametrize(
    ("of", "match"),
    [
        (lambda: fleet([0], [service()]), "at least one replica"),
        (lambda: fleet([1], [None]), "no replica serves model 'm0'"),
    ],
)
def test_fleets_that_cannot_serve(of: Callable[[], FleetArrays], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        simulate(of(), arrivals([0]), policy())


def test_weights_that_add_up_to_nothing() -> None:
    of = fleet([1, 1], [service(), service()], weight=np.zeros(2))
    simulate(of, arrivals([0]), policy("jsq"))
    with pytest.raises(ConfigError, match="weight 0; router=weighted"):
        simulate(of, arrivals([0]), policy("weighted"))


def test_batches_without_a_service_time() -> None:
    with pytest.raises(ConfigError, match=r"batching.size: .* up to 2, not 3"):
        simulate(
            fleet([1], [service([1, 2])]),
            arrivals([0]),
            policy("jsq", {"kind": "fixed", "size": 3}),
        )


@pytest.mark.parametrize(
    ("router", "batching", "queue", "field"),
    [
        ({"kind": "power_of_d", "d": 0}, "none", {}, r"router\.d"),
        ({"kind": "jsqq"}, "none", {}, "router"),
        ("jsq", {"kind": "dynamic", "max_delay_ms": -1.0}, {}, "max_delay_ms"),
        ("jsq", {"kind": "dynamic", "max_delay_ms": float("nan")}, {}, "max_delay_ms"),
        ("jsq", {"kind": "adaptive", "target_ms": 0.0}, {}, "target_ms"),
        ("jsq", {"kind": "fixed", "size": 0}, {}, "size"),
        ("jsq", "none", {"limit": -1}, "queue.limit"),
        ("jsq", "none", {"backoff_ms": float("inf")}, "queue.backoff_ms"),
        ("jsq", "none", {"order": "lifo"}, "queue.order"),
        ("jsq", "none", {"color": 1}, "unknown key"),
    ],
)
def test_settings_are_refused_by_name(
    router: object, batching: object, queue: dict[str, object], field: str
) -> None:
    with pytest.raises(ConfigError, match=field):
        policy(router, batching, **queue)


def test_times_that_add_up_to_ages() -> None:
    century = 100 * 365 * 24 * 3600 * 10**9
    with pytest.raises(ConfigError, match="far overloaded"):
        simulate(
            fleet([1], [service([1, 1, 1, 1])]),
            arrivals([0, 0, century]),
            policy("jsq", {"kind": "fixed"}),
        )


@pytest.mark.parametrize(
    ("number", "corrupt"),
    [
        ("INV-1", lambda s: s.injected.__iadd__(1)),
        ("INV-2", lambda s: s.total.__setitem__((0, at.QUEUE), s.total[0, at.QUEUE] + 1)),
        ("INV-2, 3, 4, 7", lambda s: s.scalar.__setitem__(at.SIGNS, -1)),
        ("INV-4 in the system", lambda s: s.scalar.__setitem__(at.IN_SYSTEM, 5)),
        ("INV-4 queues", lambda s: s.queues.__setitem__((0, at.LENGTH), 3)),
        ("INV-4 outstanding", lambda s: s.replicas.__setitem__((0, at.OUTSTANDING), 1)),
        ("INV-5", lambda s: s.wide.__setitem__((0, at.BUSY), 10**9)),
        ("INV-6", lambda s: s.scalar.__setitem__(at.AREA, s.scalar[at.AREA] + 1)),
        ("INV-7", lambda s: s.batches.__setitem__((0, 2), 1)),
    ],
)
def test_invariants_see_what_is_broken(
    monkeypatch: pytest.MonkeyPatch, number: str, corrupt: Callable[[State], object]
) -> None:
    from profleet.simulate import run

    def broken(*args: object) -> Callable[..., int]:
        def advance(s: State, f: object, c: object) -> int:
            status = engine(*args)(s, f, c)
            if status == at.DONE:
                corrupt(s)
            return status

        return advance

    engine = run._engine
    monkeypatch.setattr(run, "_engine", broken)
    with pytest.raises(invariants.InvariantError, match=number):
        simulate(
            fleet([1, 1], [service([5]), service([5, 6, 7])]),
            arrivals([0, 1, 2]),
            policy("jsq", "dynamic"),
            Period(duration_ns=50),
        )


def test_streams_are_apart() -> None:
    draws = {
        (seed, replication, subsystem): Streams(seed, replication).generator(subsystem).random(4)
        for seed in (1, 2)
        for replication in (0, 1)
        for subsystem in SUBSYSTEMS
    }
    assert len({tuple(draw) for draw in draws.values()}) == len(draws)
    again = Streams(2, 1).generator("routing").random(4)
    assert (again == draws[2, 1, "routing"]).all()


def test_the_same_seed_gives_the_same_outcome() -> None:
    of = fleet([3], [service([40.0])], draw=lambda r, n: r.standard_exponential(n))
    stream = arrivals(list(range(0, 300, 11)))
    first, second = (simulate(of, stream, policy("random"), seed=7) for _ in range(2))
    other = simulate(of, stream, policy("random"), seed=8)
    assert (first.table == second.table).all()
    assert not np.array_equal(first.table, other.table)
