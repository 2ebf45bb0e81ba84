"""From settings to a fleet: profiles are found, service times tabulated, groups laid out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeGuard

from profleet.errors import ConfigError, ManifestError
from profleet.hardware.stack import ModelledStack, modelled_stack
from profleet.manifest.documents import Hardware
from profleet.manifest.library import Library
from profleet.simulate.fleet.arrays import Fleet, Group
from profleet.simulate.fleet.settings import (
    MAX_REPLICAS,
    GroupSettings,
    ProfiledFleet,
    TheoryFleet,
)
from profleet.simulate.records import ServiceClass
from profleet.simulate.service.catalog import Catalog, NoProfileError, Wanted
from profleet.simulate.service.laws import Law, service_from_law, tabulated
from profleet.simulate.service.modelled import modelled_class, notes_of
from profleet.simulate.service.profiled import Measured
from profleet.simulate.service.sources import Candidate, Places

ANY_MODEL = "any"
"""What a fleet of assumed service times serves where no model is named."""


def build_fleet(
    settings: ProfiledFleet | TheoryFleet,
    places: Places,
    *,
    max_batch: int | None = 1,
    batch_field: str = "batching.size",
) -> Fleet:
    """Find what every group needs and lay the fleet out.

    Args:
        settings: of the fleet.
        places: what the named sources mean, and where manifests are.
        max_batch: the largest batch that the batching policy may form; None: the largest that was
            measured, which is 1 for assumed service times.
        batch_field: the setting that says so, for messages.

    Raises:
        ConfigError: a group cannot be served: no profile, several, or a batch size that was not
            measured.
        ProfleetError: a source or a profile cannot be read.
    """
    groups = settings.expanded()
    total = sum(group.count or 0 for group in groups.values())
    if total > MAX_REPLICAS:
        raise ConfigError(f"fleet: {total} replicas are more than {MAX_REPLICAS}, the limit.")
    builder = _Builder(settings, places, max_batch, batch_field)
    built = [builder.group(group, where) for where, group in groups.items()]
    laws = {group.law for group in built}
    if len(laws) > 1:
        built = [_as_tables(group) for group in built]
    named = [replace(group, name=name) for group, name in zip(built, _names(built), strict=True)]
    models = dict.fromkeys(model for group in named for model in group.services)
    return Fleet(
        groups=tuple(named),
        models=tuple(models),
        law=built[0].law,
        notes=tuple(dict.fromkeys(builder.notes)),
    )


@dataclass
class _Builder:
    settings: ProfiledFleet | TheoryFleet
    places: Places
    max_batch: int | None
    batch_field: str
    catalogs: list[Catalog] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    modelled: list[ModelledStack] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.catalogs.append(Catalog(self.settings.profiles, self.places))

    @property
    def notes(self) -> list[str]:
        measured = [text for each in self.catalogs for text in each.notes]
        return [*measured, *self.said, *notes_of(self.modelled)]

    def group(self, group: GroupSettings, where: str) -> Group:
        largest, limit = self.max_batch, self.batch_field
        if group.max_batch is not None and (largest is None or group.max_batch < largest):
            largest, limit = group.max_batch, f"{where}.max_batch"
        if group.service is not None:
            return self._assumed(group, where, largest or 1)
        catalog = self._catalog(group)
        found = self._found(catalog, group, where)
        _memory(group, len(found), where)
        services = {}
        for model, each in found.items():
            if isinstance(each, ModelledStack):
                service = self._modelled(each, group, len(found), where, largest, limit)
            else:
                measured = catalog.measured(each)
                service = measured.service_class(
                    model,
                    measured.sizes[-1] if largest is None else largest,
                    allow_extrapolation=self.settings.allow_extrapolation,
                    field=limit,
                    alike=group.speed_cv == "measured",
                )
            services[model] = _loading(service, group, len(found))
        measured_ones = [each for each in found.values() if isinstance(each, Candidate)]
        first = next(iter(found.values()))
        if isinstance(first, ModelledStack):
            hardware: Hardware | None = first.hardware.document
        else:
            hardware = self._manifest(first.manifest)
        return Group(
            name=group.name or group.hardware or measured_ones[0].hardware,
            settings=group,
            field=where,
            services=services,
            titles={model: each.title for model, each in found.items()},
            law=None,
            speed_cv=_speed_cv(group, [catalog.measured(each) for each in measured_ones], where),
            idle_w=_watts(group.power.idle_w, hardware, "idle"),
            active_w=_watts(group.power.active_w, hardware, "peak"),
            price_per_hour=_price(group.price_per_hour, hardware),
        )

    def _found(
        self, catalog: Catalog, group: GroupSettings, where: str
    ) -> dict[str, Candidate | ModelledStack]:
        """Find what answers for every model of the group, or for all models there are."""
        found: dict[str, Candidate | ModelledStack] = {}
        preferred = self.settings.framework if _in_groups(self.settings) else None
        for model in self._models(catalog, group, where, preferred):
            wanted = Wanted(model, group.framework, group.hardware, where, preferred)
            try:
                found |= catalog.find(wanted)
            except NoProfileError as error:
                stack = self._stack(wanted, group.dtype, error)
                found[stack.model.document.name] = stack
        _same_hardware(group, found.values(), where)
        return found

    def _models(
        self, catalog: Catalog, group: GroupSettings, where: str, preferred: str | None
    ) -> Sequence[str | None]:
        """What a group serves: where it does not say, what the fleet does if its hardware can."""
        if "model" in group.model_fields_set or not _in_groups(self.settings):
            return group.model or (None,)
        models = self.settings.model or (None,)
        try:
            for model in models:
                catalog.find(Wanted(model, group.framework, group.hardware, where, preferred))
        except NoProfileError:
            return (None,)
        return models

    def _stack(self, wanted: Wanted, dtype: str | None, error: NoProfileError) -> ModelledStack:
        """Return the model on a device of the catalogue, where models are allowed.

        Raises:
            ConfigError: they are not, or the hardware is not one of the catalogue.
        """
        if wanted.hardware is None:
            raise error
        try:
            library = Library.standard(self.places.manifests)
            device = library.resolve("hardware", wanted.hardware).document
        except ManifestError as unknown:
            if self.settings.allow_models:
                raise ConfigError(f"{wanted.field}: no profile of {wanted}. {unknown}") from None
            raise error from None
        if device.kind == "measured":
            raise error
        if not self.settings.allow_models:
            raise ConfigError(
                f"{wanted.field}: nobody measured {wanted}. Its hardware is in the catalogue: say "
                "fleet.allow_models=true to simulate with its device model, and results say so."
            ) from None
        if wanted.model is None:
            raise ConfigError(
                f"{wanted.field}.model is missing: a device model needs to know what it computes."
            ) from None
        return modelled_stack(wanted.model, wanted.hardware, dtype, manifests=self.places.manifests)

    def _modelled(
        self,
        stack: ModelledStack,
        group: GroupSettings,
        models: int,
        where: str,
        largest: int | None,
        limit: str,
    ) -> ServiceClass:
        swaps = models > 1 and group.memory == "one"
        if group.load_ms is None and (swaps or not group.warm):
            raise ConfigError(
                f"{where}.load_ms is missing: device models say nothing of how long "
                f"{stack.title} takes to load."
            )
        if group.speed_cv == "measured":
            raise ConfigError(
                f"{where}.speed_cv=measured needs a profile, and {stack.title} is modelled. Give "
                "a number."
            )
        if largest is None:
            self.said.append(
                f"{stack.title}: a device model has no largest batch, so batches of 1 are served. "
                f"{limit}=N allows more."
            )
        self.modelled.append(stack)
        return modelled_class(stack, largest or 1, limit)

    def _catalog(self, group: GroupSettings) -> Catalog:
        if group.profile is None:
            return self.catalogs[0]
        for catalog in self.catalogs[1:]:
            if catalog.settings == (group.profile,):
                return catalog
        self.catalogs.append(Catalog((group.profile,), self.places))
        return self.catalogs[-1]

    def _assumed(self, group: GroupSettings, where: str, largest: int) -> Group:
        assert group.service is not None
        models = group.model or (ANY_MODEL,)
        _memory(group, len(models), where)
        services = {
            model: _loading(service_from_law(group.service, model, largest), group, len(models))
            for model in models
        }
        title = group.hardware or group.name or "assumed"
        return Group(
            name=group.name or title,
            settings=group,
            field=where,
            services=services,
            titles=dict.fromkeys(services, f"{title}: {next(iter(services.values())).source}"),
            law=group.service.law,
            speed_cv=_speed_cv(group, (), where),
            idle_w=_watts(group.power.idle_w, None, "idle"),
            active_w=_watts(group.power.active_w, None, "peak"),
            price_per_hour=_price(group.price_per_hour, None),
        )

    def _manifest(self, reference: str | None) -> Hardware | None:
        """The manifest of what was measured; None where this machine has none by that name."""
        if reference is None:
            return None
        try:
            return Library.standard(self.places.manifests).resolve("hardware", reference).document
        except ManifestError:
            return None


def _in_groups(settings: ProfiledFleet | TheoryFleet) -> TypeGuard[ProfiledFleet]:
    return isinstance(settings, ProfiledFleet) and settings.groups is not None


def _same_hardware(
    group: GroupSettings, found: Iterable[Candidate | ModelledStack], where: str
) -> None:
    hardware = {each.hardware for each in found if isinstance(each, Candidate)}
    if group.hardware is None and len(hardware) > 1:
        raise ConfigError(
            f"{where}.hardware is missing, and the profiles are of several: "
            f"{', '.join(sorted(hardware))}. Say which one."
        )


def _memory(group: GroupSettings, models: int, where: str) -> None:
    if models > 1 and group.memory == "all" and not group.warm:
        raise ConfigError(
            f"{where}: replicas that keep {models} models in memory cannot start cold. Say "
            f"{where}.memory=one, or warm=true."
        )


def _speed_cv(group: GroupSettings, profiles: Sequence[Measured], where: str) -> float:
    """Return how much replicas differ in speed: as said, or as the processes of the profiles."""
    if group.speed_cv != "measured":
        return group.speed_cv
    spreads = [profile.process_cv for profile in profiles if profile.process_cv is not None]
    if len(spreads) < len(profiles):
        raise ConfigError(
            f"{where}.speed_cv=measured needs profiles of several processes, and "
            f"{next(each.name for each in profiles if each.process_cv is None)} was measured in "
            "one. Give a number, or measure with measure.processes=5."
        )
    return max(spreads)


def _loading(service: ServiceClass, group: GroupSettings, models: int) -> ServiceClass:
    """Set what it takes to load the model: nothing where several are always in memory."""
    if models > 1 and group.memory == "all":
        return replace(service, load_ns=0)
    return (
        service if group.load_ms is None else replace(service, load_ns=round(group.load_ms * 1e6))
    )


def _as_tables(group: Group) -> Group:
    """Draw assumed service times from tables, as measured ones are."""
    if group.law is None:
        return group
    law: Law = group.law
    services = {model: tabulated(service, law) for model, service in group.services.items()}
    return replace(group, services=services, law=None)


def _names(groups: Sequence[Group]) -> list[str]:
    """Names for results: unique, by a number where several groups share one."""
    names: list[str] = []
    for group in groups:
        name, number = group.name, 1
        while name in names:
            number += 1
            name = f"{group.name}-{number}"
        names.append(name)
    return names


def _watts(said: float | None, hardware: Hardware | None, key: Literal["idle", "peak"]) -> float:
    """Return the power that was said or that the manifest states; NaN: unknown."""
    if said is not None:
        return said
    figure = hardware.power.get(key) if hardware else None
    return math.nan if figure is None else figure.base


def _price(said: float | None, hardware: Hardware | None) -> float:
    if said is not None:
        return said
    price = hardware.price if hardware else None
    hourly = price is not None and price.unit.replace(" ", "").endswith(("/h", "/hour"))
    return float(price.value) if price is not None and hourly else math.nan
