"""What sending a run of ten thousand samples to MLflow costs: at most a second into SQLite.

The pictures are drawn once per result folder, by whoever comes first, so they are timed apart.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

from profleet.execute.settings import TrackingSettings
from profleet.profile.store import load_profile, load_samples
from profleet.report.plots import write_plots
from profleet.tracking import log_result
from support import make_profile_dir

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

RUNS = 5


def test_logging_ten_thousand_samples(tmp_path: Path) -> None:
    tracking = TrackingSettings(
        uri=f"sqlite:///{tmp_path}/profleet.db", artifacts=str(tmp_path / "a"), experiment="bench"
    )
    log_result(make_profile_dir(tmp_path / "first", status="failed"), tracking)  # makes the store
    drawing, logging = [], []
    for seed in range(RUNS):
        folder = make_profile_dir(tmp_path / str(seed), samples=500, processes=5, seed=seed)
        samples = load_samples(folder)
        assert len(samples) >= 10_000
        began = time.perf_counter()
        write_plots(load_profile(folder), samples, folder / "plots")
        drawn = time.perf_counter()
        log_result(folder, tracking)
        drawing.append(drawn - began)
        logging.append(time.perf_counter() - drawn)
    print(
        f"\nlogging {len(samples)} samples: median {statistics.median(logging):.3f} s "
        f"(drawing: {statistics.median(drawing):.3f} s)"
    )
    assert statistics.median(logging) <= 1.0
