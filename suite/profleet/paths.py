"""Where the data are, inside an installed wheel or in the checkout, and the user's own state."""

from __future__ import annotations

import os
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from profleet.errors import ProfleetError

DataKind = Literal["conf", "manifests", "containers", "runners", "profiles"]


@cache
def data_dir(kind: DataKind) -> Path:
    """Return the folder ``kind``, from the wheel's ``_data`` or from the checkout.

    Raises:
        ProfleetError: neither place has it.
    """
    package = Path(str(files("profleet")))
    installed = package / "_data" / kind
    if installed.is_dir():
        return installed
    checkout = package.parent.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / kind).is_dir():
        return checkout / kind
    raise ProfleetError(
        f"The data folder '{kind}' is missing: looked in {installed} and {checkout / kind}. "
        "Reinstall profleet."
    )


def state_dir() -> Path:
    """Return the folder for what must outlive a crash of the program.

    ``$PROFLEET_STATE``, else ``$XDG_STATE_HOME/profleet``, else ``~/.local/state/profleet``.
    """
    if own := os.environ.get("PROFLEET_STATE"):
        return Path(own)
    if shared := os.environ.get("XDG_STATE_HOME"):
        return Path(shared) / "profleet"
    return Path.home() / ".local" / "state" / "profleet"
