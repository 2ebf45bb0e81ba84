"""One study from its configuration to its result folder."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from profleet.errors import ConfigError
from profleet.execute.collect import now
from profleet.execute.invocation import say
from profleet.simulate.results import finish
from profleet.simulate.schema import InvocationRecord, SimulationResult
from profleet.simulate.settings import SimulateSettings
from profleet.simulate.study.lightspeed import simulate_study
from profleet.simulate.study.ratios import load_study, write_study
from profleet.simulate.study.settings import LightspeedSettings

MEANT = re.compile(r"[+~]*(study|seed|store|tracking|manifests|hydra)\b")
"""Settings that mean something to a study."""


def study_into(
    settings: SimulateSettings,
    folder: Path,
    begun: InvocationRecord,
    title: str = "",
    *,
    alone: bool = True,
) -> SimulationResult:
    """Simulate the study that the settings name and write its result into ``folder``.

    Args:
        settings: with a study in them.
        folder: of the result.
        begun: the record of the invocation so far.
        title: what stands before its line of progress.
        alone: it is no part of a sweep, so its page is its own.

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
    ended = begun.model_copy(update={"finished_at": now(), "wall_s": wall})
    result = finish(folder, study.result(settings.seed), ended)
    if not alone:
        return result
    write_study_page(folder, [folder])
    return finish(folder, result, ended)  # again: now the page is among its paths


def write_study_page(root: Path, folders: Sequence[Path]) -> None:
    """Write ``study.json`` and the page of the study in ``folders`` into ``root``, if there is one.

    Raises:
        StoreError: ``study.json`` cannot be written; the page is worth no failure.
    """
    from profleet.report.study_html import write_study_report

    study = load_study(folders)
    if study is None:
        return
    write_study(root, study)
    with suppress(OSError):
        write_study_report(root, study, folders)


def _check_meant(overrides: Sequence[str]) -> None:
    for word in overrides:
        if not MEANT.match(word):
            key = word.lstrip("+~").partition("=")[0]
            raise ConfigError(
                f"Configuration: {key}: a study has rules of its own, so this means nothing to "
                "it. Remove it, or simulate a fleet with study=none."
            )
