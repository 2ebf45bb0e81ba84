"""``profleet simulate study=lightspeed`` as a user starts it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from profleet.simulate.results import find_simulations, load_simulation
from profleet.simulate.study.ratios import load_study
from profleet.tracking.simulation import simulation_record, sweep_of_simulations

SCRIPT = Path(sys.executable).with_name("profleet")
LIGHT = [("DLRM", 500_000), ("AlexNet", 1_000_000), ("DLRM", 1_400_000)]
"""For Lightning; more than a P4 can do."""


def profleet(*words, cwd):
    return subprocess.run(
        [str(SCRIPT), *words], capture_output=True, text=True, check=False, timeout=240, cwd=cwd,
        env={**os.environ, "PROFLEET_STORE": str(cwd / "store")},
    )  # fmt: skip


def written(path, rows):
    text = "model,arrival_ns\n" + "".join(f"{model},{time}\n" for model, time in rows)
    path.write_bytes(gzip.compress(text.encode()))


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep over two devices and the schedules that are there, one of another rate left out."""
    place = tmp_path_factory.mktemp("it's here, = and there")
    written(place / "mixed_0.06Gbps_2.csv.gz", LIGHT)
    written(place / "mixed_0.06Gbps_10.csv.gz", [("VGG-16", 2_000_000), ("VGG-16", 4_000_000)])
    written(place / "mixed_0.01Gbps_1.csv.gz", [("BERT", 5)])
    traces = str(place).replace("'", "\\'")
    done = profleet(
        "simulate", "-m", "study=lightspeed", "study.device=mit-lightning,lightspeed-p4",
        "tracking=none", f"study.traces='{traces}'", "hydra.sweep.dir=out", cwd=place,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return place / "out", done


def test_a_sweep_takes_the_schedules_that_are_there_in_their_order(swept):
    root, done = swept
    jobs = [load_simulation(folder) for folder in find_simulations(root)]
    assert [(job.fleet[0].group, job.workload["name"]) for job in jobs] == [
        ("mit-lightning", "mixed_0.06Gbps_2"),
        ("mit-lightning", "mixed_0.06Gbps_10"),
        ("lightspeed-p4", "mixed_0.06Gbps_2"),
        ("lightspeed-p4", "mixed_0.06Gbps_10"),
    ]
    assert "Times as long as on mit-lightning, mean over 2 schedules" in done.stdout
    assert "No steady state: lightspeed-p4" in done.stdout


def test_a_sweep_writes_its_ratios_for_scripts_and_for_mlflow(swept):
    root, _ = swept
    study = load_study(find_simulations(root))
    written_down = json.loads((root / "study.json").read_text("utf-8"))
    assert written_down["metrics"] == json.loads(study.model_dump_json())["metrics"]
    own, other = (
        {row.schedule: row for row in study.rows if row.device == device}
        for device in ("mit-lightning", "lightspeed-p4")
    )
    ratio = (
        other["mixed_0.06Gbps_2"].completion_mean_ns["DLRM"]
        / own["mixed_0.06Gbps_2"].completion_mean_ns["DLRM"]
    )
    assert study.metrics["completion_ratio/lightspeed-p4/DLRM"].value == ratio
    record = sweep_of_simulations(root)
    numbers = {number.key: number.value for number in record.numbers}
    assert numbers["completion_ratio.lightspeed-p4.DLRM"] == ratio
    assert numbers["completion_ratio_mean.lightspeed-p4"] > 1
    assert len(record.tables["tables/study.json"]) == 4
    assert {name for _, name in record.files} >= {"study.json", "report.html"}
    one = simulation_record(next(iter(find_simulations(root))))
    logged = {number.key for number in one.numbers}
    assert {"completion_mean_ns.DLRM", "completed.DLRM", "offered_load"} <= logged


def test_the_page_tells_the_study_and_how_to_ask_again(swept):
    root, _ = swept
    page = (root / "report.html").read_text("utf-8")
    assert "What the study says" in page
    assert "No steady state: lightspeed-p4" in page
    assert "profleet simulate -m study=lightspeed_steady hydra.sweep.dir=DIR/steady" in page


def test_one_study_prints_its_table_and_writes_a_result(swept, tmp_path):
    root, _ = swept
    done = profleet(
        "simulate", "study=lightspeed", "study.device=mit-lightning", "study.granularity=2048",
        "study.stop_after=1", f'study.trace="{root.parent / "mixed_0.06Gbps_10.csv.gz"}"',
        "tracking=none", "hydra.run.dir=one", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = load_simulation(tmp_path / "one")
    assert result.metrics["completed/VGG-16"].value == 1
    assert f"{result.metrics['completion_mean_ns/VGG-16'].value:.3f}" in done.stdout
    assert result.paths["report"] == "report.html"
    assert "report.html" in {name for _, name in simulation_record(tmp_path / "one").files}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study.device=mit-lightnin"], "Did you mean 'mit-lightning'"),
        (["study.trace=nowhere.csv"], "Trace nowhere.csv cannot be read"),
        (["study.granularity=0"], "study.granularity"),
        (["study.stop_after=-3"], "study.stop_after"),
        (["router=jsq"], "router: a study has rules of its own"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(tmp_path, words, said):
    done = profleet("simulate", "study=lightspeed", "tracking=none", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store" / "simulations").exists()
