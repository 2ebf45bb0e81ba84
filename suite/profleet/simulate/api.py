"""``profleet.simulate(...)``: the simulator from Python."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from profleet.errors import ConfigError, did_you_mean
from profleet.execute.collect import now
from profleet.execute.settings import check, resolved
from profleet.paths import data_dir
from profleet.simulate.recording import simulate_into
from profleet.simulate.results import new_invocation, save
from profleet.simulate.settings import SimulateSettings
from profleet.simulate.simulation import Scene, Simulation, prepare, simulate_scene

Given = str | Mapping[str, Any]
"""An option of a group by name, or values that replace those of an option."""

GROUPS = ("fleet", "workload", "router", "batching", "slo", "autoscaling", "tracking")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; ``simulation`` has the replications that were finished before."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__("the simulation was interrupted")
        self.simulation = simulation


def simulate(
    fleet: Given = "quickstart",
    workload: Given = "poisson",
    *,
    router: Given = "jsq",
    batching: Given = "dynamic",
    slo: Given = "none",
    seed: int = 0,
    replications: int = 5,
    folder: str | Path | None = None,
    **settings: Any,
) -> Simulation:
    """Simulate a fleet under a workload.

    Everything is what ``profleet simulate`` takes. A group is the name of an option
    (``router="least_work"``) or a mapping of values over one: that of its ``preset``, that of its
    ``kind``, or else the default. ::

        import profleet

        simulation = profleet.simulate(
            {"preset": "theory", "servers": 8},
            {"kind": "poisson", "load": 0.7},
            router="central_queue",
            batching="none",
            slo={"p99_ms": 8},
            requests=5_000,
        )
        simulation.metrics().loc["latency_p99_ms", ["low", "value", "high"]]
        simulation.summary().verdict  # stable, backlogged or overloaded
        simulation.table("levels")  # pandas
        simulation.plots("plots")  # SVG files
        simulation.save("eight-servers")  # what the command writes, for `profleet log`

    Args:
        fleet: the replicas.
        workload: the requests.
        router: who gets a request.
        batching: how a replica groups requests.
        slo: what is promised.
        seed: of every random stream.
        replications: with other random numbers; intervals come from them.
        folder: where to write everything, as ``save`` does; needed to keep every request
            (``per_request=True``) or a timeline (``trace=True``).
        settings: any other key of ``conf/simulate.yaml``, such as ``requests`` or ``queue``.

    Raises:
        ProfleetError: a setting, profile, trace or policy cannot be used; says which.
        Interrupted: a ``KeyboardInterrupt`` that holds what was finished.
    """
    groups = {"fleet": fleet, "workload": workload, "router": router, "batching": batching}
    groups["slo"] = slo
    checked = configure(groups, {"seed": seed, "replications": replications, **settings})
    if folder is None and (checked.per_request or checked.trace):
        kept = "per_request" if checked.per_request else "trace"
        raise ConfigError(f"{kept}: say where to keep it: simulate(..., folder=FOLDER).")
    simulation = _executed(prepare(checked), None if folder is None else Path(folder))
    if simulation.interrupted:
        raise Interrupted(simulation)
    return simulation


def _executed(scene: Scene, folder: Path | None) -> Simulation:
    if folder is None:
        return simulate_scene(scene)
    begun, started = new_invocation(), time.perf_counter()
    simulation = simulate_into(scene, folder)
    wall = round(time.perf_counter() - started, 6)
    save(folder, simulation, begun.model_copy(update={"finished_at": now(), "wall_s": wall}))
    return simulation


def configure(groups: Mapping[str, Given], settings: Mapping[str, Any]) -> SimulateSettings:
    """Compose and check a configuration without Hydra, from the same files.

    Raises:
        ConfigError: a group has no such option, or a value cannot be used.
    """
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    root = OmegaConf.load(data_dir("conf") / "simulate.yaml")
    assert isinstance(root, DictConfig)
    defaults: dict[str, str] = {}
    for each in root.pop("defaults"):
        if each != "_self_":
            defaults.update(each)
    root.pop("hydra")
    known = {*map(str, root), *GROUPS}
    if unknown := (set(settings) | set(groups)) - known:
        name = min(unknown)
        raise ConfigError(f"Unknown setting '{name}'. {did_you_mean(name, known)}")
    given = {**settings, **groups}
    try:
        own = {key: value for key, value in given.items() if key not in GROUPS}
        composed = OmegaConf.merge(root, OmegaConf.create(_plain(own)))
        for group in GROUPS:
            option = _option(group, given.get(group, defaults[group]), defaults[group])
            OmegaConf.update(composed, group, option, merge=False)
        assert isinstance(composed, DictConfig)
        return check(SimulateSettings, resolved(composed))
    except OmegaConfBaseException as error:
        raise ConfigError(f"Configuration: {str(error).splitlines()[0]}.") from None


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
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"{group}: give the name of an option, or a mapping of values (got {given!r})."
        )
    values = dict(given)
    preset = values.pop("preset", None)
    kind = values.get("kind")
    if preset is None:
        preset = kind if kind and (folder / f"{kind}.yaml").is_file() else default
    return OmegaConf.merge(_option(group, preset, default), OmegaConf.create(_plain(values)))


def _plain(value: Any) -> Any:
    """Turn what NumPy and pandas count in into plain numbers, at any depth."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | np.ndarray):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value
