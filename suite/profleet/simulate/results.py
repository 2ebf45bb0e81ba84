"""Result folders of simulations: written atomically, ``result.json`` last; read with care."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from profleet import __version__
from profleet.execute.collect import now
from profleet.profile.store import (
    RESULT,
    Tracking,
    find_results,
    load_document,
    write_json,
    writing,
)
from profleet.simulate.recording import REQUESTS, TIMELINE
from profleet.simulate.schema import (
    INVOCATION_SCHEMA,
    SIMULATION_SCHEMA,
    InvocationRecord,
    SimulationResult,
)
from profleet.simulate.tables import TABLES

if TYPE_CHECKING:
    from profleet.simulate.simulation import Simulation

INVOCATION = "invocation.json"
PLANS = "profleet/plan"
"""The schema line of plans, which have folders and an ``invocation.json`` of the same kind."""

LINE = SIMULATION_SCHEMA.partition("/v")[0]
FILES = {"invocation": INVOCATION, "requests": REQUESTS, "timeline": TIMELINE, "plots": "plots"} | {
    "report": "report.html"
}


def new_invocation(overrides: Sequence[str] = (), sweep_id: str | None = None) -> InvocationRecord:
    """Return the record of a simulation that starts now."""
    return InvocationRecord(
        run_id=uuid.uuid4().hex,
        profleet_version=__version__,
        started_at=now(),
        finished_at=now(),
        wall_s=0.0,
        sweep_id=sweep_id,
        overrides=list(overrides),
    )


def save(folder: Path, simulation: Simulation, invocation: InvocationRecord) -> SimulationResult:
    """Write the whole folder: tables, result, pictures and a page.

    The result is there before the first picture is drawn; one that cannot be written is left out.

    Raises:
        StoreError: a file of the result cannot be written.
    """
    result = finish(folder, write_simulation(folder, simulation), invocation)
    if not result.metrics:
        return result
    from profleet.report.simulation_html import write_simulation_report
    from profleet.report.simulation_plots import write_simulation_plots

    with suppress(OSError):  # a picture is not worth a failed job
        write_simulation_plots(folder)
        write_simulation_report(folder)
    return finish(folder, result, invocation)  # again: now the pictures are among its paths


def write_pictures(folder: Path, simulation: Simulation) -> list[Path]:
    """Draw the pictures of a simulation into ``folder``; return the files.

    Raises:
        StoreError: a file cannot be written.
    """
    from profleet.report.simulation_plots import write_simulation_plots

    with TemporaryDirectory(prefix="profleet-plots-") as scratch:
        place = Path(scratch)
        finish(place, write_simulation(place, simulation), new_invocation())
        drawn = write_simulation_plots(place)
        for path in drawn:
            with writing(folder / path.name) as target:
                shutil.copyfile(path, target)
    return [folder / path.name for path in drawn]


def write_simulation(folder: Path, simulation: Simulation) -> SimulationResult:
    """Write the tables; return the result, which is not written yet.

    Raises:
        StoreError: a file cannot be written.
    """
    if simulation.outcomes:
        for name, table in TABLES.items():
            path = folder / "tables" / f"{name}.parquet"
            with writing(path) as temporary:
                table(simulation).to_parquet(temporary, compression="zstd", index=False)
    return simulation.result()


def finish(
    folder: Path, result: SimulationResult, invocation: InvocationRecord
) -> SimulationResult:
    """Write ``invocation.json`` and, last, ``result.json`` with the paths of all files.

    Raises:
        StoreError: a file cannot be written.
    """
    write_json(folder / INVOCATION, invocation.model_dump(mode="json", by_alias=True))
    paths = {name: path for name, path in FILES.items() if (folder / path).exists()}
    tables = {f"tables/{name}": f"tables/{name}.parquet" for name in TABLES}
    paths |= {name: path for name, path in tables.items() if (folder / path).exists()}
    result = result.model_copy(update={"paths": paths})
    write_json(folder / RESULT, result.model_dump(mode="json", by_alias=True))
    return result


def note_tracking(folder: Path, tracking: Tracking) -> None:
    """Note in ``invocation.json`` what became of sending the simulation to MLflow.

    Raises:
        StoreError: the file cannot be read or written.
    """
    invocation = load_invocation(folder).model_copy(update={"tracking": tracking})
    write_json(folder / INVOCATION, invocation.model_dump(mode="json", by_alias=True))


def find_simulations(folder: Path) -> Iterator[Path]:
    """Yield the folders of simulations at and below ``folder``, numbered ones in order."""
    return find_results(folder, LINE)


def load_simulation(folder: Path) -> SimulationResult:
    """Read ``result.json`` of a simulation.

    Raises:
        StoreError: it is missing, damaged or of a newer version.
    """
    return load_document(folder / RESULT, SIMULATION_SCHEMA, SimulationResult)


def load_invocation(folder: Path) -> InvocationRecord:
    """Read ``invocation.json``; raises as ``load_simulation``."""
    return load_document(folder / INVOCATION, INVOCATION_SCHEMA, InvocationRecord)
