"""What a session does where the engine, a container or a person does not go along."""

from __future__ import annotations

import gc
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError

from profleet.container import layout, owner, session
from profleet.container.engine import Engine
from profleet.container.images import ImageRecord
from profleet.container.session import Answer, Memory, Session
from profleet.errors import EngineError


class Podman:
    """An engine's interface that notes which volumes are made and removed."""

    def __init__(self, **fails: BaseException) -> None:
        self.fails = fails
        self.volumes: list[str] = []

    def _perhaps(self, what: str) -> None:
        if what in self.fails:
            raise self.fails.pop(what)

    def create_host_config(self, **arguments: Any) -> dict[str, Any]:
        return arguments

    def create_volume(self, name: str, **_: Any) -> None:
        self.volumes.append(name)

    def create_container(self, *_: Any, **__: Any) -> dict[str, str]:
        self._perhaps("create_container")
        return {"Id": "1"}

    def remove_container(self, *_: Any, **__: Any) -> None:
        self._perhaps("remove_container")

    def remove_volume(self, name: str, **_: Any) -> None:
        self._perhaps("remove_volume")
        self.volumes.remove(name)


@contextmanager
def running(engine: Engine, image: ImageRecord) -> Iterator[Session]:
    """A container without network."""
    with Session(
        engine,
        image.id,
        name=f"profleet-test-{uuid.uuid4().hex[:12]}",
        label=owner.mine("listing", ""),
        user=layout.USER,
        host_config={"network_mode": "none"},
    ) as made:
        made.start()
        yield made


def podman_session(api: Podman) -> Session:
    engine = SimpleNamespace(
        client=SimpleNamespace(api=api), endpoint="unix:///x", name="podman", rootless=True,
        local=True, architecture="amd64", cgroup_version="2",
    )  # fmt: skip
    mounts = [{"Target": "/out", "Source": None}, {"Target": "/artifact", "Source": "shared"}]
    return Session(
        engine, "image", name="job", label={}, user="", host_config={"mounts": mounts}
    )  # fmt: skip


def test_a_container_of_podman_takes_its_own_volumes_with_it():
    api = Podman()
    with podman_session(api):
        assert api.volumes == ["job-0", "shared"]
    assert api.volumes == ["shared"]


@pytest.mark.parametrize("trouble", [APIError("no such image"), KeyboardInterrupt()])
def test_a_container_that_is_not_made_leaves_no_volume(trouble):
    api = Podman(create_container=trouble)
    with pytest.raises((EngineError, KeyboardInterrupt)), podman_session(api):
        pass
    assert api.volumes == ["shared"]


@pytest.mark.parametrize(
    ("trouble", "raised"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (APIError("no such image"), EngineError)],
)
def test_a_volume_that_stays_does_not_hide_why(trouble, raised):
    api = Podman(create_container=trouble, remove_volume=APIError("volume in use"))
    with pytest.raises(raised) as error, podman_session(api):
        pass
    assert "volume" not in str(error.value)


@pytest.mark.parametrize("where", ["remove_container", "remove_volume"])
def test_an_interrupted_removal_is_finished(where):
    api = Podman(**{where: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt), podman_session(api):
        pass
    assert api.volumes == ["shared"]


def test_a_volume_that_stays_is_said():
    made = podman_session(Podman(remove_volume=APIError("volume in use")))
    with made:
        pass
    assert made.left is not None
    assert "volume in use. A volume of the container job is left" in made.left


def test_other_streams_than_output_and_errors_are_left_out(monkeypatch):
    def execute(_, command, on_output, user):
        for stream, piece in ((0, b"in"), (1, b"o"), (3, b"system"), (2, b"e"), (1, b"utput")):
            on_output(stream, piece)
        return 0

    monkeypatch.setattr(Session, "execute", execute)
    answer = podman_session(Podman()).ask(["x"], seconds=60, at_most=4)
    assert answer == Answer(0, b"outp", b"e")


@pytest.mark.parametrize(
    ("said", "memory"),
    [
        (b"1048576\noom 1\noom_kill 2\n", Memory(2**20, 2)),
        (b"under_oom 0\noom_kill 1", Memory(None, 1)),
        (b"9" * 10_000 + b"\noom_kill " + b"9" * 5000, Memory(None, 0)),
        (b"", Memory(None, 0)),
    ],
)
def test_what_a_container_says_of_its_memory(monkeypatch, said, memory):
    monkeypatch.setattr(Session, "ask", lambda *_, **__: Answer(None, said, b""))
    assert podman_session(Podman()).memory() == memory


def test_a_container_that_says_too_much_of_its_memory_or_never_ends(
    docker_engine: Engine, runner_image: ImageRecord, monkeypatch: pytest.MonkeyPatch
):
    """The program that reads it is one that the runner has a hand in."""
    monkeypatch.setattr(session, "READING_SECONDS", 0.5)
    monkeypatch.setattr(session, "PEAK", ("/dev/stdin",))
    monkeypatch.setattr(session, "KILLS", ("/dev/zero",))
    execute = Session.execute

    def forever(made, _, on_output, user):
        command = (layout.PYTHON, "-c", "while True: print('1' * 2**16)")
        return execute(made, command, on_output)

    monkeypatch.setattr(Session, "execute", forever)
    with running(replace(docker_engine, cgroup_version="2"), runner_image) as made:
        assert made.memory() == Memory(None, 0)


def test_a_program_is_not_listened_to_for_longer_because_the_engine_is_slow(
    docker_engine: Engine, runner_image: ImageRecord, monkeypatch: pytest.MonkeyPatch
):
    """The time is over before there is anything to stop listening to."""
    api = docker_engine.client.api
    exec_start = api.exec_start
    over = threading.Event()
    hang_up = Session.hang_up

    def ended(made: Session) -> None:
        hang_up(made)
        over.set()

    def slow(*arguments: Any, **options: Any) -> Any:
        assert over.wait(60)
        return exec_start(*arguments, **options)

    monkeypatch.setattr(Session, "hang_up", ended)
    monkeypatch.setattr(api, "exec_start", slow)
    with running(docker_engine, runner_image) as made:
        assert made.ask(["sleep", "20"], seconds=0.1, at_most=1).code is None


def test_a_connection_is_closed_when_it_is_done_with(
    docker_engine: Engine, runner_image: ImageRecord, monkeypatch: pytest.MonkeyPatch
):
    """Not when garbage is collected: the SDK's stream and its response refer to each other."""
    api = docker_engine.client.api
    sockets = []

    def noted(call: Any) -> Any:
        def called(*arguments: Any, **options: Any) -> Any:
            stream = call(*arguments, **options)
            sockets.append(getattr(stream, "_sock", stream))
            return stream

        return called

    for name in ("attach_socket", "exec_start"):
        monkeypatch.setattr(api, name, noted(getattr(api, name)))
    gc.disable()
    try:
        with running(docker_engine, runner_image) as made:
            assert made.ask(["echo", "on"], seconds=60, at_most=9).output == b"on\n"
            attached, executed = (each.fileno() >= 0 for each in sockets)
        assert (attached, executed) == (True, False)
        assert sockets[0].fileno() < 0
    finally:
        gc.enable()
