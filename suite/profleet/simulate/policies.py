"""Settings of routers, batching and queues; policies of your own.

A file given as ``plugins=[my_policies.py]`` registers small functions::

    from profleet.simulate.policies import batching, router

    @router("fewest_waiting")
    def fewest_waiting(fleet, request):
        best = -1
        for replica in range(len(fleet.waiting)):
            if fleet.up[replica] and (best < 0 or fleet.waiting[replica] < fleet.waiting[best]):
                best = replica
        return best  # -1 turns the request away

    @batching("pairs")
    def pairs(queue):
        if queue.waiting >= 2:
            return 2
        left = queue.head_since_ns + 1_000_000 - queue.now_ns
        return -left if left > 0 else 1  # alone after a millisecond; -n: ask again in n ns

They see what ``engine.routers.Fleet``, ``engine.routers.Request`` and ``engine.batching.Queue``
describe, and are used with ``router=custom router.name=fewest_waiting``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import Field

from profleet.errors import ConfigError, ProfleetError, did_you_mean
from profleet.execute.settings import Settings

Size = Annotated[int, Field(ge=1, le=65_536)]
Milliseconds = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
F = TypeVar("F", bound=Callable[..., int])


class PolicyError(ProfleetError):
    """A router or batching policy of the user raised, or returned what makes no sense."""


class NoNumberError(TypeError):
    """A policy that is not compiled returned something else than a number."""


def numbers_only(policy: Callable[..., int]) -> Callable[..., int]:
    """Make a policy that is not compiled say so when it returns no number: a forgotten return."""

    def checked(*arguments: Any) -> int:
        answer = policy(*arguments)
        if not isinstance(answer, int | float | np.number | np.bool_):
            raise NoNumberError(f"returned {answer!r}, which is no number,")
        return answer

    return checked


class PlainRouter(Settings):
    """A router without settings; ``engine.routers`` says what each does."""

    kind: Literal[
        "random",
        "round_robin",
        "weighted",
        "jsq",
        "least_work",
        "shortest_expected",
        "slo_aware",
        "central_queue",
    ]


class PowerOfD(Settings):
    """Look at ``d`` random replicas, take the one with the fewest outstanding requests."""

    kind: Literal["power_of_d"]
    d: Annotated[int, Field(ge=1, le=64)] = 2


class ModelAffinity(Settings):
    """Keep a model where it is loaded until every such replica has ``spill`` outstanding."""

    kind: Literal["model_affinity"]
    spill: Annotated[int, Field(ge=1, le=1_000_000)] = 8


class CustomRouter(Settings):
    """A router of a plugin."""

    kind: Literal["custom"]
    name: str = Field(min_length=1)


RouterSettings = Annotated[
    PlainRouter | PowerOfD | ModelAffinity | CustomRouter, Field(discriminator="kind")
]


class NoBatching(Settings):
    """One request at a time."""

    kind: Literal["none"]


class FixedBatching(Settings):
    """Only full batches of ``size`` (null: the largest that has a service time)."""

    kind: Literal["fixed"]
    size: Size | None = None


class DynamicBatching(Settings):
    """Up to ``size``; a smaller batch starts when its head has waited ``max_delay_ms``."""

    kind: Literal["dynamic"]
    size: Size | None = None
    max_delay_ms: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] = 0.0


class AdaptiveBatching(Settings):
    """A limit per replica: ``add`` more after a full batch within the target, half after a slow."""

    kind: Literal["adaptive"]
    size: Size | None = None
    target_ms: Milliseconds
    add: Size = 1


class DeadlineBatching(Settings):
    """The largest batch that meets the deadline of its head; ``hold`` waits for one."""

    kind: Literal["deadline"]
    size: Size | None = None
    hold: bool = False


class CustomBatching(Settings):
    """A batching policy of a plugin."""

    kind: Literal["custom"]
    name: str = Field(min_length=1)
    size: Size | None = None


BatchingSettings = Annotated[
    NoBatching
    | FixedBatching
    | DynamicBatching
    | AdaptiveBatching
    | DeadlineBatching
    | CustomBatching,
    Field(discriminator="kind"),
]


class QueueSettings(Settings):
    """Queues of replicas, or the central one.

    ``limit`` is how many requests may wait in a queue (null: any number). A request that finds it
    full is dropped or tried again ``max_retries`` times, after ``backoff_ms``, then twice that and
    so on. Requests of a replica that fails go to the router again (``requeue``), are tried again
    in the same way, or are dropped.
    """

    order: Literal["fifo", "priority", "edf", "sjf"] = "fifo"
    limit: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    on_full: Literal["drop", "retry"] = "drop"
    on_failure: Literal["requeue", "retry", "drop"] = "requeue"
    max_retries: Annotated[int, Field(ge=0, le=1000)] = 3
    backoff_ms: Milliseconds = 10.0


class PolicySettings(Settings):
    """Everything that decides where requests go and when they are served."""

    router: RouterSettings
    batching: BatchingSettings
    queue: QueueSettings = QueueSettings()


_routers: dict[str, Callable[..., int]] = {}
_batchings: dict[str, Callable[..., int]] = {}


def router(name: str) -> Callable[[F], F]:
    """Register a router: a function of ``(fleet, request)`` that returns a replica, or -1."""
    return _register(_routers, name)


def batching(name: str) -> Callable[[F], F]:
    """Register a batching policy: a function of ``(queue)``; see ``engine.batching``."""
    return _register(_batchings, name)


def _register(registry: dict[str, Callable[..., int]], name: str) -> Callable[[F], F]:
    def keep(function: F) -> F:
        registry[name] = function
        return function

    return keep


def load_plugins(files: Iterable[str | Path]) -> None:
    """Execute Python files that register policies.

    Raises:
        ConfigError: a file is missing, cannot be imported, or registers nothing.
    """
    for number, file in enumerate(files):
        path = Path(file).expanduser().resolve()
        field = f"plugins.{number}"
        if not path.is_file():
            raise ConfigError(f"Configuration: {field}: there is no file {path}.")
        before = {**_routers, **_batchings}
        spec = importlib.util.spec_from_file_location(f"profleet_plugin_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise ConfigError(f"Configuration: {field}: {path} is not a Python file.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise ConfigError(
                f"Configuration: {field}: {path.name} cannot be imported: "
                f"{type(error).__name__}: {error}."
            ) from error
        if before == {**_routers, **_batchings}:
            raise ConfigError(
                f"Configuration: {field}: {path.name} registers no policy. Decorate a function "
                'with @router("NAME") or @batching("NAME") from profleet.simulate.policies.'
            )


def find_router(name: str) -> Callable[..., int]:
    """Return a registered router.

    Raises:
        ConfigError: there is none of that name.
    """
    return _find(_routers, name, "router.name")


def find_batching(name: str) -> Callable[..., int]:
    """Return a registered batching policy.

    Raises:
        ConfigError: there is none of that name.
    """
    return _find(_batchings, name, "batching.name")


def _find(registry: dict[str, Callable[..., int]], name: str, field: str) -> Callable[..., int]:
    if name not in registry:
        hint = did_you_mean(name, registry) if registry else "Name its file: plugins=[FILE.py]."
        raise ConfigError(f"Configuration: {field}: no plugin registers '{name}'. {hint}")
    return registry[name]
