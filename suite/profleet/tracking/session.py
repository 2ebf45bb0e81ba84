"""MLflow, kept quiet, private and bounded in time, and what its errors mean.

MLflow is imported only here and in what runs inside ``quiet_mlflow``: it takes more than a second.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import socket
import sqlite3
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from profleet.execute.settings import TrackingSettings

DATABASE, EXPERIMENT = "profleet.db", "profiles"
"""Name of the database in a store, and of the experiment, unless the configuration says other."""

CONNECT_SECONDS = 5.0
LOCK_SECONDS = 30.0
"""Another process creating the database of the same store takes a few seconds of this."""

DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "6",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Environment variables of MLflow that hold unless the user set them."""

IGNORED = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
"""Variables of a surrounding MLflow run: ours must not end up inside it."""

LOGGERS = ("mlflow", "alembic", "sqlalchemy", "urllib3", "git")
SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "databricks", "uc")
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


class RefusedError(Exception):
    """Why nothing can be logged there, as the middle of a sentence."""


@dataclass(frozen=True)
class Destination:
    """A tracking server or database, with an absolute path in a ``sqlite:`` URI."""

    uri: str
    artifacts: str | None
    experiment: str

    @classmethod
    def of(cls, tracking: TrackingSettings) -> Destination:
        """Resolve settings whose ``uri`` is not null."""
        assert tracking.uri is not None
        uri, artifacts = tracking.uri, tracking.artifacts
        if (path := _sqlite_path(uri)) is not None:
            uri = f"sqlite:///{path}"
        if artifacts is not None and "://" not in artifacts:
            artifacts = Path(artifacts).expanduser().absolute().as_uri()
        return cls(uri, artifacts, tracking.experiment)

    @property
    def database(self) -> Path | None:
        """The file of an SQLite database."""
        return _sqlite_path(self.uri)

    @property
    def shown(self) -> str:
        """The URI without credentials."""
        return without_credentials(self.uri)


def without_credentials(text: str) -> str:
    """Return a text with what precedes the ``@`` of an address, and passwords, made unreadable."""
    text = re.sub(r"//[^/\s]*@", "//***@", text)
    return re.sub(r"(?i)\b(password|passwd|pwd|token)=[^&\s]*", r"\1=***", text)


def _sqlite_path(uri: str) -> Path | None:
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///")).expanduser().absolute()


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Prepare the environment for MLflow, import it, and put everything back afterwards."""
    before = {name: os.environ.get(name) for name in (*DEFAULTS, *IGNORED)}
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    handlers = list(logging.getLogger().handlers)
    for name in IGNORED:
        os.environ.pop(name, None)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mlflow  # noqa: F401 -- it sets up its loggers on import

            for name in LOGGERS:
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        logging.getLogger().handlers = handlers
        for name, earlier in before.items():
            if earlier is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = earlier


@contextmanager
def locked(folder: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold an advisory lock on a folder, so that processes take turns; it leaves no file.

    Raises:
        RefusedError: another process held it all the time.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise RefusedError(f"another process is logging to {folder}") from None
                time.sleep(0.05)
            except OSError:
                break  # a file system without locks: processes are on their own
        yield
    finally:
        os.close(descriptor)


def open_experiment(destination: Destination) -> tuple[MlflowClient, str]:
    """Return a client and the id of the experiment, which is created where it does not exist.

    Inside ``quiet_mlflow``.

    Raises:
        Exception: whatever MLflow raises; ``reason_of`` says what it means.
    """
    database = destination.database
    _check(destination)
    if database is None:
        return _experiment(destination)
    with locked(database.parent):
        return _experiment(destination)


def find_experiment(destination: Destination) -> str | None:
    """Return the id of the experiment if it exists; inside ``quiet_mlflow``, raises as above."""
    from mlflow import MlflowClient

    _check(destination)
    client = MlflowClient(destination.uri, registry_uri=destination.uri)
    found = client.get_experiment_by_name(destination.experiment)
    return str(found.experiment_id) if found and found.lifecycle_stage == "active" else None


def _experiment(destination: Destination) -> tuple[MlflowClient, str]:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(destination.uri, registry_uri=destination.uri)
    name = destination.experiment
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client, client.create_experiment(name, destination.artifacts)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another client was faster
            assert found is not None
    if found.lifecycle_stage != "active":
        raise RefusedError(
            f"the experiment '{name}' was deleted in MLflow; restore it there, or set "
            "tracking.experiment to another name"
        )
    return client, str(found.experiment_id)


def _check(destination: Destination) -> None:
    """Find out quickly what MLflow would find out after minutes of trying again."""
    parts = urlsplit(destination.uri)
    scheme = parts.scheme.partition("+")[0]
    if scheme not in SCHEMES:
        raise RefusedError(
            "MLflow writes to a database or a server, not to a folder; use a URI such as "
            "sqlite:///FOLDER/profleet.db or http://HOST:5000"
        )
    database = destination.database
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        with closing(
            sqlite3.connect(database, timeout=CONNECT_SECONDS, isolation_level=None)
        ) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    elif scheme in PORTS and parts.hostname:
        address = parts.hostname, parts.port or PORTS[scheme]
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()


REASONS = (
    (r"connection refused|errno 111", "nothing listens there"),
    (r"name or service not known|name resolution|failed to resolve", "the host name is unknown"),
    (r"no route to host|network is unreachable", "the network does not reach it"),
    (r"timed? ?out", "it did not answer in time"),
    (r"connection aborted|connection reset|remotedisconnected|broken pipe", "the connection broke"),
    (r"too many (\d{3}) error responses", r"it answered with HTTP \1"),
    (r"(?:failed with error code|status code:?|responses?:?) (\d{3})", r"it answered with HTTP \1"),
    (r"(\d{3}) (?:client|server) error", r"it answered with HTTP \1"),
    (
        r"response body was not in a valid json|JSONDecodeError|Expecting value",
        "what came back is not what an MLflow server answers",
    ),
    (r"readonly database|read-only", "it is read-only"),
    (r"database is locked", "another process keeps it locked"),
    (r"unable to open database file", "the file cannot be opened or created"),
    (r"file is not a database", "the file is not an SQLite database"),
    (r"no space left|database or disk is full", "the disk is full"),
    (r"out-of-date database schema", "another version of MLflow made it: run `mlflow db upgrade`"),
)  # fmt: skip


def reason_of(error: BaseException) -> str:
    """Return what an error of MLflow, its database or its connection means, without a period."""
    if isinstance(error, RefusedError):
        return str(error)
    text = " | ".join(_texts(error))
    for pattern, meaning in REASONS:
        if match := re.search(pattern, text, re.IGNORECASE):
            return match.expand(meaning)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:200]}".rstrip(".: ")


def _texts(error: BaseException | None) -> Iterator[Any]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__ or error.__context__
