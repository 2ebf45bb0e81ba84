"""Azure Functions invocation trace of 2021: which function ended when, and how long it took.

Columns ``app,func,end_timestamp,duration`` (seconds). A request arrives when its function starts.
Lines come in no promised order, so the file (2 million lines) is read whole and sorted. ``func`` is
the label. Published with "Faster and Cheaper Serverless Computing on Harvested Resources", CC-BY:
https://github.com/Azure/AzurePublicDataset
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from profleet.simulate.workload.traces.rows import Format, Rows
from profleet.simulate.workload.traces.table import Columns, read_table

_COLUMNS = Columns("end_timestamp", "s", duration="duration", model="func")


def _read(path: Path, _settings: Any) -> Iterator[Rows]:
    return read_table(path, _COLUMNS, ordered=False)


AZURE_FUNCTIONS_2021 = Format("azure_functions_2021", _read, ordered=False)
