"""What the tests of workloads share: building them, drawing from them, finding public traces."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profleet.simulate.records import Arrivals
from profleet.simulate.workload import Workload, parse
from profleet.simulate.workload.stream import joint


def workload(
    kind: str, *, served: tuple[str, ...] = ("m",), capacity: float | None = None, **plain: Any
) -> Workload:
    return Workload.build(parse({"kind": kind, **plain}), served, capacity)


def drawn(source: Workload, requests: int, seed: int = 1, size: int = 65_536) -> Arrivals:
    return joint(list(source.chunks(np.random.SeedSequence(seed), requests, size)))


def same(one: Arrivals, other: Arrivals) -> bool:
    return all(
        getattr(one, field.name).dtype == getattr(other, field.name).dtype
        and getattr(one, field.name).tobytes() == getattr(other, field.name).tobytes()
        for field in fields(Arrivals)
    )


def shared_data(name: str) -> Path:
    """Return a file or folder of the shared data folder, or skip the test where there is none."""
    known = Path(__file__).parents[2] / "shared" / "data"
    found = Path(os.environ.get("PROFLEET_SHARED_DATA", known)) / name
    if not found.exists():
        pytest.skip(f"needs {name} in the folder that PROFLEET_SHARED_DATA names")
    return found
