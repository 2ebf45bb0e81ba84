import errno
import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profleet.errors import StoreError
from profleet.profile import store
from profleet.profile.store import (
    Result,
    find_results,
    load_profile,
    load_result,
    load_samples,
    replacing,
    set_tracking,
    source_of,
    write_json,
    write_result,
)
from support import STARTED_AT, Synthetic, make_profile, make_profile_dir


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return make_profile_dir(tmp_path_factory.mktemp("run") / "finished")


def edit(path, **changes):
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps(content))


def test_a_folder_is_read_as_it_was_written(finished):
    profile, samples = make_profile(Synthetic())
    assert load_profile(finished) == profile
    assert (load_samples(finished).latency_ns == samples.latency_ns).all()
    assert load_result(finished).stack == profile.stack


def test_no_temporary_file_stays_and_permissions_are_the_usual_ones(finished):
    assert sorted(path.name for path in finished.iterdir()) == [
        "environment.json", "job.json", "lock.json", "profile.json", "result.json",
        "samples.parquet",
    ]  # fmt: skip
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((finished / "profile.json").stat().st_mode) == 0o666 & ~mask


def test_result_keys_are_those_a_script_reads(finished):
    content = json.loads((finished / "result.json").read_text())
    assert content["schema"] == "profleet/result/v1"
    assert content["tracking"] == {"status": "off", "detail": None, "mlflow_run_id": None}
    assert content["metrics"]["latency_p50_ms/b1"].keys() == {
        "value", "low", "high", "unit", "evidence",
    }  # fmt: skip
    assert all((finished / path).exists() for path in content["paths"].values())


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"old": 1})

    def die():
        with replacing(path) as temporary:
            temporary.write_text('{"ne')
            raise RuntimeError

    with pytest.raises(RuntimeError):
        die()
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(StoreError, match=r"result\.json cannot be written: No space left.*Free"):
        write_json(tmp_path / "result.json", {})
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_the_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_json(tmp_path / "file" / "result.json", {})


def test_readers_see_old_or_new_but_never_a_part(tmp_path):
    path = tmp_path / "result.json"
    documents = [{"n": n, "fill": "x" * 50_000} for n in range(2)]
    write_json(path, documents[0])
    stop = threading.Event()

    def write():
        while not stop.is_set():
            for document in documents:
                write_json(path, document)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [json.loads(path.read_text()) for _ in range(200)]
    finally:
        stop.set()
        writer.join()
    assert all(document in documents for document in seen)


def test_not_a_number_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "result.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


# -- reading -------------------------------------------------------------------------------------


def test_a_missing_profile_says_so(tmp_path):
    with pytest.raises(StoreError, match=r"profile\.json is missing"):
        load_profile(tmp_path)


def test_the_profile_of_a_failed_job_gives_its_reason(tmp_path):
    make_profile_dir(tmp_path, status="failed", reason="It ran out of memory.", hint="Use b1.")
    with pytest.raises(StoreError, match=r"the job failed\. It ran out of memory\. Use b1\."):
        load_profile(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "\ud800", '{"schema": 1}', "[" * 100_000, '{"a": ' * 100_000]
)
def test_damaged_json_is_one_sentence_with_the_path(tmp_path, text):
    path = tmp_path / "result.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(StoreError, match=r"result\.json (is damaged: it (is|holds) n|says)"):
        load_result(tmp_path)


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MAX_JSON_BYTES", 10)
    (tmp_path / "result.json").write_text("[" + "1," * 20 + "1]")
    with pytest.raises(StoreError, match="larger than"):
        load_result(tmp_path)


def test_a_newer_version_asks_for_an_upgrade(tmp_path):
    make_profile_dir(tmp_path, batch_sizes=(1,))
    edit(tmp_path / "profile.json", schema="profleet/profile/v2")
    with pytest.raises(StoreError, match=r"written by a newer profleet.*v2.*upgrade"):
        load_profile(tmp_path)


@pytest.mark.parametrize("schema", ["profleet/job/v1", "profleet/profile/v0", "profile", 3, None])
def test_another_schema_is_refused(tmp_path, schema):
    make_profile_dir(tmp_path, batch_sizes=(1,))
    edit(tmp_path / "profile.json", schema=schema)
    with pytest.raises(StoreError, match="it should be profleet/profile/v1"):
        load_profile(tmp_path)


def test_older_versions_are_upgraded_step_by_step(tmp_path, monkeypatch):
    """As if the current version were 3: each step sees what the one before it made."""
    seen = []

    def step(document):
        seen.append(document["schema"])
        version = int(document["schema"][-1]) + 1
        return {**document, "schema": f"profleet/result/v{version}"}

    monkeypatch.setitem(store.UPGRADES, "profleet/result", {1: step, 2: step})
    path = tmp_path / "result.json"
    document = store._upgraded(path, {"schema": "profleet/result/v1"}, "profleet/result/v3")
    assert document == {"schema": "profleet/result/v3"}
    assert seen == ["profleet/result/v1", "profleet/result/v2"]


def test_a_wrong_value_is_named_by_its_place(tmp_path):
    make_profile_dir(tmp_path, batch_sizes=(1,))
    content = json.loads((tmp_path / "profile.json").read_text())
    content["points"][0]["latency_ms"]["count"] = "many"
    (tmp_path / "profile.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match=r"points\.0\.latency_ms\.count"):
        load_profile(tmp_path)


def test_an_unknown_key_is_refused(tmp_path):
    make_profile_dir(tmp_path, status="failed")
    edit(tmp_path / "result.json", surprise=1)
    with pytest.raises(StoreError, match="surprise"):
        load_result(tmp_path)


def test_tracking_is_noted_and_nothing_else_changes(tmp_path):
    make_profile_dir(tmp_path, batch_sizes=(1,))
    before = load_result(tmp_path)
    after = set_tracking(tmp_path, "not_logged", "the server refused", None)
    assert load_result(tmp_path) == after
    assert after.tracking.detail == "the server refused"
    assert after.model_copy(update={"tracking": before.tracking}) == before


@given(st.text(), st.sampled_from(["failed", "unsupported", "interrupted"]))
def test_any_reason_survives(tmp_path_factory, reason, status):
    folder = tmp_path_factory.mktemp("result")
    stack = {"model": "m@1.0.0", "framework": "f@1.0.0", "hardware": "local@1.0.0"}
    result = Result(
        status=status, reason=reason, run_id="", run_key="", stack=stack, started_at=STARTED_AT,
        finished_at=STARTED_AT,
    )  # fmt: skip
    write_result(folder, result)
    assert load_result(folder) == result


# -- finding -------------------------------------------------------------------------------------


def test_results_are_found_in_order_of_number_and_not_inside_results(tmp_path):
    for name in ("10", "2", "0", "suite/01-b", "suite/00-a", "2/plots"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "result.json").write_text("{}")
    (tmp_path / "notes").mkdir()
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    found = [str(path.relative_to(tmp_path)) for path in find_results(tmp_path)]
    assert found == ["0", "2", "10", "suite/00-a", "suite/01-b"]


def test_a_result_folder_finds_itself_and_a_missing_one_is_an_error(finished, tmp_path):
    assert list(find_results(finished)) == [finished]
    with pytest.raises(StoreError, match="cannot be read: No such file"):
        list(find_results(tmp_path / "nowhere"))


@pytest.mark.parametrize("absolute", [True, False])
def test_a_reused_result_names_its_source_from_where_it_lies(tmp_path, monkeypatch, absolute):
    earlier = make_profile_dir(tmp_path / "store" / "runs" / "a")
    later = tmp_path / "store" / "sweeps" / "b" / "0"
    path = str(earlier) if absolute else "../../../runs/a"
    write_result(later, load_result(earlier).model_copy(update={"reused_from": path}))
    monkeypatch.chdir(tmp_path / "store")
    assert source_of(later, load_result(later)) == earlier
    assert source_of(Path("sweeps/b/0"), load_result(later)) == earlier
    assert source_of(earlier, load_result(earlier)) == earlier


@pytest.mark.parametrize("moment", ["yesterday", "2026-13-01T00:00:00Z", "2026-01-02T03:04:05", ""])
def test_a_moment_that_is_none_is_refused(tmp_path, moment):
    folder = make_profile_dir(tmp_path / "r")
    for name in ("result.json", "profile.json"):
        document = json.loads((folder / name).read_text("utf-8"))
        (document if name == "result.json" else document["measurement"])["started_at"] = moment
        (folder / name).write_text(json.dumps(document), "utf-8")
    with pytest.raises(StoreError, match=r"result\.json is not a valid .*: started_at"):
        load_result(folder)
    with pytest.raises(StoreError, match=r"measurement\.started_at"):
        load_profile(folder)


def test_copies_that_mlflow_made_are_not_results(tmp_path):
    make_profile_dir(tmp_path / "runs" / "a")
    make_profile_dir(tmp_path / "artifacts" / "1" / "artifacts")
    (tmp_path / "profleet.db").touch()
    assert list(find_results(tmp_path)) == [tmp_path / "runs" / "a"]


def test_a_folder_below_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()

    def refuse(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(StoreError, match="cannot be read: Permission denied"):
        list(find_results(tmp_path))
