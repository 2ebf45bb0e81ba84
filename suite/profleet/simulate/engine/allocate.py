"""Make the engine's tables from a fleet and its policies, and let them grow."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from profleet.errors import ConfigError
from profleet.simulate import policies
from profleet.simulate.engine import features, histogram
from profleet.simulate.engine import layout as at
from profleet.simulate.engine.state import State, Tables, own
from profleet.simulate.records import (
    DROPS,
    NO_DEADLINE,
    SPANS,
    FleetArrays,
    Floats,
    Ints,
    ServiceClass,
)

FIRST_POOL: Final = 1024
FIRST_PER_REPLICA: Final = 8
FIRST_AT_MOST: Final = 65_536
SAMPLE_ROWS: Final = 1024
"""Even; between half of it and all of it are in use once the first are."""
FIRST_SAMPLE_STEP_NS: Final = 1000


def tables(fleet: FleetArrays, policy: policies.PolicySettings) -> Tables:
    """Turn a fleet and its policies into what the engine reads.

    Raises:
        ConfigError: a fleet without replicas, a model that no replica serves, or a batch size
            that a service class has no times for.
    """
    models = len(fleet.models)
    groups = len(fleet.groups)
    _check(fleet, policy)
    limit = np.array([_limit(s, policy.batching) for s in fleet.services], dtype=np.int64)
    largest = int(limit.max())
    points = [0 if s is None else s.quantiles.shape[1] for s in fleet.services]
    quantiles = np.zeros((len(points), largest, max(1, *points)), dtype=np.int64)
    mean = np.zeros((len(points), largest + 1))
    energy = np.full((len(points), largest + 1), at.NONE, dtype=np.int64)
    share = np.zeros(len(points))
    for cell, service in enumerate(fleet.services):
        if service is None:
            continue
        n = int(limit[cell])
        quantiles[cell, :n, : points[cell]] = service.quantiles[:n]
        mean[cell, 1 : n + 1] = service.mean_ns[:n]
        known = np.isfinite(service.energy_j[:n])
        energy[cell, 1 : n + 1][known] = np.rint(service.energy_j[:n][known] * 1e9)
        share[cell] = (service.mean_ns[:n] / np.arange(1, n + 1)).min()
    serves = np.array([s is not None for s in fleet.services]).reshape(groups, models)
    size = np.array([1 << math.ceil(math.log2(n)) for n in np.diff(fleet.first)], dtype=np.int64)
    starts = np.cumsum([0, *np.repeat(2 * size, models + 1)])[:-1]
    return Tables(
        first=own(fleet.first, np.int64),
        group_of=own(fleet.group_of, np.int32),
        slowdown=own(fleet.slowdown, np.float64),
        serving=np.stack([np.argsort(~serves[:, m], kind="stable") for m in range(models)]).astype(
            np.int32
        ),
        serving_count=serves.sum(axis=0).astype(np.int32),
        serves=serves.astype(np.int32),
        quantiles=quantiles,
        points=np.array(points, dtype=np.int32),
        mean_ns=mean,
        expected_ns=np.rint(mean).astype(np.int64),
        share_ns=share,
        limit=limit,
        load_ns=np.array([0 if s is None else s.load_ns for s in fleet.services], dtype=np.int64),
        energy_nj=energy,
        send_ns=_transmission(fleet, [0 if s is None else s.input_bytes for s in fleet.services]),
        answer_ns=_transmission(
            fleet, [0 if s is None else s.output_bytes for s in fleet.services]
        ),
        latency_ns=own(fleet.link_latency_ns, np.int64),
        host_ns=own(fleet.host_ns, np.int64),
        weight=own(fleet.weight, np.float64),
        tree_at=starts.reshape(groups, models + 1).astype(np.int64),
        tree_size=size,
        parameter=_parameters(policy),
    )


def _check(fleet: FleetArrays, policy: policies.PolicySettings) -> None:
    if not fleet.groups or fleet.replicas == 0 or np.diff(fleet.first).min() < 1:
        raise ConfigError("Configuration: fleet.groups: every group needs at least one replica.")
    if fleet.replicas > at.MAX_INDEX:
        raise ConfigError(
            f"Configuration: fleet.groups: {fleet.replicas} replicas are more than the "
            f"{at.MAX_INDEX} that can be simulated at once."
        )
    for m, model in enumerate(fleet.models):
        serving = [service is not None for service in fleet.services[m :: len(fleet.models)]]
        if not any(serving):
            raise ConfigError(f"Configuration: fleet: no replica serves model '{model}'.")
        if policy.router.kind == "weighted" and not fleet.weight[serving].sum() > 0:
            raise ConfigError(
                f"Configuration: fleet.groups: every group that serves model '{model}' has weight "
                "0; router=weighted needs one above it."
            )


def _limit(service: ServiceClass | None, batching: policies.BatchingSettings) -> int:
    """The largest batch under a policy."""
    if service is None or isinstance(batching, policies.NoBatching):
        return 1
    if batching.size is None:
        return service.max_batch
    if batching.size > service.max_batch:
        raise ConfigError(
            f"Configuration: batching.size: {service.name} has service times for batches of up to "
            f"{service.max_batch}, not {batching.size}."
        )
    return batching.size


def _transmission(fleet: FleetArrays, size: list[int]) -> Ints:
    """How long a link is busy with a message of each cell."""
    per_byte = 1e9 / np.repeat(fleet.link_bytes_per_s, len(fleet.models))
    return np.rint(np.array(size) * per_byte).astype(np.int64)


def _parameters(policy: policies.PolicySettings) -> Ints:
    value = np.zeros(at.PARAMETERS, dtype=np.int64)
    queue, router, batching = policy.queue, policy.router, policy.batching
    how = {"drop": at.DROP, "retry": at.RETRY_LATER, "requeue": at.REQUEUE}
    value[at.QUEUE_LIMIT] = at.FOREVER if queue.limit is None else queue.limit
    value[at.ON_FULL] = how[queue.on_full]
    value[at.ON_FAILURE] = how[queue.on_failure]
    value[at.MAX_RETRIES] = queue.max_retries
    value[at.BACKOFF_NS] = round(queue.backoff_ms * 1e6)
    if isinstance(router, policies.PowerOfD):
        value[at.CHOICES] = router.d
    if isinstance(router, policies.ModelAffinity):
        value[at.SPILL] = router.spill
    if isinstance(batching, policies.DynamicBatching):
        value[at.MAX_DELAY_NS] = round(batching.max_delay_ms * 1e6)
    if isinstance(batching, policies.AdaptiveBatching):
        value[at.TARGET_NS] = round(batching.target_ms * 1e6)
        value[at.ADD] = batching.add
    if isinstance(batching, policies.DeadlineBatching):
        value[at.HOLD] = int(batching.hold)
    return value


def state(
    fleet: FleetArrays, f: Tables, wanted: dict[str, int | bool], table_rows: int, draws: int
) -> State:
    """Allocate the state at time 0: replicas are up and idle, no request is there."""
    replicas, groups, models = fleet.replicas, len(fleet.groups), len(fleet.models)
    cells = groups * models
    central = bool(wanted["CENTRAL"])
    queues = models if central else replicas * (models if wanted["MODELS"] else 1)
    small = np.zeros((replicas, at.REPLICA_SMALL), dtype=np.int32)
    small[:, at.UP] = 1
    small[:, at.LOADED] = fleet.loaded
    small[:, at.LIMIT] = 1
    wide = np.zeros((replicas, at.REPLICA_WIDE), dtype=np.int64)
    wide[:, at.ENDS] = at.NONE
    place = (np.arange(replicas) - f.first[fleet.group_of]).astype(np.int32)
    counts = np.diff(f.first).astype(np.int32)
    # The last of the stack goes first, so that replicas are used from the left.
    stack = f.first[fleet.group_of] + counts[fleet.group_of] - 1 - place
    made = State(
        scalar=np.zeros(at.SCALARS, dtype=np.int64),
        when=np.full(replicas + FIRST_POOL, at.FOREVER, dtype=np.int64),
        what=np.zeros(replicas + FIRST_POOL, dtype=np.int64),
        replicas=small,
        wide=wide,
        sums=np.zeros((replicas, at.REPLICA_SUMS), dtype=np.int64),
        queues=np.full((queues, at.QUEUE_COLUMNS), 0, dtype=np.int32),
        timers=np.full((models if central else replicas, 2), at.NONE, dtype=np.int64),
        small=np.zeros((at.REQUEST_SMALL, 0), dtype=np.int32),
        request=np.zeros((at.REQUEST_WIDE, 0), dtype=np.int64),
        real=np.zeros((at.REQUEST_REAL, 0)),
        trail=np.zeros((at.TRAIL_COLUMNS if wanted["WIRES"] else 0, 0), dtype=np.int64),
        tree=_trees(fleet, f, wanted),
        idle=stack.astype(np.int32),
        idle_at=(counts[fleet.group_of] - 1 - place).astype(np.int32),
        idle_count=counts.copy(),
        up=np.arange(replicas, dtype=np.int32),
        up_at=place.copy(),
        up_count=counts.copy(),
        turn=np.zeros(models, dtype=np.int64),
        link_free=np.zeros((groups, 2), dtype=np.int64),
        injected=np.zeros(models, dtype=np.int64),
        counted=np.zeros((cells, at.COUNTED_COLUMNS), dtype=np.int64),
        dropped=np.zeros((cells, len(DROPS)), dtype=np.int64),
        offered=np.zeros(groups, dtype=np.int64),
        histogram=np.zeros((cells, len(SPANS), histogram.BUCKETS), dtype=np.int64),
        total=np.zeros((cells, len(SPANS)), dtype=np.int64),
        maximum=np.zeros((cells, len(SPANS)), dtype=np.int64),
        batches=np.zeros((groups, f.expected_ns.shape[1]), dtype=np.int64),
        levels=np.zeros((groups, 2), dtype=np.int64),
        sample_ns=np.zeros(SAMPLE_ROWS, dtype=np.int64),
        sampled=np.zeros((SAMPLE_ROWS, groups, 2), dtype=np.int32),
        table=np.zeros((table_rows, len(at.TABLE_COLUMNS)), dtype=np.int64),
        timeline=np.zeros((draws, len(at.TIMELINE_COLUMNS)), dtype=np.int64),
    )
    made.scalar[at.FREE] = at.NONE
    made.scalar[at.SAMPLE_STEP] = FIRST_SAMPLE_STEP_NS
    return grow_pool(made, FIRST_POOL + min(FIRST_PER_REPLICA * replicas, FIRST_AT_MOST))


def _trees(fleet: FleetArrays, f: Tables, wanted: dict[str, int | bool]) -> Ints:
    """Trees with every replica idle; those that stand for no replica may not be chosen."""
    absent = int(wanted["ABSENT"])
    narrow = absent < 2**31
    tree = np.full(int((2 * f.tree_size).sum() * (len(fleet.models) + 1)), absent, dtype=np.int64)
    if wanted["ROUTER"] in USING_TREES:
        for g in range(len(fleet.groups)):
            size = int(f.tree_size[g])
            members = slice(int(f.first[g]), int(f.first[g + 1]))
            slow = fleet.slowdown[members]
            idle = (slow * 1024.0).astype(np.int64) if wanted["SPEEDS"] else np.zeros(len(slow))
            by_speed = wanted["ROUTER"] in BY_COMPLETION
            _fill(tree, int(f.tree_at[g, 0]), size, idle if by_speed else np.zeros(len(slow)))
            if wanted["ROUTER"] == features.MODEL_AFFINITY:
                for m in range(len(fleet.models)):
                    here = np.where(fleet.loaded[members] == m, 0, absent)
                    _fill(tree, int(f.tree_at[g, m + 1]), size, here)
    return tree.astype(np.int32) if narrow else tree


USING_TREES: Final = (
    features.JSQ,
    features.LEAST_WORK,
    features.SHORTEST_EXPECTED,
    features.SLO_AWARE,
    features.MODEL_AFFINITY,
)
BY_COMPLETION: Final = (features.SHORTEST_EXPECTED, features.SLO_AWARE)


def _fill(tree: Ints, start: int, size: int, leaves: Floats | Ints) -> None:
    tree[start + size : start + size + len(leaves)] = leaves
    while size > 1:
        size //= 2
        pairs = tree[start + 2 * size : start + 4 * size]
        tree[start + size : start + 2 * size] = np.minimum(pairs[::2], pairs[1::2])


def grow_pool(s: State, slots: int) -> State:
    """Return the state with room for ``slots`` more requests.

    Raises:
        ConfigError: more requests are in the system than can be told apart.
    """
    before = s.small.shape[1]
    total = before + slots
    if total > at.MAX_INDEX:
        raise ConfigError(
            f"The simulation: more than {before} requests are in the system at once, so the fleet "
            "is far overloaded; lower workload.rate, enlarge the fleet or set queue.limit."
        )
    small = _wider(s.small, slots, 0)
    small[at.NEXT, before:] = np.arange(before + 1, total + 1)
    small[at.NEXT, -1] = s.scalar[at.FREE]
    request = _wider(s.request, slots, 0)
    request[at.ARRIVED, before:] = at.NONE
    request[at.DEADLINE, before:] = NO_DEADLINE
    real = _wider(s.real, slots, 1.0)
    trail = _wider(s.trail, slots, at.NONE) if len(s.trail) else s.trail
    s.scalar[at.FREE] = before
    return s._replace(small=small, request=request, real=real, trail=trail)


def grow_calendar(s: State) -> State:
    """Return the state with a calendar for twice as many events, at least one per request."""
    more = len(s.when) + s.small.shape[1]
    return s._replace(when=_longer(s.when, more, at.FOREVER), what=_longer(s.what, more, 0))


def grow_rows(s: State) -> State:
    """Return the state with room for the rows of one event in the tables that are written out."""
    needed = int(s.scalar[at.IN_SYSTEM]) + 2 - len(s.table)
    if len(s.table) == 0 or needed <= 0:
        return s
    return s._replace(table=_longer(s.table, needed + len(s.table), 0))


def _wider(array: np.ndarray, more: int, value: float) -> np.ndarray:
    made = np.full((array.shape[0], array.shape[1] + more), value, dtype=array.dtype)
    made[:, : array.shape[1]] = array
    return made


def _longer(array: np.ndarray, more: int, value: float) -> np.ndarray:
    tail = np.full((more, *array.shape[1:]), value, dtype=array.dtype)
    return np.concatenate([array, tail])
