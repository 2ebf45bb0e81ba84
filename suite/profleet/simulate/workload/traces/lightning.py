"""Request schedules of the Lightning simulator (SIGCOMM 2023): model and arrival in nanoseconds.

Columns ``model,arrival_ns``, time from the start of the period. MIT:
https://github.com/hipersys-team/lightning (``simulation/sim_scheds``, pickles there)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from profleet.simulate.workload.traces.rows import Format, Rows
from profleet.simulate.workload.traces.table import Columns, read_table

_COLUMNS = Columns("arrival_ns", "ns", model="model")


def _read(path: Path, _settings: Any) -> Iterator[Rows]:
    return read_table(path, _COLUMNS)


LIGHTNING = Format("lightning", _read, from_zero=True)
