"""Azure LLM inference traces of 2023 and 2024: date and time, prompt and generated tokens.

Columns ``TIMESTAMP,ContextTokens,GeneratedTokens``; 2023 gives local time with seven decimals, 2024
UTC with a zone. Published with the papers Splitwise (2023) and DynamoLLM (2024), CC-BY 4.0:
https://github.com/Azure/AzurePublicDataset
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from profleet.simulate.workload.traces.rows import Format, Rows
from profleet.simulate.workload.traces.table import Columns, read_table

_COLUMNS = Columns(
    "TIMESTAMP", "iso", input_tokens="ContextTokens", output_tokens="GeneratedTokens"
)


def _read(path: Path, _settings: Any) -> Iterator[Rows]:
    return read_table(path, _COLUMNS)


AZURE_LLM_2023 = Format("azure_llm_2023", _read)
AZURE_LLM_2024 = Format("azure_llm_2024", _read)
