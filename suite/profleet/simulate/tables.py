"""What a simulation counted, as pandas tables. Pandas is imported only when one is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from profleet.simulate.engine import histogram
from profleet.simulate.metrics import NAMES
from profleet.simulate.records import SPANS

if TYPE_CHECKING:
    import pandas as pd

    from profleet.simulate.simulation import Simulation


def latencies(simulation: Simulation) -> pd.DataFrame:
    """Return the histograms of all replications together, buckets that are not empty.

    Columns: ``group``, ``model``, ``span`` (latency, wait, forming, wire, service), ``from_ms``
    and ``to_ms`` of the bucket, ``count``.
    """
    import pandas as pd

    counts = np.sum([outcome.histogram for outcome in simulation.outcomes], axis=0)
    cell, span, bucket = np.nonzero(counts)
    edges = np.append(histogram.edges(), histogram.edges()[-1]) / 1e6
    models = len(simulation.arrays.models)
    names = np.array([NAMES[name] for name in SPANS])
    return pd.DataFrame(
        {
            "group": np.array(simulation.arrays.groups)[cell // models],
            "model": np.array(simulation.arrays.models)[cell % models],
            "span": names[span],
            "from_ms": edges[bucket],
            "to_ms": edges[bucket + 1],
            "count": counts[cell, span, bucket],
        }
    )


def levels(simulation: Simulation) -> pd.DataFrame:
    """Return the requests waiting and the replicas at work over time.

    Columns: ``replication``, ``time_s``, ``group``, ``waiting``, ``busy``.
    """
    import pandas as pd

    groups = np.array(simulation.arrays.groups)
    parts = [
        pd.DataFrame(
            {
                "replication": replication,
                "time_s": np.repeat(outcome.sample_ns / 1e9, len(groups)),
                "group": np.tile(groups, len(outcome.sample_ns)),
                "waiting": outcome.waiting.ravel(),
                "busy": outcome.busy.ravel(),
            }
        )
        for replication, outcome in enumerate(simulation.outcomes)
    ]
    return pd.concat(parts, ignore_index=True)


def replicas(simulation: Simulation) -> pd.DataFrame:
    """Return every replica of every replication.

    Columns: ``replication``, ``replica``, ``group``, ``busy_s``, ``up_s``, ``utilization``,
    ``energy_j`` (NaN: unknown).
    """
    import pandas as pd

    groups = np.array(simulation.arrays.groups)[simulation.arrays.group_of]
    parts = [
        pd.DataFrame(
            {
                "replication": replication,
                "replica": np.arange(len(groups)),
                "group": groups,
                "busy_s": outcome.busy_ns / 1e9,
                "up_s": outcome.up_ns / 1e9,
                "utilization": outcome.busy_ns / np.maximum(1, outcome.up_ns),
                "energy_j": outcome.energy_j,
            }
        )
        for replication, outcome in enumerate(simulation.outcomes)
    ]
    return pd.concat(parts, ignore_index=True)


def batches(simulation: Simulation) -> pd.DataFrame:
    """Return how many batches of each size were executed in all replications together.

    Columns: ``group``, ``size``, ``count``.
    """
    import pandas as pd

    counts = np.sum([outcome.batches for outcome in simulation.outcomes], axis=0)
    group, size = np.nonzero(counts)
    return pd.DataFrame(
        {
            "group": np.array(simulation.arrays.groups)[group],
            "size": size,
            "count": counts[group, size],
        }
    )


def replications(simulation: Simulation) -> pd.DataFrame:
    """Return every metric of every replication: one row a replication, one column a metric."""
    import pandas as pd

    rows = [
        {name: metric.value for name, metric in simulation.summary(replication).metrics.items()}
        for replication in range(len(simulation.outcomes))
    ]
    return pd.DataFrame(rows).rename_axis("replication").reset_index()


TABLES: dict[str, Callable[[Simulation], pd.DataFrame]] = {
    "latencies": latencies,
    "levels": levels,
    "replicas": replicas,
    "batches": batches,
    "replications": replications,
}
"""Table -> what makes it; each is a file ``tables/NAME.parquet`` of a result folder."""
