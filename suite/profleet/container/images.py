"""The image of a framework on an engine: found and checked when jobs are planned.

Nothing here pulls or builds: what a job executes in is there before, or it is an error.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from packaging.utils import canonicalize_name

from profleet.container import labels, layout, owner, recipe
from profleet.container.engine import Engine, explain
from profleet.container.session import Session
from profleet.errors import EngineError
from profleet.model.artifact import default_cache

if TYPE_CHECKING:
    from profleet.manifest.documents import Framework, Image


@dataclass(frozen=True)
class ImageRecord:
    """An image as an engine has it.

    ``id`` is ``sha256:`` and the digest of the image's configuration, which covers its layers.
    ``digest`` is that of its manifest in a registry, or None where it was never pushed or pulled.
    """

    ref: str
    id: str
    digest: str | None
    architecture: str
    labels: Mapping[str, str] = field(default_factory=dict)
    size_bytes: int = 0
    layers: tuple[str, ...] = ()

    @property
    def pin(self) -> str:
        """What a lock names the image by: the digest if it has one, else the id."""
        return self.digest or self.id

    def describe(self) -> dict[str, Any]:
        """Return what locks and profiles record about the image."""
        return {
            "ref": self.ref,
            "id": self.id,
            "digest": self.digest,
            "architecture": self.architecture,
            "labels": {
                key: value
                for key, value in sorted(self.labels.items())
                if key.startswith(("profleet.", "org.opencontainers.image."))
            },
        }


def find(
    engine: Engine, framework: Framework, ref: str | None = None, expected: str | None = None
) -> ImageRecord:
    """Return the image in which ``framework`` executes on ``engine``.

    Args:
        engine: where it must be.
        framework: its ``images`` name the image for the engine's architecture.
        ref: the image that ``executor.image`` names in place of that; None: it names none.
        expected: id or digest that ``executor.image_id`` pins, or None.

    Raises:
        EngineError: of kind ``image``: the manifest names none for this architecture, it is
            missing, for another architecture, not the one that is pinned, no runner's image, or
            made from other sources than Profleet has now.
    """
    digest = None
    cure = "Build, load or pull it, or leave out executor.image to have the one of the manifest."
    if ref is None:
        named = named_image(engine, framework)
        ref, digest, cure = named.ref, named.digest, _obtain(framework, named)
    record = inspect(engine, ref)
    if record is None:
        raise EngineError(f"The engine has no image {ref} for {framework.name}. {cure}", "image")
    if record.architecture != engine.architecture:
        raise EngineError(
            f"The image {record.ref} is for {record.architecture}, this engine's machine is "
            f"{engine.architecture}. {cure}",
            "image",
        )
    for pinned, by in ((digest, "the framework's manifest"), (expected, "executor.image_id")):
        if pinned is not None and pinned not in {record.id, record.digest}:
            raise EngineError(
                f"The image {record.ref} is {record.pin}, and {by} pins {pinned}. Pull or load "
                "the pinned image, or pin this one to measure in it.",
                "image",
            )
    if record.labels.get(labels.KIND) != "runner":
        raise EngineError(
            f"The image {record.ref} is not one of a Profleet runner: it has no label "
            f"{labels.KIND}=runner. {cure}",
            "image",
        )
    if digest is None and expected is None and framework.name in recipe.recipes():
        _refuse_stale(record, framework.name)
    return record


def _refuse_stale(record: ImageRecord, name: str) -> None:
    """Nothing pins the image, so it must be what its recipe makes today."""
    wanted = recipe.load(name).revision
    made = record.labels.get(labels.PROFLEET_REVISION, "none")
    if made != wanted:
        raise EngineError(
            f"The image {record.ref} was made from other sources (revision {made[:12]}) than this "
            f"Profleet has ({wanted[:12]}). Build it again (profleet image build {name}), or pin "
            f"it as it is: executor.image_id={record.id}.",
            "image",
        )


def named_image(engine: Engine, framework: Framework) -> Image:
    """Return the image that a manifest names for the engine's architecture.

    Raises:
        EngineError: it names none.
    """
    image = framework.images.get(engine.architecture)
    if image is None:
        known = ", ".join(sorted(framework.images)) or "none"
        raise EngineError(
            f"The manifest {framework.name}@{framework.version} names no image for "
            f"{engine.architecture} (it has: {known}). Use executor=process, or add one to its "
            "images.",
            "image",
        )
    return image


def inspect(engine: Engine, ref: str) -> ImageRecord | None:
    """Return the image ``ref`` of the engine, or None if it has none.

    Raises:
        EngineError: the engine does not answer.
    """
    from docker.errors import ImageNotFound

    try:
        image = engine.client.images.get(ref)
    except ImageNotFound:
        return None
    except Exception as error:
        raise explain(error, f"looking for the image {ref}", engine.endpoint) from error
    return record_of(image.attrs, ref)


def record_of(attributes: Mapping[str, Any], ref: str) -> ImageRecord:
    """Read what an engine tells about one image."""
    digests = [str(each).rpartition("@")[2] for each in attributes.get("RepoDigests") or ()]
    return ImageRecord(
        ref=ref,
        id=_sha256(str(attributes["Id"])),
        digest=digests[0] if digests else None,
        architecture=str(attributes.get("Architecture", "")),
        labels=dict((attributes.get("Config") or {}).get("Labels") or {}),
        size_bytes=int(attributes.get("Size") or 0),
        layers=tuple((attributes.get("RootFS") or {}).get("Layers") or ()),
    )


def packages(engine: Engine, record: ImageRecord, *, cached: bool = True) -> dict[str, str]:
    """Return the distributions inside an image, canonical name -> version.

    A container without network executes the image's own interpreter once and is removed; the
    answer is kept by image id, which is a digest of all there is to ask about.

    Args:
        engine: has the image.
        record: the image.
        cached: False asks again.

    Raises:
        EngineError: the engine does not answer, or the image cannot tell.
    """
    kept = default_cache() / "images" / f"{record.id.removeprefix('sha256:')}.json"
    if cached and (known := _read(kept)) is not None:
        return known
    answer = _ask(engine, record)
    try:
        found = {str(canonicalize_name(name)): str(version) for name, version in json.loads(answer)}
    except (ValueError, TypeError, RecursionError):
        raise _mute(record, "its answer is no list of them") from None
    _write(kept, found)
    return found


HERMETIC: dict[str, Any] = {
    "network_mode": "none",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "pids_limit": 64,
    "mem_limit": "512m",
}
"""What holds for a container that only looks: nothing in or out but its output."""

ANSWER_SECONDS = 60.0
MAX_ANSWER: Final = 2**20

_LIST = (
    "import json, importlib.metadata as m; "
    "print(json.dumps([[d.metadata['Name'] or 'nameless', d.version] for d in m.distributions()]))"
)


def _ask(engine: Engine, record: ImageRecord) -> bytes:
    """Execute the question in the image; its container is removed however that ends."""
    command = (layout.PYTHON, "-I", "-c", _LIST)
    with looking(engine, record) as session:
        session.start()
        try:
            answer = session.ask(command, seconds=ANSWER_SECONDS, at_most=MAX_ANSWER)
        except EngineError as error:
            if error.kind != "refused":
                raise
            raise _mute(record, str(error).rstrip(".")) from error
    if answer.code is None:
        raise _mute(record, f"it did not answer in {ANSWER_SECONDS:g} s")
    if answer.code != 0:
        said = (answer.errors or answer.output).decode(errors="replace").strip()
        last = said.rpartition("\n")[2] or "it said nothing"
        raise _mute(record, f"exit code {answer.code}, {last}")
    return answer.output


def _mute(record: ImageRecord, why: str) -> EngineError:
    return EngineError(
        f"The image {record.ref} does not tell which packages it has: {why}. Build it again.",
        "image",
    )


def looking(engine: Engine, record: ImageRecord) -> Session:
    """Return a container that only looks into an image; one that stays is cleared later."""
    return Session(
        engine,
        record.id,
        name=f"profleet-listing-{uuid.uuid4().hex[:12]}",
        label=owner.mine("listing", ""),
        user=layout.USER,
        host_config=HERMETIC,
    )


def _read(path: Path) -> dict[str, str] | None:
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) else None


def _write(path: Path, value: dict[str, str]) -> None:
    """Keep an answer; a cache that cannot be written costs the next one who asks half a second."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(value, sort_keys=True), encoding="utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)


def _obtain(framework: Framework, image: Image) -> str:
    if image.digest is not None and "/" in image.ref and not image.ref.startswith("localhost/"):
        return f"Pull it: docker pull {image.ref}@{image.digest}."
    return f"Build it: profleet image build {framework.name}."


def _sha256(image_id: str) -> str:
    """Podman tells ids without the name of the digest."""
    return image_id if ":" in image_id else f"sha256:{image_id}"
