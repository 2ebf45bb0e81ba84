"""The stream of requests as the engine takes it: checked, and cut where counting begins and ends.

The engine asks for more as soon as the last request it was given has arrived. A chunk therefore
ends with the first request after the warm-up, and with the last of all: what is in the system then
can be counted without the engine looking at every event.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from profleet.simulate.engine import choose
from profleet.simulate.records import Arrivals


class Feed:
    """Chunks of requests, none of them empty.

    Args:
        chunks: of the workload.
        models: how many there are.
        requests: how many are taken; None: all.
        warmup: how many of them do not count.
        warmup_ns: until when they do not count.
        closed: whether times are those of thinking, in any order.
    """

    def __init__(
        self,
        chunks: Iterator[Arrivals],
        models: int,
        *,
        requests: int | None,
        warmup: int,
        warmup_ns: int,
        closed: bool,
    ) -> None:
        self._chunks, self._models, self._closed = chunks, models, closed
        self._left, self._warmup, self._warmup_ns = requests, warmup, warmup_ns
        self._rest: Arrivals | None = None
        self._last_ns = 0
        self.counts = warmup == 0 and warmup_ns == 0
        """Whether what was handed out last is after the warm-up."""

    def next(self) -> Arrivals | None:
        """Return the next chunk; None after the last one."""
        chunk = self._next() if self._left != 0 else None
        if chunk is None:
            return None
        count = len(chunk) if self._left is None else min(len(chunk), self._left)
        first = not self.counts
        self.counts = self._warmup == 0 and self._warmup_ns == 0
        if self.counts and first:
            count = 1
        elif self._warmup:
            count = min(count, self._warmup)
            self._warmup -= count
            if self._warmup == 0 and not self._closed:  # with those that come at the same time
                self._warmup_ns = int(chunk.time_ns[count - 1]) + 1
        elif self._warmup_ns and not self._closed:
            before = int(np.searchsorted(chunk.time_ns, self._warmup_ns))
            if before < count:
                self._warmup_ns = 0
                count = before
        if count < len(chunk):
            self._rest = part(chunk, count, len(chunk))
            chunk = part(chunk, 0, count)
        if self._left is not None:
            self._left -= count
        return chunk if count else self.next()

    def _next(self) -> Arrivals | None:
        if self._rest is not None:
            chunk, self._rest = self._rest, None
            return chunk
        for chunk in self._chunks:
            if len(chunk):
                choose.check_arrivals(chunk, self._models, self._last_ns, closed=self._closed)
                self._last_ns = int(chunk.time_ns[-1])
                return chunk
        return None


def nothing() -> Arrivals:
    """Return a chunk without requests."""
    wide, small = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32)
    return Arrivals(wide, small, small, small, wide, np.zeros(0))


def part(chunk: Arrivals, start: int, end: int) -> Arrivals:
    """Return some of the requests of a chunk."""
    return Arrivals(
        chunk.time_ns[start:end],
        chunk.model[start:end],
        chunk.client[start:end],
        chunk.priority[start:end],
        chunk.deadline_ns[start:end],
        chunk.work[start:end],
    )
