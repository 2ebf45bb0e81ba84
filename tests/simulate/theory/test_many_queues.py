"""A queue at every server: JSQ, power of d, round robin, random; and their mean-field limits."""

import numpy as np
import pytest

import queueing


def test_the_shorter_of_two_queues(theory):
    simulation = theory.simulate(2, 0.7, router="jsq")
    theory.agrees(simulation, "wait_mean_ms", queueing.shortest_of_two_wait(0.7))
    theory.agrees(simulation, "utilization", 0.7)


def test_nobody_waits_for_the_shortest_of_many_queues(theory):
    """The limit of JSQ: while one of very many servers is idle, a request meets an idle one."""
    simulation = theory.simulate(2000, 0.9, router="jsq", replications=3)
    for outcome in simulation.outcomes:
        assert outcome.total_ns[0, 1] == 0
        assert outcome.completed[0] == 80_000


@pytest.mark.parametrize(("d", "load"), [(2, 0.7), (2, 0.9), (5, 0.9)])
def test_power_of_d_among_very_many_servers(theory, d, load):
    """The finite fleet is off by about 1 / servers, well inside the interval."""
    simulation = theory.simulate(
        2000,
        load,
        router={"kind": "power_of_d", "d": d},
        requests=400_000,
        replications=12,
    )
    theory.agrees(simulation, "wait_mean_ms", queueing.power_of_d_wait(load, d))
    theory.agrees(simulation, "utilization", load)
    theory.agrees(simulation, "throughput_rps", load * 2e6)
    waits = [1 - o.histogram[0, 1, 0] / o.completed[0] for o in simulation.outcomes]
    theory.holds(waits, load**d, within=0.02)
    for name, share in (("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)):
        exact = queueing.power_of_d_wait_quantile(load, d, share)
        theory.agrees(simulation, f"wait_{name}_ms", exact, within=0.04)


def test_one_choice_makes_every_server_a_queue_of_its_own(theory):
    simulation = theory.simulate(50, 0.7, router={"kind": "power_of_d", "d": 1})
    theory.agrees(simulation, "wait_mean_ms", queueing.mmc_wait(1, 0.7), within=0.03)


def test_in_turn_every_server_gets_each_fourth_request(theory):
    simulation = theory.simulate(4, 0.8, router="round_robin")
    exact = queueing.gim1_wait(queueing.erlang_gaps(4, 4 * 0.8))
    theory.agrees(simulation, "wait_mean_ms", exact, within=0.03)


def test_in_turn_is_the_central_queue_if_service_is_constant(theory):
    """Servers that all take as long become free in the order in which they started."""
    settings = {"dist": "deterministic", "replications": 2}
    in_turn = theory.simulate(16, 0.95, router="round_robin", **settings)
    central = theory.simulate(16, 0.95, router="central_queue", **settings)
    for one, other in zip(in_turn.outcomes, central.outcomes, strict=True):
        assert one.sojourn_ns == other.sojourn_ns
        assert (one.histogram == other.histogram).all()
        assert one.maximum_ns.tolist() == other.maximum_ns.tolist()


def test_what_is_known_of_the_queues_helps_in_the_known_order(theory):
    """On the same requests: central queue, JSQ, power of two, one choice."""
    waits = {}
    for router in ("central_queue", "jsq", "power_of_two", {"kind": "power_of_d", "d": 1}):
        simulation = theory.simulate(16, 0.8, router=router, replications=5)
        name = router if isinstance(router, str) else "random"
        waits[name] = np.array([o.total_ns[0, 1] for o in simulation.outcomes])
    assert (waits["central_queue"] < waits["jsq"]).all()
    assert (waits["jsq"] < waits["power_of_two"]).all()
    assert (waits["power_of_two"] < waits["random"]).all()
