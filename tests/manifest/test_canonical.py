from __future__ import annotations

import json
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from profleet.manifest.canonical import canonical_json, document_sha256, sha256_of
from profleet.manifest.kinds import KINDS
from profleet.manifest.loading import parse_document
from sample_manifests import ALL, FRAMEWORK, MODEL, SUITE, changed

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner),
    max_leaves=8,
)  # fmt: skip


def turned(value):
    """The same value with every mapping in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(item) for item in value] if isinstance(value, list) else value


def digest(document: dict) -> str:
    return document_sha256(parse_document(yaml.safe_dump(document).encode(), "a.yaml"))


def test_known_bytes():
    value = {"é": [1, 1.0, 1e-6, True, None], "a": {"c": "\n", "b": ()}}
    expected = '{"a":{"b":[],"c":"\\n"},"é":[1,1.0,1e-06,true,null]}'
    assert canonical_json(value) == expected.encode("utf-8")
    empty = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert sha256_of({}) == empty  # of the two bytes {}


@given(values)
def test_order_of_keys_does_not_matter_and_json_reads_it_back(value):
    written = canonical_json(value)
    assert canonical_json(turned(value)) == written
    assert json.loads(written) == value
    assert canonical_json(json.loads(written)) == written


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "\ud800", [{"a": math.nan}]])
def test_what_is_not_json_is_refused(value):
    with pytest.raises(ValueError, match=r"JSON compliant|surrogates"):
        canonical_json(value)


@pytest.mark.parametrize("value", [{1: 2}, [{True: 1}], {"a": {None: 1}}, {"a": {1}}])
def test_keys_are_text_and_values_json(value):
    with pytest.raises(TypeError):
        canonical_json(value)


@pytest.mark.parametrize("kind", KINDS)
def test_digest_does_not_depend_on_how_a_manifest_is_written(kind):
    document = ALL[kind]
    text = "# a comment\n" + json.dumps(turned(document), indent=3)
    again = document_sha256(parse_document(text.encode(), "b.yaml"))
    assert again == digest(document)


def test_digest_ignores_defaults_spelled_out():
    assert digest(changed(MODEL, ("artifact", "format"), "onnx")) == digest(MODEL)
    assert digest(changed(SUITE, ("measure",), {"preset": "standard"})) == digest(SUITE)
    assert digest(changed(FRAMEWORK, ("images",), {})) == digest(FRAMEWORK)


@pytest.mark.parametrize(
    ("document", "path", "value"),
    [
        (MODEL, ("source", "sha256"), "f" * 64),
        (MODEL, ("inputs", 0, "shape"), [4, "batch"]),
        (MODEL, ("description",), "Another text."),
        (MODEL, ("check", "outputs", "y/out.0", "values"), [0.5000000000000001]),
        (FRAMEWORK, ("options", "level"), 4),
        (FRAMEWORK, ("options", "level"), 3.0),
        (FRAMEWORK, ("options", "fast"), 1),
        (FRAMEWORK, ("options",), {}),
        (SUITE, ("stacks", 0, "batch_sizes"), [1]),
    ],
)
def test_digest_sees_every_change(document, path, value):
    assert digest(changed(document, path, value)) != digest(document)
