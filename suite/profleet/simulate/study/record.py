"""One study from its configuration to its result folder."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from profleet.errors import ConfigError
from profleet.execute.collect import now
from profleet.execute.invocation import say
from profleet.simulate.results import finish
from profleet.simulate.schema import InvocationRecord, SimulationResult
from profleet.simulate.settings import SimulateSettings
from profleet.simulate.study.lightspeed import simulate_study
from profleet.simulate.study.settings import LightspeedSettings

MEANT = re.compile(r"[+~]*(study|seed|store|tracking|manifests|hydra)\b")
"""Settings that mean something to a study."""


def study_into(
    settings: SimulateSettings, folder: Path, begun: InvocationRecord, title: str = ""
) -> SimulationResult:
    """Simulate the study that the settings name and write its result into ``folder``.

    Raises:
        ProfleetError: a setting, device or trace cannot be used, or a file not be written.
    """
    assert isinstance(settings.study, LightspeedSettings)
    _check_meant(begun.overrides)
    started = time.perf_counter()
    study = simulate_study(settings.study, settings.seed, settings.manifests)
    wall = round(time.perf_counter() - started, 6)
    say(f"{title}{study.device.name}, {study.schedule.name}: "
        f"{study.outcome.events:,} events in {wall:.1f} s")  # fmt: skip
    result = study.result(settings.seed)
    return finish(folder, result, begun.model_copy(update={"finished_at": now(), "wall_s": wall}))


def _check_meant(overrides: Sequence[str]) -> None:
    for word in overrides:
        if not MEANT.match(word):
            key = word.lstrip("+~").partition("=")[0]
            raise ConfigError(
                f"Configuration: {key}: a study has rules of its own, so this means nothing to "
                "it. Remove it, or simulate a fleet with study=none."
            )
