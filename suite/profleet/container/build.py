"""Building the image of a framework, with the classic builder or with BuildKit, without network."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Final, Literal

from profleet.container import labels
from profleet.container.context import open_context
from profleet.container.engine import Engine, explain
from profleet.container.images import ImageRecord, inspect, named_image
from profleet.container.recipe import load
from profleet.container.requirements import Note, fetch
from profleet.errors import EngineError
from profleet.paths import data_dir

if TYPE_CHECKING:
    from profleet.manifest.documents import Framework

Builder = Literal["classic", "buildkit"]

DEFAULT_BASE: Final = "docker.io/library/python:3.11-slim-bookworm"
"""The default of every Dockerfile's ``BASE_IMAGE``."""
BOOTSTRAP: Final = "bootstrap"
_OF_A_STEP: Final = re.compile(r"^#\d+ \d+\.\d+ ")
"""What BuildKit puts before each line that a step prints: its number and the seconds."""
_OF_THE_BUILDER: Final = re.compile(r"Step \d|Removing intermediate container| *---> ")
"""How the lines begin that the classic builder adds to what a step prints."""
_COLOR: Final = re.compile(r"\x1b\[[\d;]*m")
_LAST_WITHOUT_BUILDX: Final = 22
"""Docker's clients up to this major version have BuildKit built in; later ones need a plugin."""


def build(
    engine: Engine,
    framework: Framework,
    note: Note,
    *,
    base: str = DEFAULT_BASE,
    builder: Builder = "classic",
    cached: bool = True,
) -> ImageRecord:
    """Build the image that ``framework`` names for the engine's architecture.

    Wheels are fetched here, by digest, before the build starts; the build has no network.

    Args:
        engine: where the image is built and stays.
        framework: its name is that of the recipe, its ``images`` name the result.
        note: told what happens, a line at a time.
        base: image to build on, pulled where the engine does not have it; ``bootstrap`` makes one
            from Debian packages.
        builder: the engine's classic builder, or BuildKit through Docker's command line.
        cached: False builds every step again.

    Raises:
        EngineError: there is no such recipe, its wheels or its base cannot be had, or a step of
            the build fails.
    """
    ref = named_image(engine, framework).ref
    recipe = load(framework.name)
    version = recipe.framework_version(framework.runner)
    under = _base(engine, bootstrap(engine, note) if base == BOOTSTRAP else base, note)
    wheels = fetch((*recipe.installer, *recipe.requirements), engine.architecture, note)
    described = {
        **recipe.labels(version, framework.description),
        labels.BASE_NAME: under.ref,
        labels.BASE_ID: under.id,
        **({labels.BASE_DIGEST: under.digest} if under.digest else {}),
    }
    with open_context(recipe, wheels) as context:
        BUILDERS[builder](engine, context, ref, {"BASE_IMAGE": under.ref}, described, note, cached)
    built = inspect(engine, ref)
    if built is None:
        raise EngineError(f"The build of {ref} ended without an image.", "build")
    return built


def bootstrap(engine: Engine, note: Note) -> str:
    """Make a base image from Debian packages, or find the one made before; return its name.

    Raises:
        EngineError: the script ``containers/bootstrap-base`` failed, which says why.
    """
    script = data_dir("containers") / "bootstrap-base"
    with subprocess.Popen(
        ["bash", str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DOCKER_HOST": engine.endpoint},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = [line.strip() for line in _noted(process.stderr, note)]
        name = process.stdout.read().strip()
    if process.returncode:
        raise EngineError(said[-1] if said else f"{script} failed without a word.", "build")
    return name


def _base(engine: Engine, base: str, note: Note) -> ImageRecord:
    """Return the base image, pulled unless the engine has it."""
    found = inspect(engine, base)
    if found is None:
        note(f"pulling {base}")
        try:
            engine.client.images.pull(base)
        except Exception as error:
            cause = explain(error, f"pulling {base}", engine.endpoint)
            if cause.kind != "refused":
                raise cause from error
            raise EngineError(
                f"The engine does not have the base image {base} and cannot pull it: "
                f"{str(cause).partition('refused: ')[2]} Name another with --base, or say "
                f"--base {BOOTSTRAP} to make one from Debian packages.",
                "build",
            ) from error
        found = inspect(engine, base)
    if found is None:
        raise EngineError(f"The base image {base} is gone again. Pull it: docker pull {base}.")
    if found.architecture != engine.architecture:
        raise EngineError(
            f"The base image {base} is for {found.architecture}, this engine's machine is "
            f"{engine.architecture}. Name another with --base.",
            "build",
        )
    return found


def _classic(
    engine: Engine,
    context: IO[bytes],
    ref: str,
    arguments: dict[str, str],
    described: dict[str, str],
    note: Note,
    cached: bool,
) -> None:
    doing = f"building {ref}"
    last = ""
    try:
        stream = engine.client.api.build(
            fileobj=context,
            custom_context=True,
            tag=ref,
            buildargs=arguments,
            labels=described,
            network_mode="none",
            nocache=not cached,
            rm=True,
            forcerm=True,
            decode=True,
        )
        with contextlib.closing(stream):
            for chunk in stream:
                if "error" in chunk:
                    what = " ".join(str(chunk["error"]).split())
                    raise EngineError(f"While {doing}: {what}. It said last: {last}", "build")
                for line in str(chunk.get("stream", "")).splitlines():
                    if line.strip():
                        if not _OF_THE_BUILDER.match(line):
                            last = _COLOR.sub("", line).strip() or last
                        note(line.rstrip())
    except Exception as error:
        raise explain(error, doing, engine.endpoint) from error


def _buildkit(
    engine: Engine,
    context: IO[bytes],
    ref: str,
    arguments: dict[str, str],
    described: dict[str, str],
    note: Note,
    cached: bool,
) -> None:
    client = buildkit_client()
    command = [client, "build", "--network", "none", "--tag", ref]
    for key, value in arguments.items():
        command += ["--build-arg", f"{key}={value}"]
    for key, value in described.items():
        command += ["--label", f"{key}={value}"]
    command += [] if cached else ["--no-cache"]
    environment = {
        **os.environ,
        "DOCKER_BUILDKIT": "1",
        "BUILDKIT_PROGRESS": "plain",
        "DOCKER_HOST": engine.endpoint,
    }
    with subprocess.Popen(
        [*command, "-"],
        stdin=context,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stderr is not None
        said = [line.strip() for line in _noted(process.stderr, note)]
    if process.returncode:
        errors = [line for line in said if "ERROR" in line or "error:" in line.lower()]
        reason = (errors or said or [f"{client} ended without a word"])[-1]
        told = [line for line in said if _OF_A_STEP.match(line)]
        last = f" It said last: {_OF_A_STEP.sub('', told[-1])}" if told else ""
        raise EngineError(
            f"While building {ref} with BuildKit: {reason.rstrip('.')}.{last}", "build"
        )


BUILDERS: Final = {"classic": _classic, "buildkit": _buildkit}
"""Each takes engine, context, name, build arguments, labels, what to tell, and whether to cache."""


def buildkit_client() -> str:
    """Return a command line client that can build with BuildKit.

    Raises:
        EngineError: no ``docker`` on the path can.
    """
    found = list(_clients())
    for client in found:
        if _answers(client, "buildx", "version") or _major(client) <= _LAST_WITHOUT_BUILDX:
            return client
    what = f"{found[0]} has no buildx plugin" if found else "there is no docker command"
    raise EngineError(
        f"BuildKit needs Docker's command line with its buildx plugin, and {what}. Install it, or "
        "use --builder classic.",
        "build",
    )


def _clients() -> Iterator[str]:
    for folder in dict.fromkeys(os.environ.get("PATH", os.defpath).split(os.pathsep)):
        if client := shutil.which("docker", path=folder):
            yield client


def _answers(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _major(client: str) -> int:
    """Return the major version of a client; one that does not tell counts as recent."""
    told = subprocess.run(
        [client, "version", "--format", "{{json .Client}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return int(str(json.loads(told.stdout)["Version"]).partition(".")[0])
    except (ValueError, KeyError, TypeError):
        return _LAST_WITHOUT_BUILDX + 1


def _noted(lines: IO[str], note: Callable[[str], None]) -> Iterator[str]:
    for line in lines:
        if line.strip():
            note(line.rstrip())
            yield line
