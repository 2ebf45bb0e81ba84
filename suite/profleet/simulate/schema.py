"""The result of a simulation: schema, units and history.

``result.json`` depends on the configuration, the profiles and the version of the simulator alone:
the same seed gives the same bytes. When it was made and where it was logged is in
``invocation.json``.

History of ``profleet/simulation``:

* v1: first version.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from profleet.manifest.documents import Evidence
from profleet.profile.metrics import Metric
from profleet.profile.schema import Record, Timestamp
from profleet.profile.store import Tracking
from profleet.simulate.metrics import Verdict

SIMULATION_SCHEMA = "profleet/simulation/v1"
INVOCATION_SCHEMA = "profleet/invocation/v1"
BEHAVIOR = "1"
"""Version of the simulator's behavior: another one where a configuration gives other digits."""


class Served(Record):
    """One model on one group of replicas, and from what its service times come."""

    group: str
    count: int
    model: str
    stack: str
    source: str
    evidence: list[Evidence] = Field(description="by batch size, from 1")
    max_batch: int
    service_mean_ms: list[float] = Field(description="by batch size, from 1")
    capacity_rps: float = Field(description="of the group, if it served only this model")


class Promise(Record):
    """One part of the SLO and whether it was kept; null: nothing can be said."""

    name: str
    bound: float
    unit: str
    kept: bool | None


class SimulationResult(Record):
    """``result.json``, the last file that a simulation writes."""

    schema_: Annotated[str, Field(alias="schema")] = SIMULATION_SCHEMA
    behavior: str = BEHAVIOR
    status: Literal["finished", "failed", "interrupted"]
    reason: str | None = Field(default=None, description="why there are no metrics")
    verdict: Verdict | None = None
    reasons: list[str] = Field(default_factory=list, description="why the verdict is what it is")
    slo: list[Promise] = Field(default_factory=list)
    metrics: dict[str, Metric] = Field(default_factory=dict)
    refused: dict[str, str] = Field(
        default_factory=dict, description="metric -> why it is not said"
    )
    confidence: float | None = None
    seed: int | None = None
    replications: int = Field(default=0, description="finished ones")
    events: int = Field(default=0, description="handled in all replications")
    capacity_rps: float | None = None
    offered_rps: float | None = Field(default=None, description="null: a closed loop")
    fleet: list[Served] = Field(default_factory=list)
    workload: dict[str, Any] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    configuration: dict[str, Any] = Field(default_factory=dict)
    paths: dict[str, str] = Field(
        default_factory=dict, description="name -> path, relative to the folder of this file"
    )


class InvocationRecord(Record):
    """``invocation.json``: when a result was made, and where it went."""

    schema_: Annotated[str, Field(alias="schema")] = INVOCATION_SCHEMA
    run_id: str
    profleet_version: str
    started_at: Timestamp = Field(description="UTC, ISO 8601")
    finished_at: Timestamp
    wall_s: float = Field(description="of the simulation itself")
    sweep_id: str | None = None
    overrides: list[str] = Field(default_factory=list, description="as on the command line")
    tracking: Tracking = Tracking()
