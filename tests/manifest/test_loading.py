from __future__ import annotations

import codecs

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from profleet.errors import ManifestError
from profleet.manifest.documents import Document, Framework, Model, Suite
from profleet.manifest.kinds import KINDS
from profleet.manifest.loading import SCHEMAS, load_document, parse_document
from profleet.manifest.plain_yaml import MAX_BYTES, MAX_DEPTH, read_mapping, read_top_level_text
from sample_manifests import ALL, FRAMEWORK, HARDWARE, MODEL, SUITE, changed, write


def parse(document: dict) -> Document:
    return parse_document(yaml.safe_dump(document, sort_keys=False).encode(), "a.yaml")


def complaint(data: bytes | dict) -> str:
    with pytest.raises(ManifestError) as caught:
        parse(data) if isinstance(data, dict) else parse_document(data, "a.yaml")
    return str(caught.value)


def framework_text(more: str) -> bytes:
    return yaml.safe_dump({k: v for k, v in FRAMEWORK.items() if k != "options"}).encode() + (
        more.encode()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_valid(kind):
    document = parse(ALL[kind])
    assert document.name == ALL[kind]["name"]
    assert SCHEMAS[document.schema_] == kind


def test_lists_become_tuples_and_numbers_keep_their_type():
    model = parse(MODEL)
    assert isinstance(model, Model)
    assert model.inputs[0].shape == ("batch", 4)
    assert model.inputs[0].values.low == 0
    assert isinstance(model.inputs[0].values.low, int)
    framework = parse(changed(FRAMEWORK, ("options",), {"a": True, "b": 1, "c": 1.0, "d": "1"}))
    assert isinstance(framework, Framework)
    assert [type(value) for value in framework.options.values()] == [bool, int, float, str]
    suite = parse(changed(SUITE, ("measure",), {"overrides": {"gaps": [1, 2.5]}}))
    assert isinstance(suite, Suite)
    assert suite.measure.overrides["gaps"] == [1, 2.5]


WRONG = [
    # document, path, value, what the one sentence must say after the file name
    (MODEL, ("inputs", 0, "dtype"), "float33", ("inputs[0].dtype: 'float33' is not allowed here. "
     "Did you mean 'float32'?")),
    (MODEL, ("inputs", 0, "shape", 1), 0, "inputs[0].shape[1]: 0 is not above 0 or 'batch'"),
    (MODEL, ("inputs", 0, "shape", 1), "bach", ("inputs[0].shape[1]: 'bach' is not a whole number "
     "or 'batch'")),
    (MODEL, ("inputs",), [], "inputs: needs at least 1 entry"),
    (MODEL, ("inputs", 0, "values", "high"), 0, ("inputs[0].values: 'low' (0) must be below "
     "'high' (0)")),
    (MODEL, ("source", "sha265"), "1" * 64, "source.sha265: unknown key. Did you mean 'sha256'?"),
    (MODEL, ("source", "path"), ..., "source.path: missing key"),
    (MODEL, ("source", "path"), 3, "source.path: 3 is not text; quote it: '3'"),
    (MODEL, ("source", "sha256"), "A" * 64, (f"source.sha256: '{'A' * 57}...' is not a sha256: "
     "64 digits 0-9a-f")),
    (MODEL, ("source", "kind"), "flie", ("source: kind: 'flie' is not allowed here. "
     "Did you mean 'file'?")),
    (MODEL, ("source", "kind"), ..., "source: missing key 'kind'"),
    (MODEL, ("source", "transforms"), [{"kind": "seeded_weights", "seed": -1}],
     "source.transforms[0].seed: -1 is not at least 0"),
    (MODEL, ("source",), {"kind": "builder", "builder": "mlp", "seed": 0, "arguments":
     {"sizes": [1, "two"]}}, "source.arguments.sizes[1]: 'two' is not a whole number"),
    (MODEL, ("source",), {"kind": "builder", "builder": "An MLP", "seed": 0},
     "source.builder: 'An MLP' is not lower-case letters"),
    (MODEL, ("check", "outputs", "y/out.0", "mean"), "x",
     "check.outputs['y/out.0'].mean: 'x' is not a number"),
    (MODEL, ("check", "outputs", "y/out.0", "values"), [], ("check.outputs['y/out.0']: 'positions' "
     "and 'values' must have the same length")),
    (MODEL, ("metadata",),
     {"Top 1": {"value": 1, "unit": "%", "evidence": "assumed", "source": "x"}},
     "metadata['Top 1']: the key 'Top 1' is not lower-case letters"),
    (FRAMEWORK, ("version",), "1.0", "version: '1.0' is not a semantic version such as 1.2.0"),
    (FRAMEWORK, ("version",), "1.0.01", "version: '1.0.01' is not a semantic version"),
    (FRAMEWORK, ("version",), "1.0.0-gamma.1", "version: '1.0.0-gamma.1' is not a semantic"),
    (FRAMEWORK, ("version",), "\u0661.0.0", "is not a semantic version"),
    (FRAMEWORK, ("version",), 1.0, "version: 1.0 is not text; quote it: '1.0'"),
    (FRAMEWORK, ("packages", "pyyaml"), ">>1", "packages.pyyaml: '>>1' is not a version range"),
    (FRAMEWORK, ("packages",), {}, "packages: needs at least 1 entry"),
    (FRAMEWORK, ("options", "fast"), None, ("options.fast: null is not true or false or a number "
     "or text")),
    (FRAMEWORK, ("images",), {"amd65": {"ref": "x"}}, "images.amd65"),
    (FRAMEWORK, ("licence",), "MIT", "licence: unknown key. Did you mean 'license'?"),
    (FRAMEWORK, ("license",), "MIT", "license: 'MIT' is not a mapping"),
    (FRAMEWORK, ("description",), "", "description: must not be empty"),
    (FRAMEWORK, ("description",), "a" * 2001, "description: is longer than 2000 characters"),
    (FRAMEWORK, ("schema",), ..., ("schema: missing key. A manifest says what it is, one of "
     "profleet/model/v1, ")),
    (FRAMEWORK, ("schema",), "profleet/framwork/v1", ("schema: 'profleet/framwork/v1' is not a "
     "manifest schema. Did you mean 'profleet/framework/v1'?")),
    (FRAMEWORK, ("schema",), "profleet/framework/v2", ("schema: this profleet reads "
     "profleet/framework/v1, not 'profleet/framework/v2'")),
    (FRAMEWORK, ("schema",), ["profleet/framework/v1"], "schema: must be text"),
    (HARDWARE, ("detect",), "remote", "detect: 'remote' is not"),
    (HARDWARE, ("price",), {"value": 1, "unit": "$", "evidence": "guess", "source": "x"},
     "price.evidence: 'guess' is not allowed here."),
    (SUITE, ("stacks", 0, "models"), "net", "stacks[0].models: 'net' is not a list"),
    (SUITE, ("stacks", 0, "framworks"), ["x"], ("stacks[0].framworks: unknown key. Did you mean "
     "'frameworks'?")),
    (SUITE, ("tolerances",), {"latency_p50_ms": 1}, "tolerances.latency_p50_ms: 1 is not below 1"),
    (SUITE, ("measure",), {"batch_sizes": [1, True]}, ("measure.batch_sizes[1]: true is not a "
     "whole number")),
]  # fmt: skip


@pytest.mark.parametrize(("document", "path", "value", "expected"), WRONG)
def test_one_mistake_gives_one_line_with_its_path(document, path, value, expected):
    message = complaint(changed(document, path, value))
    assert message.startswith("a.yaml: ")
    assert expected in message
    assert "\n" not in message
    assert "pydantic" not in message


def test_a_misspelled_required_key_is_told_once():
    message = complaint(
        changed(changed(MODEL, ("source", "sha256"), ...), ("source", "sha265"), "1" * 64)
    )
    assert message.startswith("a.yaml: source.sha265: unknown key. Did you mean 'sha256'?")
    assert "\n" not in message


def test_several_mistakes_give_a_line_each():
    document = changed(changed(FRAMEWORK, ("runner",), ...), ("accelerator",), "tpu")
    lines = complaint(document).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["a.yaml", "accelerator"],
        ["a.yaml", "runner"],  # what is missing comes after what is wrong
    ]
    flood = changed(FRAMEWORK, ("options",), {f"o{number}": None for number in range(50)})
    assert complaint(flood).splitlines()[-1] == "a.yaml: and 42 more problems"


BOMB = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (BOMB.encode(), "line 1): anchors (&) are not allowed"),
        (b"a: *b\n", "a (line 1): aliases are not allowed in a manifest: write *b out"),
        (b"a: !!python/object/apply:os.system [ls]\n", "a (line 1): tags (!) are not allowed"),
        (b"a:\n  - 1\n  - !t 2\n", "a[1] (line 3): tags (!)"),
        (b"[" * 500, f"nested more than {MAX_DEPTH} levels deep"),
        (b"a: 1\nb:\n  c: 1\n  c: 2\n", "b (line 4): the key 'c' appears twice"),
        (b"a: 1\n---\nb: 2\n", "line 2: a second document begins"),
        (b"1: a\n", "line 1: a key must be text: quote 1"),
        (b"true: a\n", "a key must be text: quote true"),
        (b"? [a]\n: b\n", "line 1: a key must be text, not a list or mapping"),
        (b"", "the file is empty"),
        (b"# nothing\n", "the file is empty"),
        (b"- a\n", "a manifest is a mapping of keys to values, not a list"),
        (b"word\n", "line 1: a manifest is a mapping of keys to values"),
        (b"a: [1\n", "not valid YAML: "),
        (b"a: b: c\n", "line 1, column 5: not valid YAML: mapping values are not allowed"),
        (b"a: \x00\n", "not valid YAML: "),
        (b"a: caf\xe9\n", "line 1: byte 0xe9 at offset 6 is not UTF-8. Save the file as UTF-8."),
        ("a: é".encode("utf-16"), "the file is UTF-16 or UTF-32. Save it as UTF-8."),
        (b"a: " + b"x" * MAX_BYTES, "larger than 1024 KiB"),
        (b'a: "\\e[31m"\n', "a (line 1): the control character U+001B is not allowed"),
        (b"a: .nan\n", "a (line 1): the number '.nan' is not finite"),
        (b"a: 1e999\n", "a (line 1): the number '1e999' is not finite"),
        (b"a: " + b"9" * 5000, "does not fit in 64 bits"),
        (b"a: 9223372036854775808\n", "does not fit in 64 bits"),
        (b"a: [yes]\n", "a[0] (line 1): 'yes' means different things"),
        (b"a: 010\n", "a (line 1): '010' means different things"),
        (b"a: 1:30\n", "a (line 1): '1:30' means different things"),
        (b"a: 1_000\n", "a (line 1): '1_000' means different things"),
        (b"a: 0x1F\n", "a (line 1): '0x1F' means different things"),
    ],
)  # fmt: skip
def test_yaml_that_is_refused(data, expected):
    message = complaint(data)
    assert message.startswith("a.yaml: ")
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6), ("1.5", 1.5), (".5", 0.5), ("-3", -3), ("+4", 4), ("0", 0), ("1.", 1.0),
        ("9223372036854775807", 2**63 - 1), ("true", True), ("FALSE", False), ("~", None),
        ("", None), ("2024-01-01", "2024-01-01"), ("1.2.0", "1.2.0"), ("'1'", "1"),
        ('"yes"', "yes"), ("y", "y"), ("<<", "<<"), ("e5", "e5"), (">-\n  a\n  b", "a b"),
        ("[]", []), ("{}", {}),
    ],
)  # fmt: skip
def test_plain_words_follow_yaml_1_2(text, value):
    found = read_mapping(f"a: {text}\n".encode(), "a.yaml")["a"]
    assert found == value
    assert type(found) is type(value)


def test_utf8_with_byte_order_mark_and_crlf_is_the_same_document():
    plain = yaml.safe_dump(MODEL).encode()
    other = codecs.BOM_UTF8 + plain.replace(b"\n", b"\r\n")
    assert parse_document(other, "a") == parse_document(plain, "a")


def test_file_name_must_match(tmp_path):
    path = write(tmp_path, HARDWARE)
    assert load_document(path).name == "box"
    moved = path.rename(path.with_name("box@1.0.1.yaml"))
    with pytest.raises(ManifestError, match=r"the file name says 'box@1\.0\.1', its content"):
        load_document(moved)
    free = moved.rename(path.with_name("anything.yaml"))
    assert load_document(free).version == "1.0.0"


def test_files_that_cannot_be_read(tmp_path):
    write(tmp_path, HARDWARE)
    with pytest.raises(ManifestError, match=r"no file .*Did you mean 'box@1\.0\.0\.yaml'"):
        load_document(tmp_path / "hardware" / "bix@1.0.0.yaml")
    with pytest.raises(ManifestError, match=r"no file"):
        load_document(tmp_path / "nowhere" / "x.yaml")
    with pytest.raises(ManifestError, match="is a folder"):
        load_document(tmp_path)
    network = tmp_path / "net.onnx"
    network.write_bytes(bytes(range(256)))
    with pytest.raises(ManifestError, match=r"net\.onnx is an ONNX file, and a manifest is wanted"):
        load_document(network)
    with pytest.raises(ManifestError, match="cannot be read"):
        load_document(tmp_path / "a\0b.yaml")


def test_a_large_file_is_refused_not_cut_short(tmp_path):
    path = write(tmp_path, HARDWARE)
    path.write_bytes(path.read_bytes() + b"#" * MAX_BYTES)
    with pytest.raises(ManifestError, match="larger than 1024 KiB"):
        load_document(path)


def test_top_level_text_is_found_at_the_top_only():
    text = "a: {description: no}\nb: [description, no]\ndescription: >-\n  yes\n  sir\n"
    assert read_top_level_text(text, "description") == "yes sir"
    assert read_top_level_text("a: description\nb: c\n", "description") is None
    assert read_top_level_text("description: {a: b}\nc: d\n", "description") is None


def lines_about(data: bytes) -> list[str]:
    try:
        parse_document(data, "a.yaml")
    except ManifestError as error:
        return str(error).splitlines()
    return []


@given(st.binary(max_size=200))
@example(b"\xff\xfe")
@example(b"a: \xed\xa0\x80")
@example(b'"\\ud800": 1')
@example(b"%YAML 9.9\n---\na: 1\n")
@example(b"%TAG ! !\n---\na: 1\n")
def test_any_bytes_give_a_document_or_a_manifest_error(data):
    assert all(line.startswith("a.yaml: ") for line in lines_about(data))


@given(
    st.text(max_size=80),
    st.sampled_from(["options: ", "images: ", "runner: ", "schema: ", "", "packages: [", "? "]),
)
def test_any_text_gives_a_document_or_a_manifest_error(text, start):
    assert all(line.startswith("a.yaml: ") for line in lines_about(framework_text(start + text)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@given(st.sampled_from(KINDS), st.data(), json_values)
def test_any_value_anywhere_gives_a_document_or_a_sentence(kind, data, value):
    document = ALL[kind]
    path: list = []
    here = document
    while isinstance(here, dict | list) and here and (not path or data.draw(st.booleans())):
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        path.append(data.draw(st.sampled_from(keys)))
        here = here[path[-1]]
    text = yaml.safe_dump(changed(document, tuple(path), value))
    assert all(line.startswith("a.yaml: ") for line in lines_about(text.encode()))


def test_a_link_to_nowhere_is_called_that(tmp_path):
    link = tmp_path / "model.yaml"
    link.symlink_to("gone.yaml")
    with pytest.raises(ManifestError, match=r"model\.yaml is a link to gone\.yaml, which is not"):
        load_document(link)
