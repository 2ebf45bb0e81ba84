"""Settings of the group ``fleet`` (``conf/fleet``): which replicas there are.

A group is a number of equal replicas. A fleet is one group, or a list of them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from profleet.errors import ConfigError
from profleet.execute.settings import Positive, Settings
from profleet.simulate.service.laws import NotNegative, ServiceSettings
from profleet.simulate.service.sources import Name, SourceSettings

MAX_REPLICAS = 2**24 - 1
MAX_SECONDS = 100 * 86_400

Count = Annotated[int, Field(ge=1, le=MAX_REPLICAS)]
Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS)]
Models = tuple[Name, ...]


class LinkSettings(Settings):
    """The way from the front end to every replica of a group, and back.

    ``bandwidth_gbps`` (gigabits per second) is shared by the group, one transfer at a time in each
    direction; null: transfers cost only ``latency_us``. How many bytes a request and its answer
    have comes from the profile.
    """

    latency_us: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    bandwidth_gbps: Annotated[float, Field(gt=0, le=1e9)] | None = None


class PowerSettings(Settings):
    """Watts of one replica; null: from the hardware's manifest, else energy is not stated."""

    idle_w: NotNegative | None = None
    active_w: NotNegative | None = None


class StragglerSettings(Settings):
    """Some replicas are slower than the others, always the same within one replication."""

    fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    slowdown: Annotated[float, Field(ge=1, le=1000)] = 1.0


class Outage(Settings):
    """Replicas of a group (numbered from 0; ``all``) are down from ``at_s`` on.

    They come back after ``for_s``; null: never.
    """

    at_s: Annotated[float, Field(ge=0, le=MAX_SECONDS)]
    for_s: Seconds | None = None
    replicas: Literal["all"] | tuple[Annotated[int, Field(ge=0)], ...] = "all"

    @field_validator("replicas", mode="before")
    @classmethod
    def _one(cls, value: object) -> object:
        return (value,) if isinstance(value, int) else value


class FailureSettings(Settings):
    """Exponential times to failure and repair (means), or outages at given times."""

    mtbf_s: Seconds | None = None
    mttr_s: Seconds | None = None
    outages: tuple[Outage, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> FailureSettings:
        if (self.mtbf_s is None) != (self.mttr_s is None):
            raise ValueError("mtbf_s and mttr_s go together: give both or neither")
        if self.mtbf_s is not None and self.outages:
            raise ValueError("give either mtbf_s and mttr_s, or outages, not both")
        return self


class GroupSettings(Settings):
    """Equal replicas on one kind of hardware.

    ``hardware`` is an alias given in ``fleet.profiles``, the name of a manifest, or the kind of
    machine that was measured (``epyc-2c-1t``, or ``epyc-2c`` where the threads need no saying).
    ``model`` is a model or several; null: every model with a profile on this hardware. In place
    of a profile, ``service`` assumes a service time, and with ``fleet.allow_models`` hardware of
    the catalogue that has none is modelled.
    """

    name: Name | None = Field(None, description="in results; null: the hardware")
    count: Count | None = None
    hardware: Name | None = None
    model: Models | None = None
    framework: Name | None = None
    profile: SourceSettings | None = Field(None, description="the only source for this group")
    service: ServiceSettings | None = None
    dtype: Name | None = Field(
        None, description="precision of a device model; null: float32, or the widest it has"
    )
    max_batch: Annotated[int, Field(ge=1)] | None = Field(
        None, description="limits the batching policy for this group, e.g. by memory"
    )
    weight: Positive = Field(1.0, description="share of one replica under router=weighted")
    link: LinkSettings = LinkSettings()
    host_overhead_us: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    power: PowerSettings = PowerSettings()
    price_per_hour: NotNegative | None = Field(
        None, description="of one replica; null: from the hardware's manifest, else not stated"
    )
    warm: bool = Field(True, description="false: replicas load their model before they serve")
    load_ms: NotNegative | None = Field(None, description="null: as measured")
    memory: Literal["all", "one"] = Field(
        "all", description="a replica keeps all models of its group loaded, or one at a time"
    )
    speed_cv: Annotated[float, Field(ge=0, le=2)] | Literal["measured"] = Field(
        0.0,
        description="coefficient of variation of the replicas' speeds (lognormal, mean 1); "
        "measured: replicas differ as the profile's processes did",
    )
    stragglers: StragglerSettings = StragglerSettings()
    failures: FailureSettings = FailureSettings()

    @field_validator("model", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> GroupSettings:
        if self.model is not None and not self.model:
            raise ValueError("model is an empty list: name a model, or leave it out for all")
        if self.service is not None and (self.profile is not None or self.framework is not None):
            raise ValueError("service takes the place of a profile: give one of them")
        if self.service is not None and self.speed_cv == "measured":
            raise ValueError("speed_cv=measured needs a profile; give a number instead")
        return self


class ProfiledFleet(GroupSettings):
    """Groups of replicas whose service times come from profiles.

    Without ``groups`` the fleet is one group, described by the same keys. With ``groups``, only
    ``model`` and ``framework`` of them have a meaning: they decide for groups that leave them out,
    if their hardware was measured with them.
    """

    kind: Literal["profiles"]
    groups: tuple[GroupSettings, ...] | None = Field(None, description="null: one, as said above")
    profiles: tuple[SourceSettings, ...] = Field(description="where to look, in this order")
    allow_extrapolation: bool = Field(
        False, description="use times outside the measured batch sizes; results then say so"
    )
    allow_models: bool = Field(
        False, description="use the device models of hardware without a profile; results say so"
    )

    @model_validator(mode="after")
    def _some_group(self) -> ProfiledFleet:
        if self.groups is not None and not self.groups:
            raise ValueError("groups is empty: a fleet needs at least one group of replicas")
        return self

    def expanded(self) -> dict[str, GroupSettings]:
        """Return the groups by the setting that describes them.

        Raises:
            ConfigError: a group names no hardware, or no count.
        """
        own = {name: getattr(self, name) for name in GroupSettings.model_fields}
        groups = {"fleet": GroupSettings.model_construct(**own)}
        if self.groups is not None:
            groups = {f"fleet.groups.{n}": group for n, group in enumerate(self.groups)}
        for field, group in groups.items():
            if group.count is None:
                raise ConfigError(f"{field}.count is missing: say how many replicas there are.")
            if group.hardware is None and group.service is None and group.profile is None:
                raise ConfigError(f"{field}.hardware is missing: say what the replicas run on.")
        return groups


class TheoryFleet(Settings):
    """Equal servers with an assumed service time: what queueing theory has formulas for."""

    kind: Literal["theory"]
    servers: Count
    service: ServiceSettings

    @property
    def profiles(self) -> tuple[SourceSettings, ...]:
        """No profile is needed."""
        return ()

    @property
    def allow_extrapolation(self) -> bool:
        """There is nothing to extrapolate."""
        return False

    @property
    def allow_models(self) -> bool:
        """There is nothing to model."""
        return False

    def expanded(self) -> dict[str, GroupSettings]:
        """Return the one group there is."""
        return {"fleet": GroupSettings(name="servers", count=self.servers, service=self.service)}


FleetSettings = Annotated[ProfiledFleet | TheoryFleet, Field(discriminator="kind")]
