"""The docker executor with runners that misbehave, on a real engine."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from docker.errors import APIError
from requests import Response

import containers
from attackers import Attack, result, taken, things_of, told
from profleet.container import session
from profleet.errors import EngineError, StoreError
from profleet.execute import docker

MIB = 2**20


def test_a_runner_gets_its_job_and_its_result_comes_back(attack):
    ended, folder = attack("""
        print(json.dumps({"event": "state", "phase": "measure"}), flush=True)
        print("a line")
        print("an error", file=sys.stderr)
        model = pathlib.Path(job["model"]["artifact"]["path"]).read_bytes()
        pathlib.Path("loadgen").mkdir()
        pathlib.Path("loadgen/log.txt").write_text("log")
        pathlib.Path("profile.json").write_text(json.dumps(len(model)))
    """)
    assert (ended.code, ended.timed_out, ended.failure) == (0, False, None)
    assert result(folder) == len(attack.weights)
    assert taken(folder) == ["loadgen/log.txt", "profile.json"]
    assert [event["phase"] for event in attack.events] == ["container", "copy", "measure"]
    assert sorted(ended.log.read_text("utf-8").splitlines()) == ["a line", "an error"]
    assert told(folder)["loosened"] == told(folder)["refused"] == []
    assert told(folder)["memory_peak_bytes"] > MIB
    assert told(folder)["engine"]["version"] == attack.engine.version


FACTS = """
    facts = {"uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups()}
    for line in open("/proc/self/status"):
        key, _, value = line.partition(":")
        if key in {"CapEff", "CapPrm", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"}:
            facts[key] = value.strip()
    facts["limits"] = open("/proc/self/limits").read()
    facts["interfaces"] = sorted(os.listdir("/sys/class/net"))
    facts["cpus"] = sorted(os.sched_getaffinity(0))
    facts["tmp"] = os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize
    facts["out"] = os.statvfs(".").f_blocks * os.statvfs(".").f_frsize
    facts["variables"] = dict(os.environ)
    facts["written"] = []
    for folder in ("/", "/etc", "/opt/profleet", "/artifact", "/var/tmp", "/usr/bin", "/sys"):
        try:
            pathlib.Path(folder, "new").write_text("x")
            facts["written"].append(folder)
        except OSError:
            pass
    pathlib.Path("/tmp/works").write_text("x")
    pathlib.Path("profile.json").write_text(json.dumps(facts))
"""


def test_a_container_is_hermetic(attack, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "not for runners")
    ended, folder = attack(FACTS)
    assert ended.code == 0, ended.log.read_text("utf-8")
    facts = result(folder)
    assert (facts["uid"], facts["gid"]) == (1000, 1000)
    assert {facts[key] for key in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp"] == "2"
    assert facts["interfaces"] == ["lo"]
    assert facts["written"] == []
    assert facts["tmp"] == 32 * MIB
    assert facts["out"] == 16 * MIB
    assert "SECRET_TOKEN" not in facts["variables"]
    assert facts["cpus"] == list(range(attack.engine.cpus))


def test_what_is_loosened_is_loose_and_is_recorded(attack):
    ended, folder = attack(
        FACTS, user="0:0", network="host", writable_root=True, cap_add=("CHOWN",),
        seccomp="unconfined", pids=None, memory_mb=None,
    )  # fmt: skip
    assert ended.code == 0, ended.log.read_text("utf-8")
    facts = result(folder)
    assert facts["uid"] == 0
    assert facts["CapEff"] == "0000000000000001"
    assert facts["Seccomp"] == "0"
    assert set(facts["interfaces"]) > {"lo"}
    assert "/etc" in facts["written"]
    assert "/artifact" not in facts["written"], "jobs share it"
    assert told(folder)["loosened"] == [
        "network=host", "writable_root=true", "user=0:0", "cap_add=CHOWN", "seccomp=unconfined",
        "pids=null", "memory_mb=null",
    ]  # fmt: skip
    assert told(folder)["limits"]["memory_bytes"] is None


def test_the_network_cannot_be_reached(attack):
    ended, folder = attack("""
        import socket
        tried = []
        for family, address in (
            (socket.AF_INET, ("203.0.113.1", 80)), (socket.AF_INET6, ("2001:db8::1", 80)),
        ):
            try:
                socket.create_connection(address, 3)
            except OSError as error:
                tried.append(str(error))
        try:
            socket.getaddrinfo("example.org", 80)
        except OSError as error:
            tried.append(str(error))
        pathlib.Path("profile.json").write_text(json.dumps(tried))
    """)
    assert ended.code == 0
    assert len(result(folder)) == 3
    assert "unreachable" in result(folder)[0]


# -- results -------------------------------------------------------------------------------------


def test_a_result_of_ten_gigabytes_is_contained(attack):
    ended, folder = attack("""
        try:
            with open("profile.json", "wb", 0) as file:
                for _ in range(10_000):
                    file.write(bytes(2**20))
        except OSError as error:
            print("stopped at", file, error, flush=True)
            sys.exit(8)
    """)
    assert ended.code == 8
    assert "No space left" in ended.log.read_text("utf-8")
    assert sum((folder / name).stat().st_size for name in taken(folder)) <= 16 * MIB


def test_a_sparse_result_of_ten_gigabytes_is_contained(attack):
    ended, folder = attack("""
        import resource
        print(resource.getrlimit(resource.RLIMIT_FSIZE))
        for name in ("profile.json", "samples.npz"):
            with open(name, "wb") as file:
                file.truncate(30 * 2**20)
        try:
            os.truncate("samples.npz", 10 * 2**30)
        except OSError as error:
            pathlib.Path("environment.json").write_text(json.dumps(str(error)))
    """)
    assert ended.code == 0, ended.log.read_text("utf-8")
    assert "File too large" in (folder / "environment.json").read_text("utf-8")
    refused = told(folder)["refused"]
    assert any("profile.json" in each for each in refused), refused
    assert not (folder / "profile.json").exists()


def test_files_without_number_are_contained(attack):
    ended, folder = attack("""
        try:
            for number in range(100_000):
                pathlib.Path(f"file{number}").write_text("x")
        except OSError as error:
            sys.exit(8)
    """)
    assert ended.code == 8
    assert len(taken(folder)) <= 4096


def test_links_and_devices_stay_inside(attack):
    secret = attack.root / "secret"
    secret.write_text("a secret of the host")
    ended, folder = attack(f"""
        os.symlink("{secret}", "profile.json")
        os.symlink("/", "processes")
        os.symlink("{attack.root}", "loadgen")
        os.mkfifo("samples.npz")
        open("environment.json", "w").write("{{}}")
        os.link("environment.json", "failure.json")
    """)
    assert ended.code == 0, ended.log.read_text("utf-8")
    assert "environment.json" in taken(folder) or "failure.json" in taken(folder)
    assert not any(path.is_symlink() for path in folder.iterdir())
    refused = " ".join(told(folder)["refused"])
    for name in ("profile.json: a link to", "processes: a link", "loadgen: a link", "samples.npz"):
        assert name in refused, refused


def test_a_runner_cannot_pass_for_this_side(attack):
    ended, folder = attack("""
        for name in ("container.json", "ticket.json", "setup.json", "lock.json"):
            pathlib.Path(name).write_text('{"forged": true}')
        pathlib.Path("profile.json").write_text("{}")
    """)
    assert ended.code == 0
    assert taken(folder) == ["profile.json"]
    assert "forged" not in told(folder)


def test_a_log_without_end_keeps_its_two_ends(attack):
    ended, _ = attack("""
        for _ in range(40):
            sys.stdout.write("x" * 2**20)
            sys.stderr.write("y" * 2**20)
        sys.stderr.write("at last")
    """)
    assert ended.code == 0
    log = ended.log.read_bytes()
    assert 16 * MIB <= len(log) < 17 * MIB
    assert b"bytes are left out here" in log
    assert b"at last" in log[-MIB:]


# -- the ends ------------------------------------------------------------------------------------


def test_a_runner_killed_for_memory_is_reported_with_limit_and_peak(attack):
    ended, _ = attack("""
        held = []
        while True:
            held.append(b"x" * 2**20)
    """)
    assert ended.code == -9
    assert ended.failure.kind == "out_of_memory"
    assert "under the limit of 256 MiB" in ended.failure.message
    assert "at most 256 MiB were in use" in ended.failure.message
    assert "executor.memory_mb" in ended.failure.hint


def test_a_runner_that_survives_says_itself_what_ran_out(attack):
    ended, folder = attack("""
        import subprocess
        dead = subprocess.run([sys.executable, "-c", "x = b'x' * 2**30"])
        pathlib.Path("failure.json").write_text(json.dumps(
            {"kind": "out_of_memory", "message": str(dead.returncode), "hint": None}))
        sys.exit(6)
    """)
    assert ended.code == 6
    assert ended.failure is None, "the runner knows better which batch size it was"
    assert json.loads((folder / "failure.json").read_text())["message"] == "-9"


def test_a_runner_killed_otherwise_did_not_run_out_of_memory(attack):
    ended, _ = attack("import signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert ended.code == -9
    assert ended.failure is None


def test_a_timeout_ends_it_and_keeps_what_was_measured(attack):
    ended, folder = attack(
        """
        import signal
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        pathlib.Path("processes").mkdir()
        pathlib.Path("processes/0.npz").write_text("x")
        time.sleep(600)
        """,
        timeout_seconds=2.0,
    )
    assert ended.timed_out
    assert ended.code != 0
    assert taken(folder) == ["processes/0.npz"]


def test_a_fork_bomb_is_contained(attack):
    ended, folder = attack(
        """
        while True:
            try:
                os.fork()
            except OSError:
                pathlib.Path("refused").touch()
        """,
        timeout_seconds=2.0,
    )
    assert ended.timed_out
    assert taken(folder) == ["refused"], "the limit was reached"


def test_an_engine_that_cannot_freeze_gives_the_result_all_the_same(attack, monkeypatch):
    """Rootless engines without cgroup v2 cannot."""

    def cannot(_):
        raise APIError("cannot pause")

    monkeypatch.setattr(attack.engine.client.api, "pause", cannot)
    ended, folder = attack("pathlib.Path('profile.json').write_text('1')")
    assert (ended.code, ended.failure) == (0, None)
    assert taken(folder) == ["profile.json"]


def test_an_interrupted_removal_is_not_made_twice(attack, monkeypatch, capsys):
    """A second Ctrl-C while the engine removes the container: it is already doing so."""
    api, remove = attack.engine.client.api, attack.engine.client.api.remove_container
    times = []

    def interrupted(*arguments, **words):
        times.append(arguments)
        if len(times) == 1:
            raise KeyboardInterrupt
        remove(*arguments, **words)
        response = Response()
        response.status_code = 409
        raise APIError("removal is already in progress", response)

    monkeypatch.setattr(api, "remove_container", interrupted)
    with pytest.raises(KeyboardInterrupt):
        attack("pathlib.Path('profile.json').write_text('1')", weights="archive")
    assert len(times) == 2
    assert "left" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"network": "nowhere"}, "nowhere"), ({"cap_add": ("NONE",)}, "CAP_NONE")],
)
def test_a_setting_that_the_engine_refuses(attack, settings, named):
    executor = attack.executor(**settings)
    with pytest.raises(EngineError, match=rf"{named}.*Change the setting"):
        docker.surroundings(attack.engine, attack.image.id, executor.confinement)
    assert things_of(attack.engine, "surroundings", pid=os.getpid()) == []


def test_an_interrupt_leaves_nothing_and_keeps_what_was_measured(attack):
    folder = attack.job("""
        pathlib.Path("processes").mkdir()
        pathlib.Path("processes/0.npz").write_text("x")
        print(json.dumps({"event": "state", "phase": "measure"}), flush=True)
        time.sleep(600)
    """)

    def interrupt(event):
        if event["phase"] == "measure":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attack.executor().execute(folder, timeout_seconds=60, on_event=interrupt)
    assert taken(folder) == ["processes/0.npz"]
    assert things_of(attack.engine, attack.runs[-1]) == []


def test_a_container_stopped_from_outside_is_told_from_a_crash(attack):
    folder = attack.job("""
        print(json.dumps({"event": "state", "phase": "measure"}), flush=True)
        time.sleep(600)
    """)

    def stop(event):
        if event["phase"] == "measure":
            (found,) = things_of(attack.engine, attack.runs[-1])[:1]
            threading.Thread(target=attack.engine.client.api.kill, args=(found,)).start()

    ended = attack.executor().execute(folder, timeout_seconds=60, on_event=stop)
    assert ended.failure.kind == "engine"
    assert "stopped from outside" in ended.failure.message
    assert "resume=true" in ended.failure.hint


def test_the_peak_of_memory_comes_from_inside_where_the_engine_does_not_tell(attack):
    """Asked as if the engine had cgroup v2."""
    folder = attack.job("held = b'x' * 2**26\npathlib.Path('profile.json').write_text('{}')")
    executor = replace(attack.executor(), engine=replace(attack.engine, cgroup_version="2"))
    ended = executor.execute(folder, timeout_seconds=60, on_event=lambda _: None)
    assert (ended.code, ended.failure) == (0, None)
    assert told(folder)["memory_peak_bytes"] > 64 * MIB


@pytest.mark.timeout(20)
def test_what_is_left_running_cannot_hold_this_side_up(attack):
    """It stops whatever it may in the container; what reads the peak of its memory, it may not."""
    folder = attack.job("""
        import signal
        pathlib.Path("profile.json").write_text("{}")
        runner = os.getpid()
        if os.fork() == 0:
            for number in range(3):
                os.close(number)
            while os.getppid() == runner:
                time.sleep(0.001)
            while True:
                try:
                    os.kill(-1, signal.SIGSTOP)
                except ProcessLookupError:
                    pass
    """)
    executor = replace(attack.executor(), engine=replace(attack.engine, cgroup_version="2"))
    ended = executor.execute(folder, timeout_seconds=50, on_event=lambda _: None)
    assert (ended.code, ended.timed_out, ended.failure) == (0, False, None)
    assert taken(folder) == ["profile.json"]
    assert told(folder)["memory_peak_bytes"] > MIB


def test_as_under_podman(attack):
    """Docker takes what Podman is told, volumes made beforehand and all."""
    code = "pathlib.Path('profile.json').write_text(str(os.statvfs('.').f_blocks))"
    folder = attack.job(code)
    executor = attack.executor()
    podman = replace(executor, engine=replace(attack.engine, name="podman"))
    ended = podman.execute(folder, timeout_seconds=60, on_event=lambda _: None)
    assert (ended.code, ended.failure) == (0, None), ended.log.read_text("utf-8")
    assert result(folder) == 16 * MIB // 4096
    assert told(folder)["memory_peak_bytes"] > MIB


def test_as_under_podman_the_container_tells_of_a_kill_for_memory(attack, monkeypatch):
    end = session.Session.end
    monkeypatch.setattr(session.Session, "end", lambda it: {**end(it), "OOMKilled": False})
    folder = attack.job("held = []\nwhile True: held.append(b'x' * 2**20)")
    podman = replace(attack.executor(), engine=replace(attack.engine, name="podman"))
    ended = podman.execute(folder, timeout_seconds=60, on_event=lambda _: None)
    assert ended.code == -9
    assert ended.failure.kind == "out_of_memory"


# -- this side -----------------------------------------------------------------------------------


def test_no_room_for_what_is_told_of_the_container(attack):
    folder = attack.job("pathlib.Path('profile.json').write_text('1')")
    (folder / "container.json").symlink_to("/dev/full")
    with pytest.raises(StoreError, match=r"No space left.*run again with resume=true"):
        attack.executor().execute(folder, timeout_seconds=60, on_event=lambda _: None)


def test_no_room_does_not_hide_an_interrupt(attack):
    folder = attack.job("print(json.dumps({'event': 'state', 'phase': 'measure'}), flush=True)")
    (folder / "container.json").symlink_to("/dev/full")

    def interrupt(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attack.executor().execute(folder, timeout_seconds=60, on_event=interrupt)


@pytest.mark.parametrize(
    ("says", "seconds"),
    [
        ("print('{' * 100_000)", 60.0),
        ("print('[1]')", 60.0),
        ("print('{\"a\": 1}')", 60.0),
        ("while True: print('x' * 2**16)", 1.0),
        ("import time; time.sleep(600)", 1.0),
    ],
)
def test_an_image_that_does_not_tell_its_environment(
    docker_engine, runner_image, monkeypatch, says, seconds
):
    monkeypatch.setattr(docker, "LOOK_SECONDS", seconds)
    step = "COPY e.py /opt/profleet/runners/profleet_runner/environment.py"
    confinement = Attack(docker_engine, runner_image, Path()).executor().confinement
    with containers.temporary_ref(docker_engine) as ref:
        told = {"e.py": says.encode()}
        image = containers.derive(docker_engine, ref, runner_image.id, step, **told)
        with pytest.raises(EngineError, match="does not tell its environment"):
            docker.surroundings(docker_engine, image.id, confinement)
    assert things_of(docker_engine, "surroundings", pid=os.getpid()) == []
