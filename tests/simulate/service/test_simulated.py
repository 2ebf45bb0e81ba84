"""What the engine draws from a profile is what was measured."""

import numpy as np
import pytest

from profleet.execute.settings import check
from profleet.profile.samples import STEADY
from profleet.profile.store import load_samples
from profleet.simulate.engine.layout import TABLE_COLUMNS
from profleet.simulate.fleet import ProfiledFleet, build_fleet
from profleet.simulate.policies import PolicySettings
from profleet.simulate.random import Streams
from profleet.simulate.records import NO_DEADLINE, Arrivals
from profleet.simulate.run import Period, Record, simulate_once
from profleet.simulate.service.sources import Places
from support import make_profile_dir

REQUESTS = 40_000


def spaced(gap_ns):
    """Requests so far apart that none waits."""
    small = np.zeros(REQUESTS, dtype=np.int32)
    return Arrivals(
        time_ns=np.arange(REQUESTS, dtype=np.int64) * gap_ns,
        model=small, client=small, priority=small,
        deadline_ns=np.full(REQUESTS, NO_DEADLINE, dtype=np.int64),
        work=np.ones(REQUESTS),
    )  # fmt: skip


def policy():
    return check(
        PolicySettings,
        {
            "router": {"kind": "round_robin"},
            "batching": {"kind": "none"},
            "queue": {
                "order": "fifo", "limit": None, "on_full": "drop", "on_failure": "requeue",
                "max_retries": 0, "backoff_ms": 1.0,
            },
        },
    )  # fmt: skip


def test_simulated_service_times_are_those_measured(tmp_path):
    folder = make_profile_dir(tmp_path / "a", noise=0.2, samples=400)
    plain = {"kind": "profiles", "groups": [{"count": 2, "hardware": "local"}],
             "profiles": [str(folder)], "allow_extrapolation": False}  # fmt: skip
    fleet = build_fleet(check(ProfiledFleet, plain), Places())
    streams, blocks = Streams(seed=7), []
    simulate_once(
        fleet.arrays(streams.generator("fleet")),
        iter([spaced(10**9)]),
        policy(),
        streams,
        Period(requests=REQUESTS),
        record=Record(on_requests=blocks.append),
    )
    table = dict(zip(TABLE_COLUMNS, np.concatenate(blocks).T, strict=True))
    simulated = table["end_ns"] - table["start_ns"]
    samples = load_samples(folder)
    found = samples.latency_ns[(samples.phase == STEADY) & (samples.batch_size == 1)]
    assert len(simulated) == REQUESTS
    assert simulated.mean() == pytest.approx(found.mean(), rel=0.005)
    for share, within in ((0.01, 0.02), (0.5, 0.01), (0.9, 0.01), (0.99, 0.02), (0.999, 0.04)):
        assert np.quantile(simulated, share) == pytest.approx(np.quantile(found, share), rel=within)
    assert simulated.min() >= found.min()
    assert simulated.max() <= found.max()
