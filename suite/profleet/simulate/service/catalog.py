"""Which profile answers for a model, a framework and a hardware.

Sources are asked in the order given; the first that has a match answers. Within it, the newest
release of model and framework counts, and of several measurements of the same stack on the same
kind of machine with the same threads the newest one, with a note. Measurements that differ in
framework, machine or threads are different answers: which one is meant has to be said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from profleet.errors import ConfigError, StoreError, did_you_mean
from profleet.manifest.versions import ordered
from profleet.profile.schema import name_of
from profleet.simulate.service.profiled import Measured
from profleet.simulate.service.sources import (
    Candidate,
    Places,
    Source,
    SourceSettings,
    accepts,
)

MOST_LISTED = 12


class NoProfileError(ConfigError):
    """No source has a profile of what is wanted."""


@dataclass(frozen=True)
class Wanted:
    """What a group of replicas asks for; None: whatever there is. ``field`` is its setting.

    ``preferred`` is the framework that decides where several were measured.
    """

    model: str | None
    framework: str | None
    hardware: str | None
    field: str
    preferred: str | None = None

    def __str__(self) -> str:
        model = "a model" if self.model is None else f"model '{self.model}'"
        framework = "" if self.framework is None else f" under framework '{self.framework}'"
        hardware = "" if self.hardware is None else f" on hardware '{self.hardware}'"
        return f"{model}{framework}{hardware}"


@dataclass
class Catalog:
    """The profiles of several sources; each is listed when it is first asked."""

    settings: Sequence[SourceSettings]
    places: Places
    notes: list[str] = field(default_factory=list)
    _read: dict[str, Measured] = field(default_factory=dict)

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """The sources, in order."""
        return tuple(Source(each, self.places) for each in self.settings)

    def measured(self, candidate: Candidate) -> Measured:
        """Read a profile, once."""
        key = f"{candidate.run_id} {candidate.hardware}"
        if key not in self._read:
            self._read[key] = candidate.measured()
            self.notes += self._read[key].notes
        return self._read[key]

    def find(self, wanted: Wanted) -> dict[str, Candidate]:
        """Return one profile for each model that fits, by the model's name.

        Raises:
            NoProfileError: nothing fits.
            ConfigError: several different stacks do.
            ProfleetError: a source or a profile in it cannot be read.
        """
        for source in self.sources:
            found = [each for each in source.candidates if self._fits(source, each, wanted)]
            for text in source.passed_over if found else ():
                self._note(f"Passed over: {text}")
            if found:
                models = sorted({name_of(each.stack.model) for each in found})
                return {
                    model: self._choose(
                        [each for each in found if name_of(each.stack.model) == model],
                        replace(wanted, model=wanted.model or model),
                    )
                    for model in models
                }
        raise NoProfileError(self._nothing(wanted))

    def _fits(self, source: Source, candidate: Candidate, wanted: Wanted) -> bool:
        """Tell whether a candidate is what is wanted; a damaged one is not, and is remembered."""
        stack = candidate.stack
        if wanted.model is not None and not accepts(wanted.model, stack.model):
            return False
        if wanted.framework is not None and not accepts(wanted.framework, stack.framework):
            return False
        try:
            return candidate.answers(wanted.hardware or candidate.hardware)
        except StoreError as error:
            if str(error) not in source.passed_over:
                source.passed_over.append(str(error))
            return False

    def _choose(self, found: list[Candidate], wanted: Wanted) -> Candidate:
        """Choose the newest of several measurements of one stack."""
        release = max(_release(each) for each in found)
        found = [each for each in found if _release(each) == release]
        if wanted.framework is None and wanted.preferred is not None:
            same = [each for each in found if accepts(wanted.preferred, each.stack.framework)]
            found = same or found
        ways = {f"under {name_of(each.stack.framework)} on {each.machine}" for each in found}
        if len(ways) > 1:
            raise ConfigError(
                f"{wanted.field}: {wanted} is measured in several ways: {'; '.join(sorted(ways))}. "
                "Say which one with framework and hardware."
            )
        newest = max(found, key=lambda each: each.finished_at)
        if len(found) > 1:
            self._note(
                f"{newest.title}: the newest of {len(found)} measurements is used "
                f"({newest.where}, {newest.finished_at:%Y-%m-%d %H:%M} UTC)."
            )
        return newest

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _nothing(self, wanted: Wanted) -> str:
        """Say what there is instead."""
        titles = _titles(each for source in self.sources for each in source.candidates)
        places = ", ".join(source.settings.shown for source in self.sources) or "no source"
        passed = [text for source in self.sources for text in source.passed_over]
        damaged = f" Passed over: {passed[0]}" if passed else ""
        if not titles:
            return (
                f"{wanted.field}: there is no profile at all in {places}.{damaged} Measure one "
                "with `profleet run`, or say fleet.profiles=[DIR]."
            )
        known = [each for source in self.sources for each in source.candidates]
        hint = _hint(wanted, known)
        more = f"; {len(titles) - MOST_LISTED} more" if len(titles) > MOST_LISTED else ""
        listed = "; ".join(titles[:MOST_LISTED])
        return (
            f"{wanted.field}: no profile of {wanted} in {places}. {hint}There are: {listed}{more}."
            f"{damaged}"
        )


def _release(candidate: Candidate) -> tuple[object, object]:
    """Order stacks by the release of their model, then of their framework."""
    parts = (candidate.stack.model, candidate.stack.framework)
    model, framework = (ordered(part.partition("@")[2]) for part in parts)
    return model, framework


def _titles(candidates: Iterable[Candidate]) -> list[str]:
    titles: set[str] = set()
    for each in candidates:
        try:
            titles.add(each.title)
        except StoreError:
            titles.add(f"{each.where} (damaged)")
    return sorted(titles)


def _hint(wanted: Wanted, known: Sequence[Candidate]) -> str:
    """Correct the first part of what is wanted that nothing has."""
    for asked, names in (
        (wanted.model, {name_of(each.stack.model) for each in known}),
        (wanted.framework, {name_of(each.stack.framework) for each in known}),
    ):
        if asked is not None and name_of(asked) not in names:
            return did_you_mean(name_of(asked), names).partition("Available")[0]
    return ""
