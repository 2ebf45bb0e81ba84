"""What a framework must offer to be measured, and the registry of those that do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy.typing as npt

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Options:
    """Everything a session is built from, besides the artifact."""

    accelerator: str
    intra_op_threads: int
    inter_op_threads: int
    options: dict[str, Any]


@dataclass(frozen=True)
class Request:
    """Inputs bound and ready: ``execute`` is the measured region and nothing else.

    ``execute`` returns when the outputs are complete (a CUDA framework synchronizes in it);
    ``outputs`` copies the outputs of the last execution to the host.
    """

    execute: Callable[[], object]
    outputs: Callable[[], Tensors]


class Session(Protocol):
    """A model loaded in this process."""

    def prepare(self, inputs: Tensors) -> Request:
        """Bind the inputs (conversion and device copies happen here, unmeasured)."""
        ...

    def copy_seconds(self, inputs: Tensors) -> tuple[float, float] | str:
        """Time one host-to-device copy of the inputs and one device-to-host copy of the outputs.

        Seconds; or the reason why there is no such copy (a CPU framework works in place).
        """
        ...

    def peak_device_bytes(self) -> int | str:
        """Peak device memory since the last call, or the reason why it is unavailable."""
        ...

    def threads(self) -> dict[str, int | str]:
        """``intra_op`` and ``inter_op`` threads read back; a text says why it cannot be read."""
        ...

    def device(self) -> str:
        """Name of the device as the framework reports it."""
        ...

    def options(self) -> dict[str, Any]:
        """Options in effect, read back where the framework allows."""
        ...


class Framework(Protocol):
    """A module of this package, as seen by the worker. Importing the module must stay cheap."""

    OPTIONS: frozenset[str]
    """Names of the options it understands; others are refused."""

    def import_framework(self) -> None:
        """Import the framework itself (measured as part of the cold start)."""
        ...

    def unsupported(self, options: Options) -> str | None:
        """Why this stack cannot run on this machine, or None. Called after the import."""
        ...

    def open_session(self, artifact: bytes, options: Options) -> Session:
        """Build a session from the bytes of the artifact (measured as initialization).

        Raises:
            Unsupported: the framework cannot execute this graph.
        """
        ...


class Unsupported(Exception):  # noqa: N818 -- the word of the protocol
    """The stack cannot execute here; the message is the reason."""


REGISTRY = {
    "onnxruntime": "profleet_runner.frameworks.onnxruntime",
    "openvino": "profleet_runner.frameworks.openvino",
    "torch": "profleet_runner.frameworks.torch",
}


def load(name: str) -> Framework:
    """Return the framework module registered as ``name``.

    Raises:
        Unsupported: no such framework in this runner.
    """
    if name not in REGISTRY:
        raise Unsupported(f"this runner has no framework '{name}'; it has {', '.join(REGISTRY)}")
    module: Any = import_module(REGISTRY[name])
    return module  # type: ignore[no-any-return]  # a module stands in for the protocol


__all__ = [
    "REGISTRY",
    "Framework",
    "Options",
    "Request",
    "Session",
    "Tensors",
    "Unsupported",
    "load",
]
