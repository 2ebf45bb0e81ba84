"""The configuration of studies (``conf/study``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from profleet.execute.settings import Positive, Settings

MAX_GRANULARITY = 2**31


class NoStudy(Settings):
    """A fleet is simulated, as everything else in the configuration says."""

    kind: Literal["none"] = "none"


class LightspeedSettings(Settings):
    """The Lightning study: seven networks on one device, until the first requests are done."""

    kind: Literal["lightspeed"]
    device: Annotated[str, Field(min_length=1)]
    trace: Annotated[Path, Field(strict=False)] | None
    traces: str
    rate_gbps: Positive
    granularity: Annotated[int, Field(ge=1, le=MAX_GRANULARITY)]
    stop_after: Annotated[int, Field(ge=1)] | None


class SteadySettings(Settings):
    """The question of the Lightning study, put to a fleet; watts that nobody stated, by hardware.

    What is simulated is in the other groups, which ``conf/study/lightspeed_steady.yaml`` sets.
    """

    kind: Literal["lightspeed_steady"]
    idle_w: dict[str, Positive]
    active_w: dict[str, Positive]


StudySettings = Annotated[
    NoStudy | LightspeedSettings | SteadySettings, Field(discriminator="kind")
]
