"""Result folders: what is in them, written atomically, read with care.

History of ``profleet/result``:

* v1: first version.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from pydantic import Field, ValidationError

from profleet.errors import StoreError
from profleet.profile.metrics import Metric, metrics_of
from profleet.profile.samples import Samples
from profleet.profile.schema import (
    PROFILE_SCHEMA,
    RESULT_SCHEMA,
    Profile,
    Record,
    StackRef,
    Timestamp,
)

__all__ = [
    "MAX_JSON_BYTES", "Metric", "Result", "Status", "Tracking", "find_results", "json_object",
    "load_document", "load_object", "load_profile", "load_result", "load_samples", "metrics_of",
    "replacing", "set_tracking", "source_of", "write_json", "write_profile", "write_result",
    "writing",
]  # fmt: skip

PROFILE, SAMPLES, ENVIRONMENT, RESULT = (
    "profile.json", "samples.parquet", "environment.json", "result.json",
)  # fmt: skip
MAX_JSON_BYTES = 64 * 2**20

Kind = TypeVar("Kind", bound=Record)
Status = Literal["finished", "failed", "unsupported", "interrupted"]
TrackingStatus = Literal["logged", "not_logged", "off"]


class Tracking(Record):
    """What became of sending the run to MLflow."""

    status: TrackingStatus = "off"
    detail: str | None = Field(default=None, description="why it was not logged")
    mlflow_run_id: str | None = None


class Result(Record):
    """``result.json``: what a script reads, the last file that a job writes."""

    schema_: Literal["profleet/result/v1"] = Field(default="profleet/result/v1", alias="schema")
    status: Status
    reason: str | None = Field(default=None, description="why there is no profile")
    hint: str | None = Field(default=None, description="what to do about it")
    error_kind: str | None = None
    run_id: str
    run_key: str
    stack: StackRef
    executor: str | None = Field(default=None, description="process or docker; null: not known")
    image: str | None = Field(default=None, description="reference and id of the container image")
    sweep_id: str | None = None
    suite: str | None = None
    metrics: dict[str, Metric] = Field(default_factory=dict)
    paths: dict[str, str] = Field(
        default_factory=dict, description="name -> path, relative to the folder of this file"
    )
    started_at: Timestamp = Field(description="UTC, ISO 8601")
    finished_at: Timestamp
    tracking: Tracking = Tracking()
    reused_from: str | None = Field(
        default=None,
        description="folder of the earlier run that answers this job, relative to the folder of "
        "this file",
    )


# -- writing -----------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write, beside ``path``; put it in its place when the block ends well.

    A reader sees the old file or the new one, never a part, and a crash leaves no half file
    under the final name.

    Raises:
        OSError: from the block, or when the file cannot be created, synchronized or renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically.

    Raises:
        StoreError: the file cannot be written.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_profile(
    folder: Path, profile: Profile, samples: Samples, environment: dict[str, Any]
) -> None:
    """Write ``samples.parquet``, ``environment.json`` and, last, ``profile.json``.

    Raises:
        StoreError: a file cannot be written.
    """
    with writing(folder / SAMPLES) as temporary:
        samples.to_parquet(temporary)
    write_json(folder / ENVIRONMENT, environment)
    write_json(folder / PROFILE, profile.model_dump(mode="json", by_alias=True))


def write_result(folder: Path, result: Result) -> None:
    """Write ``result.json``, the last file of every job.

    Raises:
        StoreError: the file cannot be written.
    """
    write_json(folder / RESULT, result.model_dump(mode="json", by_alias=True))


def set_tracking(
    folder: Path, status: TrackingStatus, detail: str | None, mlflow_run_id: str | None
) -> Result:
    """Note in ``result.json`` what became of sending the run to MLflow; return the new result.

    Raises:
        StoreError: the result cannot be read or written.
    """
    tracking = Tracking(status=status, detail=detail, mlflow_run_id=mlflow_run_id)
    result = load_result(folder).model_copy(update={"tracking": tracking})
    write_result(folder, result)
    return result


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a path to write, as ``replacing`` does.

    Raises:
        StoreError: the file cannot be written.
    """
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}. Free space there, or choose "
            "another folder."
        ) from error


# -- reading -----------------------------------------------------------------------------------

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]

UPGRADES: dict[str, dict[int, Upgrade]] = {}
"""Schema line -> version n -> what turns a document of version n into one of n + 1."""


def json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object of at most ``MAX_JSON_BYTES``.

    Raises:
        OSError: the file cannot be read.
        ValueError: what it holds is too large, nested too deeply, or no JSON object.
    """
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"it is larger than {MAX_JSON_BYTES >> 20} MiB")
    try:
        content = json.loads(path.read_text("utf-8"), parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")  # noqa: TRY004 -- the content is wrong
    return content


def load_object(path: Path) -> dict[str, Any]:
    """Read a JSON object of a result folder.

    Raises:
        StoreError: it is missing or damaged; says what to do.
    """
    try:
        return json_object(path)
    except FileNotFoundError:
        raise StoreError(
            f"{path} is missing: {path.parent} is not a finished result folder."
        ) from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise StoreError(
            f"{path} is damaged: {error}. Restore the file or measure again."
        ) from error


def load_profile(folder: Path) -> Profile:
    """Read ``profile.json``, of this version or an older one.

    Raises:
        StoreError: it is missing, damaged or of a newer version.
    """
    path = folder / PROFILE
    if not path.exists() and (folder / RESULT).is_file():
        result = load_result(folder)
        if result.status != "finished":
            raise StoreError(f"{folder} holds no profile: the job {result.status}. {_why(result)}")
    return load_document(path, PROFILE_SCHEMA, Profile)


def load_result(folder: Path) -> Result:
    """Read ``result.json``, of this version or an older one.

    Raises:
        StoreError: it is missing, damaged or of a newer version.
    """
    return load_document(folder / RESULT, RESULT_SCHEMA, Result)


def source_of(folder: Path, result: Result) -> Path:
    """Return the folder that holds the files of a result: its own, or that of the earlier run."""
    if result.reused_from is None:
        return folder
    return Path(os.path.normpath(folder.absolute() / result.reused_from))


def load_samples(folder: Path) -> Samples:
    """Read ``samples.parquet``.

    Raises:
        StoreError: it is missing, damaged or of another version.
    """
    return Samples.from_parquet(folder / SAMPLES)


def find_results(folder: Path, line: str = "profleet/result") -> Iterator[Path]:
    """Yield the result folders at and below ``folder``, numbered ones in order of number.

    A result folder is one with a ``result.json`` of that schema line (or a damaged one); nothing
    is looked for inside it, links are not followed, and MLflow's own copies in a store are left
    out.

    Raises:
        StoreError: ``folder`` is not a folder, or cannot be read.
    """
    try:
        if (folder / RESULT).is_file():
            if _line(folder / RESULT) in {line, None}:
                yield folder
            return
        entries = [
            Path(entry)
            for entry in os.scandir(folder)
            if entry.is_dir(follow_symlinks=False) and not _is_copy(folder, entry.name)
        ]
    except NotADirectoryError:
        raise StoreError(f"{folder} is no folder: name the result folder itself.") from None
    except OSError as error:
        raise StoreError(f"{folder} cannot be read: {error.strerror or error}.") from error
    for entry in sorted(entries, key=_natural):
        yield from find_results(entry, line)


def _line(path: Path) -> str | None:
    """The schema line of a document; None where it cannot be told."""
    try:
        schema = json_object(path).get("schema")
    except (OSError, ValueError):
        return None
    return (_version(schema)[0] if isinstance(schema, str) else "") or None


def _is_copy(folder: Path, name: str) -> bool:
    """MLflow's artifacts beside its database hold copies of results that are elsewhere."""
    return name == "artifacts" and (folder / "profleet.db").exists()


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdecimal() else (sys.maxsize, part) for part in parts]


def _why(result: Result) -> str:
    return " ".join(part for part in (result.reason, result.hint) if part) or "It left no reason."


def load_document(path: Path, schema: str, kind: type[Kind]) -> Kind:
    """Read a document of a schema, of its version or an older one.

    Raises:
        StoreError: it is missing, damaged, something else or of a newer version.
    """
    document = _upgraded(path, load_object(path), schema)
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise StoreError(
            f"{path} is not a valid {schema}: {place}: {first['msg']}. Restore the file or "
            "measure again."
        ) from error


def _upgraded(path: Path, document: dict[str, Any], schema: str) -> dict[str, Any]:
    line, current = _version(schema)
    written = document.get("schema")
    found, version = _version(written) if isinstance(written, str) else ("", 0)
    if found != line:
        raise StoreError(f"{path} says its schema is {written!r:.80}; it should be {schema}.")
    if version > current:
        raise StoreError(
            f"{path} was written by a newer profleet ({line}/v{version}; this one reads up to "
            f"v{current}): upgrade profleet."
        )
    for step in range(version, current):
        document = UPGRADES[line][step](document)
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _version(schema: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.{1,60})/v([1-9][0-9]{0,5})", schema)
    return (match[1], int(match[2])) if match else ("", 0)
