from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobs
from profleet_runner.job import read_job
from profleet_runner.protocol import Failure


def read(folder, document):
    (folder / "job.json").write_text(json.dumps(document), "utf-8")
    return read_job(folder)


def at(document, path, value):
    *parents, last = path
    for key in parents:
        document = document[key]
    document[last] = value


def test_valid_job(tmp_path):
    job = read(tmp_path, jobs.job())
    assert job.artifact.path == tmp_path / "artifact/model.onnx"
    assert (job.processes, job.batch_sizes) == (2, [1, 3])
    assert job.memory_limit_bytes is None


def test_scenario_has_one_process(tmp_path):
    seeds = {"qsl": 1, "sample_index": 2, "schedule": 3}
    test = {"kind": "offline", "expected_rps": None, "min_seconds": 1, "min_queries": 1}
    assert read(tmp_path, jobs.job() | {"scenario": {**test, "seeds": seeds}}).processes == 1


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("schema",), "profleet/job/v2", "schema should be one of profleet/job/v1"),
        (("batch_sizes",), [], "batch_sizes should be a non-empty list"),
        (("batch_sizes",), [1, 1], "batch_sizes should be different numbers"),
        (("batch_sizes",), [True], r"batch_sizes\[0\] should be an integer"),
        (("measure", "processes"), 0, "measure.processes should be an integer of at least 1"),
        (("measure", "processes"), 2.0, "measure.processes should be an integer"),
        (("measure", "target_interval"), 1.0, "measure.target_interval should be a number between"),
        (("measure", "max_samples"), 1, "measure.max_samples should be at least measure.min_samp"),
        (("measure", "cpus"), [], "measure.cpus should be a non-empty list"),
        (("model", "artifact", "path"), "/etc/passwd", "a path inside the job's folder"),
        (("model", "artifact", "path"), "../model.onnx", "a path inside the job's folder"),
        (("model", "artifact", "sha256"), "ABC", "64 hexadecimal digits"),
        (("model", "inputs", 0, "dtype"), "bfloat16", r"model.inputs\[0\].dtype should be one of"),
        (("model", "inputs", 0, "values"), {"kind": "uniform", "low": 0}, "needs 'low' and 'high'"),
        (("model", "inputs", 0, "values"), {"kind": "constant", "low": 0}, "needs 'value'"),
        (("model", "check", "outputs"), {}, "model.check.outputs should be a non-empty object"),
        (("framework", "accelerator"), "tpu", "framework.accelerator should be one of cpu, cuda"),
        (("framework", "options"), {"a": [1]}, "framework.options.a should be a boolean"),
        (("scenario",), {"kind": "marathon"}, "scenario.kind should be one of sweep"),
        (("scenario",), {"kind": "sweep", "seeds": 1}, "unknown key scenario.seeds"),
        (("memory_limit_bytes",), "1G", "memory_limit_bytes should be an integer"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(tmp_path, path, value, said):
    document = jobs.job()
    at(document, path, value)
    with pytest.raises(Failure, match=said) as caught:
        read(tmp_path, document)
    assert caught.value.kind == "invalid_job"


def paths(value, prefix=()):
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*prefix, key)
            yield from paths(item, (*prefix, key))


DOCUMENT = jobs.job()


@given(st.sampled_from(sorted(paths(DOCUMENT))), st.none() | st.text() | st.binary().map(list))
def test_any_damage_is_a_failure_and_never_a_traceback(tmp_path_factory, path, value):
    document = json.loads(json.dumps(DOCUMENT))
    at(document, path, value)
    kinds = set()
    try:
        read(tmp_path_factory.getbasetemp(), document)
    except Failure as failure:
        kinds.add(failure.kind)
    assert kinds <= {"invalid_job"}


def test_deep_nesting_is_refused(tmp_path):
    (tmp_path / "job.json").write_text("[" * 100_000)
    with pytest.raises(Failure, match="not JSON"):
        read_job(tmp_path)
