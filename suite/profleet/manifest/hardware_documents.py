"""The hardware document: a machine to measure on, or a device known by its parameters.

Every number is a `Figure`: value, unit, evidence, where it comes from, and what other sources say
instead. ``kind`` decides which device model executes it, and the section of that name holds what
only that model needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator
from typing_extensions import TypedDict

from profleet.errors import did_you_mean
from profleet.hardware.settings import SETTINGS, SettingName
from profleet.manifest.fields import Evidence, Provenance, Quantity, Semver, Slug, Strict, Text
from profleet.manifest.units import Dimension, base_value

Basis = Literal["datasheet", "measured", "derived", "recalled"]
EVIDENCE_OF: dict[Basis, tuple[Evidence, ...]] = {
    "datasheet": ("modelled",),
    "measured": ("measured", "interpolated"),
    "derived": ("modelled", "calibrated"),
    "recalled": ("assumed",),
}
"""What may be called which evidence: a data sheet computes its peaks, nobody measured them."""

PeakType = Literal[
    "float64", "float32", "float16", "bfloat16", "float8", "float4", "int8", "int4"
]  # fmt: skip


class Stated(Quantity):
    """A number as one source states it."""

    provenance: Basis | None = Field(
        default=None,
        description="datasheet: the vendor's word; measured; derived: computed, the source says "
        "how; recalled: unchecked, so its evidence is 'assumed'",
    )

    @model_validator(mode="after")
    def _evidence_fits(self) -> Stated:
        if self.provenance is not None and self.evidence not in EVIDENCE_OF[self.provenance]:
            fitting = " or ".join(f"'{each}'" for each in EVIDENCE_OF[self.provenance])
            raise ValueError(
                f"a number that is {self.provenance} has the evidence {fitting}, not "
                f"'{self.evidence}'"
            )
        return self


class Figure(Stated):
    """A number, with what other sources say instead of it."""

    alternatives: tuple[Stated, ...] = Field(
        default=(), description="what other sources state; the value is the one that is used"
    )

    @property
    def base(self) -> float:
        """The value in its base unit: operations/s, bytes, bytes/s, W, s, Hz, J or 1."""
        return base_value(float(self.value), self.unit)


class _Check:
    """Checks unit and sign of a figure of a dimension, its alternatives included."""

    def __init__(self, dimension: Dimension, *, zero: bool = False) -> None:
        self.dimension, self.zero = dimension, zero

    def __call__(self, figure: Figure) -> Figure:
        for each in (figure, *figure.alternatives):
            value = base_value(float(each.value), each.unit, self.dimension)
            if value < 0 or (value == 0 and not self.zero):
                must = "must not be negative" if self.zero else "must be above 0"
                raise ValueError(f"{each.value} {each.unit} is impossible: it {must}")
        if self.dimension == "share" and figure.base > 1:
            raise ValueError(f"{figure.value} is impossible: a share is at most 1")
        return figure


Rate = Annotated[Figure, AfterValidator(_Check("rate"))]
Size = Annotated[Figure, AfterValidator(_Check("size"))]
Bandwidth = Annotated[Figure, AfterValidator(_Check("bandwidth"))]
Power = Annotated[Figure, AfterValidator(_Check("power", zero=True))]
PeakPower = Annotated[Figure, AfterValidator(_Check("power"))]
Time = Annotated[Figure, AfterValidator(_Check("time", zero=True))]
Frequency = Annotated[Figure, AfterValidator(_Check("frequency"))]
Energy = Annotated[Figure, AfterValidator(_Check("energy", zero=True))]
Share = Annotated[Figure, AfterValidator(_Check("share"))]
Count = Annotated[Figure, AfterValidator(_Check("count"))]
CountOrNone = Annotated[Figure, AfterValidator(_Check("count", zero=True))]


class MachineSetting(Strict):
    """A setting of the machine for the time of a measurement (`profleet hardware setup`)."""

    setting: SettingName
    value: str = Field(
        description="; ".join(f"{name}: {', '.join(it.values)}" for name, it in SETTINGS.items())
    )

    @model_validator(mode="after")
    def _possible(self) -> MachineSetting:
        known = SETTINGS[self.setting].values
        if self.value not in known:
            raise ValueError(
                f"{self.setting} has no value '{self.value}'. {did_you_mean(self.value, known)}"
            )
        return self


class MemorySection(TypedDict, total=False):
    """The memory that holds weights and activations."""

    capacity: Size
    bandwidth: Bandwidth


class PowerSection(TypedDict, total=False):
    """Power of the device that executes: at rest, at most, and the mean while it works."""

    idle: Power
    peak: PeakPower
    mean: PeakPower


class OverheadSection(TypedDict, total=False):
    """What software takes: for every layer, and once for every invocation."""

    layer: Time
    invocation: Time


class EnergySection(TypedDict, total=False):
    """Dynamic energy of a multiply-accumulate and of a byte from memory."""

    mac: Energy
    byte: Energy


class Link(Strict):
    """A connection to the host, to a peer or to the network. Bandwidth of one direction."""

    to: Literal["host", "peer", "network"]
    name: Text
    bandwidth: Bandwidth | None = None


class FitError(Strict):
    """How far predictions were from the points: quantiles of ``|predicted / given - 1|``.

    Points lay between ``low`` and ``high`` times the prediction in a share ``coverage``. Only what
    was ``held_out`` is claimed of further predictions.
    """

    points: Annotated[int, Field(gt=0)]
    median: Annotated[float, Field(ge=0)]
    p90: Annotated[float, Field(ge=0)]
    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]
    coverage: Annotated[float, Field(gt=0, le=1)]
    held_out: bool = Field(description="whether the fit had not seen the points")


class Calibration(Strict):
    """Parameters that were fitted to measurements, and how well the model does with them."""

    compute_efficiency: Share | None = None
    memory_efficiency: Share | None = None
    fitted_on: Text
    models: tuple[Slug, ...] = Field(
        default=(), description="models that the error is of; none: single layers only"
    )
    dtypes: tuple[PeakType, ...] | None = Field(
        default=None, description="precisions that the error is of; absent: any"
    )
    error: FitError | None = None
    beyond: Text | None = Field(
        default=None, description="what is known of other models and precisions, if anything"
    )

    def covers(self, model: str, dtype: str | None) -> bool:
        """Whether the error is of this model in this precision. None: there is but one."""
        return model in self.models and (
            dtype is None or self.dtypes is None or dtype in self.dtypes
        )

    @property
    def scope(self) -> str:
        """What the error is of, for people."""
        models = ", ".join(self.models) or "single layers"
        return models if self.dtypes is None else f"{models} in {', '.join(self.dtypes)}"


class SystolicSection(Strict):
    """An array of multiply-accumulators through which operands move."""

    rows: Count
    columns: Count
    dataflow: Literal["weight", "output", "input"]
    clock: Frequency
    buffer: Size | None = Field(default=None, description="on-chip; absent: everything fits")
    lanes: Count | None = Field(default=None, description="scalar operations a cycle")


class SocSection(Strict):
    """The system around an engine: how tiles travel, and what software takes to prepare them."""

    interface: Literal["dma", "acp"] = "dma"
    pipelined: bool = True
    accelerators: Count | None = None
    threads: Count | None = None
    dma_bandwidth: Bandwidth | None = None
    acp_bandwidth: Bandwidth | None = None
    dma_setup: Time | None = None
    line: Size | None = None
    flush: Time | None = None
    memcpy_bandwidth: Bandwidth | None = None
    copy_call: Time | None = None
    invoke: Time | None = None
    operator: Time | None = None


class NvdlaLikeSection(Strict):
    """A convolution engine of dot-product units; `profleet.hardware.devices` has the equations."""

    clock: Frequency
    kernels: Count
    channels: Count
    taps: Count | None = None
    sweep: Literal["output", "input"] = "output"
    interval: Count | None = Field(default=None, description="cycles a pixel")
    drain: CountOrNone | None = Field(default=None, description="cycles a row on top")
    lanes: Count | None = None
    port: Count | None = Field(default=None, description="weights a cycle from a scratchpad")
    unpack: CountOrNone | None = Field(default=None, description="cycles to convert an element")
    weight_tile: Time | None = Field(default=None, description="loading the weights used at once")
    pad: Size | None = Field(default=None, description="each scratchpad")
    soc: SocSection | None = None


class CoreArraySection(Strict):
    """Cores that each do one multiply-accumulate a tick, and a latency charged once a request."""

    cores: Count
    clock: Frequency
    granularity: Count | None = Field(default=None, description="shortest product handed out")
    datapath: dict[Slug, Time] = Field(
        default_factory=dict, description="latency before the first layer of a request, by model"
    )
    default_datapath: Time | None = Field(default=None, description="of models not listed")


class CimSection(Strict):
    """Arrays of memory cells that multiply where the weights are."""

    clock: Frequency
    buffer_bandwidth: Bandwidth
    array_rows: Count
    array_columns: Count
    cell_bits: Count
    weight_bits: Count
    input_bits: Count
    columns_per_adc: Count
    element_side: Count | None = Field(default=None, description="arrays along an edge")
    tile_side: Count | None = Field(default=None, description="arrays along an edge")
    accumulate: CountOrNone | None = Field(default=None, description="share of conversion time")
    vector: Time | None = Field(default=None, description="fixed cost of an input vector")
    lanes: Count | None = Field(default=None, description="scalar operations a cycle")
    joule_per_read: Energy | None = Field(default=None, description="one array in one pass")
    leakage: Power | None = None


Kind = Literal["measured", "roofline", "systolic", "nvdla_like", "core_array", "cim"]
SECTIONS = ("systolic", "nvdla_like", "core_array", "cim")


class Hardware(Strict):
    """A machine or accelerator. ``detect: local`` takes a snapshot of this machine at run time."""

    schema_: Literal["profleet/hardware/v1"] = Field(alias="schema")
    name: Slug
    version: Semver
    description: Text = Field(description="what it is, in a sentence or two; lists show the first")
    provenance: Provenance
    kind: Kind = Field(
        description="measured: what executes is the real thing; else the device model that "
        "predicts it"
    )
    detect: Literal["local"] | None = Field(
        default=None, description="local: take a snapshot of this machine at run time"
    )
    setup: tuple[MachineSetting, ...] = Field(
        default=(), description="settings of this machine while it measures, with setup=apply"
    )
    aliases: tuple[Text, ...] = Field(
        default=(), description="what other people's results call it, letter by letter"
    )
    peaks: dict[PeakType, Rate] = Field(
        default_factory=dict, description="dense operations/s by dtype; a MAC is two"
    )
    memory: MemorySection = Field(
        default_factory=MemorySection, description="of the device that executes"
    )
    links: tuple[Link, ...] = Field(default=(), description="to host, peers and network")
    power: PowerSection = Field(
        default_factory=PowerSection, description="of the device that executes"
    )
    overheads: OverheadSection = Field(
        default_factory=OverheadSection, description="of driver and framework"
    )
    energy: EnergySection = Field(default_factory=EnergySection, description="dynamic, by event")
    systolic: SystolicSection | None = Field(default=None, description="for kind systolic")
    nvdla_like: NvdlaLikeSection | None = Field(default=None, description="for kind nvdla_like")
    core_array: CoreArraySection | None = Field(default=None, description="for kind core_array")
    cim: CimSection | None = Field(default=None, description="for kind cim")
    calibration: Calibration | None = Field(
        default=None, description="what was fitted, on what, and the error that is left"
    )
    price: Figure | None = Field(default=None, description="per hour, or to buy: the unit says")

    @model_validator(mode="after")
    def _setup_of_this_machine(self) -> Hardware:
        names = [item.setting for item in self.setup]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"setup names '{twice[0]}' twice")
        if self.setup and self.detect != "local":
            raise ValueError("setup is of this machine: it needs 'detect: local'")
        return self

    @model_validator(mode="after")
    def _complete(self) -> Hardware:
        for section in SECTIONS:
            present = getattr(self, section) is not None
            if present and self.kind != section:
                raise ValueError(f"{section}: this section is not for kind {self.kind}")
            if not present and self.kind == section:
                raise ValueError(f"{section}: kind {section} needs this section")
        if self.kind == "roofline" and not self.peaks:
            raise ValueError("peaks: a roofline needs the peak of at least one dtype")
        if self.kind in {"roofline", "systolic", "nvdla_like"} and "bandwidth" not in self.memory:
            raise ValueError(f"memory.bandwidth: kind {self.kind} needs it")
        if self.kind != "measured" and self.detect:
            raise ValueError(f"detect: what is {self.kind} is not detected")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Hardware:
        idle, peak = self.power.get("idle"), self.power.get("peak")
        if idle and peak and idle.base > peak.base:
            raise ValueError(f"power.idle: {idle.value} {idle.unit} is more than the peak")
        if ("mac" in self.energy) != ("byte" in self.energy):
            raise ValueError("energy: 'mac' and 'byte' belong together; give both or neither")
        if self.price is not None and self.price.value < 0:
            raise ValueError(f"price: {self.price.value} {self.price.unit} is negative")
        if self.kind != "measured":
            for path, figure in figures(self):
                if figure.provenance is None:
                    raise ValueError(
                        f"{path}: say its provenance: datasheet, measured, derived or recalled"
                    )
        return self


def figures(part: object, path: str = "") -> Iterator[tuple[str, Figure]]:
    """Yield every number of a hardware document with its path, in the order of the document."""
    if isinstance(part, Figure):
        yield path, part
        return
    if isinstance(part, BaseModel):
        items = [(name, getattr(part, name)) for name in type(part).model_fields]
    elif isinstance(part, dict):
        items = list(part.items())
    elif isinstance(part, tuple):
        items = [(str(index), item) for index, item in enumerate(part)]
    else:
        return
    for name, item in items:
        yield from figures(item, f"{path}.{name}" if path else name)
