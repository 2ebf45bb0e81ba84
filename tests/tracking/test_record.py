from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from profleet.errors import StoreError
from profleet.profile.metrics import Metric
from profleet.profile.store import load_profile, load_result, load_samples, write_result
from profleet.tracking import rows as rows_module
from profleet.tracking.record import Number, host_class, identity_of, numbers_of, record_of
from profleet.tracking.sweep import sweep_record
from support import make_profile_dir


def metric(value: float, low: float | None = None, high: float | None = None) -> Metric:
    return Metric(value=value, low=low, high=high, unit="ms", evidence="measured")


def test_batch_size_becomes_the_step_and_bounds_metrics_of_their_own() -> None:
    assert numbers_of({"latency_p50_ms/b4": metric(2.0, 1.5, 2.5)}) == [
        Number("latency_p50_ms", 2.0, 4),
        Number("latency_p50_ms_low", 1.5, 4),
        Number("latency_p50_ms_high", 2.5, 4),
    ]


def test_other_conditions_stay_in_the_name() -> None:
    numbers = numbers_of(
        {
            "latency_idle_p50_ms/b2/gap20": metric(1.0),
            "latency_p99_ms/server": metric(2.0),
            "cold_start_s": metric(3.0),
        }
    )
    assert numbers == [
        Number("latency_idle_p50_ms.gap20", 1.0, 2),
        Number("latency_p99_ms.server", 2.0, 0),
        Number("cold_start_s", 3.0, 0),
    ]


def test_what_is_not_finite_is_never_logged() -> None:
    broken = Metric.model_construct(
        value=float("inf"), low=float("nan"), high=1.0, unit="ms", evidence="measured"
    )
    assert numbers_of({"x_ms/b1": broken}) == [Number("x_ms_high", 1.0, 1)]


def test_every_metric_of_a_profile_arrives_once_per_batch_size(result: Path) -> None:
    numbers = record_of(result).numbers
    assert len({(number.key, number.step) for number in numbers}) == len(numbers)
    written = load_result(result).metrics
    values = {(number.key, number.step): number.value for number in numbers}
    assert values["throughput_rps", 8] == written["throughput_rps/b8"].value
    assert values["latency_p50_ms_low", 1] == written["latency_p50_ms/b1"].low
    bounded = sum((m.low is not None) + (m.high is not None) for m in written.values())
    assert len(numbers) == len(written) + bounded


@given(st.text(min_size=1, max_size=400), st.text(max_size=9000))
def test_any_option_gives_a_parameter_that_mlflow_takes(name: str, value: str) -> None:
    from profleet.tracking.record import _cut, _flat, _plain, tag_key

    for key, leaf in _flat({"options": {name: value}}):
        assert re.fullmatch(r"[\w. :/-]{1,250}", tag_key(key), re.ASCII)
        assert len(_cut(_plain(leaf))) <= 6000


def test_identity_of_the_stack_is_in_parameters_and_tags(result: Path) -> None:
    record, profile = record_of(result), load_profile(result)
    assert record.name == "squeezenet-onnxruntime-example-2c"
    assert record.params["model.version"] == "1.0.0"
    assert record.params["batch_sizes"] == "[1, 2, 4, 8]"
    assert record.params["framework.threads.intra_op"] == "2"
    assert record.params["packages.onnxruntime"] == "1.23.0"
    assert record.params["measure.target_interval"] == "0.02"
    assert record.params["hardware.cpu_model"] == "Example CPU"
    assert "measure.cpus" not in record.params  # null: not asked for
    assert record.tags["profleet.lock_sha256"] == profile.lock_sha256
    assert record.tags["profleet.run_key"] == profile.run_key
    assert record.tags["profleet.model"] == "squeezenet@1.0.0"
    assert "profleet.sweep" not in record.tags
    assert record.finished_ms - record.started_ms == 61_000
    assert record.status == "FINISHED"


def test_the_table_says_why_a_percentile_is_missing(tmp_path: Path) -> None:
    folder = make_profile_dir(tmp_path / "few", samples=10, processes=2, unstable=(2,))
    rows = {row["batch_size"]: row for row in record_of(folder).tables["tables/points.json"]}
    assert rows[1]["latency_p99_ms"] == "insufficient samples: 20 of 662"
    assert rows[1]["energy_j"].startswith("unavailable: ")
    assert (rows[1]["status"], rows[2]["status"]) == ("steady", "unstable")
    assert record_of(folder).tags["profleet.stability"] == "unstable"


def test_a_scenario_brings_loadgens_summary(tmp_path: Path) -> None:
    folder = make_profile_dir(tmp_path / "server", scenario="server", samples=40)
    record = record_of(folder)
    assert "VALID" in record.texts["scenario.txt"]
    assert record.params["scenario.kind"] == "server"
    assert "tables/points.json" not in record.tables
    assert any(number.key == "latency_p50_ms.server" for number in record.numbers)


@pytest.mark.parametrize(
    ("status", "expected"),
    [("failed", "FAILED"), ("unsupported", "FAILED"), ("interrupted", "KILLED")],
)
def test_a_job_without_a_profile_is_a_run_with_its_reason(
    tmp_path: Path, status: str, expected: str
) -> None:
    record = record_of(make_profile_dir(tmp_path, status=status, reason="no luck", hint="Retry."))
    assert record.status == expected
    assert record.tags["profleet.status"] == status
    assert record.tags["profleet.reason"] == "no luck"
    assert record.tags["mlflow.note.content"] == "no luck Retry."
    assert record.numbers == []
    assert record.params["model.name"] == "squeezenet"


def test_jobs_that_were_never_planned_are_told_apart(tmp_path: Path) -> None:
    results = []
    for reason in ("no such model", "no such framework"):
        folder = make_profile_dir(tmp_path / reason, status="failed", reason=reason)
        results.append(load_result(folder).model_copy(update={"run_id": "", "run_key": ""}))
    first, second = (identity_of(result) for result in results)
    assert first.startswith("unplanned-")
    assert first != second
    assert identity_of(results[0].model_copy(update={"hint": "x"})) == first


def test_a_reused_result_reads_the_folder_that_holds_the_files(tmp_path: Path) -> None:
    earlier = make_profile_dir(tmp_path / "earlier", samples=40, processes=2)
    later = tmp_path / "later"
    changes = {"reused_from": "../earlier", "sweep_id": "day/time"}
    write_result(later, load_result(earlier).model_copy(update=changes))
    record, first = record_of(later), record_of(earlier)
    assert (record.identity, record.tables, record.tags) == (
        first.identity, first.tables, first.tags,
    )  # fmt: skip
    assert (record.member_of, first.member_of) == (("day/time",), ())


def test_samples_are_a_table_thinned_when_there_are_very_many(
    result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = load_samples(result)
    rows = record_of(result).tables["tables/samples.json"]
    assert len(rows) == len(samples) <= rows_module.MAX_ROWS
    assert rows[0]["phase"] == "warmup"
    assert [row["latency_ms"] for row in rows] == (samples.latency_ns / 1e6).tolist()
    assert {row["gap_ms"] for row in rows} == {0, 5, 20, 50}
    monkeypatch.setattr(rows_module, "MAX_ROWS", 11)
    tables = record_of(result).tables
    assert "tables/samples.json" not in tables
    few = tables[f"tables/samples_11_of_{len(samples)}.json"]
    assert (few[0], few[-1], len(few)) == (rows[0], rows[-1], 11)
    places = [rows.index(row) for row in few]
    assert max(np.diff(places)) - min(np.diff(places)) <= 1


def test_a_bad_moment_is_an_error_with_a_name(result: Path) -> None:
    document = json.loads((result / "result.json").read_text("utf-8"))
    (result / "result.json").write_text(json.dumps(document | {"started_at": "noon"}), "utf-8")
    with pytest.raises(StoreError, match=r"result\.json is not a valid .*: started_at"):
        record_of(result)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"profleet_commit": {"value": "c0ffee"}, "profleet_dirty": {"value": True}}, "c0ffee"),
        ({"profleet_commit": {"unavailable": "not in a git checkout"}}, None),
    ],
)
def test_the_commit_is_where_mlflow_shows_it(
    result: Path, fields: dict[str, object], shown: str | None
) -> None:
    path = result / "environment.json"
    environment = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**environment, "provenance": fields}), "utf-8")
    tags = record_of(result).tags
    assert tags.get("mlflow.source.git.commit") == shown
    assert tags.get("mlflow.source.git.dirty") == ("True" if shown else None)


def test_the_executor_and_its_image_are_tags(result: Path) -> None:
    assert "profleet.image" not in record_of(result).tags
    known = json.loads((result / "result.json").read_text("utf-8"))
    known |= {"executor": "docker", "image": "localhost/profleet/x:1 sha256:11"}
    (result / "result.json").write_text(json.dumps(known), "utf-8")
    tags = record_of(result).tags
    assert tags["profleet.executor"] == "docker"
    assert tags["profleet.image"] == "localhost/profleet/x:1 sha256:11"


@pytest.mark.parametrize("name", ["samples.parquet", "lock.json", "job.json", "environment.json"])
def test_a_file_that_the_result_names_and_that_is_lost_is_named(result: Path, name: str) -> None:
    (result / name).unlink()
    with pytest.raises(StoreError, match=rf"{name} is missing"):
        record_of(result)


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 100_000])
def test_a_damaged_file_is_named(result: Path, content: str) -> None:
    (result / "job.json").write_text(content, "utf-8")
    with pytest.raises(StoreError, match=r"job\.json is damaged: .* Restore the file"):
        record_of(result)


@pytest.mark.parametrize(
    ("cpu", "cores", "expected"),
    [
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", 2, "xeon-2c"),
        ("AMD EPYC 7B13 64-Core Processor", 64, "epyc-7b13-64c"),
        (None, None, "local"),
    ],
)
def test_host_class(cpu: str | None, cores: int | None, expected: str) -> None:
    machine = {"cpu_model": {"value": cpu}, "physical_cores": {"value": cores}}
    assert host_class(machine) == expected
    assert host_class({"cpu_model": {"unavailable": "?"}}) == "local"


def test_a_sweep_is_summed_up_by_model(sweep: Path) -> None:
    record = sweep_record(sweep)
    values = {number.key: number.value for number in record.numbers}
    assert {key: value for key, value in values.items() if key.startswith("sweep_jobs")} == {
        "sweep_jobs_finished": 3, "sweep_jobs_failed": 1, "sweep_jobs_unsupported": 1,
    }  # fmt: skip
    metrics = [load_result(sweep / str(number)).metrics for number in range(3)]
    best = max(values.value for name, values in metrics[0].items() if name.startswith("throughput"))
    assert values["sweep_best_throughput_rps.squeezenet"] == best
    assert record.params["best_throughput_rps.squeezenet"] == "onnxruntime@1.0.0 b8"
    assert values["sweep_best_latency_p50_ms.resnet50"] == metrics[2]["latency_p50_ms/b1"].value
    assert record.name == "sweep-day-time"
    assert record.status == "FAILED"
    assert record.tags["profleet.status"] == "1 failed, 3 finished, 1 unsupported"
    rows = record.tables["tables/jobs.json"]
    assert [row["status"] for row in rows] == ["finished"] * 3 + ["failed", "unsupported"]
    assert rows[3]["reason"] == "out of luck"
    json.dumps(rows, allow_nan=False)


def test_a_sweep_has_another_revision_when_a_job_changed(sweep: Path) -> None:
    before = sweep_record(sweep).revision
    assert sweep_record(sweep).revision == before
    make_profile_dir(sweep / "3", sweep_id="day/time", samples=40, processes=2, seed=3)
    assert sweep_record(sweep).revision != before


def test_sweeps_of_one_name_are_told_apart(sweep: Path, tmp_path: Path) -> None:
    """Also when one of them only reuses the other's runs; a job more keeps the identity."""
    first = sweep_record(sweep).identity
    other, reused = tmp_path / "other", tmp_path / "reused"
    for number in range(2):
        make_profile_dir(other / str(number), sweep_id="day/time", samples=40, seed=90 + number)
        result = load_result(sweep / str(number))
        write_result(
            reused / str(number),
            result.model_copy(update={"reused_from": str(sweep / str(number))}),
        )
    identities = [first, sweep_record(other).identity, sweep_record(reused).identity]
    assert len(set(identities)) == 3
    assert all(identity.startswith("sweep:day/time:") for identity in identities)
    make_profile_dir(sweep / "5", sweep_id="day/time", samples=40, seed=99)
    assert sweep_record(sweep).identity == first


def test_a_sweep_tells_its_overrides_and_no_secret(sweep: Path) -> None:
    words = [
        "model=squeezenet", "executor=process,docker", "+measure.seed=3", "tracking.uri=http://me:secret@host",
        "++tracking.experiment=x", "store=/home/me", "~tracking", "executor.python=/home/me/py",
    ]  # fmt: skip
    text = yaml.safe_dump({"hydra": {"overrides": {"task": words}}, "tracking": {"uri": "secret"}})
    (sweep / "multirun.yaml").write_text(text, "utf-8")
    record = sweep_record(sweep)
    assert record.texts == {
        "overrides.txt": "model=squeezenet\nexecutor=process,docker\n+measure.seed=3\n"
    }
    assert "multirun.yaml" not in [name for _, name in record.files]
    (sweep / "multirun.yaml").write_text("hydra: [", "utf-8")
    assert sweep_record(sweep).texts == {}


def test_an_empty_sweep_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no result"):
        sweep_record(tmp_path)
