"""Units that numbers of hardware manifests may have, and what they are in base units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Dimension = Literal[
    "rate", "size", "bandwidth", "power", "time", "frequency", "energy", "share", "count"
]

_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_SMALL = {"": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
_BYTES = {f"{prefix}B": factor for prefix, factor in _DECIMAL.items()} | {
    "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40,
}  # fmt: skip

UNITS: Mapping[Dimension, Mapping[str, float]] = {
    "rate": {
        f"{prefix}{what}/s": factor
        for prefix, factor in _DECIMAL.items()
        for what in ("op", "OP", "FLOP")
    },
    "size": _BYTES,
    "bandwidth": {f"{unit}/s": factor for unit, factor in _BYTES.items()}
    | {f"{prefix}bit/s": factor / 8 for prefix, factor in _DECIMAL.items()},
    "power": {"mW": 1e-3, "W": 1.0, "kW": 1e3},
    "time": {f"{prefix}s": factor for prefix, factor in _SMALL.items()},
    "frequency": {f"{prefix}Hz": factor for prefix, factor in _DECIMAL.items()},
    "energy": {f"{prefix}J": factor for prefix, factor in _SMALL.items()},
    "share": {"1": 1.0, "%": 0.01},
    "count": {"1": 1.0},
}
"""Dimension -> unit -> factor to operations/s, bytes, bytes/s, W, s, Hz, J and 1.

One multiply-accumulate is two operations.
"""


def base_value(value: float, unit: str, dimension: Dimension | None = None) -> float:
    """Return ``value`` in the base unit of its dimension; None: whichever has that unit.

    Raises:
        ValueError: the unit is not one of that dimension.
    """
    units = _ALL if dimension is None else UNITS[dimension]
    if unit not in units:
        known = ", ".join(list(units)[:12])
        raise ValueError(f"'{unit}' is not a unit of {dimension or 'anything'}; use {known}")
    return value * units[unit]


_ALL = {unit: factor for units in UNITS.values() for unit, factor in units.items()}
