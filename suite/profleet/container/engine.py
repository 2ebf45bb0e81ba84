"""The container engine: Docker, or Podman through ``DOCKER_HOST``.

The engine is the one that ``DOCKER_HOST`` (with ``DOCKER_TLS_VERIFY`` and ``DOCKER_CERT_PATH``)
names, else the one at Docker's default socket. Contexts of the Docker command line are not
followed: a measurement must not move to another machine without being told.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from profleet.errors import EngineError

if TYPE_CHECKING:
    from docker import DockerClient

Name = Literal["docker", "podman"]
Architecture = Literal["amd64", "arm64"]

DEFAULT_ENDPOINT: Final = "unix:///var/run/docker.sock"
CONNECTING: Final = "connecting"
NVIDIA: Final = "nvidia"
_MACHINES: Final[dict[str, Architecture]] = {
    "amd64": "amd64", "x86_64": "amd64", "arm64": "arm64", "aarch64": "arm64",
}  # fmt: skip
_ABSENT: Final = {errno.ENOENT, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH}
_DENIED: Final = {errno.EACCES, errno.EPERM}


@dataclass(frozen=True)
class Engine:
    """A connected engine and what it says about itself.

    ``cgroup_version`` is ``"1"``, ``"2"`` or ``""`` where the engine does not tell; ``gpus`` says
    whether a device request for NVIDIA GPUs can work, ``cdi`` whether CDI names can;
    ``swap_limit`` whether a memory limit can exclude swap.
    """

    client: DockerClient
    endpoint: str
    name: Name
    version: str
    api_version: str
    architecture: Architecture
    rootless: bool
    cgroup_version: str
    kernel: str
    operating_system: str
    storage_driver: str
    cpus: int
    memory_bytes: int
    swap_limit: bool
    gpus: bool
    cdi: bool

    @property
    def local(self) -> bool:
        """Whether the engine is reached through a socket of this machine."""
        return self.endpoint.startswith("unix:")

    def describe(self) -> dict[str, Any]:
        """Return what a profile records about the engine: plain values, no secrets."""
        return {
            "name": self.name,
            "version": self.version,
            "api_version": self.api_version,
            "endpoint": _without_user(self.endpoint),
            "local": self.local,
            "architecture": self.architecture,
            "rootless": self.rootless,
            "cgroup_version": self.cgroup_version or None,
            "kernel": self.kernel,
            "operating_system": self.operating_system,
            "storage_driver": self.storage_driver,
        }

    def close(self) -> None:
        """Close the connection; idle ones are closed when the process ends, too."""
        self.client.close()


def connect(timeout_seconds: float = 60.0) -> Engine:
    """Connect to the engine that the environment names.

    Args:
        timeout_seconds: how long any one call may go without an answer.

    Raises:
        EngineError: no engine answers (``absent``), it may not be used (``permission``), or it
            is not one for Linux containers on amd64 or arm64 (``refused``).
    """
    import docker
    from docker.utils import kwargs_from_env

    endpoint = os.environ.get("DOCKER_HOST") or DEFAULT_ENDPOINT
    if endpoint.startswith("ssh:") and find_spec("paramiko") is None:
        raise EngineError(
            f"The engine at {_without_user(endpoint)} is reached through SSH, which needs another "
            "package: pip install 'docker[ssh]'.",
            "absent",
        )
    try:
        arguments = {"base_url": endpoint, **kwargs_from_env()}
        client = docker.DockerClient(version="auto", timeout=timeout_seconds, **arguments)
        version, info = client.version(), client.info()
    except Exception as error:
        raise explain(error, CONNECTING, endpoint) from error
    machine = str(version.get("Arch") or info.get("Architecture"))
    if machine not in _MACHINES or version.get("Os", "linux") != "linux":
        raise EngineError(
            f"The engine at {endpoint} executes {version.get('Os')}/{machine} containers; the "
            f"images here are for linux on {' and '.join(get_args(Architecture))}. "
            "Name another engine with DOCKER_HOST."
        )
    return Engine(
        client=client,
        endpoint=endpoint,
        name=_name(version),
        version=str(version.get("Version", "")),
        api_version=str(client.api.api_version),
        architecture=_MACHINES[machine],
        rootless=any("rootless" in str(option) for option in info.get("SecurityOptions") or ()),
        cgroup_version=str(info.get("CgroupVersion") or "").removeprefix("v"),
        kernel=str(info.get("KernelVersion", "")),
        operating_system=str(info.get("OperatingSystem", "")),
        storage_driver=str(info.get("Driver", "")),
        cpus=int(info.get("NCPU") or 0),
        memory_bytes=int(info.get("MemTotal") or 0),
        swap_limit=bool(info.get("SwapLimit", False)),
        gpus=_name(version) == "docker" and NVIDIA in (info.get("Runtimes") or {}),
        cdi=bool(info.get("CDISpecDirs")) or _name(version) == "podman",
    )


def explain(error: BaseException, doing: str, endpoint: str | None = None) -> EngineError:
    """Say in one sentence what an exception of the SDK means and what to do about it.

    Args:
        error: what ``docker`` or ``requests`` raised, or an ``OSError``.
        doing: what was being done, as in ``creating the container of run ab12``.
        endpoint: where the engine is; None: what the environment names.

    Raises:
        Exception: ``error`` itself, if it does not come from the engine or the way to it: a bug
            keeps its traceback.
    """
    if isinstance(error, EngineError):
        return error
    from docker.errors import APIError, BuildError, DockerException
    from requests.exceptions import ReadTimeout, RequestException
    from urllib3.exceptions import HTTPError

    if doing != CONNECTING and not isinstance(
        error, DockerException | RequestException | HTTPError | HTTPException | OSError
    ):
        raise error
    where = _without_user(endpoint or os.environ.get("DOCKER_HOST") or DEFAULT_ENDPOINT)
    if isinstance(error, BuildError):
        return EngineError(f"While {doing}: {_one_line(error.msg)}.", "build")
    if isinstance(error, APIError):
        said = _one_line(error.explanation or str(error))
        return EngineError(f"While {doing}, the container engine refused: {said}.", "refused")
    chain = list(_causes(error))
    numbers = {each.errno for each in chain if isinstance(each, OSError)}
    text = " ".join(str(each) for each in chain)
    if numbers & _DENIED or "Permission denied" in text:
        return EngineError(
            f"You may not use the container engine at {where}. Add yourself to its group "
            "(usermod -aG docker $USER, then log in again), use a rootless engine through "
            "DOCKER_HOST, or run as root.",
            "permission",
        )
    if isinstance(error, ValueError) and isinstance(error, DockerException):
        raise error  # the SDK refused an argument before it asked the engine
    if numbers & _ABSENT or doing == CONNECTING:
        return EngineError(
            f"No container engine answers at {where}{_reason(error, numbers)}. Install and start "
            "Docker Engine (Debian: apt-get install docker.io), or name another engine, Podman "
            "too, with DOCKER_HOST.",
            "absent",
        )
    what = "did not answer in time" if isinstance(error, ReadTimeout) else "stopped answering"
    return EngineError(
        f"While {doing}, the container engine at {where} {what}. See whether it still runs "
        "(docker info), and start it again.",
        "lost",
    )


def _reason(error: BaseException, numbers: set[int | None]) -> str:
    """What an unusual failure to connect says; the usual ones need no more words."""
    if numbers & _ABSENT:
        return ""
    return f" ({min((_one_line(str(each)) for each in _causes(error)), key=len)})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk the exceptions an exception is about: its arguments, causes and contexts."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, BaseException):
            yield each
            waiting += [each.__cause__, each.__context__, *each.args]
            waiting.append(getattr(each, "reason", None))
        elif isinstance(each, tuple | list):
            waiting += each


def _name(version: dict[str, Any]) -> Name:
    components = {str(part.get("Name", "")) for part in version.get("Components") or ()}
    return "podman" if any("podman" in name.lower() for name in components) else "docker"


def _without_user(endpoint: str) -> str:
    """Leave out the user of ``ssh://user@host``."""
    scheme, separator, rest = endpoint.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else endpoint


def _one_line(text: str) -> str:
    return " ".join(str(text).split()).rstrip(".")[:500]
