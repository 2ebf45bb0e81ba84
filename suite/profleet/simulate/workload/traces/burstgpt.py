"""BurstGPT: calls of ChatGPT and GPT-4 on a campus, in seconds since the first day began.

Columns ``Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type``; newer files add
``Session ID`` and ``Elapsed time``, which may be empty. CC-BY 4.0:
https://github.com/HPMLL/BurstGPT
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from profleet.simulate.workload.traces.rows import Format, Rows
from profleet.simulate.workload.traces.table import Columns, read_table

_COLUMNS = Columns(
    "Timestamp",
    "s",
    model="Model",
    input_tokens="Request tokens",
    output_tokens="Response tokens",
)


def _read(path: Path, _settings: Any) -> Iterator[Rows]:
    return read_table(path, _COLUMNS)


BURSTGPT = Format("burstgpt", _read)
