"""Read the graph of an ONNX file without its weights.

Shapes and costs need the dimensions of a weight, not its values: a graph of 1.3 GB is parsed as
one of 200 kB. The file is walked in Protocol Buffers wire format (ModelProto.graph = 7,
GraphProto.initializer = 5; of a TensorProto dims = 1, data_type = 2 and name = 8 are kept), so
that nothing large is ever read, and a file cut short is noticed where it ends.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from profleet.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

SMALL = 4096
"""Bytes up to which an initializer keeps its values: shapes, axes and pads are that small."""

_GRAPH, _INITIALIZER = 7, 5  # of ModelProto, of GraphProto
_KEPT_OF_TENSOR = {1, 2, 8}
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class _CutError(Exception):
    """The data end inside a field."""


def read_skeleton(path: Path) -> onnx.ModelProto:
    """Return the model in ``path`` with initializers above ``SMALL`` bytes reduced to their type.

    Raises:
        ArtifactError: the file cannot be read, is cut short, or is no ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no stubs

    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise ArtifactError(f"{path} is empty, not an ONNX model. Obtain it again.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                parts = b"".join(_without_weights(data))
        model = onnx.ModelProto.FromString(parts)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from None
    except (_CutError, DecodeError):
        raise ArtifactError(
            f"{path} is truncated or not an ONNX model: it ends inside a field. Obtain it again."
        ) from None
    if not model.graph.node or not model.opset_import:  # cut between two fields
        raise ArtifactError(
            f"{path} is truncated or not an ONNX model: it has no graph or no operator set. "
            "Obtain it again."
        )
    return model


def _without_weights(model: mmap.mmap) -> Iterator[bytes]:
    """Yield a ModelProto field by field, its graph rewritten."""
    for number, start, body, stop in _fields(model, 0, len(model)):
        if number != _GRAPH:
            yield model[start:stop]
            continue
        graph = bytearray()
        for inner, first, content, last in _fields(model, body, stop):
            if inner == _INITIALIZER and last - content > SMALL:
                kept = _type_only(model, content, last)
                graph += _key(_INITIALIZER) + _varint(len(kept)) + kept
            else:
                graph += model[first:last]
        yield _key(_GRAPH) + _varint(len(graph)) + bytes(graph)


def _type_only(model: mmap.mmap, start: int, stop: int) -> bytes:
    """Return the TensorProto in ``model[start:stop]`` without its values."""
    kept = bytearray()
    for number, first, _, last in _fields(model, start, stop):
        if number in _KEPT_OF_TENSOR:
            kept += model[first:last]
    return bytes(kept)


def _fields(data: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, start, start of its body, end) of one message."""
    while position < end:
        start = position
        key, position = _read_varint(data, position, end)
        number, kind = key >> 3, key & 7
        body = position
        if kind == _LENGTH:
            size, body = _read_varint(data, position, end)
            position = body + size
        elif kind == _VARINT:
            _, position = _read_varint(data, position, end)
        elif kind in {_FIXED64, _FIXED32}:
            position += 8 if kind == _FIXED64 else 4
        else:
            raise _CutError
        if not number or position > end:
            raise _CutError
        yield number, start, body, position


def _read_varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value, shift = 0, 0
    while position < end and shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise _CutError


def _key(number: int) -> bytes:
    return _varint(number << 3 | _LENGTH)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
