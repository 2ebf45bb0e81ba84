"""A slow, obvious simulator with the engine's rules, to compare the engine with.

Objects, lists, scans over everything; one list of events that is searched for the least. Nothing
here is shared with the engine except the records that go in and the rows that come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from profleet.simulate import policies
from profleet.simulate.records import Arrivals, FleetArrays

REPAIR, COMPLETION, RETURN, DELIVERY, ARRIVAL, RETRY, TIMER, FAILURE = range(8)
DROPS = {"queue_full": 0, "deadline": 1, "failure": 2, "retries": 3}
MASK = 2**31 - 1
NEVER = 2**61


@dataclass(eq=False)
class Request:
    serial: int
    model: int
    client: int
    priority: int
    deadline: int
    work: float
    draw: float
    bits: int
    arrived: int = -1
    ready: int = -1
    start: int = -1
    end: int = -1
    size: int = 0
    tries: int = 0
    replica: Any = None
    rank: int = 0


@dataclass(eq=False)
class Replica:
    number: int
    group: int
    queues: dict[int, list[Request]] = field(default_factory=dict)
    batch: list[Request] = field(default_factory=list)
    up: bool = True
    loaded: int = -1
    outstanding: int = 0
    limit: int = 1
    started: int = 0
    ends: int = 0
    run: int = 0
    timer: tuple[int, int] | None = None
    sent: list[Request] = field(default_factory=list)
    idle_mark: int | None = 0
    busy_mark: int | None = None


class Naive:
    """Simulate; ``rows`` are those of the per-request table, in the order of leaving."""

    def __init__(
        self, fleet: FleetArrays, policy: policies.PolicySettings, horizon: int = NEVER
    ) -> None:
        self.fleet, self.policy, self.horizon = fleet, policy, horizon
        self.models = len(fleet.models)
        self.replicas = [Replica(r, int(g)) for r, g in enumerate(fleet.group_of)]
        for replica in self.replicas:
            replica.loaded = int(fleet.loaded[replica.number])
            replica.queues = {m: [] for m in range(self.models)}
        self.central = policy.router.kind == "central_queue"
        self.front: dict[int, list[Request]] = {m: [] for m in range(self.models)}
        self.front_timer: dict[int, tuple[int, int] | None] = dict.fromkeys(range(self.models))
        self.stacks = {
            g: [r for r in reversed(self.replicas) if r.group == g]
            for g in range(len(fleet.groups))
        }
        self.up = {g: [r for r in self.replicas if r.group == g] for g in range(len(fleet.groups))}
        self.turn = [0] * self.models
        self.link = {g: [0, 0] for g in range(len(fleet.groups))}
        self.events: list[tuple[int, int, int, Any]] = []
        self.sequence = 0
        self.now = 0
        self.rows: list[tuple[int, ...]] = []
        self.in_system = 0
        for replica in self.replicas:
            self.rank(replica)

    # What things take.

    def service(self, replica: Replica, model: int) -> Any:
        return self.fleet.services[replica.group * self.models + model]

    def limit(self, group: int, model: int) -> int:
        service = self.fleet.services[group * self.models + model]
        if service is None or self.policy.batching.kind == "none":
            return 1
        return self.policy.batching.size or service.max_batch

    def expected(self, group: int, model: int, size: int) -> int:
        service = self.fleet.services[group * self.models + model]
        assert service is not None
        return round(float(service.mean_ns[size - 1]))

    def slow(self, replica: Replica) -> float:
        return float(self.fleet.slowdown[replica.number])

    def serving(self, model: int) -> list[int]:
        return [
            g
            for g in range(len(self.fleet.groups))
            if self.fleet.services[g * self.models + model] is not None
        ]

    # The loop.

    def schedule(self, time: int, kind: int, what: Any) -> int:
        self.events.append((time, kind, self.sequence, what))
        self.sequence += 1
        return self.sequence - 1

    def execute(
        self,
        arrivals: Sequence[Request],
        times: Sequence[int],
        users: int = 0,
    ) -> list[tuple[int, ...]]:
        self.stream = list(zip(times, arrivals, strict=True))
        self.users = users
        self.closed = users > 0
        outages = list(
            zip(
                self.fleet.outage_ns.tolist(),
                self.fleet.outage_replica.tolist(),
                self.fleet.outage_up.tolist(),
                strict=True,
            )
        )
        outage_set = False
        while True:
            while self.closed and self.users and self.stream:
                think, request = self.stream.pop(0)
                self.schedule(self.now + think, ARRIVAL, request)
                self.users -= 1
            if outages and not outage_set:
                time, number, up = outages.pop(0)
                self.schedule(time, REPAIR if up else FAILURE, number)
                outage_set = True
            live = [e for e in self.events if e[1] not in {REPAIR, FAILURE}]
            down = any(not r.up for r in self.replicas)
            goes_on = outage_set and (self.horizon < NEVER or (self.central and down))
            if (self.closed or not self.stream) and not live and not goes_on:
                return self.rows
            event = min(self.events, key=lambda e: e[:3]) if self.events else None
            if not self.closed and self.stream:
                time, request = self.stream[0]
                if event is None or (time, ARRIVAL) < event[:2]:
                    if time > self.horizon:
                        return self.rows
                    self.stream.pop(0)
                    self.now = time
                    self.arrive(request)
                    continue
            if event is None or event[0] > self.horizon:
                return self.rows
            self.events.remove(event)
            self.now, kind, sequence, what = event
            if kind in {REPAIR, FAILURE}:
                outage_set = False
            self.handle(kind, sequence, what)

    def handle(self, kind: int, sequence: int, what: Any) -> None:
        if kind == COMPLETION and what[0].run == what[1]:
            self.complete(what[0])
        elif kind == ARRIVAL:
            self.arrive(what)
        elif kind == DELIVERY:
            self.deliver(what, what.replica)
        elif kind == RETURN:
            if not self.central:
                what.replica.outstanding -= 1
                self.rank(what.replica)
            self.leave(what)
        elif kind == RETRY:
            self.dispatch(what)
        elif kind == TIMER:
            self.wake(what, sequence)
        elif kind == FAILURE:
            self.fail(self.replicas[what])
        elif kind == REPAIR:
            self.repair(self.replicas[what])

    def wake(self, what: Any, sequence: int) -> None:
        if isinstance(what, Replica):
            if what.timer and what.timer[1] == sequence:
                what.timer = None
                if not what.batch:
                    self.consider(what)
            return
        timer = self.front_timer[what]
        if timer and timer[1] == sequence:
            self.front_timer[what] = None
            replica = self.idle(what)
            if replica:
                self.consider(replica)

    # Requests.

    def arrive(self, request: Request) -> None:
        request.arrived = self.now
        if request.deadline < NEVER:
            request.deadline += self.now
        self.in_system += 1
        self.dispatch(request)

    def dispatch(self, request: Request) -> None:
        if self.central:
            self.wait_centrally(request)
            return
        replica = self.route(request)
        if replica is None:
            self.later(request, "failure", "retry")
            return
        if replica == "refused":
            self.drop(request, "deadline")
            return
        replica.outstanding += 1
        replica.sent.append(request)
        self.rank(replica)
        request.replica = replica
        if self.wires():
            self.schedule(self.wire(replica.group, request, 0), DELIVERY, request)
        else:
            self.deliver(request, replica)

    def wires(self) -> bool:
        f = self.fleet
        return bool(
            f.link_latency_ns.any()
            or f.host_ns.any()
            or (
                (f.link_bytes_per_s < 1e18).any()
                and any(s and (s.input_bytes or s.output_bytes) for s in f.services)
            )
        )

    def wire(self, g: int, request: Request, way: int) -> int:
        service = self.fleet.services[g * self.models + request.model]
        assert service is not None
        size = service.output_bytes if way else service.input_bytes
        start = self.now if way else self.now + int(self.fleet.host_ns[g])
        free = max(start, self.link[g][way])
        free += round(float(size * (1e9 / self.fleet.link_bytes_per_s[g])))
        self.link[g][way] = free
        return free + int(self.fleet.link_latency_ns[g])

    def deliver(self, request: Request, replica: Replica) -> None:
        queue = replica.queues[request.model]
        if not replica.up:
            self.recall(request, replica)
            self.later(request, "failure", self.policy.queue.on_failure)
            return
        limit = self.policy.queue.limit
        full = limit is not None and len(queue) >= limit
        if full and (replica.batch or len(queue) >= self.limit(replica.group, request.model)):
            self.recall(request, replica)
            self.later(request, "queue_full", self.policy.queue.on_full)
            return
        request.ready = self.now
        self.join(queue, request, replica.group)
        if not replica.batch:
            self.consider(replica)

    def recall(self, request: Request, replica: Replica) -> None:
        replica.outstanding -= 1
        replica.sent.remove(request)
        self.rank(replica)

    def join(self, queue: list[Request], request: Request, group: int) -> None:
        order = self.policy.queue.order
        queue.append(request)
        if order == "fifo":
            return
        request.rank = self.sequence
        self.sequence += 1
        if order == "priority":
            queue.sort(key=lambda q: (q.priority, q.rank))
        elif order == "edf":
            queue.sort(key=lambda q: (q.deadline, q.rank))
        else:
            queue.sort(key=lambda q: (int(self.expected(group, q.model, 1) * q.work), q.rank))

    def wait_centrally(self, request: Request) -> None:
        queue = self.front[request.model]
        near = self.serving(request.model)[0]
        idle = self.idle(request.model)
        limit = self.policy.queue.limit
        full = limit is not None and len(queue) >= limit
        if full and (idle is None or len(queue) >= self.limit(near, request.model)):
            self.later(request, "queue_full", self.policy.queue.on_full)
            return
        request.ready = self.now
        self.join(queue, request, near)
        if idle:
            self.consider(idle)

    def idle(self, model: int) -> Replica | None:
        for g in self.serving(model):
            if self.stacks[g]:
                return self.stacks[g][-1]
        return None

    def later(self, request: Request, reason: str, how: str) -> None:
        queue = self.policy.queue
        if how == "requeue":
            self.schedule(self.now, RETRY, request)
        elif how == "drop" or queue.max_retries == 0:
            self.drop(request, reason)
        elif request.tries >= queue.max_retries:
            self.drop(request, "retries")
        else:
            request.tries += 1
            delay = round(queue.backoff_ms * 1e6) * 2 ** min(request.tries - 1, 10)
            self.schedule(self.now + delay, RETRY, request)

    def drop(self, request: Request, reason: str) -> None:
        self.leave(request, DROPS[reason])

    def leave(self, request: Request, reason: int = -1) -> None:
        self.in_system -= 1
        done = reason < 0
        replica = request.replica if done else None
        self.rows.append(
            (
                request.serial,
                request.model,
                request.client,
                replica.group if replica else -1,
                replica.number if replica else -1,
                request.arrived,
                request.ready if done else -1,
                request.start if done else -1,
                request.end if done else -1,
                self.now,
                request.size if done else 0,
                request.tries,
                reason,
            )
        )
        if self.closed:
            self.users += 1

    # Replicas.

    def consider(self, replica: Replica) -> None:
        choice, wake = None, None
        for model in range(self.models):
            queue = self.front[model] if self.central else replica.queues[model]
            if not queue or self.service(replica, model) is None:
                continue
            answer = self.decide(replica, model, queue)
            if answer > 0:
                if choice is None or queue[0].ready < choice[0]:
                    choice = (queue[0].ready, model, answer, queue)
            elif answer < 0 and self.central:
                self.front_timer[model] = self.arm(self.front_timer[model], -answer, model)
            elif answer < 0:
                wake = -answer if wake is None else min(wake, -answer)
        if choice:
            _, model, size, queue = choice
            batch = queue[:size]
            del queue[:size]
            self.start(replica, model, batch)
        elif wake is not None:
            replica.timer = self.arm(replica.timer, wake, replica)

    def arm(self, timer: tuple[int, int] | None, wait: int, what: Any) -> tuple[int, int]:
        if timer is None or timer[0] > self.now + wait:
            return (self.now + wait, self.schedule(self.now + wait, TIMER, what))
        return timer

    def decide(self, replica: Replica, model: int, queue: list[Request]) -> int:
        batching: Any = self.policy.batching
        largest = self.limit(replica.group, model)
        waiting = len(queue)
        if batching.kind == "none" or (largest == 1 and batching.kind != "custom"):
            return 1
        if batching.kind == "fixed":
            return largest if waiting >= largest else 0
        if batching.kind == "dynamic":
            left = queue[0].ready + round(batching.max_delay_ms * 1e6) - self.now
            return min(waiting, largest) if waiting >= largest or left <= 0 else -left
        if batching.kind == "adaptive":
            return min(waiting, largest, replica.limit)
        assert batching.kind == "deadline"
        size = min(waiting, largest)
        slow, deadline = self.slow(replica), queue[0].deadline
        if batching.hold and size < largest and deadline < NEVER:
            spare = deadline - int(self.expected(replica.group, model, size + 1) * slow)
            if spare > self.now:
                return self.now - spare
        for smaller in range(size, 1, -1):
            if self.now + int(self.expected(replica.group, model, smaller) * slow) <= deadline:
                return smaller
        return 1

    def start(self, replica: Replica, model: int, batch: list[Request]) -> None:
        service = self.service(replica, model)
        begins = self.now
        if replica.loaded != model:
            begins += service.load_ns
            replica.loaded = model
        if self.central:
            self.stacks[replica.group] = self.without(self.stacks[replica.group], replica)
            self.front_timer[model] = None
            replica.outstanding = len(batch)
            if self.wires():
                begins = max(begins, *(self.wire(replica.group, q, 0) for q in batch))
        replica.timer = None
        points = service.quantiles.shape[1]
        row = len(batch) - 1
        if points:
            time = float(service.quantiles[row, int(batch[0].draw * points)])
        else:
            time = float(service.mean_ns[row]) * batch[0].draw
        time *= self.slow(replica)
        time *= max(q.work for q in batch)
        replica.batch = batch
        replica.started = begins
        replica.ends = begins + int(time + 0.5)
        replica.run += 1
        for request in batch:
            request.start, request.replica, request.size = begins, replica, len(batch)
            if request in replica.sent:
                replica.sent.remove(request)
        self.schedule(replica.ends, COMPLETION, (replica, replica.run))
        self.rank(replica)

    def without(self, stack: list[Replica], replica: Replica) -> list[Replica]:
        """The last one fills the place of the one that leaves."""
        if replica not in stack:
            return stack
        place = stack.index(replica)
        stack[place] = stack[-1]
        return stack[:-1]

    def complete(self, replica: Replica) -> None:
        batching: Any = self.policy.batching
        batch = replica.batch
        if batching.kind == "adaptive":
            took = self.now - replica.started
            if took > round(batching.target_ms * 1e6):
                replica.limit = max(1, replica.limit // 2)
            elif len(batch) >= replica.limit:
                most = self.limit(replica.group, batch[0].model)
                replica.limit = min(replica.limit + batching.add, most)
        for request in batch:
            request.end = self.now
            if self.wires():
                self.schedule(self.wire(replica.group, request, 1), RETURN, request)
            else:
                self.leave(request)
        if self.central or not self.wires():
            replica.outstanding -= len(batch)
        replica.batch = []
        self.become_idle(replica)

    def become_idle(self, replica: Replica) -> None:
        if self.central:
            self.stacks[replica.group].append(replica)
        self.rank(replica)
        self.consider(replica)

    def fail(self, replica: Replica) -> None:
        if not replica.up:
            return
        how = self.policy.queue.on_failure
        replica.up = False
        self.up[replica.group] = self.without(self.up[replica.group], replica)
        if self.central:
            self.stacks[replica.group] = self.without(self.stacks[replica.group], replica)
        replica.timer = None
        replica.loaded = -1
        batch, replica.batch = replica.batch, []
        if batch:
            replica.ends = self.now
        replica.run += 1
        replica.outstanding -= len(batch)
        for request in batch:
            self.later(request, "failure", how)
        for model in range(self.models):
            waiting, replica.queues[model] = replica.queues[model], []
            for request in waiting:
                replica.outstanding -= 1
                replica.sent.remove(request)
                self.later(request, "failure", how)
        self.rank(replica)

    def repair(self, replica: Replica) -> None:
        if not replica.up:
            replica.up = True
            self.up[replica.group].append(replica)
            self.become_idle(replica)

    # Routers.

    def route(self, request: Request) -> Any:
        router: Any = self.policy.router
        groups = self.serving(request.model)
        up = [r for g in groups for r in self.up[g]]
        if not up:
            return None
        bits = request.bits
        if router.kind == "random":
            return up[((bits & MASK) * len(up)) >> 31]
        if router.kind == "round_robin":
            turn = self.turn[request.model]
            turn = 0 if turn >= len(up) else turn
            self.turn[request.model] = turn + 1
            return up[turn]
        if router.kind == "power_of_d":
            seen = []
            for number in range(router.d):
                part = bits & MASK if number == 0 else bits
                seen.append(up[(part * len(up)) >> 31])
                if number == 0:
                    bits >>= 31
                else:
                    product = (bits ^ 0x2545F491) * 0x5851F42D
                    bits = (product ^ (product >> 31)) & MASK
            return min(seen, key=lambda r: r.outstanding)
        by_number = sorted(up, key=lambda r: r.number)
        if router.kind == "jsq":
            return min(by_number, key=lambda r: r.outstanding)
        if router.kind == "least_work":
            return min(by_number, key=lambda r: r.busy_mark)
        if router.kind == "model_affinity":
            near = [r for r in by_number if r.loaded == request.model]
            if near:
                best = min(near, key=lambda r: r.outstanding)
                if best.outstanding < router.spill:
                    return best
            return min(by_number, key=lambda r: r.outstanding)
        return self.soonest(request, by_number)

    def soonest(self, request: Request, up: list[Replica]) -> Any:
        best, least = None, 2**62
        for g in self.serving(request.model):
            here = [r for r in up if r.group == g]
            idle = [r for r in here if r.idle_mark is not None]
            busy = [r for r in here if r.idle_mark is None]
            if idle:
                replica = min(idle, key=lambda r: r.idle_mark)
                done = self.now + self.alone(replica, request.model)
                if done < least:
                    best, least = replica, done
            if busy:
                replica = min(busy, key=lambda r: r.busy_mark)
                assert replica.busy_mark is not None
                done = max(replica.busy_mark, self.now)
                if self.models > 1:
                    done += self.alone(replica, request.model)
                if done < least:
                    best, least = replica, done
        if self.policy.router.kind == "slo_aware" and least > request.deadline:
            return "refused"
        return best

    def alone(self, replica: Replica, model: int) -> int:
        time = int(self.expected(replica.group, model, 1) * self.slow(replica))
        if replica.loaded != model:
            time += self.service(replica, model).load_ns
        return time

    def rank(self, replica: Replica) -> None:
        """Note what a router knows about a replica, when something happens to it."""
        kind = self.policy.router.kind
        slow = self.slow(replica)
        base = max(replica.ends, self.now)
        if kind == "least_work":
            ahead = sum(
                int(self.expected_mean(replica, q.model) * slow * q.work) for q in replica.sent
            )
            replica.busy_mark = base + ahead if replica.outstanding else 0
        elif kind in {"shortest_expected", "slo_aware"}:
            replica.idle_mark = int(slow * 1024) if replica.outstanding == 0 else None
            if self.models > 1:
                replica.busy_mark = base + sum(
                    int(self.share(replica, q.model) * slow * q.work) for q in replica.sent
                )
                return
            waiting = replica.outstanding - len(replica.batch)
            largest = self.limit(replica.group, 0)
            time = (waiting // largest) * self.expected(replica.group, 0, largest)
            time += self.expected(replica.group, 0, waiting % largest + 1)
            replica.busy_mark = base + int(time * slow)

    def expected_mean(self, replica: Replica, model: int) -> int:
        return self.expected(replica.group, model, 1)

    def share(self, replica: Replica, model: int) -> float:
        service = self.service(replica, model)
        return min(
            service.mean_ns[n - 1] / n for n in range(1, self.limit(replica.group, model) + 1)
        )


def requests_of(chunk: Arrivals, draws: Sequence[float], bits: Sequence[int]) -> list[Request]:
    """The requests of a chunk as objects; deadlines still count from the arrival."""
    return [
        Request(
            serial=i,
            model=int(chunk.model[i]),
            client=int(chunk.client[i]),
            priority=int(chunk.priority[i]),
            deadline=min(int(chunk.deadline_ns[i]), NEVER),
            work=float(chunk.work[i]),
            draw=float(draws[i]),
            bits=int(bits[i]),
        )
        for i in range(len(chunk))
    ]
