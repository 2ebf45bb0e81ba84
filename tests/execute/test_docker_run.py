"""``profleet run executor=docker`` for real, and what goes wrong with engines and images."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

import containers
import tiny
from attackers import things_of
from profleet.container import labels
from shop import ENDLESS, FAST

DOCKER = "executor=docker"


@pytest.fixture
def shop(shop, runner_image, docker_engine):
    yield shop
    cached = docker_engine.client.api.volumes(filters=labels.of_kind("model-cache"))["Volumes"]
    for volume in cached or ():
        artifact = volume["Labels"][labels.ARTIFACT]
        if any(artifact in path.read_text() for path in shop.manifests.glob("*/*.yaml")):
            docker_engine.client.api.remove_volume(volume["Name"])


def running(engine, process):
    """Run ids of the containers that a process keeps, and that execute."""
    chosen = [f"{labels.KIND}=job", f"{labels.PID}={process.pid}"]
    found = engine.client.api.containers(filters={"label": chosen})
    runs = [each["Labels"][labels.RUN] for each in found]
    return [run for run in runs if run != "surroundings"]


def one_line(err: str) -> str:
    lines = [line for line in err.splitlines() if line.startswith("profleet:")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


def test_a_job_in_a_container_and_in_a_process(shop, docker_engine, runner_image):
    done = shop.run("model=tiny", "executor=process,docker", "-m")
    assert done.returncode == 0, done.stderr
    process, container = shop.results()
    assert [process["executor"], container["executor"]] == ["process", "docker"]
    assert process["image"] is None
    assert runner_image.id in container["image"]
    assert process["run_key"] != container["run_key"]
    assert {"process", "docker"} <= set(done.stdout.split())
    plain, inside = shop.folders()
    profile = json.loads((inside / "profile.json").read_text("utf-8"))
    assert profile["container"]["image"]["id"] == runner_image.id
    assert profile["container"]["loosened"] == []
    lock = json.loads((inside / "lock.json").read_text("utf-8"))
    assert lock["image"]["id"] == runner_image.id
    assert lock["packages"]["onnxruntime"]["version"]
    assert "image" not in json.loads((plain / "lock.json").read_text("utf-8"))
    environment = json.loads((inside / "environment.json").read_text("utf-8"))["after"]
    here = json.loads((plain / "environment.json").read_text("utf-8"))["after"]
    for name in ("cpu_model", "cpu_flags", "physical_cores", "kernel", "memory_total_bytes"):
        assert environment[name] == here[name], name
    assert environment["container"] == {"value": "docker"}
    assert environment["cgroup_memory_limit_bytes"]["value"] < here["memory_total_bytes"]["value"]
    assert environment["cgroup_pids_limit"] == {"value": 1024}
    assert environment["cgroup_cpuset"]["value"] == list(range(docker_engine.cpus))
    assert things_of(docker_engine, container["run_id"]) == []

    again = shop.run("model=tiny", "executor=process,docker", "-m", "resume=true")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("finished before") == 2


def test_loosened_settings_are_in_the_profile(shop, runner_image):
    pinned = f"executor.image_id={runner_image.id}"
    loose = ["executor.network=host", "executor.memory_mb=null"]
    done = shop.run("model=tiny", DOCKER, pinned, *loose)
    assert done.returncode == 0, done.stderr
    (folder,) = shop.folders()
    profile = json.loads((folder / "profile.json").read_text("utf-8"))
    assert profile["container"]["loosened"] == ["network=host", "memory_mb=null"]
    said = "The container was not hermetic: network=host, memory_mb=null."
    assert said in profile["warnings"]


def test_an_engine_on_another_machine(shop, far_engine, docker_engine, monkeypatch):
    """Nothing but the connection leads there: no file of this machine is mounted."""
    monkeypatch.setenv("DOCKER_HOST", far_engine)
    done = shop.run("model=tiny", DOCKER)
    assert done.returncode == 0, done.stderr
    (folder,) = shop.folders()
    profile = json.loads((folder / "profile.json").read_text("utf-8"))
    assert profile["container"]["engine"]["local"] is False
    assert any(far_engine in warning for warning in profile["warnings"])
    assert things_of(docker_engine, profile["run_id"]) == []
    tuned = shop.run("model=tiny", DOCKER, "setup=apply")
    assert tuned.returncode == 2
    assert "setup=off" in one_line(tuned.stderr)


def test_memory_that_runs_out_is_reported_with_limit_and_peak(shop):
    tiny.workspace(shop.root, name="wide", width=4096, layers=3)  # 192 MiB of weights
    done = shop.run("model=wide", DOCKER, "executor.memory_mb=256", "batch_sizes=[1]")
    assert done.returncode == 1
    (result,) = shop.results()
    assert result["error_kind"] == "out_of_memory", result
    assert "limit of 256 MiB" in result["reason"]
    assert "were in use, files included" in result["reason"]
    assert "Traceback" not in done.stderr


def test_a_timeout_leaves_no_container(shop, docker_engine):
    done = shop.run("model=tiny", DOCKER, "measure.timeout_seconds=4", options=ENDLESS)
    assert done.returncode == 1
    (result,) = shop.results()
    assert result["error_kind"] == "timeout"
    assert things_of(docker_engine, result["run_id"]) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_container(shop, docker_engine, wait_for, number):
    process = shop.start("model=tiny", DOCKER, options=ENDLESS)
    (run,) = wait_for(lambda: running(docker_engine, process))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    (result,) = shop.results()
    assert result["status"] == "interrupted"
    assert things_of(docker_engine, run) == []


def test_what_a_killed_host_left_stops_and_is_cleared_by_the_next_run(
    shop, docker_engine, wait_for
):
    foreign = docker_engine.client.api.create_container(
        "localhost/profleet/onnxruntime:1.31.1", labels={labels.KIND: "", "profleet.run": "mine"}
    )["Id"]
    try:
        process = shop.start("model=tiny", DOCKER, options=ENDLESS)
        (run,) = wait_for(lambda: running(docker_engine, process))
        process.kill()
        process.communicate()
        wait_for(lambda: not running(docker_engine, process), 20)
        assert len(things_of(docker_engine, run)) == 2, "a stopped container and its volume"
        done = shop.run("model=tiny", DOCKER)
        assert done.returncode == 0, done.stderr
        assert things_of(docker_engine, run) == []
        assert docker_engine.client.api.inspect_container(foreign)
    finally:
        docker_engine.client.api.remove_container(foreign, v=True)


# -- images --------------------------------------------------------------------------------------


def test_an_image_that_is_missing(shop):
    done = shop.run("model=tiny", DOCKER, "executor.image=localhost/profleet/nowhere:1")
    assert done.returncode == 2
    assert "no image localhost/profleet/nowhere:1" in one_line(done.stderr)
    assert shop.results() == []


def test_an_image_with_another_id_than_the_one_that_is_pinned(shop, runner_image):
    done = shop.run("model=tiny", DOCKER, f"executor.image_id=sha256:{'0' * 64}")
    assert done.returncode == 2
    said = one_line(done.stderr)
    assert runner_image.id in said
    assert "0" * 64 in said


def test_an_image_of_another_architecture(shop, docker_engine):
    other = "arm64" if docker_engine.architecture == "amd64" else "amd64"
    with containers.temporary_ref(docker_engine) as ref:
        containers.load_image(docker_engine, ref, containers.runner_labels(), other)
        done = shop.run("model=tiny", DOCKER, f"executor.image={ref}")
    assert done.returncode == 2
    assert f"is for {other}" in one_line(done.stderr)


def test_in_a_sweep_a_missing_image_fails_its_own_job_only(shop):
    done = shop.run(
        "-m", "model=tiny", DOCKER,
        "executor.image=null,localhost/profleet/nowhere:1",
    )  # fmt: skip
    assert done.returncode == 1
    assert [result["status"] for result in shop.results()] == ["finished", "failed"]
    assert "no image" in shop.results()[1]["reason"]
    assert shop.results()[1]["executor"] == "docker"


# -- engines -------------------------------------------------------------------------------------


def test_no_engine(shop, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{shop.root}/nothing.sock")
    done = shop.run("model=tiny", DOCKER)
    assert done.returncode == 2
    assert "No container engine answers at" in one_line(done.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_an_engine_that_may_not_be_used(shop, own_engine, monkeypatch):
    """A socket that nobody but root may open, seen by somebody else."""
    assert Path(own_engine.address.removeprefix("unix://")).stat().st_mode & 0o7 == 0
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.environ["DOCKER_HOST"] = own_engine.address
            from profleet.container.engine import connect
            from profleet.errors import EngineError

            try:
                connect()
            except EngineError as error:
                os.write(write, f"{error.kind}: {error}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    assert said.startswith("permission: You may not use the container engine")


def test_an_engine_that_is_stopped_in_the_middle_of_a_sweep(
    shop, own_engine, wait_for, monkeypatch
):
    monkeypatch.setenv("DOCKER_HOST", own_engine.address)
    tiny.workspace(shop.root, name="second")
    words = ["-m", "model=tiny,second", DOCKER, "batch_sizes=[1],[1,2],[2]"]
    slow = [*FAST, "measure.min_seconds=1"]
    process = shop.start(*words, options=slow)
    try:
        wait_for(lambda: shop.results(), 120)
        wait_for(lambda: own_engine.client("ps", "-q", "--filter", "name=profleet-job").stdout, 60)
        own_engine.stop()
        _, err = process.communicate(timeout=120)
    finally:
        own_engine.start()
    assert process.returncode == 1, err
    assert "Traceback" not in err
    results = shop.results()
    assert len(results) == 6
    finished = [result for result in results if result["status"] == "finished"]
    failed = [result for result in results if result["status"] == "failed"]
    assert len(finished) >= 1
    assert len(failed) >= 2
    assert {result["error_kind"] for result in failed} == {"engine"}
    assert all("resume=true" in result["hint"] for result in failed)
    assert all("engine" in result["reason"] for result in failed)
    assert failed[0]["run_id"], "the first one was being measured"

    again = shop.run(*words, "resume=true", options=slow)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("finished before") == len(finished)
    assert own_engine.left() == []
