"""Every manifest that is shipped: valid, described, with provenance, and locked reproducibly."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import pytest

from profleet.manifest.documents import DOCUMENTS, Framework, Hardware, Model, Suite
from profleet.manifest.explain import known_keys
from profleet.manifest.kinds import KINDS
from profleet.manifest.library import Library
from profleet.manifest.loading import load_document
from profleet.manifest.lock import LockedPackage, expand_suite
from profleet.manifest.plain_yaml import read_mapping
from profleet.manifest.schema import DIALECT, document_schema
from profleet.paths import data_dir

pytestmark = pytest.mark.wheel

LIBRARY = Library.standard()
ENTRIES = LIBRARY.entries()
FRAMEWORKS = LIBRARY.entries("framework")


def label(entry):
    return f"{entry.kind}-{entry.name}-{entry.version}"


@pytest.mark.parametrize("entry", ENTRIES, ids=label)
def test_is_valid_and_says_where_it_is_from(entry):
    document = load_document(entry.path)
    assert (document.name, document.version) == (entry.name, entry.version)
    assert " ".join(document.description.split()) == entry.description()
    assert document.provenance.source
    if isinstance(document, Model | Framework):
        assert document.license.source


@pytest.mark.parametrize("entry", ENTRIES, ids=label)
def test_uses_only_keys_of_the_schema_for_editors(entry):
    """Walk the exported schema alone, as an editor does: every key written must be in it."""
    model = DOCUMENTS[entry.kind]
    data = read_mapping(entry.path.read_bytes(), entry.path.name)

    def walk(value, path):
        if isinstance(value, dict):
            known = known_keys(model, path, data)
            for key, item in value.items():
                assert not known or key in known, (path, key)
                walk(item, (*path, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                walk(item, (*path, index))

    walk(data, ())


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_describes_every_key(kind):
    schema = document_schema(kind)
    assert schema["$schema"] == DIALECT
    assert schema["$id"] == f"urn:profleet:schema:{kind}:v1"
    assert schema["additionalProperties"] is False
    assert schema["properties"]["schema"]["const"] == f"profleet/{kind}/v1"
    assert "schema" in schema["required"]
    for key, node in schema["properties"].items():
        if key != "schema":
            node = schema["$defs"][node["$ref"].rsplit("/")[-1]] if "$ref" in node else node
            assert node.get("description"), key


def test_the_frameworks_that_profleet_promises():
    assert {entry.name for entry in FRAMEWORKS} >= {
        "onnxruntime", "onnxruntime-cuda", "torch", "torch-compile", "torch-cuda",
        "torch-compile-cuda", "openvino",
    }  # fmt: skip


@pytest.mark.parametrize("entry", FRAMEWORKS, ids=label)
def test_package_ranges_hold_what_is_installed(entry):
    document = load_document(entry.path)
    assert isinstance(document, Framework)
    assert (document.accelerator == "cuda") == document.name.endswith("-cuda")
    for package, wanted in document.packages.items():
        try:
            installed = LockedPackage(version=version(package))
        except PackageNotFoundError:
            continue
        assert installed.satisfies(wanted), (package, installed.version)


@pytest.mark.parametrize("entry", FRAMEWORKS, ids=label)
def test_the_runner_knows_every_option(entry, monkeypatch):
    monkeypatch.syspath_prepend(str(data_dir("runners")))
    runners = import_module("profleet_runner.frameworks")
    document = load_document(entry.path)
    assert isinstance(document, Framework)
    assert set(document.options) <= runners.load(document.runner).OPTIONS


def test_local_hardware_states_no_number_of_its_own():
    local = LIBRARY.resolve("hardware", "local@1").document
    assert isinstance(local, Hardware)
    assert local.detect == "local"
    assert [local.peaks, local.memory, local.power, local.price] == [{}, {}, {}, None]


@pytest.mark.parametrize("entry", LIBRARY.entries("suite"), ids=label)
def test_suites_resolve(entry):
    suite = load_document(entry.path)
    assert isinstance(suite, Suite)
    assert expand_suite(LIBRARY, suite, entry.path.parent)
