"""Things that go wrong for real: nothing measured is lost, nothing keeps running."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import tiny
from profleet.profile.schema import StackRef
from profleet.profile.store import Result, write_result
from shop import ENDLESS, FAST, runners_alive


def measuring(shop):
    """The runner's processes once a worker measures, else nothing."""
    alive = runners_alive(shop.scratch)
    return alive if len(alive) >= 2 else None


def end(process, seconds=60):
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def test_killed_runner(shop, wait_for):
    process = shop.start("model=tiny", options=ENDLESS)
    wait_for(lambda: measuring(shop))
    for pid in runners_alive(shop.scratch):
        os.kill(pid, signal.SIGKILL)
    code, _, err = end(process)
    assert code == 1
    (result,) = shop.results()
    assert result["status"] == "failed"
    assert "signal 9" in result["reason"] or "SIGKILL" in result["reason"]
    assert "Traceback" not in err
    assert shop.run("model=tiny").returncode == 0, "the next run works"


def test_killed_worker(shop, wait_for):
    process = shop.start("model=tiny", options=ENDLESS)
    wait_for(lambda: measuring(shop))
    (worker,) = [
        pid
        for pid in runners_alive(shop.scratch)
        if b"profleet_runner.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(worker, signal.SIGKILL)
    code, _, _ = end(process)
    assert code == 1
    (result,) = shop.results()
    assert result["error_kind"] in {"worker_died", "out_of_memory"}
    assert "SIGKILL" in result["reason"] or "memory" in result["reason"]


def test_host_killed_leaves_no_orphan(shop, wait_for):
    process = shop.start("model=tiny", options=ENDLESS)
    wait_for(lambda: measuring(shop))
    process.kill()
    process.communicate()
    wait_for(lambda: not runners_alive(shop.scratch), 20)


def test_terminated_host_records_the_interruption(shop, wait_for):
    process = shop.start("model=tiny", options=ENDLESS)
    wait_for(lambda: measuring(shop))
    process.terminate()
    code, _, err = end(process)
    assert code == 130
    assert "Traceback" not in err
    (result,) = shop.results()
    assert result["status"] == "interrupted"


def test_nohup_is_respected(shop, wait_for):
    words = ["nohup", *shop.command("model=tiny", options=[*FAST, "measure.min_seconds=1"])]
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=shop.environment, start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: measuring(shop))
    process.send_signal(signal.SIGHUP)
    code, _, err = end(process)
    assert code == 0, err
    (result,) = shop.results()
    assert result["status"] == "finished"


def test_nobody_reads_the_progress(shop):
    """As with `2>&1 | head`: what is measured then is written all the same."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        shop.command("model=tiny"), stdout=subprocess.PIPE, stderr=writer, text=True,
        env=shop.environment, timeout=180, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 0
    assert "p50" in done.stdout
    (result,) = shop.results()
    assert result["status"] == "finished"


def test_timeout(shop):
    done = shop.run("model=tiny", "measure.timeout_seconds=4", options=ENDLESS)
    assert done.returncode == 1
    (result,) = shop.results()
    assert result["error_kind"] == "timeout"
    assert "timeout_seconds=4" in result["reason"]
    assert runners_alive(shop.scratch) == []


def test_out_of_memory(shop):
    tiny.workspace(shop.root, name="wide", width=6000, layers=2)
    done = shop.run("model=wide", "executor.memory_limit_mb=300")
    assert done.returncode == 1, done.stdout
    (result,) = shop.results()
    assert result["error_kind"] == "out_of_memory", result
    assert "300" in result["reason"]
    assert shop.run("model=tiny").returncode == 0


def test_interrupt_in_a_sweep_keeps_what_is_finished(shop, wait_for):
    options = [*FAST[:-1]]
    sweep = ["-m", "model=tiny", "batch_sizes=[1],[2],[3]"]
    process = shop.start(*sweep, options=options)
    wait_for(lambda: [r for r in shop.results() if r["status"] == "finished"])
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = end(process)
    assert code == 130
    assert "Traceback" not in err
    assert "resume=true" in err
    finished = [r["run_key"] for r in shop.results() if r["status"] == "finished"]
    assert finished
    again = shop.run(*sweep, "resume=true", options=options)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("finished before") == len(finished)
    keys = [r["run_key"] for r in shop.results() if r["status"] == "finished"]
    assert len(set(keys)) == 3


def answered_before(folder):
    """A folder with a finished result of an earlier run."""
    stack = StackRef(model="tiny@1.0.0", framework="onnxruntime@1.0.0", hardware="local@1.0.0")
    folder.mkdir(parents=True)
    moment = "2026-01-02T03:04:05+00:00"
    done = {"status": "finished", "run_id": "1", "run_key": "1", "stack": stack}
    write_result(folder, Result(**done, started_at=moment, finished_at=moment))
    return folder


def test_a_job_that_cannot_be_planned_answers_in_place_of_an_earlier_one(shop):
    sweep = shop.store / "nightly"
    for name in ("0", "1"):
        (answered_before(sweep / name) / "profile.json").write_text("{}")
    done = shop.run("-m", "model=nothing,nowhere", f"hydra.sweep.dir={sweep}")
    assert done.returncode == 1
    results = shop.results()
    assert [result["status"] for result in results] == ["failed", "failed"]
    assert [result["paths"] for result in results] == [{}, {}], "of the earlier run"
    assert "finished" not in done.stdout


def test_what_a_smaller_sweep_leaves_of_a_larger_one_is_not_its_result(shop):
    sweep = shop.store / "nightly"
    words = (f"hydra.sweep.dir={sweep}", "-m", "model=tiny")
    stale = answered_before(sweep / "1")
    text = (stale / "result.json").read_text()
    (stale / "result.json").write_text(text.replace('"finished"', '"failed"'))
    done = shop.run(*words, "batch_sizes=[1]")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout
    assert "Also there, from before: 1." in done.stderr
    again = shop.run(*words, "batch_sizes=[1]", "resume=true")
    assert again.returncode == 1, "it is of the sweep that is resumed"
    assert "from before" not in again.stderr


def test_a_killed_job_does_not_show_what_an_earlier_one_left(shop, wait_for):
    sweep = shop.store / "nightly"
    for name in ("0", "1"):
        answered_before(sweep / name)
    process = shop.start("-m", "model=tiny,tiny", f"hydra.sweep.dir={sweep}", options=ENDLESS)
    wait_for(lambda: measuring(shop))
    process.kill()
    process.communicate()
    assert [folder.name for folder in shop.folders()] == ["1"], "it was not begun"
    wait_for(lambda: not runners_alive(shop.scratch), 20)


def test_what_a_resumed_sweep_has_finished_is_not_lost_to_a_mistake_or_another_order(shop):
    nightly = f"hydra.sweep.dir={shop.store / 'nightly'}"
    words = ("-m", "model=tiny", nightly)
    assert shop.run(*words, "batch_sizes=[1],[2]").returncode == 0
    before = shop.results()
    wrong = shop.run("-m", "model=nothing", nightly, "resume=yes")
    assert wrong.returncode == 1
    assert "nothing" in wrong.stderr
    assert shop.results() == before
    other = shop.run(*words, "batch_sizes=[2],[1]", "resume=true")
    assert other.returncode == 1
    assert other.stderr.count("holds the finished run of another job") == 2
    assert shop.results() == before
    same = shop.run(*words, "batch_sizes=[1],[2]", "resume=1")
    assert same.returncode == 0
    assert same.stderr.count("finished before") == 2


def test_a_mistake_leaves_the_earlier_result_and_does_not_show_it(shop):
    folder = answered_before(shop.store / "mine")
    done = shop.run("model=nothing", f"hydra.run.dir={folder}")
    assert done.returncode == 2
    assert "finished" not in done.stdout + done.stderr
    assert [result["status"] for result in shop.results()] == ["finished"]


def fill(path):
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_full_disk_at_result_time_keeps_the_measurement(shop, small_disk, wait_for):
    shop.store = small_disk / "store"
    process = shop.start("model=tiny", options=[*FAST, "measure.min_seconds=2"])
    wait_for(lambda: measuring(shop))
    filler = small_disk / "filler"
    fill(filler)
    code, _, err = end(process)
    assert code == 2
    assert "Traceback" not in err
    kept = err.rpartition("profleet recover ")[2].strip().rstrip(".`").strip("`")
    assert Path(kept, "samples.npz").is_file(), err
    filler.unlink()
    script = shop.command()[0]
    done = subprocess.run(
        [script, "recover", kept], capture_output=True, text=True, env=shop.environment, check=False
    )
    assert done.returncode == 0, done.stderr
    (result,) = shop.results()
    assert result["status"] == "finished"
    assert not Path(kept).exists()


def test_read_only_store(shop, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    shop.store = small_disk / "store"
    done = shop.run("model=tiny")
    assert done.returncode == 2
    assert "store=" in done.stderr
    assert "Traceback" not in done.stderr


def test_recover_refuses_other_folders(shop):
    done = subprocess.run(
        [shop.command()[0], "recover", str(shop.root)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no kept measurement" in done.stderr
