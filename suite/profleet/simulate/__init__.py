"""The fleet simulator. The package is a function too: ``profleet.simulate(...)``."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profleet.simulate.api import simulate as simulate
    from profleet.simulate.simulation import Simulation


class _Callable(ModuleType):
    """Lets ``profleet.simulate`` be the package and the function that people expect there."""

    def __call__(self, *arguments: Any, **settings: Any) -> Simulation:
        from profleet.simulate.api import simulate

        return simulate(*arguments, **settings)


def __getattr__(name: str) -> Any:
    if name == "simulate":
        from profleet.simulate.api import simulate

        return simulate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


sys.modules[__name__].__class__ = _Callable
