"""Schedules of the Lightning study: read from a file, found in a folder, or drawn by its law.

The law: 5,000 requests, each for any of the seven networks alike; before each one an exponential
gap as long, on average, as its own input takes over the network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from profleet.errors import did_you_mean
from profleet.simulate.random import Streams
from profleet.simulate.records import Ints
from profleet.simulate.study.networks import networks
from profleet.simulate.workload.traces import FORMATS, Source, TraceError

REQUESTS = 5_000


@dataclass(frozen=True, eq=False)
class Schedule:
    """Requests in order of arrival: nanoseconds and index of the network, both (requests,).

    ``name`` is for people; ``sha256`` is of the file, None where there is none.
    """

    name: str
    arrival_ns: Ints
    network: Ints
    sha256: str | None = None

    @property
    def gap_ns(self) -> float:
        """The mean gap before a request, counted from the start of the schedule."""
        return float(self.arrival_ns[-1]) / len(self.arrival_ns)


def read_schedule(path: Path) -> Schedule:
    """Read a schedule.

    Raises:
        TraceError: the file cannot be read, a line is wrong, or a network is not one of the seven.
    """
    source = Source(path, FORMATS["lightning"])
    summary = source.summary()
    names = [graph.name for graph in networks()]
    if unknown := sorted(set(summary.labels) - set(names)):
        raise TraceError(
            f"Trace {path}: the study has no network '{unknown[0]}'. "
            f"{did_you_mean(unknown[0], names)}"
        )
    times, labels = [], []
    for rows in source.rows(summary.state):
        assert rows.label is not None
        of_study = np.array([names.index(name) for name in rows.names])
        times.append(rows.time_ns)
        labels.append(of_study[rows.label])
    return Schedule(
        name=path.name.removesuffix(".gz").removesuffix(".csv"),
        arrival_ns=np.concatenate(times),
        network=np.concatenate(labels),
        sha256=summary.sha256,
    )


def draw_schedule(seed: int, rate_gbps: float, requests: int = REQUESTS) -> Schedule:
    """Draw a schedule by the law of the study; the same seed gives the same one."""
    random = Streams(seed).generator("arrivals")
    network = random.integers(len(networks()), size=requests)
    bits = 8 * np.array([graph.input_bytes for graph in networks()])
    gaps = random.exponential(bits[network] / rate_gbps)
    arrival: Ints = np.cumsum(np.rint(gaps).astype(np.int64))
    return Schedule(f"drawn_{rate_gbps:g}Gbps_seed{seed}", arrival, network)


def find_schedules(folder: str, rate_gbps: float) -> list[Path]:
    """Return the schedules of a rate in a folder, by number; none where there is no folder."""
    pattern = re.compile(rf"mixed_{rate_gbps:g}Gbps_(\d+)\.csv(\.gz)?")
    place = Path(folder).expanduser()
    found = [
        (int(match[1]), path)
        for path in (place.iterdir() if place.is_dir() else ())
        if (match := pattern.fullmatch(path.name))
    ]
    return [path.absolute() for _, path in sorted(found)]


def schedules_to_sweep(folder: str, rate_gbps: float) -> str:
    """Return the values of ``study.trace`` for a sweep, as Hydra writes them.

    Without any file, it is one value: a schedule is drawn.
    """
    quoted = [
        "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"
        for path in find_schedules(folder, rate_gbps)
    ]
    return ",".join(quoted) or "null"
