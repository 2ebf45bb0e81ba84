"""One container for one job: made, started, filled, executed in, read, removed.

The container's first process only waits for the end of its standard input, which this side holds
open: when this side ends, however it ends, so does the container with everything in it. The runner
is executed beside it, so that the job's folder, which is in memory, outlives the runner and can be
read: also after a timeout or a lack of memory, with everything in the container frozen.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, cast

from profleet.container import layout, podman
from profleet.container.archive import Entry, Limits, Link, Unpacked, first_file, pack, unpack
from profleet.container.engine import Engine, explain
from profleet.errors import EngineError

if TYPE_CHECKING:
    from pathlib import Path

    from docker.api.client import APIClient

HOLDER: Final = ("/bin/sh", "-c", "trap '' CHLD; exec cat")
"""Waits, and leaves no zombies of others: it is process 1 of the container."""
END_SECONDS = 10.0
CONFLICT: Final = 409
PEAK: Final = (
    "/sys/fs/cgroup/memory.peak", "/sys/fs/cgroup/memory/memory.max_usage_in_bytes",
)  # fmt: skip
KILLS: Final = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
"""Where a container finds out about itself, under cgroup v2 and v1."""
ROOT: Final = "0:0"
READING_SECONDS = 5.0
MAX_READING: Final = 2**14


@dataclass(frozen=True)
class Answer:
    """How a program ended (None: it did not) and what it printed."""

    code: int | None
    output: bytes
    errors: bytes


@dataclass(frozen=True)
class Memory:
    """The most that a container had in use, bytes (None: it cannot be told), and how many of its
    processes the kernel is known to have killed for want of it."""

    peak_bytes: int | None
    kills: int


class Session:
    """A container from its creation to its removal; a context manager.

    Every method raises :class:`EngineError` with what was being done.
    """

    def __init__(
        self,
        engine: Engine,
        image: str,
        *,
        name: str,
        label: Mapping[str, str],
        user: str,
        host_config: Mapping[str, Any],
    ) -> None:
        self._engine = engine
        self._image = image
        self._name = name
        self._label = dict(label)
        self._user = user
        self._host_config = host_config
        self._id: str | None = None
        self._volumes: list[str] = []
        self.left: str | None = None
        """Why the container could not be removed; what came out of it is none the worse."""
        self._input: Any = None
        self._output: Any = None
        self._hung_up = False
        self._closing = threading.Lock()

    @property
    def _api(self) -> APIClient:
        return self._engine.client.api

    @property
    def id(self) -> str:
        """The engine's id of the container."""
        assert self._id is not None
        return self._id

    def __enter__(self) -> Self:
        with self._explained(f"creating the container {self._name}"), self._or_no_volumes():
            config = self._api.create_host_config(**self._arguments())
            made = self._api.create_container(
                self._image,
                name=self._name,
                entrypoint=list(HOLDER),
                command=[],
                user=self._user,
                labels=self._label,
                stdin_open=True,
                working_dir="/",
                environment={"HOME": "/tmp"},  # noqa: S108 -- inside the container
                host_config=config,
            )
            self._id = str(made["Id"])
        return self

    def _arguments(self) -> Mapping[str, Any]:
        """The arguments for this engine, with the volumes made that it needs beforehand."""
        if self._engine.name != "podman":
            return self._host_config
        arguments, volumes = podman.adapted(self._engine, self._name, self._host_config)
        self._volumes = podman.own_volumes(self._name, volumes)
        for volume in volumes:
            self._api.create_volume(**volume)
        return arguments

    @contextlib.contextmanager
    def _or_no_volumes(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            with contextlib.suppress(EngineError), self._explained("removing its volumes"):
                self._remove_volumes()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._remove()
        except KeyboardInterrupt:  # impatience must not leave a container behind
            self._remove()
            raise
        except EngineError as trouble:
            what = "A volume of the container" if self._id is None else "The container"
            self.left = f"{trouble} {what} {self._name} is left: profleet image prune."

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the container; it lives until this side ends or removes it."""
        with self._explained(f"starting the container {self._name}"):
            self._input = self._api.attach_socket(self.id, params={"stdin": 1, "stream": 1})
            self._api.start(self.id)

    def execute(
        self, command: Iterable[str], on_output: Callable[[int, bytes], None], user: str = ""
    ) -> int | None:
        """Execute a program and block until it ends; hand on what it prints as it comes.

        Args:
            command: the program and its arguments.
            on_output: gets the number of the stream (1 output, 2 errors) and a piece of it.
            user: who executes it; "" is the container's own user.

        Returns:
            Its exit code, negative for a signal; None when it still runs, because of ``hang_up``
            or because the engine stopped telling.
        """
        from docker.utils.socket import frames_iter

        self._hung_up = False
        with self._explained(f"executing in the container {self._name}"):
            made = self._api.exec_create(self.id, list(command), stdin=False, user=user)
            self._output = self._api.exec_start(made["Id"], socket=True)
            try:
                if self._hung_up:  # before there was anything to listen to
                    self._hush()
                for number, piece in frames_iter(self._output, tty=False):
                    on_output(number, piece)
            finally:
                output, self._output = self._output, None
                _close(output)
            state = self._api.exec_inspect(made["Id"])
        if state.get("Running") or state.get("ExitCode") is None:
            return None
        code = int(state["ExitCode"])
        return 128 - code if 128 < code <= 128 + 64 and code != 130 else code

    def ask(
        self, command: Iterable[str], *, seconds: float, at_most: int, user: str = ""
    ) -> Answer:
        """Execute a program and return what it prints, without trust that it ends.

        Args:
            command: the program and its arguments.
            seconds: it is listened to for no longer.
            at_most: bytes kept of each of its streams.
            user: as for ``execute``.
        """
        printed = {1: bytearray(), 2: bytearray()}

        def keep(stream: int, piece: bytes) -> None:
            if stream in printed:
                printed[stream] += piece[: at_most - len(printed[stream])]

        timer = threading.Timer(seconds, self.hang_up)
        timer.daemon = True
        timer.start()
        try:
            code = self.execute(command, keep, user)
        finally:
            timer.cancel()
        return Answer(code, bytes(printed[1]), bytes(printed[2]))

    def hang_up(self) -> None:
        """Stop listening to the program, so that ``execute`` goes on; from any thread."""
        self._hung_up = True
        self._hush()

    def _hush(self) -> None:
        if (output := self._output) is not None:
            connection = getattr(output, "_sock", output)
            if connection is not None:  # it was not closed meanwhile
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> bool:
        """Stop everything in the container where it is; False where the container has ended.

        An engine that cannot (rootless, without cgroup v2) lets it go on; it is not trusted anyway.
        """
        from docker.errors import APIError

        with self._explained(f"freezing the container {self._name}"):
            try:
                self._api.pause(self.id)
            except APIError:  # not running any more, or frozen already
                state = self._api.inspect_container(self.id)["State"]
                return bool(state.get("Running") or state.get("Paused"))
        return True

    def ends_within(self, seconds: float) -> bool:
        """Wait for the end of the container; False when it lives on."""
        from requests.exceptions import ConnectionError as NoAnswer
        from requests.exceptions import ReadTimeout

        with self._explained(f"waiting for the container {self._name}"):
            try:
                self._api.wait(self.id, timeout=seconds)
            except (ReadTimeout, NoAnswer):  # of a socket of this machine, of one elsewhere
                return False
        return True

    def kill(self) -> None:
        """End everything in the container at once; from any thread."""
        from docker.errors import APIError

        with self._explained(f"ending the container {self._name}"), contextlib.suppress(APIError):
            self._api.kill(self.id)

    def end(self) -> dict[str, Any]:
        """End the container and return what the engine says of its last state."""
        self.kill()
        with self._explained(f"ending the container {self._name}"):
            self._api.wait(self.id, timeout=END_SECONDS)
            return dict(self._api.inspect_container(self.id)["State"])

    def _remove(self) -> None:
        from docker.errors import APIError, NotFound

        with self._closing:
            if self._input is not None:
                with contextlib.suppress(OSError):
                    _close(self._input)
                self._input = None
            with self._explained(f"removing the container {self._name}"):
                try:
                    if self._id is not None:
                        self._api.remove_container(self._id, v=True, force=True)
                except NotFound:
                    pass
                except APIError as error:
                    if error.status_code != CONFLICT:  # being removed: an interrupt came between
                        raise
                self._id = None
                self._remove_volumes()

    def _remove_volumes(self) -> None:
        """Remove those that are not anonymous, and so do not go with the container."""
        from docker.errors import NotFound

        while self._volumes:
            with contextlib.suppress(NotFound):
                self._api.remove_volume(self._volumes[-1], force=True)
            self._volumes.pop()

    # -- files and readings ----------------------------------------------------------------------

    def put(self, entries: Iterable[Entry | Link], folder: str = layout.OUT) -> None:
        """Put files into a folder of a volume."""
        with self._explained(f"copying the job into the container {self._name}"):
            self._api.put_archive(self.id, folder, pack(entries))

    def get(
        self, target: Path, limits: Limits, known: frozenset[str], folder: str = layout.OUT
    ) -> Unpacked:
        """Take what is in a folder of a volume, within limits; see :func:`archive.unpack`."""
        with self._explained(f"copying the result out of the container {self._name}"):
            stream, _ = self._api.get_archive(self.id, f"{folder}/.", chunk_size=2**18)
            with contextlib.closing(cast("Any", stream)):
                return unpack(stream, target, limits, known)

    @contextlib.contextmanager
    def archive(self, path: str) -> Iterator[Iterable[bytes]]:
        """Give a file or folder of the container as a tar stream, links and all."""
        with self._explained(f"reading {path} in the container {self._name}"):
            stream, _ = self._api.get_archive(self.id, path)
            with contextlib.closing(cast("Any", stream)):
                yield stream

    def content(self, path: str, at_most: int) -> bytes | None:
        """Return a small regular file of a volume or of the image; None: there is none."""
        from docker.errors import NotFound

        try:
            with self.archive(path) as stream:
                return first_file(stream, at_most)
        except EngineError as error:
            if isinstance(error.__cause__, NotFound):
                return None
            raise

    def memory(self) -> Memory:
        """Return what is known of the memory in use; before the container is frozen or ended.

        Under cgroup v1 Docker knows; otherwise only the container itself does (v2: Linux 5.19).
        What the runner left running in it may neither hold that up nor stop it: it is asked by
        root (who has no capabilities there), whom the runner's user may not send a signal.
        """
        with contextlib.suppress(EngineError):
            if self._engine.name == "docker" and self._engine.cgroup_version != "2":
                with self._explained("reading the memory in use"):
                    usage = self._api.stats(self.id, stream=False, one_shot=True)
                    peak = int((usage.get("memory_stats") or {}).get("max_usage") or 0)
                    return Memory(peak or None, 0)
            command = ("head", "-q", "-c", "4096", *PEAK, *KILLS)
            answer = self.ask(command, seconds=READING_SECONDS, at_most=MAX_READING, user=ROOT)
            text = answer.output.decode("ascii", "replace")
            peaks, kills = (
                re.search(r"^(\d{1,19})$", text, re.MULTILINE),
                re.search(r"^oom_kill (\d{1,19})$", text, re.MULTILINE),
            )
            return Memory(int(peaks[1]) if peaks else None, int(kills[1]) if kills else 0)
        return Memory(None, 0)

    @contextlib.contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        from docker.errors import DockerException
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except (DockerException, RequestException, HTTPError, ConnectionError) as error:
            raise explain(error, doing, self._engine.endpoint) from error


def _close(stream: Any) -> None:
    """Close a connection that the SDK handed over.

    Its file and its response refer to each other: closing the file alone leaves the connection
    open until garbage is collected.
    """
    if (response := getattr(stream, "_response", None)) is not None:
        response.close()
    stream.close()
