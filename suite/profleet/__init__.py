"""Profile an inference stack once, honestly; then ask what a fleet of it would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profleet.simulate.api import simulate as simulate

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "simulate":
        from importlib import import_module

        return import_module("profleet.simulate")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
