"""A runner's output is foreign: whatever it holds, the host ends with a result and a reason."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

import support
from profleet.execute.collect import EXIT_KINDS, Ticket, collect
from profleet.execute.executor import Exit, Failure
from profleet.execute.foreign import MAX_FILES
from profleet.profile.schema import StackRef
from profleet_runner.protocol import EXIT_CODES


@pytest.fixture
def left(tmp_path):
    """A scratch folder as a good runner leaves it, a result folder, and the ticket."""
    scratch, folder = tmp_path / "scratch", tmp_path / "result"
    scratch.mkdir()
    folder.mkdir()
    synthetic = support.Synthetic()
    measurement = support.make_measurement(synthetic)
    samples = support.make_samples(synthetic)
    columns = ("phase", "batch_size", "process", "gap_ms", "start_ns", "latency_ns")
    np.savez(scratch / "samples.npz", **{name: getattr(samples, name) for name in columns})
    (scratch / "profile.json").write_text(measurement.model_dump_json(by_alias=True))
    environment = {"before": {}, "after": {}, "warnings": ["Others were busy."]}
    (scratch / "environment.json").write_text(json.dumps(environment))
    (scratch / "runner.log").write_text("said something\n")
    ticket = Ticket(
        run_id=measurement.run_id, run_key="k", lock_sha256="l", executor="process",
        stack=StackRef(model="m@1.0.0", framework="f@1.0.0", hardware="local@1.0.0"),
        sweep_id=None, suite=None, timeout_seconds=60.0, started_at="2026-01-01T00:00:00+00:00",
        batch_sizes=tuple(point.batch_size for point in measurement.points), notes=("A note.",),
    )  # fmt: skip
    return scratch, folder, ticket


def ended(scratch, code=0, timed_out=False):
    return Exit(code, timed_out, scratch / "runner.log")


def test_good_output_finishes(left):
    scratch, folder, ticket = left
    result = collect(scratch, folder, ticket, ended(scratch))
    assert result.status == "finished", result.reason
    profile = json.loads((folder / "profile.json").read_text("utf-8"))
    assert profile["warnings"][0] == "A note."
    assert profile["warnings"][-1] == "Others were busy."


def test_the_environment_names_the_commit_that_the_ticket_was_made_at(left):
    """What a runner writes there does not count, nor does the commit when it is collected."""
    scratch, folder, ticket = left
    fields = {"profleet_commit": {"value": "c0ffee"}, "profleet_dirty": {"value": False}}
    forged = {"before": {"kernel": {"value": "6"}}, "after": {}, "provenance": {"forged": 1}}
    (scratch / "environment.json").write_text(json.dumps(forged))
    collect(scratch, folder, replace(ticket, provenance=fields), ended(scratch))
    environment = json.loads((folder / "environment.json").read_text("utf-8"))
    assert environment["provenance"] == fields
    assert environment["before"] == forged["before"]
    for reading in ticket.provenance.values():
        assert reading.keys() in ({"value"}, {"unavailable"})


CONTAINER = {
    "engine": {"name": "docker", "local": True}, "image": {}, "limits": {}, "loosened": [],
    "weights": "volume", "memory_peak_bytes": None, "refused": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "warning"),
    [
        ({"loosened": ["network=host"]}, "The container was not hermetic: network=host."),
        ({"refused": ["x: a link"]}, "Not taken out of the container: x: a link."),
        ({"engine": {"local": False, "endpoint": "tcp://far"}}, "tcp://far, not on this one."),
        ({}, None),
    ],
)
def test_what_is_unusual_about_a_container_is_a_warning(left, told, warning):
    scratch, folder, ticket = left
    (scratch / "container.json").write_text(json.dumps({**CONTAINER, **told}))
    assert collect(scratch, folder, ticket, ended(scratch)).status == "finished"
    profile = json.loads((folder / "profile.json").read_text("utf-8"))
    assert profile["container"] == {**CONTAINER, **told}
    found = [text for text in profile["warnings"] if "container" in text]
    assert len(found) == (warning is not None)
    assert not found or found[0].endswith(warning)


def test_a_result_that_was_refused_is_the_reason(left):
    scratch, folder, ticket = left
    (scratch / "profile.json").unlink()
    refused = ["profile.json: a link to /etc/passwd, not a regular file"]
    (scratch / "container.json").write_text(json.dumps({**CONTAINER, "refused": refused}))
    result = collect(scratch, folder, ticket, ended(scratch))
    assert result.error_kind == "protocol"
    assert "profile.json: a link to /etc/passwd" in result.reason
    assert json.loads((folder / "container.json").read_text("utf-8"))["refused"] == refused


def test_what_the_executor_knows_stands_in_for_a_runner_that_said_nothing(left):
    scratch, folder, ticket = left
    known = Failure("out_of_memory", "It ran out.", "Give it more.")
    result = collect(scratch, folder, ticket, replace(ended(scratch, -9), failure=known))
    assert (result.error_kind, result.reason, result.hint) == (
        "out_of_memory", "It ran out.", "Give it more.",
    )  # fmt: skip
    failure = {"kind": "framework", "message": "The runner knows better.", "hint": None}
    (scratch / "failure.json").write_text(json.dumps(failure))
    result = collect(scratch, folder, ticket, replace(ended(scratch, 7), failure=known))
    assert result.reason == "The runner knows better."


def test_memory_that_runs_out_in_a_container_names_its_settings(left):
    scratch, folder, ticket = left
    failure = {"kind": "out_of_memory", "message": "It ran out.", "hint": "Give it more."}
    (scratch / "failure.json").write_text(json.dumps(failure))
    here = collect(scratch, folder, ticket, ended(scratch, 6))
    assert "executor" not in (here.hint or "")
    inside = collect(scratch, folder, replace(ticket, executor="docker"), ended(scratch, 6))
    assert "executor.memory_mb" in inside.hint


def deep(path):
    path.write_text('{"a":' * 100_000 + "1" + "}" * 100_000)


def link(path):
    path.unlink()
    path.symlink_to("/etc/hostname")


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def nan(path):
    path.write_text('{"before": NaN}')


def array(path):
    path.write_text("[]")


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("name", ["profile.json", "environment.json"])
@pytest.mark.parametrize("spoil", [deep, link, fifo, nan, array, cut])
def test_spoiled_output_is_a_failure_with_a_reason(left, name, spoil):
    scratch, folder, ticket = left
    spoil(scratch / name)
    result = collect(scratch, folder, ticket, ended(scratch))
    assert result.status == "failed"
    assert result.error_kind == "protocol"
    assert "cannot be used" in result.reason
    assert not (folder / "profile.json").exists()


def test_output_of_another_run_is_refused(left):
    scratch, folder, ticket = left
    content = json.loads((scratch / "profile.json").read_text("utf-8"))
    (scratch / "profile.json").write_text(json.dumps({**content, "run_id": "other"}))
    assert "another run" in collect(scratch, folder, ticket, ended(scratch)).reason


@pytest.mark.parametrize("sizes", [(1, 2), (1, 2, 4, 8, 16), (1, 2, 4, 16)])
def test_other_batch_sizes_than_asked_for_are_refused(left, sizes):
    scratch, folder, ticket = left
    result = collect(scratch, folder, replace(ticket, batch_sizes=sizes), ended(scratch))
    assert result.error_kind == "protocol"
    assert f"batch sizes [1, 2, 4, 8], and should have {list(sizes)}" in result.reason


def test_links_and_floods_in_loadgen_stay_out(left):
    scratch, folder, ticket = left
    logs = scratch / "loadgen"
    logs.mkdir()
    (logs / "secret").symlink_to("/etc/passwd")
    for number in range(MAX_FILES + 10):
        (logs / f"{number:04d}.txt").write_text("x")
    collect(scratch, folder, ticket, ended(scratch))
    kept = list((folder / "loadgen").iterdir())
    assert len(kept) == MAX_FILES
    assert not any(path.is_symlink() or path.name == "secret" for path in kept)


def test_a_job_that_finished_just_in_time_is_not_thrown_away(left):
    scratch, folder, ticket = left
    assert collect(scratch, folder, ticket, ended(scratch, 0, timed_out=True)).status == "finished"


def test_what_was_measured_before_a_failure_is_kept(left):
    scratch, folder, ticket = left
    (scratch / "processes").mkdir()
    shutil.copyfile(scratch / "samples.npz", scratch / "processes" / "0.npz")
    failure = {"kind": "out_of_memory", "message": "Memory\n\x1b[31mran out.", "hint": None}
    (scratch / "failure.json").write_text(json.dumps(failure))
    result = collect(scratch, folder, ticket, ended(scratch, 6))
    assert result.error_kind == "out_of_memory"
    assert result.reason == "Memory [31mran out."
    assert "partial/" in result.hint
    assert (folder / result.paths["partial"] / "0.npz").is_file()


@pytest.mark.parametrize(("code", "said"), [(-9, "SIGKILL"), (1, "said something"), (77, "77")])
def test_a_runner_that_says_nothing(left, code, said):
    scratch, folder, ticket = left
    result = collect(scratch, folder, ticket, ended(scratch, code))
    assert result.status == "failed"
    assert said in result.reason


def test_output_that_may_not_be_read_is_said_so(left, monkeypatch):
    """As a runner in a container may leave it, where another user executes it."""
    scratch, folder, ticket = left
    read_text = type(scratch).read_text

    def forbid(path, *arguments, **named):
        if path.name == "profile.json":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *arguments, **named)

    monkeypatch.setattr(type(scratch), "read_text", forbid)
    result = collect(scratch, folder, ticket, ended(scratch))
    assert result.error_kind == "protocol"
    assert "profile.json cannot be read: Permission denied" in result.reason


def test_exit_codes_mean_here_what_they_mean_to_the_runner():
    assert {"bug": 1, **{kind: code for code, kind in EXIT_KINDS.items()}} == EXIT_CODES
