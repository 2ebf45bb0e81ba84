"""Mooncake traces (Kimi): one JSON object a line, time in milliseconds from the start.

Keys ``timestamp``, ``input_length``, ``output_length`` and ``hash_ids`` (blocks of 512 tokens of
the prompt, for prefix caches; not looked at). Published with the FAST 2025 paper:
https://github.com/kvcache-ai/Mooncake (``FAST25-release/traces``)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from profleet.simulate.workload.traces.lines import blocks
from profleet.simulate.workload.traces.rows import Format, Rows, bad_line
from profleet.simulate.workload.traces.table import check_order

_KEYS = ("timestamp", "input_length", "output_length")


def _read(path: Path, _settings: Any) -> Iterator[Rows]:
    last: int | None = None
    for block in blocks(path):
        found = np.array(
            [
                _request(path, line, text)
                for line, text in enumerate(block.text.split(b"\n"), block.first)
            ],
            dtype=np.int64,
        )
        check_order(path, block.first, found[:, 0], last)
        last = int(found[-1, 0])
        yield Rows(
            time_ns=found[:, 0].copy(),
            label=None,
            names=[],
            input_tokens=found[:, 1].copy(),
            output_tokens=found[:, 2].copy(),
        )


def _request(path: Path, line: int, text: bytes) -> tuple[int, int, int]:
    try:
        record = json.loads(text, parse_float=Decimal, parse_constant=_refused)
    except (ValueError, RecursionError):
        raise bad_line(path, line, "not a JSON object (a file that was cut off?)") from None
    if not isinstance(record, dict):
        raise bad_line(path, line, "not a JSON object")
    for key in _KEYS:
        if key not in record:
            raise bad_line(path, line, f"no key {key!r}")
        value = record[key]
        right = int if key != "timestamp" else (int, Decimal)
        if isinstance(value, bool) or not isinstance(value, right) or not 0 <= value < 10**12:
            shown = str(value)[:80]
            raise bad_line(path, line, f"{key} is {shown}, not a number from 0 to 10**12")
    return round(record["timestamp"] * 1_000_000), record["input_length"], record["output_length"]


def _refused(word: str) -> Any:
    raise ValueError(word)


MOONCAKE = Format("mooncake", _read, from_zero=True)
