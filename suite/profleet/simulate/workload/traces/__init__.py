"""Readers of request traces, one module a format, and the public traces they are for."""

from profleet.simulate.workload.traces.azure_functions import AZURE_FUNCTIONS_2021
from profleet.simulate.workload.traces.azure_llm import AZURE_LLM_2023, AZURE_LLM_2024
from profleet.simulate.workload.traces.burstgpt import BURSTGPT
from profleet.simulate.workload.traces.datasets import DATASETS, Dataset, locate
from profleet.simulate.workload.traces.lightning import LIGHTNING
from profleet.simulate.workload.traces.mooncake import MOONCAKE
from profleet.simulate.workload.traces.plain import CSV, CsvSettings
from profleet.simulate.workload.traces.rows import Format, Rows, TraceError
from profleet.simulate.workload.traces.source import Source, Summary

FORMATS: dict[str, Format] = {
    known.name: known
    for known in (
        AZURE_LLM_2023,
        AZURE_LLM_2024,
        AZURE_FUNCTIONS_2021,
        BURSTGPT,
        MOONCAKE,
        LIGHTNING,
        CSV,
    )
}

__all__ = [
    "DATASETS",
    "FORMATS",
    "CsvSettings",
    "Dataset",
    "Format",
    "Rows",
    "Source",
    "Summary",
    "TraceError",
    "locate",
]
