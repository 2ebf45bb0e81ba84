"""Which group, model and cell something belongs to; constants where there is only one."""

from __future__ import annotations

from profleet.simulate.engine.features import CENTRAL, GROUPS, MODELS
from profleet.simulate.engine.layout import MODEL
from profleet.simulate.engine.state import State, Tables


def group_of(f: Tables, r: int) -> int:
    """The group of a replica."""
    return f.group_of[r] if GROUPS else 0


def model_of(s: State, slot: int) -> int:
    """The model a request is for."""
    return s.small[slot, MODEL] if MODELS else 0


def models_of(f: Tables) -> int:
    """How many models there are."""
    return f.serves.shape[1] if MODELS else 1


def cell_of(f: Tables, g: int, model: int) -> int:
    """The cell of a group and a model."""
    return g * f.serves.shape[1] + model if MODELS else g


def near_group(f: Tables, model: int) -> int:
    """The first group that serves a model, where requests count that have no group."""
    return f.serving[model, 0] if GROUPS else 0


def queue_of(f: Tables, r: int, model: int) -> int:
    """The queue where requests for a model wait: at the replica, or all together."""
    if CENTRAL:
        return model
    return r * f.serves.shape[1] + model if MODELS else r
