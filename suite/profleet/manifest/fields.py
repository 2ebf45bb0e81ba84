"""Types that several documents share: names, versions, digests, numbers with their evidence."""

from __future__ import annotations

from typing import Annotated, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from profleet.manifest.versions import SEMVER, SEMVER_PATTERN

DTYPES = (
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool",
)  # fmt: skip


def _semver(value: str) -> str:
    if not SEMVER.match(value):
        raise ValueError(f"'{value}' is not a semantic version such as 1.2.0 or 1.2.0-rc.1")
    return value


def _specifier(value: str) -> str:
    try:
        SpecifierSet(value)
    except InvalidSpecifier:
        raise ValueError(f"'{value}' is not a version range such as >=1.20,<2") from None
    return value


Slug = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$", max_length=64),
    Field(description="lower-case letters and digits, joined by '.', '_' or '-'"),
]
Semver = Annotated[
    str,
    AfterValidator(_semver),
    WithJsonSchema({"type": "string", "pattern": SEMVER_PATTERN}),
    Field(description="semantic version, e.g. 1.2.0 or 1.2.0-rc.1"),
]
VersionRange = Annotated[
    str, AfterValidator(_specifier), Field(description="version range, e.g. >=1.20,<2")
]
Sha256 = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
    Field(description="sha256 as 64 lower-case hexadecimal digits"),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Scalar = bool | int | float | str
Evidence = Literal["measured", "interpolated", "calibrated", "modelled", "assumed"]
DType = Literal["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]


class Strict(BaseModel):
    """Base of every part of a document: immutable, no unknown keys, finite numbers only."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, populate_by_name=True
    )


class Quantity(Strict):
    """A number with its unit, its evidence and where it comes from."""

    value: float | int
    unit: str = Field(min_length=1, description="SI unit or a common derived one, e.g. GB/s")
    evidence: Evidence
    source: Text


class License(Strict):
    """SPDX identifier of the license of what the manifest names, and where it is stated."""

    id: str = Field(min_length=1, description="SPDX license identifier")
    source: Text


class Provenance(Strict):
    """Where the content of the manifest comes from."""

    source: Text
    references: tuple[Text, ...] = ()
    notes: Text | None = None
