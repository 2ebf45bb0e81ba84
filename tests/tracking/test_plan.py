from __future__ import annotations

from pathlib import Path

from profleet.cli import main
from profleet.execute.settings import TrackingSettings
from profleet.profile.metrics import Metric
from profleet.profile.store import write_json
from profleet.simulate.plan import Answer, PlanResult
from profleet.simulate.results import load_invocation, new_invocation
from profleet.tracking import log_plan, session


def made(folder: Path) -> Path:
    count = Metric(value=9, unit="1", evidence="assumed")
    result = PlanResult(
        status="finished",
        objective="cost",
        best="large",
        metrics={"replicas/large": count},
        answers=[Answer(hardware="large", replicas=9, metrics={"replicas": count})],
        configuration={"slo": {"p99_ms": 50.0}},
    )
    invocation = new_invocation(["slo.p99_ms=50", "tracking.uri=http://me:secret@host"])
    write_json(folder / "invocation.json", invocation.model_dump(mode="json", by_alias=True))
    write_json(folder / "result.json", result.model_dump(mode="json", by_alias=True))
    return folder


def test_a_plan_is_a_run_beside_the_simulations(store: Path, sqlite: TrackingSettings) -> None:
    folder = made(store / "plans" / "day" / "12-00")
    logged = log_plan(folder, sqlite)
    assert log_plan(folder, sqlite).already

    from mlflow import MlflowClient

    with session.quiet_mlflow():
        client = MlflowClient(sqlite.uri)
        experiment = client.get_experiment_by_name(f"{sqlite.experiment}-simulations")
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_id, run.info.run_name) == (logged.run_id, "plan-cost-large")
    assert run.data.metrics == {"replicas.large": 9}
    assert run.data.params["slo.p99_ms"] == "50.0"
    assert run.data.tags["profleet.kind"] == "plan"
    assert run.data.tags["profleet.best"] == "large"
    assert "secret" not in str(run)


def test_a_plan_is_logged_later(store: Path, sqlite: TrackingSettings) -> None:
    folder = made(store / "plans" / "day" / "12-00")
    assert main(["log", str(store), "--store", str(store)]) == 0
    assert load_invocation(folder).tracking.status == "logged"
