"""The workbench on which ONNX operators become torch calls in a ``torch.fx`` graph.

A value is one of three things:

- a ``torch.Tensor``: known at import (a weight, or computed from weights alone);
- a ``torch.fx.Node``: known at run time only;
- ``Dims``: integers of which some are known at import and some are nodes that yield a Python
  integer at run time. The shape arithmetic of a graph (Shape, Gather, Concat, Reshape ...) turns
  into plain integers this way, as a person would write it, and never touches a device.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from profleet_runner.frameworks import Unsupported
from profleet_runner.frameworks.torch_model import TensorType

_NAMES_TAKEN = frozenset(dir(fx.GraphModule))


@dataclass(frozen=True)
class Dims:
    """An integer or boolean array whose cells are Python numbers or nodes that yield one."""

    cells: npt.NDArray[np.object_]
    dtype: torch.dtype = torch.int64

    @property
    def known(self) -> bool:
        """Whether no cell waits for the run."""
        return not any(isinstance(cell, fx.Node) for cell in self.cells.flat)


Value: TypeAlias = torch.Tensor | fx.Node | Dims


@dataclass(frozen=True)
class Operation:
    """One ONNX node: its type, name, attributes as Python values, outputs, and the opset."""

    kind: str
    name: str
    attributes: dict[str, Any]
    outputs: list[str]
    opset: int

    def get(self, attribute: str, default: Any = None) -> Any:
        """Return an attribute, or its default."""
        return self.attributes.get(attribute, default)

    def unsupported(self, what: str) -> Unsupported:
        """Return the error that says what of this node is not covered."""
        return Unsupported(
            f"operator {self.kind} (node '{self.name}') with {what} "
            "is not covered by the torch runner"
        )


Rule: TypeAlias = Callable[..., Any]
"""``rule(lowering, operation, *inputs)`` returns the output value, or a tuple of them."""

RULES: dict[str, Rule] = {}


def rule(*kinds: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of these operators of the default domain."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


class Lowering:
    """A ``torch.fx`` graph in the making."""

    def __init__(self, device: torch.device) -> None:
        self.graph = fx.Graph()
        self.root = torch.nn.Module()
        self.device = device
        self._types: dict[fx.Node, TensorType] = {}
        self._names: dict[int, str] = {}
        self._constants: dict[int, tuple[torch.Tensor, fx.Node]] = {}

    # Making values

    def placeholder(self, name: str, known: TensorType) -> fx.Node:
        """Add an input of the graph."""
        node = self.graph.placeholder(_identifier(name))
        self._types[node] = known
        return node

    def named(self, name: str, value: Value) -> Value:
        """Name a constant after its ONNX value; ``Dims`` without nodes become a constant."""
        if isinstance(value, Dims) and value.known:
            value = torch.tensor(value.cells.tolist(), dtype=value.dtype)
        if isinstance(value, torch.Tensor):
            self._names.setdefault(id(value), name)
        return value

    def learn(self, value: Any, known: TensorType) -> Any:
        """Add to what is known of a node's type; return the node."""
        if not isinstance(value, fx.Node):
            return value
        before = self._types.get(value, TensorType(None, None))
        shape = known.shape if before.shape is None else before.shape
        if shape is not None and known.shape is not None and len(shape) == len(known.shape):
            shape = tuple(b if a is None else a for a, b in zip(shape, known.shape, strict=True))
        self._types[value] = TensorType(before.dtype or known.dtype, shape)
        return value

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function on values: now when all of them are known, else when the graph runs."""
        if not _waits((args, kwargs)):
            with torch.no_grad():
                return function(*_settle(args), **_settle(kwargs))
        return self.graph.call_function(function, self._lower(args), self._lower(kwargs))

    def create(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function that makes a tensor out of numbers, on the right device."""
        device = self.device if _waits((args, kwargs)) else torch.device("cpu")
        return self.call(function, *args, device=device, **kwargs)

    def output(self, values: list[Value]) -> None:
        """Add the outputs of the graph."""
        self.graph.output(tuple(self._lower(values)))

    # Asking about values

    def type(self, value: Value) -> TensorType:
        """Return what is known of a value before the run."""
        if isinstance(value, torch.Tensor):
            return TensorType(value.dtype, tuple(value.shape))
        if isinstance(value, Dims):
            return TensorType(value.dtype, value.cells.shape)
        return self._types.get(value, TensorType(None, None))

    def dtype(self, value: Value) -> torch.dtype | None:
        """Data type of a value, if known."""
        return self.type(value).dtype

    def shape(self, value: Value) -> tuple[int | None, ...] | None:
        """Shape of a value with None for each unknown dimension; None if the rank is unknown."""
        return self.type(value).shape

    def known_shape(self, value: Value) -> tuple[int, ...] | None:
        """Shape of a value if every dimension is known, else None."""
        known = tuple(size for size in self.shape(value) or () if size is not None)
        return known if len(known) == self.rank(value) else None

    def rank(self, value: Value) -> int | None:
        """Number of dimensions of a value, if known."""
        shape = self.shape(value)
        return None if shape is None else len(shape)

    def size(self, value: Value, axis: int) -> Any:
        """One dimension of a tensor: an integer if known, else a node that yields it."""
        shape = self.shape(value)
        known = None if shape is None else shape[axis]
        return self.graph.call_method("size", (value, axis)) if known is None else known

    def numbers(self, value: Value | None) -> Any:
        """Return a value as a (nested) list of Python numbers or nodes; None stays None.

        A value that exists at run time only gives one node that yields the list.
        """
        if value is None:
            return None
        if isinstance(value, Dims):
            return value.cells.tolist()
        return self.call(torch.Tensor.tolist, value)

    def dims(self, value: Value | None) -> Dims | None:
        """Return integers known at import as ``Dims``, anything else as None."""
        if isinstance(value, Dims):
            return value
        if not isinstance(value, torch.Tensor) or value.is_floating_point():
            return None
        return Dims(np.array(value.tolist(), dtype=object), value.dtype)

    def all_dims(self, *values: Value | None) -> list[Dims] | None:
        """Return all values as ``Dims`` when they allow it and at least one of them needs it."""
        if not any(isinstance(value, Dims) for value in values):
            return None
        found = [self.dims(value) for value in values]
        return None if None in found else [dims for dims in found if dims is not None]

    def dims_call(
        self, function: Callable[..., Any], *values: Dims, dtype: torch.dtype | None = None
    ) -> Dims:
        """Apply a function of Python numbers cell by cell, with broadcasting."""

        def cell(*cells: Any) -> Any:
            return self.call(function, *cells)

        cells = np.frompyfunc(cell, len(values), 1)(*(value.cells for value in values))
        boxed = np.empty(np.shape(cells), dtype=object)
        boxed[...] = cells
        return Dims(boxed, dtype or values[0].dtype)

    def scalars(self, *values: Value) -> list[Any]:
        """Replace constants of one element by Python numbers where that cannot change the result.

        It cannot when another operand is a run-time tensor of at least the constant's rank.
        """
        ranks = [self.rank(value) or 0 for value in values if isinstance(value, fx.Node)]
        if not ranks:
            return list(values)
        return [
            value.item()
            if isinstance(value, torch.Tensor)
            and value.numel() == 1
            and value.dtype != torch.bool
            and value.dim() <= max(ranks)
            else value
            for value in values
        ]

    # Into the graph

    def _lower(self, argument: Any) -> Any:
        if isinstance(argument, torch.Tensor):
            return self._constant(argument)
        if isinstance(argument, Dims):
            return self.graph.call_function(
                torch.tensor,
                (argument.cells.tolist(),),
                {"dtype": argument.dtype, "device": self.device},
            )
        if isinstance(argument, list | tuple):
            return type(argument)(self._lower(item) for item in argument)
        if isinstance(argument, dict):
            return {key: self._lower(item) for key, item in argument.items()}
        return argument

    def _constant(self, tensor: torch.Tensor) -> fx.Node:
        if id(tensor) not in self._constants:
            hint = name = _identifier(self._names.get(id(tensor), "constant"))
            count = 0
            while name in _NAMES_TAKEN or hasattr(self.root, name):
                count += 1
                name = f"{hint}_{count}"
            if tensor.is_floating_point():
                parameter = torch.nn.Parameter(tensor.contiguous(), requires_grad=False)
                self.root.register_parameter(name, parameter)
            else:
                self.root.register_buffer(name, tensor.contiguous())
            self._constants[id(tensor)] = (tensor, self.graph.get_attr(name))
        return self._constants[id(tensor)][1]


def _waits(argument: Any) -> bool:
    if isinstance(argument, fx.Node):
        return True
    if isinstance(argument, Dims):
        return not argument.known
    if isinstance(argument, list | tuple):
        return any(_waits(item) for item in argument)
    if isinstance(argument, dict):
        return any(_waits(item) for item in argument.values())
    if isinstance(argument, slice):
        return _waits((argument.start, argument.stop, argument.step))
    return False


def _settle(argument: Any) -> Any:
    """Replace ``Dims`` without nodes by tensors."""
    if isinstance(argument, Dims):
        return torch.tensor(argument.cells.tolist(), dtype=argument.dtype)
    if isinstance(argument, list | tuple):
        return type(argument)(_settle(item) for item in argument)
    if isinstance(argument, dict):
        return {key: _settle(item) for key, item in argument.items()}
    return argument


def _identifier(name: str) -> str:
    cleaned = re.sub(r"\W", "_", name, flags=re.ASCII)
    return cleaned if cleaned[:1].isalpha() else f"v_{cleaned}"


__all__ = ["RULES", "Dims", "Lowering", "Operation", "Value", "rule"]
