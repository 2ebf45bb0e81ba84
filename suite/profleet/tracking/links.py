"""Links into MLflow's UI that open where runs are listed, not in its view for language models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

VIEW = {"workflowType": "machine_learning"}


def deep_link(base_url: str, experiment_id: str, run_ids: Sequence[str] | None = None) -> str:
    """Return a link to an experiment's runs, to one run, or to a comparison of several.

    Args:
        base_url: address of the tracking server, such as ``http://127.0.0.1:5000``.
        experiment_id: MLflow's id of the experiment.
        run_ids: MLflow's ids of runs; none: the list of all runs.
    """
    base = f"{base_url.rstrip('/')}/#"
    runs = list(run_ids or ())
    if len(runs) > 1:
        chosen = {"runs": _compact(runs), "experiments": _compact([experiment_id])}
        return f"{base}/compare-runs?{urlencode(chosen | VIEW)}"
    page = f"/{quote(runs[0], safe='')}" if runs else ""
    return f"{base}/experiments/{quote(experiment_id, safe='')}/runs{page}?{urlencode(VIEW)}"


def _compact(values: list[str]) -> str:
    return json.dumps(values, separators=(",", ":"))
