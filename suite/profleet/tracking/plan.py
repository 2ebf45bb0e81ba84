"""What MLflow keeps of a plan: one run, beside the simulations."""

from __future__ import annotations

from pathlib import Path

from profleet.profile.store import RESULT
from profleet.simulate.plan import load_plan
from profleet.simulate.results import INVOCATION, load_invocation
from profleet.tracking.record import MAX_VALUE, RunRecord, milliseconds, numbers_of, tag_key
from profleet.tracking.simulation import STATUS, flat, overrides_of


def plan_record(folder: Path) -> RunRecord:
    """Read the result folder of a plan.

    Raises:
        StoreError: it is not the folder of a plan, or a file in it is damaged.
    """
    result, invocation = load_plan(folder), load_invocation(folder)
    tags = {
        "profleet.kind": "plan",
        "profleet.status": result.status,
        "profleet.reason": result.reason,
        "profleet.best": result.best,
        "profleet.schema": result.schema_,
        "profleet.version": invocation.profleet_version,
        "profleet.sweep": invocation.sweep_id,
        "mlflow.source.name": "profleet plan",
        "mlflow.source.type": "LOCAL",
    }
    params = flat(result.configuration)
    kinds = "+".join(answer.hardware for answer in result.answers)
    return RunRecord(
        identity=invocation.run_id,
        name=f"plan-{result.objective}-{kinds[:60]}",
        status=STATUS[result.status],
        started_ms=milliseconds(invocation.started_at),
        finished_ms=milliseconds(invocation.finished_at),
        tags={key: value[:MAX_VALUE] for key, value in tags.items() if value},
        params={tag_key(key): value[:MAX_VALUE] for key, value in params.items()},
        numbers=[number._replace(key=tag_key(number.key)) for number in numbers_of(result.metrics)],
        texts=overrides_of(invocation),
        files=[
            (folder / name, name)
            for name in (RESULT, INVOCATION, "plots")
            if (folder / name).exists()
        ],
    )
