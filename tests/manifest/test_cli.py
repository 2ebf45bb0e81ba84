from __future__ import annotations

import argparse
import json
import subprocess
import sys

import pytest

from profleet.errors import ProfleetError
from profleet.manifest import cli
from profleet.manifest.lock import parse_lock
from profleet.manifest.schema import document_schema
from sample_manifests import FRAMEWORK, HARDWARE, MODEL, SUITE, changed, write


def manifest(*words: object) -> int:
    parser = argparse.ArgumentParser()
    cli.add_parsers(parser.add_subparsers())
    parsed = parser.parse_args(["manifest", *map(str, words)])
    return parsed.execute(parsed)


@pytest.fixture
def folder(tmp_path):
    for document in (MODEL, FRAMEWORK, HARDWARE, SUITE):
        write(tmp_path / "m", document)
    return tmp_path / "m"


def test_list(folder, capsys):
    assert manifest("list", "--kind", "framework", "--manifests", folder) == 0
    shown = capsys.readouterr()
    (line,) = [line for line in shown.out.splitlines() if " engine " in line]
    assert line.split() == ["framework", "engine", "1.0.0", "Made", "for", "a", "test."]
    assert "onnxruntime" in shown.out
    assert "model " not in shown.out
    assert shown.err == ""


def test_list_json(folder, capsys):
    assert manifest("list", "--json", "--manifests", folder) == 0
    rows = json.loads(capsys.readouterr().out)
    (row,) = [row for row in rows if row["name"] == "net"]
    assert row == {
        "kind": "model",
        "name": "net",
        "version": "1.0.0",
        "description": MODEL["description"],
        "path": str(folder / "model" / "net@1.0.0.yaml"),
    }


def test_show(folder, capsys):
    assert manifest("show", "net@1", "--manifests", folder) == 0
    shown = capsys.readouterr().out
    assert (folder / "model" / "net@1.0.0.yaml").read_text("utf-8").rstrip() in shown
    assert manifest("show", "model:net", "--json", "--manifests", folder) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["document"]["schema"] == "profleet/model/v1"
    assert f"# sha256 {data['sha256']}" in shown.splitlines()
    with pytest.raises(ProfleetError, match="Unknown manifest 'nut'"):
        manifest("show", "nut", "--manifests", folder)


def test_validate_goes_on_after_a_bad_file(folder, tmp_path, capsys):
    first = folder / "model" / "net@1.0.0.yaml"
    bad = write(tmp_path / "bad", changed(FRAMEWORK, ("accelerator",), "gpu"))
    missing = tmp_path / "missing.yaml"
    last = folder / "hardware" / "box@1.0.0.yaml"
    assert manifest("validate", first, bad, missing, last) == 2
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [f"ok {first}", f"ok {last}"]
    accelerator, lost = shown.err.splitlines()
    assert accelerator.startswith(f"{bad}: accelerator: 'gpu' is not allowed here.")
    assert str(missing) in lost
    assert manifest("validate", first, last) == 0


def test_validate_follows_the_references_of_a_suite(folder, capsys):
    path = folder / "suite" / "both@1.0.0.yaml"
    assert manifest("validate", path, "--manifests", folder) == 0
    assert manifest("validate", path) == 2
    assert f"{path}: Suite both: stacks[0].models[0]: Unknown model" in capsys.readouterr().err


def test_schema(capsys):
    assert manifest("schema", "suite") == 0
    assert json.loads(capsys.readouterr().out) == document_schema("suite")
    with pytest.raises(ProfleetError, match="Did you mean 'hardware'"):
        manifest("schema", "hardwar")


def test_resolve_prints_a_lock(folder, capsys):
    assert manifest("resolve", "net", "framework:engine@1", "--manifests", folder) == 0
    out = capsys.readouterr().out
    locked = parse_lock(out.encode(), "standard output")
    assert locked.canonical() + b"\n" == out.encode()
    assert [entry.name for entry in locked.manifests] == ["net", "engine"]
    with pytest.raises(ProfleetError, match="Unknown suite 'net'"):
        manifest("resolve", "net", "--kind", "suite", "--manifests", folder)


def test_without_a_command_it_shows_the_usage(capsys):
    assert manifest() == 2
    shown = capsys.readouterr()
    assert "usage" in shown.err
    assert shown.out == ""


def test_listing_imports_nothing_heavy():
    code = (
        "import argparse, sys\n"
        "from profleet.manifest import cli\n"
        "parser = argparse.ArgumentParser()\n"
        "cli.add_parsers(parser.add_subparsers())\n"
        "parsed = parser.parse_args(['manifest', 'list'])\n"
        "assert parsed.execute(parsed) == 0\n"
        "heavy = {'pydantic', 'numpy', 'mlflow', 'hydra', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime" in done.stdout
