"""The system under test: requests bound in advance, executed in order of arrival.

Every request is executed on the thread that called ``run``, the one on which the session was
opened and prepared: some frameworks keep thread-local state.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from profleet_runner.frameworks import Request
from profleet_runner.loadgen import Query


class InlineService:
    """Executes a query inside the call that issues it: single stream, multi stream, offline.

    ``group`` samples are executed together, by one request of that batch size: the one that was
    bound for the first sample of the group. The last group of a query may be short; its request
    is executed at full size all the same.

    LoadGen cannot carry an exception. The first one is kept; what is left of the test is answered
    without being executed, and the exception is raised when the test is over.
    """

    def __init__(self, loadgen: Any, requests: Sequence[Request], group: int = 1) -> None:
        self._response = loadgen.QuerySampleResponse
        self._complete = loadgen.QuerySamplesComplete
        self._requests = requests
        self._group = group
        self._failure: BaseException | None = None

    def issue(self, samples: Sequence[Query]) -> None:
        """Execute and answer a query."""
        for first in range(0, len(samples), self._group):
            self._answer(samples[first : first + self._group])

    def run(self, test: Callable[[], None]) -> None:
        """Let the test take place on this thread."""
        with self._deferred_interrupt():
            test()
        self._raise_failure()

    def _answer(self, group: Sequence[Query]) -> None:
        if self._failure is None:
            try:
                self._requests[group[0].index].execute()
            except BaseException as error:  # noqa: BLE001 - kept, and raised after the test
                self._failure = error
        self._complete([self._response(sample.id, 0, 0) for sample in group])

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    @contextmanager
    def _deferred_interrupt(self) -> Iterator[None]:
        """Keep Ctrl-C until the test is over: raised between two queries it would end in C++."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def keep(*_: object) -> None:
            self._failure = self._failure or KeyboardInterrupt()

        previous = signal.signal(signal.SIGINT, keep)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)


class QueueService(InlineService):
    """One server and a first-in first-out queue: each sample waits its turn.

    ``issue`` only enqueues, so that LoadGen, on a thread of its own, keeps its schedule. The
    server blocks on the queue and does not poll.

    With ``bound_ns`` and ``most_over`` the test is given up (``given_up``) once more than
    ``most_over`` samples took longer than ``bound_ns`` since they were issued: it cannot meet a
    bound any more, and the queue of an overloaded server would take long to drain.
    """

    def __init__(
        self,
        loadgen: Any,
        requests: Sequence[Request],
        bound_ns: float = math.inf,
        most_over: float = math.inf,
    ) -> None:
        super().__init__(loadgen, requests)
        self._queue: SimpleQueue[tuple[Query, int] | None] = SimpleQueue()
        self._bound_ns = bound_ns
        self._most_over = most_over
        self.given_up = False

    def issue(self, samples: Sequence[Query]) -> None:
        """Enqueue a query."""
        now = time.perf_counter_ns()
        for sample in samples:
            self._queue.put((sample, now))

    def run(self, test: Callable[[], None]) -> None:
        """Let the test take place on a thread of its own, and serve on this one."""
        thread = threading.Thread(target=self._test, args=(test,), name="loadgen")
        with self._deferred_interrupt():
            thread.start()
            self._serve()
            thread.join()
        self._raise_failure()

    def _test(self, test: Callable[[], None]) -> None:
        try:
            test()
        except BaseException as error:  # noqa: BLE001 - kept, and raised by ``run``
            self._failure = self._failure or error
        finally:
            self._queue.put(None)

    def _serve(self) -> None:
        over = 0
        while (item := self._queue.get()) is not None:
            sample, issued = item
            if self.given_up:
                self._complete([self._response(sample.id, 0, 0)])
                continue
            self._answer([sample])
            over += time.perf_counter_ns() - issued > self._bound_ns
            self.given_up = over > self._most_over
