"""The runners' own drawing code, so that host and runner draw the same values from a seed."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from typing import TYPE_CHECKING

from profleet.paths import data_dir

if TYPE_CHECKING:
    from types import ModuleType


@cache
def drawing() -> ModuleType:
    """Return ``profleet_runner.inputs``: loaded from its file, as runners are not on the path.

    Raises:
        ProfleetError: the runners folder is missing.
    """
    name = "profleet_runner.inputs"
    if name in sys.modules:
        return sys.modules[name]
    path = data_dir("runners") / "profleet_runner" / "inputs.py"
    spec = importlib.util.spec_from_file_location("profleet._runner_inputs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
