"""`profleet run` from its console script: what it leaves, and what it says."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from profleet.profile.schema import Profile
from profleet.profile.store import find_results, load_result


def test_a_run_leaves_every_file(shop):
    done = shop.run("model=tiny")
    assert done.returncode == 0, done.stderr
    (folder,) = shop.folders()
    for name in ("job", "lock", "profile", "environment", "result"):
        json.loads((folder / f"{name}.json").read_text("utf-8"))
    table = pq.read_table(folder / "samples.parquet").to_pandas()
    profile = Profile.model_validate_json((folder / "profile.json").read_text("utf-8"))
    for point in profile.points:
        steady = table[(table.phase == "steady") & (table.batch_size == point.batch_size)]
        assert len(steady) == point.latency_ms.count >= 40
        p50 = point.latency_ms.percentiles["p50"].value
        assert p50 == pytest.approx(steady.latency_ns.median() / 1e6, rel=0.02)
    assert "p50" in done.stdout
    assert not list(shop.scratch.glob("profleet-*")), "scratch folders are left behind"


def test_result_names_metrics_with_unit_and_batch(shop):
    assert shop.run("model=tiny", "measure.max_samples=40").returncode == 0
    (result,) = shop.results()
    metric = result["metrics"]["latency_p50_ms/b2"]
    assert metric["unit"] == "ms"
    assert metric["low"] <= metric["value"] <= metric["high"]
    assert "latency_p99_ms/b1" not in result["metrics"], "80 samples cannot give a p99"


def test_sweep_reports_failures_and_goes_on(shop):
    done = shop.run(
        "-m", "model=tiny,no-such-model", "framework=onnxruntime",
        f"hydra.sweep.dir={shop.store}/nightly", tracking="sqlite",
    )  # fmt: skip
    assert done.returncode == 1
    assert "no-such-model" in done.stdout
    assert "Unknown model" in done.stdout
    results = [load_result(folder) for folder in find_results(shop.store / "nightly")]
    assert [result.status for result in results] == ["finished", "failed"]
    assert {result.sweep_id for result in results} == {"nightly"}
    assert {result.tracking.status for result in results} == {"logged"}


def test_unsupported_is_reported_not_skipped(shop):
    done = shop.run("-m", "model=tiny", "framework=onnxruntime,onnxruntime-cuda")
    assert done.returncode == 1
    assert "unsupported" in done.stdout
    (reason,) = [r["reason"] for r in shop.results() if r["status"] == "unsupported"]
    assert "onnxruntime-gpu" in reason or "CUDA" in reason


def test_unsupported_can_be_allowed(shop):
    done = shop.run("model=tiny", "framework=onnxruntime-cuda", "allow_unsupported=true")
    assert done.returncode == 0


def test_resume_skips_what_is_finished(shop):
    sweep = ("-m", "model=tiny", "framework=onnxruntime,openvino", "resume=true")
    assert shop.run(*sweep).returncode == 0
    again = shop.run(*sweep)
    assert again.returncode == 0
    assert again.stderr.count("finished before") == 2
    other = shop.run(*sweep, "measure.seed=1")
    assert "finished before" not in other.stderr, "another seed is another job"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("modle=tiny", "Did you mean 'model'"),
        ("measure.proceses=2", "Did you mean 'processes'"),
        ("measure=quikc", "quick"),
        ("measure.processes=0", "measure.processes"),
        ("measure.processes=many", "measure.processes"),
        ("measure.min_seconds=-1", "measure.min_seconds"),
        ("measure.min_seconds=.nan", "measure.min_seconds"),
        ("measure.max_samples=1", "below min_samples"),
        ("batch_sizes=[]", "batch_sizes"),
        ("batch_sizes=[0]", "batch_sizes"),
        ("batch_sizes=[1,1]", "twice"),
        ("model=tinny", "Did you mean 'tiny'"),
        ("model=tiny@2", "1.0.0"),
        ("model='tiny@>=x'", "range"),
        ("model=tiny@>=x", "range"),
        ("model=tiny@>=2,<3", "Versions: 1.0.0"),
        ("model=tiny,other", "add -m"),
        ("batch_sizes=1,2", "batch_sizes=[1,2]"),
        ("batch_sizes=4", "a list such as batch_sizes=[4]"),
        ("manifests=mine", "a list such as manifests=[mine]"),
        ("store=", "store is empty"),
        ("store=null", "store is empty"),
        ("store='~/results'", "in full"),
        ("store=${nope}", "'nope' not found"),
        ("framework=${oc.env:NO_SUCH}", "'NO_SUCH' not found"),
        ("hydra.run.dir=${nope}", "'nope' not found"),
        ("nonsense", "KEY=VALUE"),
        ("measure.intra_op_threads=100000", "1024"),
        ("model=null", "model"),
        ("suite=classics", "one model=... or one suite"),
        ("framework=onnxruntim", "Did you mean 'onnxruntime'"),
        ("executor.python=/no/such/python", "/no/such/python"),
        ("executor.memory_limit_mb=1", "memory_limit_mb"),
        ("scenario=nope", "scenario"),
        ("tracking=server", "tracking.uri"),
        ("tracking.uri=results", "neither a database nor a server"),
        ("store=/proc/nope", "/proc/nope"),
        ("batch_sizes=[1,2", "batch_sizes"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(shop, override, said):
    done = shop.run("model=tiny", override)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert shop.results() == []


def test_ranges_of_versions_need_no_quotes(shop):
    done = shop.run(
        "-m", "model=tiny@>=1,<2,tiny@1,tiny@>=2", "measure.max_samples=40", "batch_sizes=[1]"
    )
    assert done.returncode == 1
    assert [result["status"] for result in shop.results()] == ["finished", "finished", "failed"]


def test_a_sweep_without_a_model_says_so_in_its_table(shop):
    done = shop.run("-m", "framework=onnxruntime,openvino")
    assert done.returncode == 1
    assert "no model" in done.stdout
    assert "name one model=... or one suite=..." in done.stdout


def test_a_suite_that_does_not_exist_is_named_in_the_table(shop):
    done = shop.run("-m", "suite=no-such-suite,neither")
    assert done.returncode == 1
    assert [result["stack"]["model"] for result in shop.results()] == [
        "suite:no-such-suite", "suite:neither",
    ]  # fmt: skip
    assert "None" not in done.stdout


def test_a_job_that_cannot_be_resolved_leaves_the_sweep_alone(shop):
    done = shop.run("-m", "model=tiny", "framework=onnxruntime,'${oc.env:NO_SUCH}'")
    assert done.returncode == 1
    assert [result["status"] for result in shop.results()] == ["finished", "failed"]
    assert "Traceback" not in done.stderr


def test_hydra_features_work(shop):
    shown = shop.run("model=tiny", "--cfg", "job")
    assert shown.returncode == 0
    assert "min_seconds: 0.05" in shown.stdout
    searched = shop.run("--info", "searchpath")
    assert searched.returncode == 0
    assert "conf" in searched.stdout


def test_config_groups_of_the_user(shop):
    group = shop.root / "mine" / "measure"
    group.mkdir(parents=True)
    (group / "tiny.yaml").write_text("defaults: [quick]\nprocesses: 1\nmin_samples: 7\n")
    options = ["--config-dir", str(shop.root / "mine"), "measure=tiny", "batch_sizes=[1]"]
    done = shop.run("model=tiny", options=options)
    assert done.returncode == 0, done.stderr
    (folder,) = shop.folders()
    job = json.loads((folder / "job.json").read_text("utf-8"))
    assert job["measure"]["processes"] == 1
    assert job["measure"]["min_samples"] == 7


def test_suite_runs_every_stack(shop):
    folder = shop.manifests / "suite"
    folder.mkdir()
    (folder / "pair@1.0.0.yaml").write_text(
        "schema: profleet/suite/v1\nname: pair\nversion: 1.0.0\ndescription: Two stacks.\n"
        "provenance: {source: test}\n"
        "stacks:\n  - {models: [tiny], frameworks: [onnxruntime, openvino]}\n"
        "measure: {preset: quick, batch_sizes: [3]}\n"
    )
    done = shop.run("suite=pair")
    assert done.returncode == 0, done.stderr
    results = shop.results()
    assert [r["stack"]["framework"].split("@")[0] for r in results] == ["onnxruntime", "openvino"]
    assert len({r["sweep_id"] for r in results}) == 1
    # batch sizes were set on the command line (FAST): they win over the suite's
    assert "latency_p50_ms/b2" in results[0]["metrics"]


def test_other_hardware_is_not_measured(shop):
    folder = shop.manifests / "hardware"
    folder.mkdir()
    (folder / "my-gpu@1.0.0.yaml").write_text(
        "schema: profleet/hardware/v1\nname: my-gpu\nversion: 1.0.0\ndescription: Elsewhere.\n"
        "provenance: {source: test}\nkind: measured\n"
    )
    done = shop.run("model=tiny", "hardware=my-gpu")
    assert done.returncode == 1
    (result,) = shop.results()
    assert result["status"] == "unsupported"
    assert "hardware=local" in result["hint"]


def test_another_budget_or_wait_policy_is_another_job(shop, monkeypatch):
    assert shop.run("model=tiny", "resume=true").returncode == 0
    again = shop.run("model=tiny", "resume=true", "measure.budget_seconds=21")
    assert again.returncode == 0
    assert "finished before" not in again.stderr
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    again = shop.run("model=tiny", "resume=true")
    assert again.returncode == 0
    assert "finished before" not in again.stderr
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    assert "finished before" in shop.run("model=tiny", "resume=true").stderr


def test_mistake_in_a_suite_within_a_sweep_hides_nothing(shop):
    folder = shop.manifests / "suite"
    folder.mkdir()
    for name, model in (("good", "tiny"), ("bad", "no-such-model")):
        (folder / f"{name}@1.0.0.yaml").write_text(
            f"schema: profleet/suite/v1\nname: {name}\nversion: 1.0.0\ndescription: One stack.\n"
            "provenance: {source: test}\n"
            f"stacks:\n  - {{models: [{model}], frameworks: [onnxruntime]}}\n"
        )
    done = shop.run("-m", "suite=good,bad")
    assert done.returncode == 1
    assert "stacks[0].models[0]" in done.stdout
    assert [r["status"] for r in shop.results()].count("finished") == 1


def test_scenario_through_the_command(shop):
    done = shop.run(
        "model=tiny", "scenario=server", "scenario.target_rps=200",
        "scenario.latency_bound_ms=50", "scenario.min_seconds=1", "scenario.min_queries=100",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (result,) = shop.results()
    assert "latency_p50_ms/server" in result["metrics"]
    (folder,) = shop.folders()
    assert (folder / "loadgen" / "mlperf_log_summary.txt").is_file()
    profile = json.loads((folder / "profile.json").read_text("utf-8"))
    assert profile["measurement"]["scenario"]["settings"]["schedule_rng_seed"] > 0


def test_parallel_launcher_executes_and_warns(shop):
    done = shop.run("-m", "hydra/launcher=joblib", "model=tiny", "measure.seed=0,1")
    assert done.returncode == 0, done.stderr
    assert "disturb each other" in done.stderr
    assert [r["status"] for r in shop.results()] == ["finished", "finished"]


def test_showing_a_sweep_is_refused(shop):
    done = shop.run("-m", "--cfg", "job", "model=tiny", options=[])
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
