"""Writing runs to MLflow: one batch of values, one folder of artifacts, and a mark when whole."""

from __future__ import annotations

import json
import posixpath
import shlex
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profleet.errors import TrackingError
from profleet.tracking.session import (
    DATABASE,
    EXPERIMENT,
    Destination,
    locked,
    open_experiment,
    quiet_mlflow,
    reason_of,
    without_credentials,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from profleet.execute.settings import TrackingSettings
    from profleet.tracking.record import RunRecord
    from profleet.tracking.rows import Row

IDENTITY = "profleet.run_id"
SWEEP, MEMBER = "profleet.sweep.", "member"
"""A run has a tag ``profleet.sweep.<id>`` for every later sweep that it answered a job of."""

SIMULATIONS = "-simulations"
"""What the experiment of simulations adds to the name of that of runs."""

MARK, WHOLE = "profleet.logged", "complete"
REVISION = "profleet.revision"
TABLES = "mlflow.loggedArtifacts"
"""MLflow's own tag, by which its UI knows that a JSON artifact is a table."""


class UnreachableError(TrackingError):
    """The server or database does not take anything; trying another run is of no use."""


@dataclass(frozen=True)
class Logged:
    """A run in MLflow, by MLflow's ids; ``already`` when it was there before."""

    run_id: str
    experiment_id: str
    name: str
    already: bool


def log_result(folder: Path, tracking: TrackingSettings) -> Logged:
    """Write a finished result folder, of a failed job too, to MLflow as one run.

    Logging a folder again changes nothing; a run that was left half-written is written anew. A
    job that an earlier run answers brings no run of its own: the earlier one is logged, if it is
    not there yet, and becomes a member of the job's sweep.

    Raises:
        StoreError: the folder is not a finished result folder.
        TrackingError: MLflow did not take it; says why, and how to log it later.
    """
    from profleet.tracking.record import record_of

    return _log(record_of(folder), folder, tracking)


def log_sweep(folder: Path, tracking: TrackingSettings) -> Logged:
    """Write the summary of all results below ``folder`` to MLflow as one run.

    The run is written anew when the results have changed since.

    Raises:
        StoreError: there is no result below the folder, or one is damaged.
        TrackingError: MLflow did not take it; says why, and how to log it later.
    """
    from profleet.tracking.sweep import sweep_record

    return _log(sweep_record(folder), folder, tracking)


def log_simulation(folder: Path, tracking: TrackingSettings) -> Logged:
    """Write the result folder of a simulation to MLflow as one run, in an experiment of its own.

    Raises:
        StoreError: the folder is not that of a simulation, or it is damaged.
        TrackingError: MLflow did not take it; says why, and how to log it later.
    """
    from profleet.tracking.simulation import simulation_record

    return _log(simulation_record(folder), folder, tracking, SIMULATIONS)


def log_plan(folder: Path, tracking: TrackingSettings) -> Logged:
    """Write the result folder of a plan to MLflow beside the simulations; raises as they do."""
    from profleet.tracking.plan import plan_record

    return _log(plan_record(folder), folder, tracking, SIMULATIONS)


def log_simulations(root: Path, tracking: TrackingSettings) -> Logged:
    """Write the summary of all simulations below ``root`` to MLflow; raises as the others do."""
    from profleet.tracking.simulation import sweep_of_simulations

    return _log(sweep_of_simulations(root), root, tracking, SIMULATIONS)


def _log(record: RunRecord, folder: Path, tracking: TrackingSettings, kind_of: str = "") -> Logged:
    if tracking.uri is None:
        raise TrackingError(
            f"{record.name} was not logged: tracking.uri is null. Log it with: "
            f"profleet log {folder}"
        )
    destination = Destination.of(tracking)
    kind: type[TrackingError] = UnreachableError
    try:
        with locked(folder), quiet_mlflow():
            own = replace(destination, experiment=destination.experiment + kind_of)
            client, experiment = open_experiment(own)
            kind = TrackingError
            return _write(client, experiment, record)
    except Exception as error:  # nothing that MLflow raises may cost a measurement
        raise kind(
            f"{record.name} was not logged to {destination.shown}: "
            f"{without_credentials(reason_of(error))}. "
            f"Log it later with: {_command(folder, tracking)}"
        ) from error


def _command(folder: Path, tracking: TrackingSettings) -> str:
    """The command that logs to the same place from anywhere, whatever the environment says."""
    words = ["profleet", "log", str(folder.absolute())]
    destination = Destination.of(tracking)
    if destination.database is not None and destination.database.name == DATABASE:
        words += ["--store", str(destination.database.parent)]
    else:
        words += ["--tracking-uri", destination.shown]
    if destination.experiment != EXPERIMENT:
        words += ["--experiment", destination.experiment]
    return shlex.join(words)


def _write(client: MlflowClient, experiment: str, record: RunRecord) -> Logged:
    earlier = client.search_runs([experiment], f"tags.\"{IDENTITY}\" = '{record.identity}'")
    for run in earlier:
        tags = run.data.tags
        if tags.get(MARK) == WHOLE and record.revision in (None, tags.get(REVISION)):
            for key in _memberships(record).keys() - tags.keys():
                client.set_tag(run.info.run_id, key, MEMBER)
            return Logged(run.info.run_id, experiment, record.name, already=True)
    kept = {
        key: value
        for run in earlier
        for key, value in run.data.tags.items()
        if key.startswith(SWEEP)
    }
    for run in earlier:
        client.delete_run(run.info.run_id)
    with tempfile.TemporaryDirectory(prefix="profleet-log-") as stage:
        tables = _stage(record, Path(stage))
        run_id = client.create_run(
            experiment,
            start_time=record.started_ms,
            tags=kept | _memberships(record) | {IDENTITY: record.identity},
            run_name=record.name,
        ).info.run_id
        _values(client, run_id, record, tables)
        client.log_artifacts(run_id, stage)
    client.set_terminated(run_id, record.status, record.finished_ms)
    client.set_tag(run_id, MARK, WHOLE)  # last: without it the run counts as half-written
    return Logged(run_id, experiment, record.name, already=False)


def _memberships(record: RunRecord) -> dict[str, str]:
    """Tags of membership, by keys that MLflow takes."""
    from profleet.tracking.record import tag_key

    return {tag_key(SWEEP + posixpath.normpath(sweep)): MEMBER for sweep in record.member_of}


def _values(client: MlflowClient, run_id: str, record: RunRecord, tables: list[str]) -> None:
    from mlflow.entities import Metric, Param, RunTag

    tags = dict(record.tags)
    if record.revision is not None:
        tags[REVISION] = record.revision
    if tables:
        tags[TABLES] = json.dumps([{"path": path, "type": "table"} for path in tables])
    client.log_batch(
        run_id,
        metrics=[Metric(n.key, n.value, record.finished_ms, n.step) for n in record.numbers],
        params=[Param(key, value) for key, value in record.params.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )


def _stage(record: RunRecord, stage: Path) -> list[str]:
    """Lay out all artifacts in one folder, files as links; return the paths of the tables."""
    for source, name in record.files:
        if source.is_dir():
            shutil.copytree(source.absolute(), stage / name, copy_function=_link)
        else:
            _link(str(source.absolute()), str(stage / name))
    for name, rows in record.tables.items():
        _text(stage / name, json.dumps(_split(rows), allow_nan=False))
    for name, text in record.texts.items():
        _text(stage / name, text)
    if record.draw is not None:
        record.draw(stage / "plots")
    return list(record.tables)


def _link(source: str, target: str) -> None:
    if Path(source).stat().st_size:  # some artifact stores refuse an empty file
        Path(target).symlink_to(source)


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _split(rows: list[Row]) -> dict[str, Any]:
    """Rows in the layout of MLflow's tables (pandas' ``split``)."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return {"columns": columns, "data": [[row.get(key) for key in columns] for row in rows]}
