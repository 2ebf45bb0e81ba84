"""Who made a container or a volume, so that what a dead process left behind can be told apart.

The holder of a job's container ends with the connection of its host (``session``), so after a
crash nothing runs on; what stays is the stopped container with its empty volume.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from profleet.container import labels
from profleet.container.engine import Engine, explain

PROC = Path("/proc")
FOREIGN_SECONDS = 600.0
"""After this time a stopped container of a machine that cannot be asked counts as left behind."""


def mine(kind: str, run_id: str) -> dict[str, str]:
    """Return the labels of what this process makes for a run."""
    pid = os.getpid()
    return {
        labels.KIND: kind,
        labels.RUN: run_id,
        labels.HOST: socket.gethostname(),
        labels.BOOT: _boot(),
        labels.PID: str(pid),
        labels.STARTED: _started(pid) or "",
    }


def alive(label: Mapping[str, str]) -> bool | None:
    """Tell whether the process in ``label`` lives; None: it is one of another machine."""
    if label.get(labels.BOOT) != _boot():
        return None
    pid = label.get(labels.PID, "")
    return pid.isdecimal() and _started(int(pid)) == label.get(labels.STARTED)


def left_behind(container: Mapping[str, Any], now: datetime | None = None) -> bool:
    """Tell whether nobody will come back for a container of a job.

    Args:
        container: what the engine's list call says about it (``Labels``, ``State``, ``Created``).
        now: moment to compare with; None: now.
    """
    living = alive(container.get("Labels") or {})
    if living is not None:
        return not living
    age = (now or datetime.now(UTC)).timestamp() - float(container.get("Created") or 0)
    return container.get("State") in {"exited", "dead", "created"} and age > FOREIGN_SECONDS


def clear(engine: Engine, kinds: tuple[str, ...] = ("job", "fill", "listing")) -> list[str]:
    """Remove containers, with their own volumes, that dead processes left on an engine.

    Returns:
        The names of the containers.

    Raises:
        EngineError: the engine does not answer.
    """
    from docker.errors import APIError

    api = engine.client.api
    removed = []
    try:
        for kind in kinds:
            found = api.containers(all=True, filters=labels.of_kind(kind))
            for each in filter(left_behind, labels.carrying(kind, found)):
                try:
                    api.remove_container(each["Id"], v=True, force=True)
                except APIError:
                    continue  # another process clears as well
                removed.append(str((each.get("Names") or [each["Id"][:12]])[0]).lstrip("/"))
            # under Podman they have names, and so stay without their container
            volumes = api.volumes(filters=labels.of_kind(kind))["Volumes"]
            for each in labels.carrying(kind, volumes):
                if alive(each.get("Labels") or {}) is False:
                    with contextlib.suppress(APIError):
                        api.remove_volume(each["Name"])
    except Exception as error:
        raise explain(error, "clearing what dead processes left", engine.endpoint) from error
    return removed


@cache
def _boot() -> str:
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {(PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str | None:
    """Start of a process that is no zombie, in clock ticks since the boot."""
    try:
        fields = (PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else fields[19]
