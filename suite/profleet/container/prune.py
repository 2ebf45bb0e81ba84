"""Removing what Profleet left on an engine, and only that: everything is chosen by its labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from profleet.container import labels, owner
from profleet.container.engine import Engine, explain

CONTAINERS: Final = ("job", "fill", "listing")
IMAGES: Final = ("runner", "build", "base")
CACHE: Final = "model-cache"


@dataclass(frozen=True)
class Leftover:
    """Something that may go; ``id`` is how the engine is told."""

    what: Literal["container", "image", "volume"]
    id: str
    name: str
    size_bytes: int = 0


def leftovers(engine: Engine, *, everything: bool = False) -> list[Leftover]:
    """Return what carries Profleet's labels and is not needed.

    Containers whose process is gone; volumes of jobs that no container uses; images that a newer
    build has taken the name from, and stages of builds. Never a running container of a living
    process, nor the volume that it makes before its container (Podman).

    Args:
        engine: where to look.
        everything: also images that have their name, base images, and volumes with artifacts.

    Raises:
        EngineError: the engine does not answer.
    """
    try:
        return [
            *_containers(engine),
            *_images(engine, everything),
            *_volumes(engine, ("job", CACHE) if everything else ("job",)),
        ]
    except Exception as error:
        raise explain(error, "listing what Profleet left", engine.endpoint) from error


def remove(engine: Engine, leftover: Leftover) -> bool:
    """Remove one of :func:`leftovers`; False where it is in use meanwhile.

    Raises:
        EngineError: the engine does not answer.
    """
    from docker.errors import APIError, NotFound

    api = engine.client.api
    try:
        match leftover.what:
            case "container":
                api.remove_container(leftover.id, v=True, force=True)
            case "image":
                api.remove_image(leftover.id)
            case "volume":
                api.remove_volume(leftover.id)
    except NotFound:
        return True
    except APIError as error:
        if error.status_code == 409:
            return False
        raise explain(error, f"removing {leftover.name}", engine.endpoint) from error
    except Exception as error:
        raise explain(error, f"removing {leftover.name}", engine.endpoint) from error
    return True


def _containers(engine: Engine) -> Iterator[Leftover]:
    for kind in CONTAINERS:
        found = engine.client.api.containers(all=True, filters=labels.of_kind(kind))
        for each in labels.carrying(kind, found):
            if owner.left_behind(each):
                name = str((each.get("Names") or [each["Id"][:12]])[0]).lstrip("/")
                yield Leftover("container", each["Id"], name)


def _images(engine: Engine, everything: bool) -> Iterator[Leftover]:
    for kind in IMAGES:
        for each in labels.carrying(kind, engine.client.api.images(filters=labels.of_kind(kind))):
            names = _names(each)
            size = int(each.get("Size") or 0)
            if not names:
                yield Leftover("image", each["Id"], f"{kind} {each['Id'][7:19]}", size)
            elif everything:
                yield from (Leftover("image", name, name, size) for name in names)


def _names(image: dict[str, Any]) -> list[str]:
    """The tags of an image; one without a name is listed with a placeholder or with none."""
    return [str(each) for each in image.get("RepoTags") or () if each != "<none>:<none>"]


def _volumes(engine: Engine, kinds: tuple[str, ...]) -> Iterator[Leftover]:
    api = engine.client.api
    unused = api.volumes(filters={"dangling": True})["Volumes"] or ()
    names = {each["Name"] for each in unused}
    for kind in kinds:
        listed = api.volumes(filters=labels.of_kind(kind))["Volumes"]
        for each in labels.carrying(kind, listed):
            if each["Name"] in names and not owner.alive(each.get("Labels") or {}):
                yield Leftover("volume", each["Name"], each["Name"])
