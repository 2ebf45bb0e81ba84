"""Sending finished result folders to MLflow: after the files, never instead of them."""

from __future__ import annotations

from profleet.tracking.links import deep_link
from profleet.tracking.log import (
    Logged,
    log_plan,
    log_result,
    log_simulation,
    log_simulations,
    log_sweep,
)

__all__ = [
    "Logged",
    "deep_link",
    "log_plan",
    "log_result",
    "log_simulation",
    "log_simulations",
    "log_sweep",
]
