"""What each ONNX operator costs: its loops, scalar operations, and the bytes it touches.

One rule an operator. Unless a rule says otherwise a node reads all elements of its data inputs
and writes all of its outputs. Scalar operations are counted per element: one for an addition,
a comparison or an exponential alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from profleet.hardware.layers import Conv, Gemm
from profleet.hardware.shapes import Node, Tensor


@dataclass(frozen=True)
class Work:
    """The work of one node.

    Attributes:
        ops: scalar operations beside the multiply-accumulates.
        dims: the loops of a convolution or matrix product.
        strides: (rows, columns) of a window.
        data: how many of the leading inputs hold data; the rest are settings such as axes.
        touched: elements read of the first input, where that is not all of it.
        view: nothing moves.
    """

    ops: int = 0
    dims: Conv | Gemm | None = None
    strides: tuple[int, int] = (1, 1)
    data: int | None = None
    touched: int | None = None
    view: bool = False


Rule = Callable[[Node], Work]
"""ValueError: the node's tensors do not belong together."""


def _first(node: Node) -> Tensor:
    return node.given[0]


def _written(node: Node) -> int:
    return sum(one.size for one in node.outputs)


def _meet(left: int, right: int) -> None:
    if left != right:
        raise ValueError(f"sizes {left} and {right} have to be equal")


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    """Fold the spatial axes of any rank into (rows, columns)."""
    return (prod(sizes[:-1]), sizes[-1]) if sizes else (1, 1)


def _ints(node: Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(node.attributes.get(name) or default)


def _last_pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    return (sizes[-2], sizes[-1]) if len(sizes) > 1 else (1, sizes[0])


# -- convolutions and matrix products ------------------------------------------------------------


def _conv(image_at: int, kernel_at: int, bias_at: int) -> Rule:
    def rule(node: Node) -> Work:
        image, kernel = node.inputs[image_at], node.inputs[kernel_at]
        if image is None or kernel is None:
            raise ValueError("it has no input or no kernel")
        _meet(image.shape[1], kernel.shape[1] * int(node.attributes.get("group", 1)))
        spatial = len(kernel.shape) - 2
        result = node.outputs[0].shape
        dims = Conv(
            batch=image.shape[0],
            channels=image.shape[1],
            filters=kernel.shape[0],
            kernel=_pair(kernel.shape[2:]),
            image=_pair(image.shape[2:]),
            result=_pair(result[2:]),
            groups=int(node.attributes.get("group", 1)),
        )
        biased = len(node.inputs) > bias_at and node.inputs[bias_at] is not None
        strides = _last_pair(_ints(node, "strides", (1,) * spatial))
        return Work(_written(node) if biased else 0, dims, strides)

    return rule


def _conv_transpose(node: Node) -> Work:
    """Every input pixel is multiplied with the whole kernel and scattered."""
    image, kernel = node.given[:2]
    _meet(image.shape[1], kernel.shape[0])
    groups = int(node.attributes.get("group", 1))
    pixels = image.shape[0] * prod(image.shape[2:])
    columns = prod(kernel.shape[1:])  # filters of a group x taps
    dims = Gemm(groups, pixels, image.shape[1] // groups, columns)
    strides = _last_pair(_ints(node, "strides", (1,) * (len(kernel.shape) - 2)))
    return Work(groups * pixels * columns, dims, strides)  # overlapping results are added


def _matmul(left_at: int, right_at: int) -> Rule:
    def rule(node: Node) -> Work:
        left, right = node.inputs[left_at], node.inputs[right_at]
        if left is None or right is None:
            raise ValueError("it has fewer than two factors")
        inner = left.shape[-1]
        _meet(inner, right.shape[-2] if len(right.shape) > 1 else right.shape[0])
        columns = right.shape[-1] if len(right.shape) > 1 else 1
        rows = max(1, prod(node.outputs[0].shape) // columns)
        if len(right.shape) <= 2:  # one matrix for the whole stack: a single tall product
            return Work(dims=Gemm(1, rows, inner, columns))
        height = left.shape[-2] if len(left.shape) > 1 else 1
        return Work(dims=Gemm(rows // height, height, inner, columns))

    return rule


def _gemm(node: Node) -> Work:
    left, right = node.given[:2]
    rows, columns = node.outputs[0].shape
    inner = left.shape[0] if node.attributes.get("transA") else left.shape[1]
    _meet(inner, right.shape[1] if node.attributes.get("transB") else right.shape[0])
    return Work(_written(node) if len(node.given) > 2 else 0, Gemm(1, rows, inner, columns))


def _recurrent(gates: int) -> Rule:
    def rule(node: Node) -> Work:
        steps, batch, width = _first(node).shape
        directions, _, hidden = node.given[2].shape
        dims = Gemm(directions * steps, batch, width + hidden, gates * hidden)
        return Work(3 * gates * directions * steps * batch * hidden, dims, data=3)

    return rule


# -- everything else -----------------------------------------------------------------------------


def _each(per_element: int = 1, data: int | None = None) -> Rule:
    """Element-wise: so many operations for every element written."""
    return lambda node: Work(per_element * _written(node), data=data)


def _variadic(node: Node) -> Work:
    return Work(max(1, len(node.given) - 1) * _written(node))


def _over_input(per_element: int = 1, data: int | None = 1) -> Rule:
    """Reductions: so many operations for every element read."""
    return lambda node: Work(per_element * _first(node).size, data=data)


def _pool(node: Node) -> Work:
    kernel = _ints(node, "kernel_shape", (1,))
    strides = _last_pair(_ints(node, "strides", (1,) * len(kernel)))
    return Work(_written(node) * prod(kernel), strides=strides)


def _lrn(node: Node) -> Work:
    """The squares of ``size`` neighbors are added; then scale, add, power and divide."""
    return Work(_written(node) * (2 * int(node.attributes["size"]) + 4))


def _copy(data: int | None = 1, *, part: bool = False) -> Rule:
    """Move data; ``part``: only what is written is read."""
    return lambda node: Work(data=data, touched=_written(node) if part else None)


def _gather(node: Node) -> Work:
    return Work(touched=_written(node))


def _view(node: Node) -> Work:
    _meet(_first(node).size, node.outputs[0].size)
    return Work(data=1, view=True)


def _cast(node: Node) -> Work:
    same = _first(node).dtype == node.outputs[0].dtype
    return Work(0 if same else _written(node), data=1, view=same)


def _transpose(node: Node) -> Work:
    """A view where only axes of size 1 change places, else a copy."""
    shape = _first(node).shape
    order = _ints(node, "perm", tuple(range(len(shape)))[::-1])
    moved = [axis for axis in order if shape[axis] != 1]
    return Work(view=moved == sorted(moved))


def _resize(node: Node) -> Work:
    """Nearest copies; linear blends 2 neighbors an axis that changes, cubic 4."""
    mode = node.attributes.get("mode", b"nearest").decode()
    before, after = _first(node).shape, node.outputs[0].shape
    changed = sum(one != other for one, other in zip(before, after, strict=True))
    per_axis = {"nearest": 0, "linear": 2, "cubic": 4}[mode]
    return Work(_written(node) * (per_axis**changed if per_axis else 0), data=1)


_POINTWISE: dict[Rule, str] = {
    _each(): (
        "Abs Neg Relu Sqrt Reciprocal Exp Log Floor Ceil Round Sign Erf Tanh Sin Cos Not "
        "Add Sub Mul Div Pow Mod And Or Xor Equal Greater GreaterOrEqual Less LessOrEqual "
        "Where IsNaN IsInf BitShift PRelu"
    ),
    _each(data=1): "Clip ThresholdedRelu",
    _each(2): "LeakyRelu HardSigmoid Softsign HardSwish BatchNormalization",
    _each(4): "Sigmoid Softplus Elu Selu Celu Swish Mish Shrink",
    _each(6): "Gelu",
    _each(2, data=3): "QuantizeLinear DequantizeLinear",
    _variadic: "Sum Max Min Mean",
}

_OTHER: dict[Rule, str] = {
    _over_input(3): "DynamicQuantizeLinear",
    _over_input(5): "Softmax LogSoftmax Hardmax",
    _over_input(8, data=3): "LayerNormalization InstanceNormalization GroupNormalization",
    _over_input(4, data=2): "RMSNormalization LpNormalization MeanVarianceNormalization",
    _lrn: "LRN",
    _pool: "MaxPool AveragePool LpPool",
    _over_input(): (
        "GlobalAveragePool GlobalMaxPool ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd "
        "ArgMax ArgMin CumSum"
    ),
    _over_input(2): "ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSum ReduceLogSumExp",
    _over_input(20): "TopK",
    _copy(): "Pad Expand Tile DepthToSpace SpaceToDepth ReverseSequence",
    _copy(data=None): "Concat Split ScatterND ScatterElements",
    _copy(part=True): "Slice",
    _gather: "Gather GatherElements GatherND",
    _copy(data=0): "ConstantOfShape OneHot Range EyeLike",
    _resize: "Resize Upsample",
    _cast: "Cast CastLike",
    _transpose: "Transpose",
    _view: "Identity Reshape Flatten Squeeze Unsqueeze Dropout Constant Shape Size",
    _conv(0, 1, 2): "Conv",
    _conv(0, 1, 4): "ConvInteger",
    _conv(0, 3, 8): "QLinearConv",
    _conv_transpose: "ConvTranspose",
    _matmul(0, 1): "MatMul MatMulInteger",
    _matmul(0, 3): "QLinearMatMul",
    _gemm: "Gemm",
    _recurrent(4): "LSTM",
    _recurrent(3): "GRU",
    _recurrent(1): "RNN",
}

OPERATORS: Mapping[str, Rule] = {
    name: rule for rule, names in (_POINTWISE | _OTHER).items() for name in names.split()
}
"""Operator -> the rule that costs it."""

POINTWISE = frozenset(" ".join(_POINTWISE.values()).split())
"""Operators that a compiler computes while it writes the result of the layer before."""
