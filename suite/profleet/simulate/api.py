"""``profleet.simulate(...)``: the simulator from Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from profleet.errors import ConfigError, did_you_mean
from profleet.execute.settings import check
from profleet.paths import data_dir
from profleet.simulate.settings import SimulateSettings
from profleet.simulate.simulation import Simulation, prepare, simulate_scene

Given = str | Mapping[str, Any]
"""An option of a group by name, or values that replace those of an option."""

GROUPS = ("fleet", "workload", "router", "batching", "slo", "autoscaling", "tracking")


def simulate(
    fleet: Given = "quickstart",
    workload: Given = "poisson",
    *,
    router: Given = "jsq",
    batching: Given = "dynamic",
    slo: Given = "none",
    seed: int = 0,
    replications: int = 5,
    **settings: Any,
) -> Simulation:
    """Simulate a fleet under a workload.

    Everything is what ``profleet simulate`` takes. A group is the name of an option
    (``router="least_work"``) or a mapping of values over one: that of its ``preset``, that of its
    ``kind``, or else the default. ::

        simulation = profleet.simulate(
            {"preset": "quickstart", "count": 32},
            {"kind": "poisson", "load": 0.7},
            router="power_of_two",
            slo={"p99_ms": 50},
            requests=200_000,
        )
        simulation.metrics()["latency_p99_ms"]
        simulation.table("levels")  # pandas

    Args:
        fleet: the replicas.
        workload: the requests.
        router: who gets a request.
        batching: how a replica groups requests.
        slo: what is promised.
        seed: of every random stream.
        replications: with other random numbers; intervals come from them.
        settings: any other key of ``conf/simulate.yaml``, such as ``requests`` or ``queue``.

    Raises:
        ProfleetError: a setting, profile, trace or policy cannot be used; says which.
    """
    groups = {"fleet": fleet, "workload": workload, "router": router, "batching": batching}
    groups["slo"] = slo
    own = {"seed": seed, "replications": replications, **settings}
    return simulate_scene(prepare(configure(groups, own)))


def configure(groups: Mapping[str, Given], settings: Mapping[str, Any]) -> SimulateSettings:
    """Compose and check a configuration without Hydra, from the same files.

    Raises:
        ConfigError: a group has no such option, or a value cannot be used.
    """
    from omegaconf import DictConfig, OmegaConf

    root = OmegaConf.load(data_dir("conf") / "simulate.yaml")
    assert isinstance(root, DictConfig)
    defaults: dict[str, str] = {}
    for each in root.pop("defaults"):
        if each != "_self_":
            defaults.update(each)
    root.pop("hydra")
    plain: dict[str, Any] = {str(key): value for key, value in root.items()}
    unknown = (set(settings) | set(groups)) - set(plain) - set(GROUPS)
    if unknown:
        name = min(unknown)
        raise ConfigError(f"Unknown setting '{name}'. {did_you_mean(name, {*plain, *GROUPS})}")
    composed = OmegaConf.merge(OmegaConf.create(plain), OmegaConf.create(dict(settings)))
    for group in GROUPS:
        given = groups.get(group, settings.get(group, defaults[group]))
        OmegaConf.update(composed, group, _option(group, given, defaults[group]), merge=False)
    OmegaConf.update(composed, "store", str(Path(composed.store).expanduser().absolute()))
    return check(SimulateSettings, OmegaConf.to_container(composed, resolve=True))


def _option(group: str, given: Given, default: str) -> Any:
    """Load an option of a group, with the values given over it."""
    from omegaconf import OmegaConf

    folder = data_dir("conf") / group
    if isinstance(given, str):
        path = folder / f"{given}.yaml"
        if not path.is_file():
            known = did_you_mean(given, (entry.stem for entry in folder.glob("*.yaml")))
            raise ConfigError(f"Unknown option '{given}' of '{group}'. {known}")
        return OmegaConf.load(path)
    values = dict(given)
    preset = values.pop("preset", None)
    kind = values.get("kind")
    if preset is None:
        preset = kind if kind and (folder / f"{kind}.yaml").is_file() else default
    return OmegaConf.merge(_option(group, preset, default), OmegaConf.create(values))
