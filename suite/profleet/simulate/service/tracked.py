"""Profiles on an MLflow server or database, as ``profleet.tracking`` logged them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profleet.errors import ConfigError, ProfleetError, TrackingError
from profleet.execute.settings import TrackingSettings
from profleet.profile.schema import StackRef
from profleet.simulate.service.sources import is_exact
from profleet.tracking.log import IDENTITY, MARK, WHOLE
from profleet.tracking.session import (
    Destination,
    find_experiment,
    quiet_mlflow,
    reason_of,
    without_credentials,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SWEEP_METRIC = "latency_mean_ms"
"""Only batch sweeps have it under this bare name; a scenario's ends with its kind."""

MOST_RUNS = 1000
"""The newest runs that are looked at when no run is named."""


def tracked_runs(
    tracking: TrackingSettings | None,
    scratch: Path,
    *,
    run: str | None = None,
    experiment: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield what is known of finished batch sweeps: the fields of a ``Candidate``.

    Args:
        tracking: where MLflow is.
        scratch: folder for files that are fetched.
        run: MLflow's id of a run, or Profleet's.
        experiment: all of its runs, where no run is named; None: that of ``tracking``.

    Raises:
        ConfigError: no tracking server is configured, or it does not have the run.
        TrackingError: it does not answer.
    """
    if tracking is None or tracking.uri is None:
        raise ConfigError(
            "fleet.profiles asks for MLflow, but no tracking server is configured. Say "
            "tracking=sqlite, or tracking=server tracking.uri=http://HOST:5000."
        )
    destination = Destination.of(tracking)
    if experiment is not None:
        destination = replace(destination, experiment=experiment)
    if destination.database is not None and not destination.database.is_file():
        raise ConfigError(
            f"fleet.profiles asks for MLflow, but {destination.database} does not exist. Measure "
            "with `profleet run`, or name another store with store=DIR."
        )
    try:
        with quiet_mlflow():
            runs = _all(destination) if run is None else _one(destination, run)
            found = [each for each in runs if _usable(each)]
    except ProfleetError:
        raise
    except Exception as error:
        raise _unanswered(destination, error) from error
    if run is not None and not found:
        raise ConfigError(
            f"fleet.profiles: the MLflow run {run} on {destination.shown} holds no finished batch "
            "sweep. Name the run of a `profleet run` with scenario=sweep."
        )
    for each in found:
        known = _known(each, destination, scratch)
        if is_exact(known["stack"]):
            yield known


def _client(destination: Destination) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(destination.uri, registry_uri=destination.uri)


def _all(destination: Destination) -> list[Run]:
    experiment = find_experiment(destination)
    if experiment is None:
        raise ConfigError(
            f"fleet.profiles asks for MLflow, but {destination.shown} has no experiment "
            f"'{destination.experiment}'. Name a run with mlflow:RUN_ID, or log profiles first."
        )
    return list(
        _client(destination).search_runs(
            [experiment],
            f"tags.\"profleet.kind\" = 'run' AND tags.\"{MARK}\" = '{WHOLE}'",
            max_results=MOST_RUNS,
            order_by=["attributes.end_time DESC"],
        )
    )


def _one(destination: Destination, run: str) -> list[Run]:
    from mlflow.exceptions import MlflowException

    find_experiment(replace(destination, experiment="Default"))  # says quickly if nothing answers
    client = _client(destination)
    try:
        return [client.get_run(run)]
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
    if run.isalnum():
        experiments = [each.experiment_id for each in client.search_experiments()]
        found = client.search_runs(experiments, f"tags.\"{IDENTITY}\" = '{run}'")
        if found:
            return list(found)
    raise ConfigError(
        f"fleet.profiles: {destination.shown} has no run '{run}'. `profleet ui` shows the runs, "
        "and `profleet log` their ids."
    )


def _usable(run: Run) -> bool:
    tags = run.data.tags
    return (
        tags.get(MARK) == WHOLE
        and tags.get("profleet.status") == "finished"
        and SWEEP_METRIC in run.data.metrics
        and all(f"profleet.{part}" in tags for part in ("model", "framework", "hardware"))
    )


def _known(run: Run, destination: Destination, scratch: Path) -> dict[str, Any]:
    tags = run.data.tags
    identity = str(run.info.run_id)
    return {
        "folder": scratch / identity,
        "where": f"MLflow run {identity}",
        "run_id": tags[IDENTITY],
        "stack": StackRef(
            model=tags["profleet.model"],
            framework=tags["profleet.framework"],
            hardware=tags["profleet.hardware"],
        ),
        "finished_at": datetime.fromtimestamp((run.info.end_time or 0) / 1000, UTC),
        "fetch": _fetching(identity, destination, scratch / identity),
    }


def _fetching(run: str, destination: Destination, folder: Path) -> Callable[[str], None]:
    def fetch(name: str) -> None:
        if (folder / name).is_file():
            return
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with quiet_mlflow():
                _client(destination).download_artifacts(run, name, str(folder))
        except Exception as error:
            raise TrackingError(
                f"{name} of the MLflow run {run} cannot be fetched from {destination.shown}: "
                f"{without_credentials(reason_of(error))}. Name a result folder instead."
            ) from error

    return fetch


def _unanswered(destination: Destination, error: Exception) -> TrackingError:
    return TrackingError(
        f"fleet.profiles asks for MLflow, but {destination.shown} gave no answer: "
        f"{without_credentials(reason_of(error))}. Name result folders instead."
    )
