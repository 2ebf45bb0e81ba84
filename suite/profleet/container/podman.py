"""What makes a container under Podman as hermetic as it is under Docker.

Podman's compatible interface (4.3) ignores what an anonymous volume should be, and gives a
container more than it was asked for: places to write beside a read-only root, and limits that its
machine may not allow. So it is told everything explicitly.
"""

from __future__ import annotations

import re
import resource
from collections.abc import Mapping
from typing import Any, Final

from profleet.container.engine import Engine

LIMITS: Final = (
    ("nofile", resource.RLIMIT_NOFILE, 2**14),
    ("nproc", resource.RLIMIT_NPROC, 2**15),
)
"""Enough for any runner, and no more than Podman's service has itself. The limit on processes
counts those of the user on the whole machine; what bounds a container is ``pids``."""
WRITABLE: Final = ("/run", "/var/tmp")  # noqa: S108 -- inside the container
"""File systems in memory that Podman adds to a read-only root."""
_SIZE: Final = re.compile(r"\bsize=(\d+)")


def adapted(
    engine: Engine, name: str, arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return arguments that mean under Podman what ``arguments`` mean under Docker.

    Args:
        engine: where the container is made.
        name: of the container; those of its own volumes begin with it.
        arguments: keyword arguments of the SDK's ``create_host_config``.

    Returns:
        The arguments, and keyword arguments of ``create_volume`` for each volume that must be
        there before. The container's own are to be removed with it.
    """
    changed, made = dict(arguments), []
    mounts = []
    for number, mount in enumerate(arguments.get("mounts") or ()):
        volume = mount["Source"] or f"{name}-{number}"
        options = mount.get("VolumeOptions") or {}
        driver = options.get("DriverConfig") or {}
        made.append(
            {
                "name": volume,
                "driver": driver.get("Name"),
                "driver_opts": _bounded(driver.get("Options"), _page(engine)),
                "labels": options.get("Labels"),
            }
        )
        plain = {key: value for key, value in mount.items() if key != "VolumeOptions"}
        mounts.append({**plain, "Source": volume})
    changed["mounts"] = mounts
    changed["ulimits"] = [*(arguments.get("ulimits") or ()), *_attainable(engine)]
    if arguments.get("read_only"):
        closed = dict.fromkeys(WRITABLE, "ro,size=4k")
        changed["tmpfs"] = {**closed, **(arguments.get("tmpfs") or {})}
    return changed, made


def own_volumes(name: str, made: list[dict[str, Any]]) -> list[str]:
    """Return the volumes that belong to the container alone."""
    return [each["name"] for each in made if each["name"].startswith(f"{name}-")]


def _page(engine: Engine) -> int:
    """Bytes in a page of the engine's machine; where that cannot be known, the most there are."""
    if engine.architecture == "amd64":
        return 2**12
    return resource.getpagesize() if engine.local else 2**16


def _bounded(options: Mapping[str, str] | None, page: int) -> dict[str, str] | None:
    """Podman takes ``size`` for a quota of its disk; ``nr_blocks`` it leaves to the kernel."""
    if options is None:
        return None
    written = _SIZE.sub(lambda size: f"nr_blocks={-(-int(size[1]) // page)}", options.get("o", ""))
    return {**options, "o": written}


def _attainable(engine: Engine) -> list[Any]:
    """Return limits that the engine can really set.

    Podman as root gives every container more open files and processes than its machine may allow,
    and fails where root has not the right to raise limits (CAP_SYS_RESOURCE). So it is told less.
    Rootless, it gives what it has; elsewhere, nobody here knows.
    """
    from docker.types import Ulimit

    if engine.rootless or not engine.local:
        return []
    limits = []
    for name, kind, enough in LIMITS:
        hard = resource.getrlimit(kind)[1]
        limit = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        limits.append(Ulimit(name=name, soft=limit, hard=limit))
    return limits
