"""Streams of requests: what a request carries, several clients as one stream, chunks of any size.

Every source draws in blocks of a fixed size and only the last step cuts them into chunks, so the
requests are the same whatever the chunk size, and memory does not grow with their number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from profleet.simulate.records import NO_DEADLINE, Arrivals, Floats, Ints, Small
from profleet.simulate.workload.rates import HORIZON_NS

BLOCK = 65_536
"""Requests drawn at a time, and the usual size of a chunk."""

CLIENT_BLOCK = 2048
"""Requests drawn at a time for each of several clients, of which there may be a thousand."""

GAPS, STATES, MODELS = range(3)
"""Purposes of random streams: each has its own, so that one can change alone."""


def generator(seed: np.random.SeedSequence, client: str, purpose: int) -> np.random.Generator:
    """Return the random stream of a client and purpose.

    It depends on the client's name and not on its place: adding or removing a client leaves the
    requests of the others as they are.
    """
    name = int.from_bytes(hashlib.sha256(client.encode()).digest()[:8], "big")
    key = (*seed.spawn_key, name, purpose)
    return np.random.Generator(
        np.random.PCG64DXSM(np.random.SeedSequence(seed.entropy, spawn_key=key))
    )


T = TypeVar("T", bound=np.generic)


class _Constant(Generic[T]):
    """A column that holds one value: one array for all blocks, which share its memory."""

    def __init__(self, value: float, dtype: type[T]) -> None:
        self._column: NDArray[T] = np.full(1, value, dtype=dtype)

    def first(self, count: int) -> NDArray[T]:
        if count > len(self._column):
            self._column = np.full(count, self._column[0])
        return self._column[:count]


_constant = lru_cache(maxsize=1024)(_Constant)


class Marks:
    """What the requests of one client carry besides their time.

    ``weights[m]`` is the share of model ``m`` (they need not sum to 1).
    """

    def __init__(
        self, client: int, weights: Sequence[float], priority: int, deadline_ns: int | None
    ) -> None:
        total = np.cumsum(np.asarray(weights, dtype=np.float64))
        self._share = total / total[-1]
        chosen = np.flatnonzero(weights)
        self._only = _constant(int(chosen[0]), np.int32) if len(chosen) == 1 else None
        self._client = _constant(client, np.int32)
        self._priority = _constant(priority, np.int32)
        self._deadline = _constant(NO_DEADLINE if deadline_ns is None else deadline_ns, np.int64)
        self._work = _constant(1.0, np.float64)

    def put_on(
        self,
        time_ns: Ints,
        rng: np.random.Generator,
        model: Small | None = None,
        work: Floats | None = None,
    ) -> Arrivals:
        """Return the requests at ``time_ns``, with models from ``rng`` unless they are given."""
        count = len(time_ns)
        return Arrivals(
            time_ns=time_ns,
            model=self._models(rng, count) if model is None else model,
            client=self._client.first(count),
            priority=self._priority.first(count),
            deadline_ns=self._deadline.first(count),
            work=self._work.first(count) if work is None else work,
        )

    def _models(self, rng: np.random.Generator, count: int) -> Small:
        if self._only is not None:
            return self._only.first(count)
        return np.searchsorted(self._share, rng.random(count), side="right").astype(np.int32)


_NOTHING = Arrivals(
    *(np.zeros(0, dtype) for dtype in (np.int64, np.int32, np.int32, np.int32, np.int64, float))
)


def merged(sources: Sequence[Iterator[Arrivals]]) -> Iterator[Arrivals]:
    """Yield the requests of all sources in order of time; at equal times the first source leads."""
    ahead: dict[int, Arrivals] = {}
    unfinished = dict(enumerate(sources))
    while True:
        for index, source in list(unfinished.items()):
            # Well ahead, so that every round has much to merge for each source.
            while len(held := ahead.get(index, _NOTHING)) < CLIENT_BLOCK // 2:
                block = next(source, None)
                if block is None:
                    del unfinished[index]
                    break
                ahead[index] = joint([held, block]) if len(held) else block
        if not ahead:
            return
        # What comes after the last known time of an unfinished source is not known yet.
        known = min((int(ahead[index].time_ns[-1]) for index in unfinished), default=HORIZON_NS)
        ready = []
        for index, block in sorted(ahead.items()):
            count = int(np.searchsorted(block.time_ns, known, side="right"))
            ready.append(part(block, 0, count))
            ahead[index] = part(block, count, len(block))
        ahead = {index: block for index, block in ahead.items() if len(block)}
        joined = joint(ready)
        order = np.argsort(joined.time_ns, kind="stable")
        yield Arrivals(*(getattr(joined, field.name)[order] for field in fields(Arrivals)))


def part(block: Arrivals, start: int, end: int) -> Arrivals:
    """Return rows ``start`` to ``end`` of a block, without copying."""
    return Arrivals(*(getattr(block, field.name)[start:end] for field in fields(Arrivals)))


def joint(blocks: Sequence[Arrivals]) -> Arrivals:
    """Return several blocks as one."""
    if len(blocks) == 1:
        return blocks[0]
    return Arrivals(
        *(
            np.concatenate([getattr(block, field.name) for block in blocks])
            for field in fields(Arrivals)
        )
    )


def chunks(
    blocks: Iterator[Arrivals], size: int = BLOCK, requests: int | None = None
) -> Iterator[Arrivals]:
    """Yield the stream in chunks of ``size`` (the last may be shorter), at most ``requests``."""
    held: list[Arrivals] = []
    count = 0
    for block in blocks if requests is None else _first(blocks, requests):
        start = 0
        while count + len(block) - start >= size:
            end = start + size - count
            yield joint([*held, part(block, start, end)])
            held, count, start = [], 0, end
        if start < len(block):
            held.append(part(block, start, len(block)))
            count += len(block) - start
    if held:
        yield joint(held)


def _first(blocks: Iterator[Arrivals], requests: int) -> Iterator[Arrivals]:
    left = requests
    while left:
        block = next(blocks, None)
        if block is None:
            return
        yield part(block, 0, min(left, len(block)))
        left -= min(left, len(block))
