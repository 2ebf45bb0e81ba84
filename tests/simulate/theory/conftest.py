"""What every comparison with theory does: simulate, check the books, compare intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

import profleet
from profleet.simulate.api import configure
from profleet.simulate.engine.layout import TABLE_COLUMNS
from profleet.simulate.random import Streams
from profleet.simulate.records import Arrivals, Outcome
from profleet.simulate.run import Period, Record, simulate_once
from profleet.simulate.simulation import Simulation, prepare

MEAN_MS = 1.0
CONFIDENCE = 0.99
REPLICATIONS = 20


class Theory:
    """Simulates what there is a formula for, and holds the two side by side."""

    def simulate(
        self,
        servers: int,
        load: float | None = None,
        *,
        dist: str = "exponential",
        cv: float | None = None,
        per_request_ms: float = 0.0,
        requests: int = 100_000,
        **settings: Any,
    ) -> Simulation:
        """Simulate equal servers under Poisson arrivals (or another ``workload``)."""
        service = {"dist": dist, "mean_ms": MEAN_MS, "cv": cv, "per_request_ms": per_request_ms}
        workload = settings.pop("workload", {"kind": "poisson", "load": load})
        simulation = profleet.simulate(
            {"preset": "theory", "servers": servers, "service": service},
            workload,
            **{
                "router": "central_queue",
                "batching": "none",
                "replications": REPLICATIONS,
                "confidence": CONFIDENCE,
                "seed": 1,
                "requests": requests,
                "warmup": 0.2,
                **settings,
            },
        )
        for outcome in simulation.outcomes:
            balance(outcome)
        return simulation

    def requests(self, arrivals: Arrivals, *, order: str, seed: int) -> pd.DataFrame:
        """Serve these requests at one exponential server; return the table of requests."""
        settings = configure(
            {
                "fleet": {"preset": "theory", "servers": 1},
                "workload": {"kind": "poisson", "load": 0.5},  # not used: the requests are given
                "router": "central_queue",
                "batching": "none",
            },
            {"queue": {"order": order}},
        )
        scene = prepare(settings)
        streams, rows = Streams(seed), []
        outcome = simulate_once(
            scene.fleet.arrays(streams.generator("fleet")),
            iter([arrivals]),
            settings.policy,
            streams,
            Period(),
            record=Record(samples=False, on_requests=rows.append),
        )
        balance(outcome)
        return pd.DataFrame(np.concatenate(rows), columns=list(TABLE_COLUMNS))

    def agrees(
        self, simulation: Simulation, name: str, exact: float, *, within: float = 0.02
    ) -> None:
        """Assert that the interval of a metric is narrow and holds the exact value."""
        metric = simulation.summary().metrics[name]
        assert metric.low is not None
        assert metric.high is not None
        assert metric.high - metric.low <= 2 * within * max(exact, MEAN_MS)
        assert metric.low <= exact <= metric.high, f"{name} {metric}, exact {exact}"

    def holds(self, values: Sequence[float], exact: float, *, within: float) -> None:
        """Assert the same of one value per replication."""
        middle = float(np.mean(values))
        quantile = student.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
        half = float(quantile * np.std(values, ddof=1) / np.sqrt(len(values)))
        assert half <= within * exact
        assert abs(middle - exact) <= half, f"{middle} +- {half}, exact {exact}"


def balance(outcome: Outcome) -> None:
    """Assert Little's law and conservation, exactly, on one run."""
    assert outcome.area_ns == outcome.sojourn_ns
    lost = outcome.dropped.sum()
    assert outcome.injected.sum() == outcome.completed.sum() + lost + outcome.in_system.sum()
    assert (outcome.total_ns[:, 0] == outcome.total_ns[:, 1:].sum(axis=1)).all()
    window = outcome.window_ns[1] - outcome.window_ns[0]
    assert (outcome.busy_ns <= window).all()
    assert outcome.histogram.sum(axis=2).tolist() == [[n] * 5 for n in outcome.completed.tolist()]


@pytest.fixture(scope="session")
def theory() -> Theory:
    return Theory()
