"""What a device model knows of a network: one signature a layer, free of names and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from math import ceil, prod
from typing import Any, Literal

from profleet.errors import HardwareError, did_you_mean

DTYPE_BYTES: Mapping[str, float] = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8": 1, "float4": 0.5,
    "int64": 8, "uint64": 8, "int32": 4, "uint32": 4, "int16": 2, "uint16": 2,
    "int8": 1, "uint8": 1, "int4": 0.5, "uint4": 0.5, "bool": 1, "complex64": 8, "complex128": 16,
}  # fmt: skip
"""Bytes of one element."""

FLOATS = frozenset(name for name in DTYPE_BYTES if "float" in name)

Kind = Literal["conv", "gemm", "vector", "copy", "view"]


@dataclass(frozen=True)
class Conv:
    """A convolution. Leading spatial axes of 3-D ones are folded into rows; 1-D ones have 1 row.

    Sizes are elements: ``channels`` and ``filters`` are totals over all ``groups``, ``image`` and
    ``result`` are (rows, columns) of the unpadded input and of the output.
    """

    batch: int
    channels: int
    filters: int
    kernel: tuple[int, int]
    image: tuple[int, int]
    result: tuple[int, int]
    groups: int = 1

    @property
    def pixels(self) -> int:
        """Output positions of the whole batch."""
        return self.batch * self.result[0] * self.result[1]

    @property
    def taps(self) -> int:
        """Positions of the kernel."""
        return self.kernel[0] * self.kernel[1]

    @property
    def product(self) -> Gemm:
        """The same work as matrix products, one a group (im2col)."""
        inner = self.channels // self.groups * self.taps
        return Gemm(self.groups, self.pixels, inner, self.filters // self.groups)


@dataclass(frozen=True)
class Gemm:
    """``count`` products of a (rows x inner) and an (inner x columns) matrix."""

    count: int
    rows: int
    inner: int
    columns: int

    @property
    def product(self) -> Gemm:
        """Itself, as `Conv.product` of a convolution."""
        return self

    @property
    def macs(self) -> int:
        """Multiplications, each with its addition."""
        return self.count * self.rows * self.inner * self.columns


@dataclass(frozen=True)
class LayerSignature:
    """All that decides what a layer costs. Two layers are equal if they differ in ``name`` only.

    Attributes:
        name: of the node in the graph.
        op: ONNX operator, or several joined by ``+`` after fusion.
        dims: the loops of a convolution or matrix product; None for everything else.
        strides: (rows, columns) of a convolution or pooling, else (1, 1).
        dtype: element type of what is computed.
        macs: multiply-accumulate operations.
        ops: further scalar operations (additions, comparisons, exponentials: one each).
        input_bytes: read of tensors that the network computed, at least once.
        weight_bytes: read of tensors that are part of the model.
        output_bytes: written.
        integer_bytes: how much of input, weight and output is not floating point.
        view: the result is the input under another shape: nothing is read, written or computed.
    """

    name: str = field(compare=False)
    op: str
    dims: Conv | Gemm | None
    strides: tuple[int, int]
    dtype: str
    macs: int
    ops: int
    input_bytes: int
    weight_bytes: int
    output_bytes: int
    integer_bytes: tuple[int, int, int] = (0, 0, 0)
    view: bool = False

    def __post_init__(self) -> None:
        counts = (self.macs, self.ops, self.input_bytes, self.weight_bytes, self.output_bytes)
        if min(counts) < 0:
            raise HardwareError(f"Layer '{self.name}' has a negative size: {counts}.")

    @property
    def bytes(self) -> int:
        """Bytes read and written, each once."""
        return self.input_bytes + self.weight_bytes + self.output_bytes

    @property
    def kind(self) -> Kind:
        """What sort of work it is: every device model has an answer for each."""
        if self.view:
            return "view"
        if self.dims is None:
            return "vector" if self.ops else "copy"
        return "conv" if isinstance(self.dims, Conv) else "gemm"

    def cast(self, dtype: str) -> LayerSignature:
        """Return the layer with floating-point tensors stored and computed as ``dtype``.

        Raises:
            HardwareError: ``dtype`` is unknown.
        """
        if self.dtype == dtype or self.dtype not in FLOATS:
            return self
        ratio = bytes_of(dtype) / bytes_of(self.dtype)
        given = (self.input_bytes, self.weight_bytes, self.output_bytes)
        reading, weights, writing = (
            ceil((total - integer) * ratio) + integer
            for total, integer in zip(given, self.integer_bytes, strict=True)
        )
        return replace(
            self, dtype=dtype, input_bytes=reading, weight_bytes=weights, output_bytes=writing
        )


def bytes_of(dtype: str) -> float:
    """Return the bytes of an element.

    Raises:
        HardwareError: ``dtype`` is unknown.
    """
    try:
        return DTYPE_BYTES[dtype]
    except KeyError:
        raise HardwareError(
            f"Unknown dtype '{dtype}'. {did_you_mean(dtype, DTYPE_BYTES)}"
        ) from None


@dataclass(frozen=True, eq=False)
class Network:
    """The layers of a model at one batch size, in the order of the graph; compared by identity.

    Attributes:
        model: a name for people.
        batch: items per invocation.
        layers: one signature a layer.
        after: for every layer the indices of the layers whose results it reads.
    """

    model: str
    batch: int
    layers: tuple[LayerSignature, ...]
    after: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise HardwareError(f"A batch has at least one item, not {self.batch}.")
        if len(self.after) != len(self.layers) or any(
            not 0 <= index < here for here, found in enumerate(self.after) for index in found
        ):
            raise HardwareError(f"The layers of {self.model} are not in the order they depend on.")

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulate operations of one invocation."""
        return sum(layer.macs for layer in self.layers)

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of the model that one invocation reads."""
        return sum(layer.weight_bytes for layer in self.layers)

    def cast(self, dtype: str) -> Network:
        """Return the network in another floating-point precision (`LayerSignature.cast`)."""
        return replace(self, layers=tuple(layer.cast(dtype) for layer in self.layers))


def chain(model: str, batch: int, layers: list[LayerSignature]) -> Network:
    """Return a network whose layers follow one another."""
    after = tuple((index - 1,) if index else () for index in range(len(layers)))
    return Network(model, batch, tuple(layers), after)


# -- layers written by hand ----------------------------------------------------------------------


def conv_layer(
    name: str,
    *,
    channels: int,
    filters: int,
    kernel: tuple[int, int],
    image: tuple[int, int],
    strides: tuple[int, int] = (1, 1),
    padding: Literal["same", "valid"] = "same",
    batch: int = 1,
    groups: int = 1,
    dtype: str = "float32",
) -> LayerSignature:
    """Return the signature of a convolution (sizes in elements, ``image`` without padding).

    Raises:
        HardwareError: the kernel is larger than an unpadded image, or groups do not divide.
    """
    pairs = zip(image, kernel, strides, strict=True)
    rows, columns = (
        ceil(size / step) if padding == "same" else (size - reach) // step + 1
        for size, reach, step in pairs
    )
    if min(rows, columns, *strides, channels, filters) < 1 or channels % groups or filters % groups:
        raise HardwareError(f"Layer '{name}': no convolution has these sizes.")
    dims = Conv(batch, channels, filters, kernel, image, (rows, columns), groups)
    size = bytes_of(dtype)
    return LayerSignature(
        name, "Conv", dims, strides, dtype, dims.product.macs, 0,
        ceil(batch * channels * prod(image) * size),
        ceil(filters * (channels // groups) * dims.taps * size),
        ceil(dims.pixels * filters * size),
    )  # fmt: skip


def dense_layer(
    name: str, *, inputs: int, outputs: int, batch: int = 1, dtype: str = "float32"
) -> LayerSignature:
    """Return the signature of a fully connected layer of ``inputs`` x ``outputs`` weights."""
    dims = Gemm(1, batch, inputs, outputs)
    size = bytes_of(dtype)
    reading, weights, writing = batch * inputs, inputs * outputs, batch * outputs
    return LayerSignature(
        name, "Gemm", dims, (1, 1), dtype, dims.macs, 0,
        ceil(reading * size), ceil(weights * size), ceil(writing * size),
    )  # fmt: skip


def vector_layer(
    name: str, op: str, *, reads: int, writes: int, ops: int, dtype: str = "float32"
) -> LayerSignature:
    """Return the signature of element-wise work; ``reads`` and ``writes`` are elements."""
    size = bytes_of(dtype)
    return LayerSignature(
        name, op, None, (1, 1), dtype, 0, ops, ceil(reads * size), 0, ceil(writes * size)
    )


# -- as plain data -------------------------------------------------------------------------------


def to_plain(network: Network) -> dict[str, Any]:
    """Return ``network`` as JSON-ready data; equal layers are stored once."""
    known: dict[LayerSignature, int] = {}
    used = [known.setdefault(layer, len(known)) for layer in network.layers]
    unique = []
    for layer in known:
        plain = asdict(layer)
        del plain["name"]
        unique.append(plain | {"dims": plain["dims"] and list(plain["dims"].values())})
    kinds = [type(layer.dims).__name__ for layer in known]
    return {
        "model": network.model, "batch": network.batch, "signatures": unique, "kinds": kinds,
        "layers": used, "names": [layer.name for layer in network.layers],
        "after": [list(found) for found in network.after],
    }  # fmt: skip


def from_plain(plain: Mapping[str, Any]) -> Network:
    """Return what `to_plain` was given. ValueError, KeyError or TypeError: it is something else."""
    unique = [
        _layer(given, kind) for given, kind in zip(plain["signatures"], plain["kinds"], strict=True)
    ]
    layers = tuple(
        replace(unique[index], name=name)
        for index, name in zip(plain["layers"], plain["names"], strict=True)
    )
    return Network(plain["model"], plain["batch"], layers, tuple(map(tuple, plain["after"])))


def _layer(given: Mapping[str, Any], kind: str) -> LayerSignature:
    if set(given) != {one.name for one in fields(LayerSignature)} - {"name"}:
        raise ValueError("not a layer signature")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in given.items()
    }
    loops: list[Any] = [tuple(one) if isinstance(one, list) else one for one in given["dims"] or ()]
    dims = {"Conv": Conv, "Gemm": Gemm}.get(kind)
    return LayerSignature(name="", **(values | {"dims": dims and dims(*loops)}))
