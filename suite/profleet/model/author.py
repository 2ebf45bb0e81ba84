"""Write the computed part of model manifests: ``python -m profleet.model.author [NAME | FILE]...``.

For maintainers. Of a manifest, a person writes everything above the marker line; this program
writes ``artifact`` and ``check`` below it, and the line ``parameters:`` of ``metadata``. The
settings of a check (seed, batch, rtol, atol) are kept where the manifest has them. With ``--check``
nothing is written; the exit code says whether something would change.
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import onnx
import yaml

from profleet.errors import ManifestError, ProfleetError
from profleet.manifest.documents import Model
from profleet.manifest.loading import parse_document
from profleet.manifest.plain_yaml import read_mapping
from profleet.model.artifact import build, default_cache, store
from profleet.model.graph import parse
from profleet.model.reference import reference_check
from profleet.model.sources import sha256
from profleet.paths import data_dir

MARKER = "# Below: written by `python -m profleet.model.author`, not by hand."
SETTINGS = {"seed": 1, "batch": 2, "rtol": 1e-4, "atol": 1e-7}
PARAMETERS = re.compile(r"^  parameters:.*\n", re.MULTILINE)
FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}


def parameter_count(model: onnx.ModelProto) -> int:
    """Count the stored floating-point values: initializers and constants, in subgraphs too.

    Not counted, as in published counts: the running mean and variance of batch normalization.
    Scalars are not counted either: they are constants of formulas.
    """
    return _count(model.graph)


def _count(graph: onnx.GraphProto) -> int:
    normalizations = [node for node in graph.node if node.op_type == "BatchNormalization"]
    running = {name for node in normalizations for name in node.input[3:5]}
    total = sum(_size(one) for one in graph.initializer if one.name not in running)
    for node in graph.node:
        for one in node.attribute:
            if node.op_type == "Constant" and one.name == "value":
                total += _size(one.t)
            total += sum(_count(graph) for graph in ([one.g] if one.HasField("g") else one.graphs))
    return total


def _size(one: onnx.TensorProto) -> int:
    if one.data_type not in FLOATS:
        return 0
    return math.prod(one.dims) if one.dims else 0


def render(text: str, path: Path) -> str:
    """Return the manifest ``text`` with its computed part anew; the artifact goes to the cache.

    Args:
        text: the manifest; what is below the marker may be missing or outdated.
        path: its file, for messages; a relative ``source.path`` starts beside it.

    Raises:
        ProfleetError: the hand-written part is invalid, or the artifact cannot be made or executed.
    """
    head = text.partition(MARKER)[0].rstrip("\n") + "\n"
    written = read_mapping(text.encode(), path.name).get("check", {})
    settings = {name: written.get(name, default) for name, default in SETTINGS.items()}
    draft = _draft(head, settings, path.name)
    data = build(draft.source, path.parent, lambda line: print(f"  {line}", file=sys.stderr))
    artifact = {"format": "onnx", "sha256": sha256(data), "bytes": len(data)}
    cached = default_cache() / "artifacts" / f"{artifact['sha256']}.onnx"
    store(data, cached)
    parameters = parameter_count(parse(data))
    del data
    made = reference_check(cached, draft, draft.check.seed, draft.check.batch)
    if PARAMETERS.search(head):
        head = PARAMETERS.sub(
            f"  parameters: {{value: {parameters}, unit: parameters, evidence: measured, "
            "source: counted from the artifact's initializers}\n",
            head,
        )
    tail = yaml.safe_dump(
        {"artifact": artifact, "check": made.model_dump(mode="json")},
        sort_keys=False, width=100, default_flow_style=None,
    )  # fmt: skip
    return f"{head}\n{MARKER}\n{tail}"


def _draft(head: str, settings: dict[str, Any], where: str) -> Model:
    """Validate the hand-written part, with placeholders for the computed one."""
    document = read_mapping(head.encode(), where)
    if computed := sorted({"artifact", "check"} & document.keys()):
        raise ManifestError(
            f"{where}: '{computed[0]}' is computed. Remove it, or put this above it: {MARKER}"
        )
    document.get("metadata", {}).pop("parameters", None)
    zero: dict[str, Any] = dict.fromkeys(("mean", "std", "abs_max"), 0.0)
    zero |= {"shape": (), "sha256": "0" * 64, "positions": (), "values": ()}
    document["artifact"] = {"format": "onnx", "sha256": "0" * 64, "bytes": 1}
    document["check"] = {**settings, "producer": "draft", "outputs": {"draft": zero}}
    draft = parse_document(json.dumps(document).encode(), where)
    if not isinstance(draft, Model):
        raise ManifestError(f"{where} is no model manifest, and only those have a computed part.")
    return draft


def _paths(names: list[str]) -> list[Path]:
    folder = data_dir("manifests") / "model"
    if not names:
        return sorted(folder.glob("*.yaml"))
    found = []
    for name in names:
        matches = [Path(name)] if name.endswith(".yaml") else sorted(folder.glob(f"{name}@*.yaml"))
        if not matches:
            raise ManifestError(f"No model manifest {name}@VERSION.yaml in {folder}.")
        found.append(matches[-1])
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the program; 0: nothing to change or all written, 1: ``--check`` found changes."""
    parser = argparse.ArgumentParser(prog="python -m profleet.model.author", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME | FILE", help="default: all of them")
    parser.add_argument("--check", action="store_true", help="write nothing, show differences")
    options = parser.parse_args(arguments)
    changed = 0
    try:
        for path in _paths(options.names):
            print(path.name, file=sys.stderr)
            before = path.read_text("utf-8")
            after = render(before, path)
            changed += after != before
            if options.check:
                lines = (before.splitlines(), after.splitlines(), "now", "computed")
                print("\n".join(difflib.unified_diff(*lines, lineterm="")), end="")
            elif after != before:
                path.write_text(after, "utf-8")
    except ProfleetError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
