"""ResNet with basic blocks, layer by layer as torchvision builds it."""

from __future__ import annotations

from profleet.model.graph import BATCH, Network
from profleet.model.weights import BIAS, RESIDUAL_GAIN, SHIFT, VARIANCE, Uniform, scale

BASIC_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def resnet(layers: int = 18) -> Network:
    """Return ResNet-18 (11,689,512 parameters) or ResNet-34, with batch normalization unfolded.

    He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition, arXiv:1512.03385.

    Raises:
        ValueError: another number of layers.
    """
    if layers not in BASIC_BLOCKS:
        raise ValueError(f"layers is {layers}, but must be 18 or 34")
    net = Network(f"resnet{layers}")
    value = net.input("image", (BATCH, 3, 224, 224))
    value = _conv(net, "conv1", value, (3, 64, 7), stride=2, before_relu=True)
    value = net.add("Relu", value)
    value = net.add("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, depth in enumerate(BASIC_BLOCKS[layers], start=1):
        features = 64 << (stage - 1)
        for block in range(depth):
            name = f"layer{stage}.{block}"
            value = _basic_block(net, name, value, channels, features)
            channels = features
    value = net.add("Flatten", net.add("GlobalAveragePool", value), axis=1)
    value = net.dense("fc", value, (512, 1000), before_relu=False, bias=BIAS)
    net.output("logits", value, (BATCH, 1000))
    return net


def _basic_block(net: Network, name: str, value: str, channels: int, features: int) -> str:
    """Append relu(conv(relu(conv(x))) + shortcut(x)); a wider block halves the resolution."""
    widens = channels != features
    stride = 2 if widens else 1
    inner = _conv(
        net, f"{name}.conv1", value, (channels, features, 3), stride=stride, before_relu=True
    )
    branch = _conv(
        net, f"{name}.conv2", net.add("Relu", inner), (features, features, 3),
        gain=1.0 if widens else RESIDUAL_GAIN,
    )  # fmt: skip
    if widens:
        value = _conv(net, f"{name}.downsample", value, (channels, features, 1), stride=stride)
    return net.add("Relu", net.add("Add", branch, value, name=f"{name}.sum"))


def _conv(
    net: Network, name: str, value: str, sizes: tuple[int, int, int], *,
    stride: int = 1, before_relu: bool = False, gain: float = 1.0,
) -> str:  # fmt: skip
    """Append a convolution without bias and its batch normalization; sizes: (in, out, kernel)."""
    channels, features, kernel = sizes
    weights = Uniform.variance_kept(channels * kernel * kernel, before_relu=before_relu)
    weight = net.parameter(f"{name}.weight", (features, channels, kernel, kernel), weights)
    value = net.add(
        "Conv", value, weight, name=name,
        kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4,
    )  # fmt: skip
    parts = {"scale": scale(gain), "shift": SHIFT}
    affine = [net.parameter(f"{name}.bn.{part}", (features,), one) for part, one in parts.items()]
    running = [
        net.statistic(f"{name}.bn.{part}", (features,), one)
        for part, one in {"mean": SHIFT, "variance": VARIANCE}.items()
    ]
    return net.add("BatchNormalization", value, *affine, *running, name=f"{name}.bn", epsilon=1e-5)
