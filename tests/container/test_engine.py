from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest
import requests

from profleet.container import engine as engine_module
from profleet.container.engine import Engine, connect, explain
from profleet.errors import EngineError

VERSION = {"Version": "20.10.24", "ApiVersion": "1.41", "Os": "linux", "Arch": "amd64"}


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """An engine that answers ``/version`` and ``/info`` with what the test puts in."""
    answers: dict[str, Any] = {"version": dict(VERSION), "info": {"CgroupVersion": "2"}}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers[self.path.rpartition("/")[2]]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return None

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
        yield answers
        server.shutdown()
        thread.join()


def test_an_engine_says_what_it_is(docker_engine: Engine):
    described = docker_engine.describe()
    assert described["name"] in {"docker", "podman"}
    assert described["version"]
    assert described["api_version"].count(".") == 1
    assert described["architecture"] in {"amd64", "arm64"}
    assert described["kernel"] == os.uname().release or not described["local"]
    assert json.loads(json.dumps(described)) == described


@pytest.mark.parametrize("path", ["missing.sock", "dead.sock"])
def test_an_absent_engine_is_one_sentence_with_a_cure(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if path == "dead.sock":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / path))  # closed at once: nobody listens
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / path}")
    with pytest.raises(EngineError, match=f"No container engine answers at unix://.*{path}") as got:
        connect()
    assert got.value.kind == "absent"
    assert "apt-get install docker.io" in str(got.value)
    assert "DOCKER_HOST" in str(got.value)
    assert "\n" not in str(got.value)
    assert "Error while fetching" not in str(got.value)


def test_an_engine_elsewhere_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(EngineError, match=r"No container engine answers at tcp://127\.0\.0\.1:1\."):
        connect()


def test_who_may_not_use_the_engine_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "engine.sock"
    tmp_path.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o600 if os.geteuid() == 0 else 0o000)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        error = _connect_unprivileged()
    assert error is not None, "an unprivileged process could connect"
    assert error["kind"] == "permission"
    assert error["message"].startswith(f"You may not use the container engine at unix://{path}.")
    assert "usermod -aG docker" in error["message"]


def _connect_unprivileged() -> dict[str, str] | None:
    """What ``connect`` raises in a process that is not root."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        told: dict[str, str] = {}
        try:
            if os.geteuid() == 0:
                for folder in Path(os.environ["DOCKER_HOST"][7:]).parents[1:3]:
                    folder.chmod(folder.stat().st_mode | 0o055)  # pytest's own folders are private
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            connect()
        except EngineError as error:
            told = {"kind": error.kind, "message": str(error)}
        finally:
            os.write(writer, json.dumps(told).encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        found = json.loads(answer.read())
    os.waitpid(child, 0)
    return found or None


def test_podman_is_recognized(pretend: dict[str, Any]):
    pretend["version"]["Components"] = [{"Name": "Podman Engine"}, {"Name": "Conmon"}]
    engine = connect()
    assert engine.name == "podman"
    assert engine.cdi
    assert not engine.gpus
    assert not engine.local


def test_what_an_engine_can_is_read_from_it(pretend: dict[str, Any]):
    pretend["version"]["Arch"] = "arm64"
    pretend["info"] = {
        "CgroupVersion": "1",
        "SecurityOptions": ["name=seccomp,profile=default", "name=rootless"],
        "Runtimes": {"runc": {}, "nvidia": {}},
        "SwapLimit": True,
    }
    engine = connect()
    assert (engine.name, engine.architecture, engine.cgroup_version) == ("docker", "arm64", "1")
    assert engine.rootless
    assert engine.gpus
    assert engine.swap_limit
    assert not engine.cdi


@pytest.mark.parametrize("changes", [{"Os": "windows"}, {"Arch": "s390x"}])
def test_an_engine_for_other_containers_is_refused(
    pretend: dict[str, Any], changes: dict[str, str]
):
    pretend["version"].update(changes)
    with pytest.raises(EngineError, match=r"executes (windows/amd64|linux/s390x) containers"):
        connect()


def test_contexts_of_the_docker_command_are_not_followed(
    pretend: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The engine that a context names answers; it must not be asked."""
    name = "elsewhere"
    folder = tmp_path / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    host = os.environ["DOCKER_HOST"]
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host}}}
    (folder / "meta.json").write_text(json.dumps(meta))
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": name}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONTEXT", name)
    monkeypatch.delenv("DOCKER_HOST")
    try:
        asked = connect().endpoint
    except EngineError as error:
        asked = str(error)
    assert "unix://" in asked


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (requests.exceptions.ReadTimeout("Read timed out"), "lost", "did not answer in time"),
        (requests.exceptions.ConnectionError("closed"), "lost", "stopped answering"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "lost", "stopped answering"),
        (docker.errors.NotFound("gone", explanation="No such container: x"), "refused", "No such"),
        (docker.errors.BuildError("exit 1\n  here.", []), "build", "exit 1 here."),
    ],
)
def test_each_failure_becomes_one_sentence(error: Exception, kind: str, words: str):
    explained = explain(error, "starting run ab12", "ssh://me@far/run/docker.sock")
    assert explained.kind == kind
    assert words in str(explained)
    assert str(explained).startswith("While starting run ab12")
    assert "me@" not in str(explained)


def test_an_engine_behind_ssh_needs_a_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOCKER_HOST", "ssh://me@far")
    monkeypatch.setattr(engine_module, "find_spec", lambda _: None)
    with pytest.raises(EngineError, match=r"ssh://far .* pip install 'docker\[ssh\]'") as got:
        connect()
    assert got.value.kind == "absent"


def test_what_is_explained_already_stays():
    told = EngineError("As it is.", "image")
    assert explain(told, "anything") is told


@pytest.mark.parametrize("bug", [KeyError("Id"), TypeError("x"), docker.errors.NullResource("x")])
def test_a_bug_is_not_blamed_on_the_engine(bug: Exception):
    with pytest.raises(type(bug)):
        explain(bug, "reading an image")
