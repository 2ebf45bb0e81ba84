from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profleet.errors import ManifestError
from profleet.manifest.documents import Slug
from profleet.manifest.reference import (
    NAME,
    FileReference,
    NamedReference,
    parse_reference,
    split_kind,
)
from profleet.manifest.versions import SEMVER, Constraint, is_prerelease, ordered, parse_constraint

PRECEDENCE = [
    "0.0.1", "0.9.10", "1.0.0-alpha.0", "1.0.0-alpha.2", "1.0.0-alpha.10", "1.0.0-beta.1",
    "1.0.0-rc.1", "1.0.0-rc.11", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0-rc.1", "2.0.0",
    "10.0.0",
]  # fmt: skip


def allowed(constraint: str) -> list[str]:
    parsed = parse_constraint(constraint)
    return [version for version in PRECEDENCE if parsed.allows(version)]


def test_precedence():
    newest_first = list(reversed(PRECEDENCE))
    assert sorted(newest_first, key=ordered) == PRECEDENCE
    assert all(SEMVER.match(version) for version in PRECEDENCE)


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ("1", ["1.0.0", "1.0.1", "1.2.0", "1.10.0"]),
        ("1.1", []),
        ("1.10", ["1.10.0"]),
        ("10", ["10.0.0"]),
        ("1.0", ["1.0.0", "1.0.1"]),
        ("1.0.0", ["1.0.0"]),
        ("1.0.0-rc.1", ["1.0.0-rc.1"]),
        (">=1,<2", ["1.0.0", "1.0.1", "1.2.0", "1.10.0"]),
        (">=1, <2, !=1.2.0", ["1.0.0", "1.0.1", "1.10.0"]),
        (">1.2.0,<=2.0.0", ["1.10.0", "2.0.0"]),
        ("~=1.2", ["1.2.0", "1.10.0"]),
        ("==1.0.*", ["1.0.0", "1.0.1"]),
        ("<1", ["0.0.1", "0.9.10"]),
        (">=1.0.0-rc.1,<1.0.1", ["1.0.0-rc.1", "1.0.0-rc.11", "1.0.0"]),
        (">=2.0.0-rc.1", ["2.0.0-rc.1", "2.0.0", "10.0.0"]),
    ],
)
def test_constraints(constraint, expected):
    assert allowed(constraint) == expected


def test_any_release_without_a_constraint():
    releases = [version for version in PRECEDENCE if not is_prerelease(version)]
    assert allowed("latest") == releases
    assert [version for version in PRECEDENCE if Constraint().allows(version)] == releases


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resnet50", NamedReference("resnet50")),
        (" resnet50\n", NamedReference("resnet50")),
        ("resnet50@latest", NamedReference("resnet50")),
        ("resnet50@1", NamedReference("resnet50", Constraint("1"))),
        ("gpt-2.x_l@1.2.0-rc.1", NamedReference("gpt-2.x_l", Constraint("1.2.0-rc.1"))),
        ("a@>= 1, < 2", NamedReference("a", Constraint(">=1,<2"))),
        ("./a@1.0.0.yaml", FileReference(Path("a@1.0.0.yaml"))),
        ("net.onnx", FileReference(Path("net.onnx"))),
        ("a.yml", FileReference(Path("a.yml"))),
        ("dir/a", FileReference(Path("dir/a"))),
    ],
)
def test_references(text, expected):
    assert parse_reference(text) == expected
    assert parse_reference(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "reference is empty"),
        ("  ", "reference is empty"),
        ("ResNet50", "'ResNet50' .* is not a manifest name: .* Did you mean 'resnet50'"),
        ("res net", "is not a manifest name"),
        ("-x", "is not a manifest name"),
        ("@1", "'' in the reference '@1' is not a manifest name"),
        ("a@", "'a@' has no version after the '@'"),
        ("a@x", "Bad version in the reference 'a@x': 'x' is neither a version such as 1, 1.2"),
        ("a@1.2.3.4", "neither a version"),
        ("a@01", "neither a version"),
        ("a@1.0.0-rc", "neither a version"),
        ("a@^1", "neither a version"),
        ("a@>=", "neither a version"),
        ("a@>=1,", "neither a version"),
        ("a@>=1;<2", "neither a version"),
        ("a@===1", "neither a version"),
        ("a@~=1", "neither a version"),
        ("a@>=1.*", "neither a version"),
        ("a@\u0661", "neither a version"),
        ("a@" + "9" * 5000, "too long"),
        ("a\nb", "cannot be printed"),
        ("a/\x1b[0m", "cannot be printed"),
    ],
)
def test_bad_references_give_one_line(text, expected):
    with pytest.raises(ManifestError, match=expected) as caught:
        parse_reference(text)
    assert "\n" not in str(caught.value)


def test_kind_prefix():
    assert split_kind("model:resnet50@1") == ("model", "resnet50@1")
    assert split_kind("resnet50@1") == (None, "resnet50@1")
    assert split_kind("./strange:name.yaml") == (None, "./strange:name.yaml")
    with pytest.raises(ManifestError, match=r"Unknown kind 'modle'.* Did you mean 'model'"):
        split_kind("modle:resnet50")


def test_names_of_references_and_documents_agree():
    pattern = Slug.__metadata__[0].pattern
    assert pattern.strip("^$") + "\\Z" == NAME.pattern


numbers = st.integers(0, 999_999_999)
versions = st.builds(
    lambda release, pre: ".".join(map(str, release)) + pre,
    st.tuples(numbers, numbers, numbers),
    st.just("") | st.builds("-{}.{}".format, st.sampled_from(["alpha", "beta", "rc"]), numbers),
)
partials = st.builds("{}".format, numbers) | st.builds("{}.{}".format, numbers, numbers)
comparators = st.builds(
    "{}{}".format, st.sampled_from([">=", "<=", ">", "<", "==", "!="]), versions | partials
)
constraints = versions | partials | st.lists(comparators, min_size=1, max_size=3).map(",".join)
names = st.from_regex(NAME.pattern, fullmatch=True).filter(
    lambda name: len(name) <= 64 and not name.endswith((".yaml", ".yml", ".onnx"))
)


@given(names, constraints)
def test_parsing_undoes_writing(name, constraint):
    reference = NamedReference(name, Constraint(constraint))
    assert parse_reference(str(reference)) == reference


@given(st.text(max_size=30))
def test_any_text_is_a_reference_or_a_manifest_error(text):
    try:
        reference = parse_reference(text)
    except ManifestError:
        return
    assert parse_reference(str(reference)) == reference


@given(versions, versions)
def test_order_is_by_numbers_then_prereleases_before_the_release(left, right):
    def key(version: str) -> tuple:
        release, _, pre = version.partition("-")
        stage, _, number = pre.partition(".")
        rank = ["alpha", "beta", "rc", ""].index(stage)
        return (*map(int, release.split(".")), rank, int(number or 0))

    assert (ordered(left) < ordered(right)) == (key(left) < key(right))


@given(constraints, versions)
def test_prereleases_only_when_asked_for(constraint, version):
    if is_prerelease(version) and not is_prerelease(constraint):
        assert not parse_constraint(constraint).allows(version)
    assert parse_constraint(version).allows(version)
