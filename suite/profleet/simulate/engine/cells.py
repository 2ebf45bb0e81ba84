"""Which group, model and cell something belongs to; constants where there is only one.

As all small functions of the engine, these are handed the tables they need, not the whole state:
what a call hands over is most of what compiling it costs.
"""

from __future__ import annotations

from profleet.simulate.engine.features import CENTRAL, GROUPS, MODELS
from profleet.simulate.engine.layout import MODEL
from profleet.simulate.records import Small


def group_at(group_of: Small, r: int) -> int:
    """The group of a replica."""
    return group_of[r] if GROUPS else 0


def model_of(small: Small, slot: int) -> int:
    """The model a request is for."""
    return small[MODEL, slot] if MODELS else 0


def models_of(serves: Small) -> int:
    """How many models there are."""
    return serves.shape[1] if MODELS else 1


def cell_of(serves: Small, g: int, model: int) -> int:
    """The cell of a group and a model."""
    return g * serves.shape[1] + model if MODELS else g


def near_group(serving: Small, model: int) -> int:
    """The first group that serves a model, where requests count that have no group."""
    return serving[model, 0] if GROUPS else 0


def queue_of(serves: Small, r: int, model: int) -> int:
    """The queue where requests for a model wait: at the replica, or all together."""
    if CENTRAL:
        return model
    return r * serves.shape[1] + model if MODELS else r
