"""Any CSV file with a header: the user says which columns hold what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from profleet.execute.settings import Settings
from profleet.simulate.workload.traces.rows import Format, Rows
from profleet.simulate.workload.traces.table import Columns, Unit, read_table

Name = Annotated[str, Field(min_length=1)]


class CsvSettings(Settings):
    """The columns of a CSV trace, by the names in its first line."""

    time: Name
    unit: Unit = Field(description="of time and duration; iso: 2024-05-10 13:00:00.5[+00:00]")
    duration: Name | None = Field(
        None, description="if given, time is the end and the request came this much earlier"
    )
    model: Name | None = None
    input_tokens: Name | None = None
    output_tokens: Name | None = None
    delimiter: Annotated[str, Field(pattern=r"^[\t !#-~]$")] = ","

    @model_validator(mode="after")
    def _durations_are_numbers(self) -> CsvSettings:
        if self.duration is not None and self.unit == "iso":
            raise ValueError("duration: needs a time in s, ms, us or ns, not iso")
        return self


def _read(path: Path, settings: CsvSettings) -> Iterator[Rows]:
    columns = Columns(**settings.model_dump())
    return read_table(path, columns, ordered=settings.duration is None)


CSV = Format("csv", _read)
