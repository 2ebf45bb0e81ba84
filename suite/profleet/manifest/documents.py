"""The four documents: model, framework, hardware and suite. Schema line: ``profleet/<kind>/v1``.

A manifest says *what*; it holds no interpolation, no code and no callable, so a stranger's
manifest can be loaded safely. Unknown keys are refused.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from profleet.manifest.fields import (
    DTYPES,
    DType,
    Evidence,
    License,
    Provenance,
    Quantity,
    Scalar,
    Semver,
    Sha256,
    Slug,
    Strict,
    Text,
    VersionRange,
)
from profleet.manifest.hardware_documents import Hardware, MachineSetting
from profleet.manifest.kinds import Kind

__all__ = [
    "DOCUMENTS", "DTYPES", "Artifact", "BuilderSource", "Check", "Container", "DType", "Document",
    "DynamicBatch", "Evidence", "FileSource", "Framework", "Hardware", "Image", "Input", "License",
    "MachineSetting", "Matrix", "Model", "Output", "PackageSource", "Provenance", "Quantity",
    "ReferenceOutput", "SeededWeights", "Semver", "Sha256", "Slug", "Source", "Strict", "Suite",
    "SuiteMeasure", "Transform", "Values",
]  # fmt: skip


# -- model -----------------------------------------------------------------------------------


class SeededWeights(Strict):
    """Replace constant placeholder weights by seeded uniform ones (He scaling by fan-in)."""

    kind: Literal["seeded_weights"]
    seed: int = Field(ge=0)


class DynamicBatch(Strict):
    """Make the first axis of every input and output the symbol ``batch``."""

    kind: Literal["dynamic_batch"]


Transform = Annotated[SeededWeights | DynamicBatch, Field(discriminator="kind")]


class PackageSource(Strict):
    """A file inside a published Python package, taken from the installed one or from its wheel."""

    kind: Literal["package"]
    package: str = Field(min_length=1, description="distribution name on the package index")
    version: str = Field(min_length=1, description="the exact release that carries the file")
    path: str = Field(min_length=1, description="path inside the wheel, with forward slashes")
    sha256: Sha256
    transforms: tuple[Transform, ...] = ()


class FileSource(Strict):
    """A local file; a relative path is relative to the manifest."""

    kind: Literal["file"]
    path: str = Field(min_length=1)
    sha256: Sha256
    transforms: tuple[Transform, ...] = ()


class BuilderSource(Strict):
    """A network built here by a named builder with seeded weights."""

    kind: Literal["builder"]
    builder: Slug
    arguments: dict[str, Scalar | list[int]] = Field(default_factory=dict)
    seed: int = Field(ge=0)


Source = Annotated[PackageSource | FileSource | BuilderSource, Field(discriminator="kind")]


class Artifact(Strict):
    """The file that every framework executes, after all transforms."""

    format: Literal["onnx"] = "onnx"
    sha256: Sha256
    bytes: int = Field(gt=0)


class Values(Strict):
    """How the values of an input are drawn (seeded, outside the measured region).

    ``uniform`` in [low, high) for floats; ``integers`` in [low, high) ; ``constant`` repeats
    ``value``.
    """

    kind: Literal["uniform", "integers", "constant"]
    low: float | int | None = None
    high: float | int | None = None
    value: float | int | bool | None = None

    @model_validator(mode="after")
    def _complete(self) -> Values:
        if self.kind == "constant":
            if self.value is None or self.low is not None or self.high is not None:
                raise ValueError("constant values need 'value', and neither 'low' nor 'high'")
        elif self.low is None or self.high is None or self.value is not None:
            raise ValueError(f"{self.kind} values need 'low' and 'high', and no 'value'")
        elif self.low >= self.high:
            raise ValueError(f"'low' ({self.low}) must be below 'high' ({self.high})")
        return self


Dimension = Annotated[int, Field(gt=0)] | Literal["batch"]


class Output(Strict):
    """An output tensor; an axis the graph leaves open is written ``dynamic``."""

    name: str = Field(min_length=1)
    dtype: DType
    shape: tuple[Dimension | Literal["dynamic"], ...]


class Input(Strict):
    """An input tensor: the symbol ``batch`` takes the batch size, the rest is fixed."""

    name: str = Field(min_length=1)
    dtype: DType
    shape: tuple[Dimension, ...]
    values: Values


class ReferenceOutput(Strict):
    """What the reference execution gave for one output.

    ``sha256`` is the digest of the raw little-endian bytes (equal only where a stack reproduces
    the reference bit by bit). ``values`` are the elements at ``positions`` of the flattened
    output; with ``mean``, ``std`` and ``abs_max`` they are what other frameworks are compared
    with, within the tolerance of the check.
    """

    shape: tuple[int, ...]
    sha256: Sha256
    positions: tuple[int, ...]
    values: tuple[float, ...]
    mean: float
    std: float
    abs_max: float

    @model_validator(mode="after")
    def _paired(self) -> ReferenceOutput:
        if len(self.positions) != len(self.values):
            raise ValueError("'positions' and 'values' must have the same length")
        return self


class Check(Strict):
    """The numeric check: every framework must agree with the reference within the tolerance.

    A value v agrees with the reference r when ``|v - r| <= atol + rtol * abs_max``.
    """

    seed: int = Field(ge=0)
    batch: int = Field(gt=0)
    producer: Text
    rtol: float = Field(gt=0, le=0.1)
    atol: float = Field(ge=0)
    outputs: dict[str, ReferenceOutput] = Field(min_length=1)


class Model(Strict):
    """A network: where it comes from, its tensors, and the numbers it must produce."""

    schema_: Literal["profleet/model/v1"] = Field(alias="schema")
    name: Slug
    version: Semver
    description: Text = Field(description="what it is, in a sentence or two; lists show the first")
    task: Slug = Field(description="what the network is for, e.g. image-classification")
    license: License
    provenance: Provenance
    source: Source = Field(description="where the graph comes from")
    artifact: Artifact
    inputs: tuple[Input, ...] = Field(min_length=1, description="in the order of the graph")
    outputs: tuple[Output, ...] = Field(min_length=1, description="in the order of the graph")
    frameworks: tuple[Slug, ...] = Field(
        min_length=1, description="the runners this artifact claims to execute under"
    )
    not_supported: dict[Slug, Text] = Field(
        default_factory=dict, description="runner -> why the artifact does not execute under it"
    )
    batch_sizes: tuple[Annotated[int, Field(gt=0)], ...] | None = Field(
        default=None, description="the only batch sizes the graph takes; absent: any"
    )
    check: Check
    metadata: dict[Slug, Quantity] = Field(
        default_factory=dict, description="parameters, macs, accuracy ... each with its source"
    )


# -- framework -------------------------------------------------------------------------------


class Image(Strict):
    """A container image for one architecture, by digest once published."""

    ref: str = Field(min_length=1, description="name and tag under which an engine has it")
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")] | None = Field(
        default=None, description="of the manifest in a registry, or the id of a local image"
    )


class Container(Strict):
    """What a framework needs of its container beyond the hermetic default."""

    shm_size_mb: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="size of /dev/shm; absent: the engine's default, 64 MiB"
    )
    gpus: Literal["all"] | tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        default=None, description="GPUs by device request: all, or their indices or UUIDs"
    )
    devices: tuple[Annotated[str, StringConstraints(pattern=r"^[^/=]+/[^/=]+=[^/=]+$")], ...] = (
        Field(default=(), description="devices by CDI name, e.g. nvidia.com/gpu=0")
    )


class Framework(Strict):
    """An inference framework: packages, runner module, accelerator and options."""

    schema_: Literal["profleet/framework/v1"] = Field(alias="schema")
    name: Slug
    version: Semver
    description: Text = Field(description="what it is, in a sentence or two; lists show the first")
    license: License
    provenance: Provenance
    runner: Slug = Field(description="module of profleet_runner.frameworks that executes it")
    accelerator: Literal["cpu", "cuda"] = Field(description="where the graph executes")
    packages: dict[str, VersionRange] = Field(
        min_length=1, description="distribution -> range, that of the framework itself among them"
    )
    options: dict[str, Scalar] = Field(
        default_factory=dict, description="passed to the runner, which refuses unknown ones"
    )
    images: dict[Literal["amd64", "arm64"], Image] = Field(
        default_factory=dict, description="architecture -> container image"
    )
    container: Container = Container()


# -- suite -----------------------------------------------------------------------------------


class Matrix(Strict):
    """Every combination of the references listed is one stack."""

    models: tuple[str, ...] = Field(min_length=1, description="references, e.g. resnet50@1")
    frameworks: tuple[str, ...] = Field(min_length=1, description="references")
    hardware: tuple[str, ...] = Field(default=("local@1",), description="references")
    batch_sizes: tuple[Annotated[int, Field(gt=0)], ...] | None = Field(
        default=None, description="for these stacks, instead of the suite's"
    )


class SuiteMeasure(Strict):
    """Measurement settings of a suite: a preset of ``conf/measure`` and what differs from it."""

    preset: Slug = Field(default="standard", description="a name in conf/measure")
    batch_sizes: tuple[Annotated[int, Field(gt=0)], ...] = Field(default=(1,), min_length=1)
    overrides: dict[str, Scalar | list[float | int]] = Field(
        default_factory=dict, description="measurement setting -> value, instead of the preset's"
    )


class Suite(Strict):
    """Stacks by reference, how to measure them, and how far a reproduction may differ."""

    schema_: Literal["profleet/suite/v1"] = Field(alias="schema")
    name: Slug
    version: Semver
    description: Text = Field(description="what it is, in a sentence or two; lists show the first")
    provenance: Provenance
    stacks: tuple[Matrix, ...] = Field(min_length=1, description="what is measured, in order")
    measure: SuiteMeasure = SuiteMeasure()
    tolerances: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(
        default_factory=dict, description="metric name -> relative difference allowed"
    )


Document = Model | Framework | Hardware | Suite
DOCUMENTS: dict[Kind, type[Model] | type[Framework] | type[Hardware] | type[Suite]] = {
    "model": Model,
    "framework": Framework,
    "hardware": Hardware,
    "suite": Suite,
}
