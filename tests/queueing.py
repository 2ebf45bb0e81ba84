"""Closed forms of queueing theory, and chains solved exactly, for comparison with the simulator.

The mean service time is the unit of time unless said otherwise; ``load`` is the arrival rate times
it, over the number of servers. Nothing here is taken from the simulator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammaincc
from scipy.stats import poisson

Floats = NDArray[np.float64]


def erlang_b(servers: int, offered: float) -> float:
    """Probability that M/G/c/c turns a request away; ``offered`` is in servers (recursion)."""
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = offered * blocked / (n + offered * blocked)
    return blocked


def erlang_c(servers: int, load: float) -> float:
    """Probability that a request of M/M/c has to wait."""
    blocked = erlang_b(servers, servers * load)
    return blocked / (1 - load * (1 - blocked))


def mmc_wait(servers: int, load: float) -> float:
    """Mean wait in M/M/c."""
    return erlang_c(servers, load) / (servers * (1 - load))


def mmc_wait_quantile(servers: int, load: float, share: float) -> float:
    """Wait of M/M/c that ``share`` of the requests do not exceed."""
    above = erlang_c(servers, load) / (1 - share)
    return max(0.0, math.log(above)) / (servers * (1 - load))


def mg1_wait(load: float, cv: float) -> float:
    """Mean wait in M/G/1 (Pollaczek-Khinchine)."""
    return load * (1 + cv**2) / (2 * (1 - load))


def md1_wait_quantile(load: float, share: float) -> float:
    """Wait of M/D/1 that ``share`` of the requests do not exceed (Erlang's sum)."""

    def below(time: float) -> float:
        k = np.arange(math.floor(time) + 1)
        terms = [
            math.exp(load * (time - n)) * (-load * (time - n)) ** n / math.factorial(n) for n in k
        ]
        return (1 - load) * math.fsum(terms) - share

    return 0.0 if below(0.0) >= 0 else float(brentq(below, 0.0, 20.0))


def mm1k_loss(load: float, room: int) -> float:
    """Probability that M/M/1/K turns a request away; ``room`` counts the one in service."""
    return float(_mm1k(load, room)[-1])


def mm1k_latency(load: float, room: int) -> float:
    """Mean time in the system of the requests that M/M/1/K lets in."""
    states = _mm1k(load, room)
    return float(states @ np.arange(room + 1) / (load * (1 - states[-1])))


def _mm1k(load: float, room: int) -> Floats:
    weight = load ** np.arange(room + 1.0)
    return np.asarray(weight / weight.sum())


def gim1_wait(transform: Callable[[float], float]) -> float:
    """Mean wait in GI/M/1; ``transform`` is the Laplace transform of the time between arrivals."""
    sigma = brentq(lambda x: transform(1 - x) - x, 0.0, 1 - 1e-9)
    return float(sigma / (1 - sigma))


def erlang_gaps(stages: int, rate: float) -> Callable[[float], float]:
    """Laplace transform of the time that ``stages`` arrivals of a Poisson process take."""
    return lambda s: (rate / (rate + s)) ** stages


def priority_waits(rates: Sequence[float], means: Sequence[float], square: float) -> list[float]:
    """Mean wait of every class of a non-preemptive M/G/1 (Cobham), most urgent first.

    ``square`` is the mean square of the service time of all classes together.
    """
    residual = sum(rates) * square / 2
    ahead, waits = 0.0, []
    for rate, mean in zip(rates, means, strict=True):
        before, ahead = ahead, ahead + rate * mean
        waits.append(residual / ((1 - before) * (1 - ahead)))
    return waits


def repairmen(servers: int, users: int, think: float) -> tuple[float, float]:
    """Throughput and mean latency of ``users`` who think (any distribution) and M-servers.

    Birth and death: with n requests in the system (users - n) / think come and min(n, servers) go
    in a unit of time.
    """
    weight = [1.0]
    for n in range(1, users + 1):
        weight.append(weight[-1] * (users - n + 1) / think / min(n, servers))
    states = np.array(weight) / sum(weight)
    busy = np.minimum(np.arange(users + 1), servers)
    throughput = float(states @ busy)
    return throughput, float(states @ np.arange(users + 1) / throughput)


def mean_value_analysis(users: int, think: float) -> tuple[float, float]:
    """Throughput and mean latency of ``users`` at one exponential server, by exact MVA."""
    waiting = throughput = latency = 0.0
    for n in range(1, users + 1):
        latency = 1 + waiting
        throughput = n / (think + latency)
        waiting = throughput * latency
    return throughput, latency


def bulk_exponential_wait(rate: float, batch: int) -> float:
    """Mean wait in M/M/1 that serves up to ``batch`` requests at once, whenever it is idle.

    A batch takes an exponential time with mean 1, whatever its size, and nobody joins it later.
    With P the probability of idle and p(n) that of busy with n waiting::

        rate P = p(0)
        (rate + 1) p(n) = rate p(n-1) + p(n+batch),  n >= 1

    is solved by p(n) = p(0) r^n, where r in (0, 1) is a root of r^(batch+1) - (rate+1) r + rate.
    """
    r = brentq(lambda z: sum(z**k for k in range(1, batch + 1)) - rate, 0.0, 1.0)
    start = 1 / (1 / (1 - r) + 1 / rate)
    return float(start * r / (1 - r) ** 2 / rate)


def bulk_deterministic(rate: float, times: Sequence[float]) -> tuple[float, Floats]:
    """Mean wait in M/D/1 with batch service, and the share of batches of size 1, 2, ...

    An idle server starts with everything that waits, at most ``len(times)`` requests; a batch of n
    takes ``times[n - 1]``. Let X be the number waiting when a batch ends. If X = 0 the next
    arrival is served alone; else min(X, largest) are. Either way, with A the arrivals while the
    next batch is in service (Poisson, its mean is rate times the length of that batch)::

        X' = max(0, X - largest) + A

    which is a Markov chain. Its stationary law gives everything by renewal-reward over the cycles
    between ends of batches: Y = max(0, X - largest) requests wait all through a batch of length d,
    those that come meanwhile for half of it on average, and an idle server has nobody waiting::

        mean waiting = E[Y d + rate d^2 / 2] / E[d + (X = 0) / rate]
    """
    largest, states = len(times), 600
    x = np.arange(states)
    size = np.clip(x, 1, largest)
    long = np.asarray(times)[size - 1]
    left = np.maximum(0, x - largest)
    step = poisson.pmf(x[None, :] - left[:, None], (rate * long)[:, None])
    law = _stationary(step)
    waiting = law @ (left * long + rate * long**2 / 2) / (law @ (long + (x == 0) / rate))
    return float(waiting / rate), np.bincount(size, law)[1:]


def shortest_of_two_wait(load: float) -> float:
    """Mean wait of two M-servers with a queue each; requests join the shorter one.

    The chain of both lengths, cut at 30 (for a load of 0.7 both are there once in 10^9 times).
    """
    room, rate = 30, 2 * load
    cells = np.arange(room * room).reshape(room, room)
    flow = np.zeros((room * room, room * room))
    for i in range(room):
        for j in range(room):
            here = cells[i, j]
            first, second = (1.0, 0.0) if i < j else (0.0, 1.0) if j < i else (0.5, 0.5)
            if i + 1 < room:
                flow[here, cells[i + 1, j]] += rate * first
            if j + 1 < room:
                flow[here, cells[i, j + 1]] += rate * second
            if i:
                flow[here, cells[i - 1, j]] += 1
            if j:
                flow[here, cells[i, j - 1]] += 1
    flow[np.diag_indices_from(flow)] = -flow.sum(axis=1)
    law = _stationary(np.eye(len(flow)) + flow / (rate + 2)).reshape(room, room)
    number = law.sum(axis=1) @ np.arange(room) + law.sum(axis=0) @ np.arange(room)
    return float(number / rate - 1)


def power_of_d_tail(load: float, d: int, most: int = 40) -> Floats:
    """Share of servers with at least 0, 1, 2, ... requests, of very many (mean-field limit).

    The fixed point of Mitzenmacher and of Vvedenskaya and others: load^((d^k - 1) / (d - 1)).
    """
    k = np.arange(most, dtype=np.float64)
    power = k if d == 1 else (d**k - 1) / (d - 1)
    return np.asarray(load**power)


def power_of_d_wait(load: float, d: int) -> float:
    """Mean wait in the same limit, by Little's law."""
    return float(power_of_d_tail(load, d)[1:].sum() / load - 1)


def power_of_d_wait_quantile(load: float, d: int, share: float) -> float:
    """Wait in the same limit that ``share`` of the requests do not exceed.

    A request finds at least k others at its server with the probability that all d have as many,
    and waits for k exponential times if it finds k.
    """
    at_least = power_of_d_tail(load, d) ** d
    finds = at_least - np.append(at_least[1:], 0.0)
    k = np.arange(1, len(finds))

    def above(time: float) -> float:
        return float(finds[1:] @ gammaincc(k, time)) - (1 - share)

    return 0.0 if finds[1:].sum() <= 1 - share else float(brentq(above, 1e-12, 200.0))


def _stationary(step: Floats) -> Floats:
    """The stationary law of a Markov chain with these probabilities of going from row to column."""
    n = len(step)
    system = np.vstack([step.T - np.eye(n), np.ones(n)])[1:]
    return np.asarray(np.linalg.solve(system, np.append(np.zeros(n - 1), 1.0)))
