"""Every label that Profleet puts on an image, a container or a volume.

The keys of ``org.opencontainers.image`` are those of the OCI image specification; what they have
no word for is under ``profleet.``. Clean-up touches only what carries ``KIND``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

TITLE: Final = "org.opencontainers.image.title"
DESCRIPTION: Final = "org.opencontainers.image.description"
VERSION: Final = "org.opencontainers.image.version"
REVISION: Final = "org.opencontainers.image.revision"
LICENSES: Final = "org.opencontainers.image.licenses"
VENDOR: Final = "org.opencontainers.image.vendor"
BASE_NAME: Final = "org.opencontainers.image.base.name"
BASE_DIGEST: Final = "org.opencontainers.image.base.digest"

KIND: Final = "profleet.kind"
"""``runner`` and ``base`` on images, ``job`` on containers and volumes of a run, ``model-cache`` on
volumes with artifacts, ``listing`` on the short-lived containers that look into an image."""

PROFLEET_VERSION: Final = "profleet.version"
FRAMEWORK: Final = "profleet.framework"
FRAMEWORK_VERSION: Final = "profleet.framework.version"
PROFLEET_REVISION: Final = "profleet.revision"
"""sha256 of everything an image is made from but its base: Dockerfile, lock, runner sources."""
REQUIREMENTS: Final = "profleet.requirements.sha256"
RUNNER: Final = "profleet.runner.sha256"
BASE_ID: Final = "profleet.base.id"
"""Id of the base image; ``BASE_DIGEST`` beside it only where the base came from a registry."""

RUN: Final = "profleet.run"
MANIFEST: Final = "profleet.manifest"
ARTIFACT: Final = "profleet.artifact.sha256"

HOST: Final = "profleet.host"
"""Name of the machine whose process made a container or volume, for people."""
BOOT: Final = "profleet.boot"
"""Boot and process namespace of that machine: where ``PID`` means something."""
PID: Final = "profleet.pid"
STARTED: Final = "profleet.pid.started"
"""Start of that process in clock ticks since the boot, so that its number alone never decides."""


def of_kind(kind: str) -> dict[str, str]:
    """Return the filter that selects what carries ``KIND=kind``, for the engine's list calls."""
    return {"label": f"{KIND}={kind}"}


def carrying(kind: str, listed: Iterable[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Return what carries ``KIND=kind`` of what an engine lists.

    What is removed is chosen here: Podman (4.3) lists what passes any of several filters.
    """
    return [each for each in listed or () if (each.get("Labels") or {}).get(KIND) == kind]
