"""One queue: M/M/1, M/M/c, M/D/1, M/G/1, M/M/1/K, M/G/c/c, batch service."""

import math

import numpy as np
import pytest

import queueing


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_one_exponential_server_has_an_exponential_latency(theory, load):
    requests = 800_000 if load > 0.8 else 200_000
    simulation = theory.simulate(1, load, requests=requests)
    mean = 1 / (1 - load)
    theory.agrees(simulation, "latency_mean_ms", mean)
    theory.agrees(simulation, "wait_mean_ms", load * mean)
    theory.agrees(simulation, "service_mean_ms", 1.0)
    theory.agrees(simulation, "utilization", load)
    theory.agrees(simulation, "offered_load", load)
    theory.agrees(simulation, "throughput_rps", load * 1000)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)):
        exact = -math.log(1 - share) * mean
        theory.agrees(simulation, f"latency_{name}_ms", exact, within=0.08)


@pytest.mark.parametrize(("servers", "load"), [(2, 0.8), (16, 0.8), (64, 0.92)])
def test_the_wait_for_many_exponential_servers_is_erlangs(theory, servers, load):
    simulation = theory.simulate(servers, load, requests=400_000)
    theory.agrees(simulation, "wait_mean_ms", queueing.mmc_wait(servers, load))
    theory.agrees(simulation, "utilization", load)
    for name, share in (("p90", 0.9), ("p99", 0.99)):
        exact = queueing.mmc_wait_quantile(servers, load, share)
        theory.agrees(simulation, f"wait_{name}_ms", exact, within=0.08)
    waits = [1 - o.histogram[0, 1, 0] / o.completed[0] for o in simulation.outcomes]
    theory.holds(waits, queueing.erlang_c(servers, load), within=0.03)


@pytest.mark.parametrize(
    ("dist", "cv"),
    [("deterministic", 0.0), ("uniform", 1 / math.sqrt(3)), ("uniform", 0.3), ("lognormal", 1.5)],
)
@pytest.mark.parametrize("load", [0.5, 0.8])
def test_the_wait_for_one_server_is_pollaczek_and_khinchines(theory, dist, cv, load):
    given = {} if dist == "deterministic" else {"cv": cv}
    simulation = theory.simulate(1, load, dist=dist, requests=300_000, **given)
    theory.agrees(simulation, "wait_mean_ms", queueing.mg1_wait(load, cv), within=0.03)
    theory.agrees(simulation, "service_mean_ms", 1.0)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_the_distribution_of_waits_for_a_constant_service_is_erlangs(theory, load):
    simulation = theory.simulate(1, load, dist="deterministic")
    for name, share in (("p90", 0.9), ("p99", 0.99)):
        exact = queueing.md1_wait_quantile(load, share)
        theory.agrees(simulation, f"wait_{name}_ms", exact, within=0.06)
    at_once = [o.histogram[0, 1, 0] / o.completed[0] for o in simulation.outcomes]
    theory.holds(at_once, 1 - load, within=0.02)


@pytest.mark.parametrize(("load", "room"), [(0.8, 5), (1.0, 5), (1.5, 10), (0.5, 1)])
def test_a_limited_queue_loses_what_it_should(theory, load, room):
    simulation = theory.simulate(1, load, queue={"limit": room - 1})
    loss = queueing.mm1k_loss(load, room)
    losses = [o.dropped.sum() / o.injected.sum() for o in simulation.outcomes]
    theory.holds(losses, loss, within=0.03)
    latency = [o.total_ns[0, 0] / o.completed[0] / 1e6 for o in simulation.outcomes]
    theory.holds(latency, queueing.mm1k_latency(load, room), within=0.02)
    theory.agrees(simulation, "utilization", load * (1 - loss))


@pytest.mark.parametrize("dist", ["exponential", "deterministic"])
def test_without_a_queue_the_loss_is_erlangs_for_any_service(theory, dist):
    simulation = theory.simulate(16, 0.9, dist=dist, queue={"limit": 0})
    theory.agrees(simulation, "drop_ratio", queueing.erlang_b(16, 16 * 0.9), within=0.02)
    theory.agrees(simulation, "wait_mean_ms", 0.0)


@pytest.mark.parametrize(("batch", "load"), [(4, 0.6), (8, 0.85), (1, 0.6)])
def test_batches_of_an_exponential_time(theory, batch, load):
    """``load`` counts full batches, so the arrival rate is that times the size."""
    batching = {"kind": "dynamic", "size": batch}
    simulation = theory.simulate(1, load, batching=batching, requests=400_000)
    exact = queueing.bulk_exponential_wait(load * batch, batch)
    theory.agrees(simulation, "wait_mean_ms", exact, within=0.03)


@pytest.mark.parametrize("per_request_ms", [0.0, 0.4])
@pytest.mark.parametrize(("batch", "load"), [(4, 0.6), (8, 0.85)])
def test_batches_of_a_constant_time(theory, batch, load, per_request_ms):
    simulation = theory.simulate(
        1,
        load,
        dist="deterministic",
        per_request_ms=per_request_ms,
        batching={"kind": "dynamic", "size": batch},
        requests=300_000,
    )
    times = [1 + per_request_ms * n for n in range(batch)]
    rate = load * batch / times[-1]
    wait, sizes = queueing.bulk_deterministic(rate, times)
    theory.agrees(simulation, "wait_mean_ms", wait, within=0.03)
    share = np.array([o.batches[0, 1:] / o.batches.sum() for o in simulation.outcomes])
    for size in range(batch):
        theory.holds(share[:, size], sizes[size], within=0.06)


def test_the_two_solutions_of_batch_service_agree_for_single_requests():
    wait, sizes = queueing.bulk_deterministic(0.8, [1.0])
    assert wait == pytest.approx(queueing.mg1_wait(0.8, 0.0), rel=1e-9)
    assert sizes.tolist() == [pytest.approx(1.0)]
    assert queueing.bulk_exponential_wait(0.8, 1) == pytest.approx(queueing.mmc_wait(1, 0.8))
