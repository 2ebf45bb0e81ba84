"""One page that tells the Lightning study twice: by its own rules, and in steady state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from profleet.report.html import write_page
from profleet.report.simulated import Job, load_jobs, why
from profleet.report.simulation_html import PAGE
from profleet.simulate.study.networks import networks
from profleet.simulate.study.ratios import PUBLISHED, StudySummary, is_study

STEADY = (
    "offered_load", "latency_mean_ms", "latency_p50_ms", "latency_p99_ms", "throughput_rps",
    "batch_size_mean", "energy_per_request_j",
)  # fmt: skip
"""Metrics of fleets that stand beside the study."""


def write_study_report(root: Path, study: StudySummary, folders: Sequence[Path]) -> Path:
    """Write ``report.html`` into ``root`` and return its path.

    Args:
        root: where the page goes.
        study: the study in ``folders``.
        folders: results of the study and, if there are any, of fleets to show beside it.

    Raises:
        OSError: the page cannot be written.
    """
    jobs = load_jobs(folders)
    known = [job.invocation for job in jobs if job.invocation is not None]
    return write_page(
        root / PAGE,
        "study.html",
        study.model_dump(mode="json", by_alias=True),
        title="The Lightning study, done again",
        networks=[graph.name for graph in networks()],
        reference=study.reference,
        schedules=len({row.schedule for row in study.rows}),
        ratios=list(_ratios(study)),
        rows=study.rows,
        unsteady=study.unsteady,
        compute=_compute(study),
        steady=[_steady(job) for job in jobs if _is_fleet(job)],
        steady_metrics=STEADY,
        failed=[f"{job.name}: {' '.join(why(job.result))}" for job in jobs
                if job.result.status != "finished"],
        version=", ".join(sorted({each.profleet_version for each in known})),
        date=max((each.finished_at[:10] for each in known), default=""),
    )  # fmt: skip


def _ratios(study: StudySummary) -> Iterator[dict[str, Any]]:
    for device in dict.fromkeys(row.device for row in study.rows):
        mean = study.metrics.get(f"completion_ratio_mean/{device}")
        if mean is None:
            continue
        prefix = f"completion_ratio/{device}/"
        yield {
            "device": device,
            "cells": {
                name.removeprefix(prefix): metric.value
                for name, metric in study.metrics.items()
                if name.startswith(prefix)
            },
            "mean": mean.value,
            "low": study.metrics[f"completion_ratio_min/{device}"].value,
            "high": study.metrics[f"completion_ratio_max/{device}"].value,
            "published": PUBLISHED.get(device, "-"),
        }


def _compute(study: StudySummary) -> dict[str, float]:
    """How long each device computes what came, in units of the reference: a ratio of loads."""
    loads = {(row.device, row.schedule): row.offered_load for row in study.rows}
    found: dict[str, float] = {}
    for (device, schedule), load in loads.items():
        reference = loads.get((study.reference, schedule))
        if device != study.reference and reference:
            found.setdefault(device, load / reference)
    return found


def _is_fleet(job: Job) -> bool:
    return job.result.status == "finished" and not is_study(job.result)


def _steady(job: Job) -> dict[str, Any]:
    fleet = job.result.fleet
    return {
        "hardware": " + ".join(dict.fromkeys(served.group for served in fleet)),
        "count": sum({served.group: served.count for served in fleet}.values()),
        "evidence": sorted({kind for served in fleet for kind in served.evidence}),
        "state": job.state,
        "metrics": job.result.metrics,
    }
