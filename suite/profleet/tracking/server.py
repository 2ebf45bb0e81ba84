"""MLflow's UI on a store: one server process, which never outlives the command that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address
from pathlib import Path
from typing import IO

from profleet.errors import ProfleetError, StoreError
from profleet.tracking.session import DATABASE

START_SECONDS = 90.0
STOP_SECONDS = 10.0
PR_SET_PDEATHSIG = 1
ANY_IPV4 = IPv4Address(0)

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def database_of(store: Path) -> Path:
    """Return the database of a store folder.

    Raises:
        StoreError: nothing was logged there yet, or it cannot be read.
    """
    path = store.expanduser().absolute() / DATABASE
    try:
        found = path.is_file()
        start = _first_bytes(path) if found else b""
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {error.strerror}. Ask its owner, or name another folder "
            "with --store."
        ) from None
    if not found:
        raise StoreError(
            f"{path} does not exist: nothing was logged to this store yet. Measure with "
            "`profleet run`, send earlier results with `profleet log DIR`, or name another "
            "folder with --store."
        )
    if start and start != b"SQLite format 3\0":
        raise StoreError(f"{path} is not an SQLite database. Move it away and log again.")
    return path


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def free_port(host: str, port: int) -> int:
    """Return ``port`` if it can be listened on; 0 stands for any free one.

    Raises:
        ProfleetError: it is taken, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except PermissionError:
        raise ProfleetError(
            f"Port {port} may not be used by this user. Choose one above 1023: "
            "profleet ui --port 5001"
        ) from None
    except OSError as error:
        if error.errno is not None and "in use" in (error.strerror or ""):
            raise ProfleetError(
                f"Port {port} on {host} is taken, perhaps by a UI that runs already: open "
                f"{address_of(host, port)}, or choose another port: profleet ui --port {port + 1}"
            ) from None
        raise ProfleetError(
            f"The UI cannot listen on '{host}': {error.strerror}. Use --host 127.0.0.1."
        ) from None


@contextmanager
def serving(database: Path, host: str, port: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start the server, yield its address once it answers, and stop it with all its processes.

    Raises:
        ProfleetError: it ended instead, or did not answer in ``START_SECONDS``.
    """
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port),
        "--backend-store-uri", f"sqlite:///{database}", "--workers", "1",
        "--artifacts-destination", (database.parent / "artifacts").as_uri(),
    ]  # fmt: skip
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=database.parent,
            env={**ENVIRONMENT, **os.environ},
            start_new_session=True,  # Ctrl-C at the terminal reaches only this side
            preexec_fn=_end_with_parent,  # noqa: PLW1509 -- one prctl, no thread runs yet
        )
        try:
            yield _answering(process, host, port, log), process
        finally:
            _stop(process)


def _answering(process: subprocess.Popen[bytes], host: str, port: int, log: IO[bytes]) -> str:
    address = address_of(host, port)
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ProfleetError(f"MLflow's server ended before it answered: {_last_line(log)}")
        if _healthy(address):
            return address
        time.sleep(0.1)
    raise ProfleetError(
        f"MLflow's server did not answer at {address} within {START_SECONDS:.0f} s: "
        f"{_last_line(log)}"
    )


def address_of(host: str, port: int) -> str:
    """Return where this machine reaches a server that listens on ``host``."""
    if host in {str(ANY_IPV4), "::"}:
        host = "127.0.0.1" if host == str(ANY_IPV4) else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _healthy(address: str) -> bool:
    """Whether the server answers; asked without any proxy, since it is ours."""
    connection = HTTPConnection(address.removeprefix("http://"), timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server kindly, then whatever is left of its process group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else "it printed nothing"


def _end_with_parent() -> None:
    """If this side is killed, the kernel asks the server to end, which then ends its workers."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
