"""AlexNet and VGG, layer by layer as torchvision builds them (without adaptive pooling).

At 224 x 224 pixels the adaptive average pooling of torchvision is the identity, so it is left out.
"""

from __future__ import annotations

from profleet.model.graph import BATCH, Network
from profleet.model.weights import BIAS, Uniform

CLASSES = 1000
PIXELS = 224

VGG_BLOCKS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


def alexnet() -> Network:
    """Return AlexNet, 61,100,840 parameters.

    Krizhevsky, One weird trick for parallelizing convolutional neural networks, arXiv:1404.5997.
    """
    net = Network("alexnet")
    value = net.input("image", (BATCH, 3, PIXELS, PIXELS))
    #        in   out  kernel stride pad pooled
    layers = (
        (3, 64, 11, 4, 2, True),
        (64, 192, 5, 1, 2, True),
        (192, 384, 3, 1, 1, False),
        (384, 256, 3, 1, 1, False),
        (256, 256, 3, 1, 1, True),
    )
    for index, (channels, features, kernel, stride, pad, pooled) in enumerate(layers, start=1):
        sizes = (channels, features, kernel)
        value = conv_relu(net, f"conv{index}", value, sizes, stride=stride, pad=pad)
        if pooled:
            value = net.add("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2])
    return _classifier(net, value, 256 * 6 * 6)


def vgg(layers: int = 16) -> Network:
    """Return VGG with 11, 13, 16 or 19 weight layers; VGG-16 has 138,357,544 parameters.

    Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition,
    arXiv:1409.1556, configurations A, B, D and E.

    Raises:
        ValueError: another number of layers.
    """
    if layers not in VGG_BLOCKS:
        raise ValueError(
            f"layers is {layers}, but must be one of {', '.join(map(str, VGG_BLOCKS))}"
        )
    net = Network(f"vgg{layers}")
    value = net.input("image", (BATCH, 3, PIXELS, PIXELS))
    channels = 3
    for block, depth in enumerate(VGG_BLOCKS[layers], start=1):
        features = min(64 << (block - 1), 512)
        for index in range(1, depth + 1):
            sizes = (channels, features, 3)
            value = conv_relu(net, f"conv{block}_{index}", value, sizes, stride=1, pad=1)
            channels = features
        value = net.add("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
    return _classifier(net, value, 512 * 7 * 7)


def conv_relu(
    net: Network, name: str, value: str, sizes: tuple[int, int, int], *, stride: int, pad: int
) -> str:
    """Append a square convolution with bias and a ReLU; ``sizes`` is (in, out, kernel)."""
    channels, features, kernel = sizes
    weights = Uniform.variance_kept(channels * kernel * kernel, before_relu=True)
    weight = net.parameter(f"{name}.weight", (features, channels, kernel, kernel), weights)
    bias = net.parameter(f"{name}.bias", (features,), BIAS)
    made = net.add(
        "Conv", value, weight, bias, name=name,
        kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4,
    )  # fmt: skip
    return net.add("Relu", made, name=f"{name}.relu")


def _classifier(net: Network, value: str, features: int) -> Network:
    """Append the three dense layers both families end with (dropout does nothing here)."""
    value = net.add("Flatten", value, axis=1)
    value = net.dense("fc6", value, (features, 4096), before_relu=True, bias=BIAS)
    value = net.dense("fc7", net.add("Relu", value), (4096, 4096), before_relu=True, bias=BIAS)
    value = net.dense("fc8", net.add("Relu", value), (4096, CLASSES), before_relu=False, bias=BIAS)
    net.output("logits", value, (BATCH, CLASSES))
    return net
