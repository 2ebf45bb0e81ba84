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


StudySettings = Annotated[NoStudy | LightspeedSettings, Field(discriminator="kind")]
