"""``profleet image``: build, list, verify and prune the images of runners."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profleet.errors import EngineError

if TYPE_CHECKING:
    from profleet.container.engine import Engine
    from profleet.container.images import ImageRecord
    from profleet.container.verify import Finding
    from profleet.manifest.documents import Framework

BUILD = """\
Build the images of frameworks. Wheels are fetched here, by the lock's digests; the build has no
network. BuildKit needs Docker's command line with it; the classic builder needs nothing.
"""
VERIFY = """\
Prove that images are what their locks say: labels, base, packages inside, every installed file
against the locked wheels, the runner's sources. With --lock, that an image is the one that a run
was locked to. Exits with 1 if one is not.
"""
PRUNE = """\
Remove from the engine what carries Profleet's own labels and nobody needs: containers whose process
is gone, volumes of jobs, images whose name a newer build has taken. Nothing else is touched.
"""


def add_parsers(subparsers: Any) -> None:
    """Add ``image`` and its subcommands to the command line."""
    image = subparsers.add_parser("image", help="container images of the runners")
    commands = image.add_subparsers(title="commands", metavar="COMMAND", required=True)

    build = commands.add_parser("build", help="build images", description=BUILD)
    build.add_argument("names", metavar="NAME", nargs="+", help="framework, e.g. onnxruntime")
    build.add_argument(
        "--base",
        metavar="IMAGE",
        help="base image; 'bootstrap' makes one from Debian packages, without a registry "
        "(default: python:3.11-slim-bookworm)",
    )
    build.add_argument("--builder", choices=("classic", "buildkit"), default="classic")
    build.add_argument("--no-cache", action="store_true", help="execute every step again")
    build.add_argument("--quiet", action="store_true", help="only what was built")
    build.add_argument(
        "--without-gpu",
        action="store_true",
        help="build CUDA images, gigabytes of them, also where no GPU can execute them",
    )
    _add_folders(build)
    build.set_defaults(execute=_build)

    listing = commands.add_parser("list", help="every image there could be, and what there is")
    listing.add_argument("--json", action="store_true", help="print JSON for scripts")
    _add_folders(listing)
    listing.set_defaults(execute=_list)

    verify = commands.add_parser("verify", help="prove what is in images", description=VERIFY)
    verify.add_argument("names", metavar="NAME", nargs="*", help="default: all that are built")
    verify.add_argument("--lock", metavar="LOCK", type=Path, help="lock.json of a run")
    verify.add_argument("--json", action="store_true", help="print JSON for scripts")
    _add_folders(verify)
    verify.set_defaults(execute=_verify)

    prune = commands.add_parser("prune", help="remove what is left over", description=PRUNE)
    prune.add_argument(
        "--all",
        action="store_true",
        dest="everything",
        help="also the images themselves, base images, and volumes with artifacts",
    )
    prune.add_argument("--dry-run", action="store_true", help="only say what would go")
    prune.set_defaults(execute=_prune)


def _add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--manifests",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="look here too, for framework/NAME@VERSION.yaml; may be repeated",
    )


def _build(parsed: argparse.Namespace) -> int:
    from profleet.container import build
    from profleet.container.engine import connect

    frameworks = [_framework(name, parsed.manifests) for name in parsed.names]
    engine = connect()
    for framework in frameworks:
        if framework.accelerator == "cuda" and not parsed.without_gpu:
            _need_gpu(engine, framework)
    for framework in frameworks:
        print(f"{framework.name} on {engine.name} {engine.version}", file=sys.stderr)
        built = build.build(
            engine,
            framework,
            _silent if parsed.quiet else _note,
            base=parsed.base or build.DEFAULT_BASE,
            builder=parsed.builder,
            cached=not parsed.no_cache,
        )
        print(f"{built.ref} {built.id} {_megabytes(built.size_bytes)}")
    return 0


def _need_gpu(engine: Engine, framework: Framework) -> None:
    if engine.gpus or (engine.local and Path("/dev/nvidiactl").exists()):
        return
    raise EngineError(
        f"{framework.name} is gigabytes of CUDA libraries for an NVIDIA GPU, and the engine at "
        f"{engine.endpoint} offers none. Build it where one is, or say --without-gpu.",
        "build",
    )


def _list(parsed: argparse.Namespace) -> int:
    from profleet.container.engine import connect

    engine = connect()
    rows = []
    for framework in _frameworks(parsed.manifests):
        image = framework.images[engine.architecture]
        rows.append(_row(engine, framework, image.ref))
    if parsed.json:
        print(json.dumps({"engine": engine.describe(), "images": rows}, indent=2))
        return 0
    print(f"{engine.name} {engine.version} at {engine.endpoint}, {engine.architecture}")
    columns = ("name", "state", "image", "id", "size")
    cells = [[str(row[column] or "") for column in columns] for row in rows]
    widths = [max(map(len, column), default=0) for column in zip(*cells, strict=True)]
    for row_cells in cells:
        padded = (cell.ljust(width) for cell, width in zip(row_cells, widths, strict=True))
        print("  ".join(padded).rstrip())
    return 0


def _row(engine: Engine, framework: Framework, ref: str) -> dict[str, str | None]:
    from profleet.container.images import find, inspect

    record = inspect(engine, ref)
    state, problem = "built", None
    if record is None:
        state = "not built"
    else:
        try:
            find(engine, framework)
        except EngineError as error:
            state, problem = "outdated", str(error)
    return {
        "name": framework.name,
        "state": state,
        "problem": problem,
        "image": ref,
        "id": record.id[7:19] if record else None,
        "size": _megabytes(record.size_bytes) if record else None,
    }


def _verify(parsed: argparse.Namespace) -> int:
    from profleet.container import verify
    from profleet.container.engine import connect
    from profleet.container.images import inspect
    from profleet.container.recipe import load
    from profleet.manifest.lock import parse_lock

    if parsed.lock and parsed.names:
        raise EngineError("Say NAME or --lock, not both: a lock names its own image.")
    engine = connect()
    found: dict[str, list[Finding]] = {}
    if parsed.lock:
        lock = parse_lock(_read(parsed.lock), str(parsed.lock))
        image = verify.image_of(lock)  # by its id, since a newer build may have taken the name
        record = inspect(engine, image.id) or _locked_image(engine, image.ref)
        found[record.ref] = verify.verify_lock(engine, record, lock)
    for framework in [] if parsed.lock else _chosen(engine, parsed):
        record = _locked_image(engine, framework.images[engine.architecture].ref, framework.name)
        found[framework.name] = verify.verify_recipe(engine, record, load(framework.name), _note)
    if parsed.json:
        plain = {name: [vars(each) for each in findings] for name, findings in found.items()}
        print(json.dumps(plain, indent=2))
    else:
        _show(found, again=not parsed.lock)
    return int(any(each.outcome == "failed" for findings in found.values() for each in findings))


def _chosen(engine: Engine, parsed: argparse.Namespace) -> list[Framework]:
    """The frameworks that are named, else all whose image the engine has."""
    from profleet.container.images import inspect, named_image

    if parsed.names:
        chosen = [_framework(name, parsed.manifests) for name in parsed.names]
        for framework in chosen:
            named_image(engine, framework)
        return chosen
    known = _frameworks(parsed.manifests)
    built = [each for each in known if inspect(engine, each.images[engine.architecture].ref)]
    if not built:
        raise EngineError("No image is built. Build one: profleet image build NAME.", "image")
    return built


def _locked_image(engine: Engine, ref: str, name: str = "NAME") -> ImageRecord:
    from profleet.container.images import inspect

    record = inspect(engine, ref)
    if record is None:
        raise EngineError(
            f"The engine has no image {ref}. Build it: profleet image build {name}.", "image"
        )
    return record


def _show(found: dict[str, list[Finding]], *, again: bool) -> None:
    """Print what was found; ``again``: the names are those of recipes."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for name, findings in found.items():
        print(name)
        for each in findings:
            line = f"  {each.what:<9} {each.outcome:<12} {each.detail}"
            fits = width is None or len(line) <= width or each.outcome != "passed"
            print(line if fits else f"{line[: (width or 0) - 1]}…")
        if again and any(each.outcome == "failed" for each in findings):
            print(f"  Build it again: profleet image build {name}")


def _prune(parsed: argparse.Namespace) -> int:
    from profleet.container.engine import connect
    from profleet.container.prune import leftovers, remove

    engine = connect()
    found = leftovers(engine, everything=parsed.everything)
    for each in found:
        size = f" {_megabytes(each.size_bytes)}" if each.size_bytes else ""
        if parsed.dry_run:
            print(f"would remove {each.what} {each.name}{size}")
        else:
            done = "removed" if remove(engine, each) else "in use:"
            print(f"{done} {each.what} {each.name}{size}")
    if not found:
        print("Nothing to remove.")
    return 0


def _framework(name: str, folders: list[Path]) -> Framework:
    from profleet.manifest.library import Library

    return Library.standard(folders).resolve("framework", name).document


def _frameworks(folders: list[Path]) -> list[Framework]:
    """Every framework with a recipe, by name."""
    from profleet.container.recipe import recipes

    return [_framework(name, folders) for name in recipes()]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(f"The lock {path} cannot be read: {error.strerror}.") from None


def _note(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def _silent(_: str) -> None:
    return None


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
