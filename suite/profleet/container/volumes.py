"""Artifacts in volumes of the engine: filled once, read-only and shared by jobs ever after.

A volume is named by the sha256 digest of its artifact. It counts as filled when it holds the mark
that is written after the whole artifact, so a copy that was broken off is seen, and made anew. The
digest of what is inside is verified where it is used: by the runner, before it measures.

One at a time fills a volume: the filling container has a name that the engine gives out only once,
which holds for several machines that share an engine, too. It is never started.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from profleet.container import labels, owner
from profleet.container.archive import Entry
from profleet.container.engine import Engine
from profleet.container.hermetic import ARTIFACTS
from profleet.container.session import CONFLICT, Session
from profleet.errors import EngineError

KIND: Final = "model-cache"
FILL: Final = "fill"
MARK: Final = "complete.json"
WAIT_SECONDS: Final = 600.0


@dataclass(frozen=True)
class Artifact:
    """A file on this side, and what it must be."""

    path: Path
    sha256: str
    bytes: int

    @property
    def volume(self) -> str:
        """Name of the volume that holds it."""
        return f"profleet-artifact-{self.sha256}"

    @property
    def place(self) -> str:
        """Where a container finds it."""
        return f"{ARTIFACTS}/model{self.path.suffix}"

    def mark(self) -> dict[str, Any]:
        """What the finished volume says of itself."""
        return {"file": self.place, "sha256": self.sha256, "bytes": self.bytes}


def mount(artifact: Artifact, *, read_only: bool = True) -> Any:
    """Return the SDK's mount of the artifact's volume, which is made where it is missing."""
    from docker.types import Mount

    label = {labels.KIND: KIND, labels.ARTIFACT: artifact.sha256}
    return Mount(ARTIFACTS, artifact.volume, type="volume", read_only=read_only, labels=label)


def is_filled(session: Session, artifact: Artifact) -> bool:
    """Tell whether the volume, mounted in a container, holds the whole artifact."""
    content = session.content(f"{ARTIFACTS}/{MARK}", at_most=4096)
    try:
        return content is not None and json.loads(content) == artifact.mark()
    except ValueError:
        return False


def fill(engine: Engine, image: str, artifact: Artifact, run_id: str) -> None:
    """Copy the artifact into its volume, unless another one did it meanwhile.

    Args:
        engine: where to.
        image: id of any image; nothing of it is executed.
        artifact: what to copy.
        run_id: labels the container that holds the volume.

    Raises:
        EngineError: the engine refused, or another process fills the volume without end.
        OSError: the artifact cannot be read.
    """
    with _filling(engine, image, artifact, run_id) as session:
        if is_filled(session, artifact):
            return
        session.put([Entry(f"model{artifact.path.suffix}", artifact.path)], ARTIFACTS)
        mark = json.dumps(artifact.mark()).encode()
        session.put([Entry(MARK, mark)], ARTIFACTS)


def discard(engine: Engine, artifact: Artifact) -> bool:
    """Remove the volume of an artifact unless a container uses it; tell whether it is gone."""
    from docker.errors import DockerException, NotFound
    from requests.exceptions import RequestException

    try:
        found = engine.client.api.inspect_volume(artifact.volume)
        if (found.get("Labels") or {}).get(labels.KIND) != KIND:
            return False
        engine.client.api.remove_volume(artifact.volume)
    except NotFound:
        return True
    except (DockerException, RequestException):
        return False
    return True


@contextlib.contextmanager
def _filling(engine: Engine, image: str, artifact: Artifact, run_id: str) -> Iterator[Session]:
    """The one container that may write into the volume."""
    end = time.monotonic() + WAIT_SECONDS
    name = f"profleet-fill-{artifact.sha256[:24]}"
    session = Session(
        engine,
        image,
        name=name,
        label=owner.mine(FILL, run_id),
        user="",
        host_config={"network_mode": "none", "mounts": [mount(artifact, read_only=False)]},
    )
    with contextlib.ExitStack() as stack:
        while not _made(session, stack):
            owner.clear(engine, (FILL,))
            if time.monotonic() > end:
                raise EngineError(
                    f"Another process has been filling the volume {artifact.volume} for "
                    f"{WAIT_SECONDS / 60:.0f} minutes. If none is, remove its container: "
                    f"docker rm -v {name}."
                )
            time.sleep(0.2)
        yield session


def _made(session: Session, stack: contextlib.ExitStack) -> bool:
    """Make the container, unless another one has its name."""
    try:
        stack.enter_context(session)
    except EngineError as error:
        conflict = getattr(error.__cause__, "status_code", None) == CONFLICT
        if not conflict and "is already in use" not in str(error):  # Podman calls it a bug of its
            raise
        return False
    return True
