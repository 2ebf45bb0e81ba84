"""Public traces that are known by name: their format, their file and where to get it.

The files are their owners' and are not shipped. Point ``workload.path`` at one, or keep them in a
folder that the environment variable ``PROFLEET_SHARED_DATA`` names.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from profleet.simulate.workload.traces.rows import TraceError

FOLDER = "PROFLEET_SHARED_DATA"


@dataclass(frozen=True)
class Dataset:
    """A public trace. ``file`` is relative to the folder; ``rows`` is ``None`` where unknown."""

    format: str
    file: str
    source: str
    rows: int | None = None


_AZURE = "https://github.com/Azure/AzurePublicDataset (CC-BY 4.0)"
_MOONCAKE = "https://github.com/kvcache-ai/Mooncake, folder FAST25-release/traces"

DATASETS = {
    "azure_llm_2023_conv": Dataset(
        "azure_llm_2023", "azure-llm-2023/AzureLLMInferenceTrace_conv.csv", _AZURE, 19_366
    ),
    "azure_llm_2023_code": Dataset(
        "azure_llm_2023", "azure-llm-2023/AzureLLMInferenceTrace_code.csv", _AZURE, 8_819
    ),
    "azure_llm_2024_conv": Dataset(
        "azure_llm_2024", "azure-llm-2024/AzureLLMInferenceTrace_conv_1week.csv", _AZURE
    ),
    "azure_llm_2024_code": Dataset(
        "azure_llm_2024", "azure-llm-2024/AzureLLMInferenceTrace_code_1week.csv", _AZURE
    ),
    "azure_functions_2021": Dataset(
        "azure_functions_2021",
        "azure-functions-2021/AzureFunctionsInvocationTraceForTwoWeeksJan2021.txt",
        _AZURE + ", unpacked",
    ),
    "burstgpt": Dataset(
        "burstgpt", "burstgpt/BurstGPT_1.csv", "https://github.com/HPMLL/BurstGPT (CC-BY 4.0)"
    ),
    "mooncake_conversation": Dataset("mooncake", "mooncake/conversation_trace.jsonl", _MOONCAKE),
    "mooncake_toolagent": Dataset("mooncake", "mooncake/toolagent_trace.jsonl", _MOONCAKE),
}


def locate(name: str, path: Path | None) -> Path:
    """Return the file of a dataset: ``path`` if it is given, else the one in the shared folder.

    Raises:
        TraceError: it is not there; says what to download and where to put it.
    """
    if path is not None:
        return path
    dataset = DATASETS[name]
    folder = os.environ.get(FOLDER)
    if folder:
        known = Path(folder).expanduser() / dataset.file
        for candidate in (known, known.with_name(known.name + ".gz")):
            if candidate.is_file():
                return candidate
    place = Path(folder) / dataset.file if folder else f"${FOLDER}/{dataset.file}"
    raise TraceError(
        f"The trace {name} is not here: download {Path(dataset.file).name} from {dataset.source} "
        f"and say workload.path=FILE, or put it at {place} (.gz will do)."
    )
