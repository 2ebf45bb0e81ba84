"""Workloads: which requests reach a fleet, when, and what they carry.

:class:`Workload` builds a stream of ``Arrivals`` from the settings of the group ``workload``:
synthetic processes, mixtures of clients, closed loops, and replays of recorded traces.
"""

from profleet.simulate.workload.build import Workload
from profleet.simulate.workload.mix import model_shares
from profleet.simulate.workload.settings import WorkloadSettings, parse
from profleet.simulate.workload.statistics import RateStatistics, RateSummary
from profleet.simulate.workload.traces import TraceError

__all__ = [
    "RateStatistics",
    "RateSummary",
    "TraceError",
    "Workload",
    "WorkloadSettings",
    "model_shares",
    "parse",
]
