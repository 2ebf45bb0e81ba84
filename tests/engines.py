"""A container engine of the test's own, to be stopped and started as it likes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import containers
from profleet.container.engine import Engine
from profleet.container.images import ImageRecord
from profleet.errors import EngineError


class OwnEngine:
    """A second dockerd with its own data, its own containerd and no network at all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.address = f"unix://{root}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [
            "dockerd", f"--data-root={self.root}/data", f"--exec-root={self.root}/exec",
            f"--pidfile={self.root}/docker.pid", f"--host={self.address}", "--bridge=none",
            "--iptables=false", "--ip6tables=false",
        ]  # fmt: skip
        with (self.root / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(600):
            if self._process.poll() is not None or self.client("version").returncode == 0:
                break
            time.sleep(0.1)
        assert self._process.poll() is None, (self.root / "dockerd.log").read_text()[-3000:]

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop it; a plain stop takes its containers along."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    def client(self, *words: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        """Execute the command-line client on it."""
        return subprocess.run(
            ["docker", "-H", self.address, *words],
            capture_output=True, check=False, **options,
        )  # type: ignore[call-overload, no-any-return]  # fmt: skip

    def load(self, image: ImageRecord) -> None:
        """Copy an image of the usual engine."""
        with subprocess.Popen(["docker", "save", image.ref], stdout=subprocess.PIPE) as save:
            loaded = self.client("load", stdin=save.stdout)
        assert loaded.returncode == 0, loaded.stderr

    def left(self) -> list[str]:
        """Containers, and volumes of jobs, that are on it."""
        listed = self.client("ps", "-aq").stdout + self.client(
            "volume", "ls", "-q", "--filter", "label=profleet.kind=job"
        ).stdout  # fmt: skip
        return listed.decode().split()


@pytest.fixture(scope="session")
def own_engine(
    docker_engine: Engine, runner_image: ImageRecord, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OwnEngine]:
    """A second engine that has the image of onnxruntime."""
    if os.geteuid() or not shutil.which("dockerd"):
        containers.refuse(EngineError("a second engine needs root and dockerd", "absent"))
    engine = OwnEngine(tmp_path_factory.mktemp("engine"))
    try:
        engine.start()
        engine.load(runner_image)
        yield engine
    finally:
        engine.stop()
        for mount in reversed(Path("/proc/mounts").read_text().splitlines()):
            if (place := mount.split()[1]).startswith(str(engine.root)):
                subprocess.run(["umount", "-l", place], check=False)


class Relay(threading.Thread):
    """The usual engine over TCP, as one on another machine would be reached."""

    def __init__(self, path: str) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            there = socket.socket(socket.AF_UNIX)
            there.connect(self._path)
            for source, target in ((here, there), (there, here)):
                threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def far_engine(docker_engine: Engine) -> Iterator[str]:
    """Address of the usual engine that does not tell that it is on this machine."""
    if not docker_engine.local:
        pytest.skip("the usual engine is a remote one already")
    relay = Relay(docker_engine.endpoint.removeprefix("unix://"))
    relay.start()
    yield relay.address
    relay.close()
