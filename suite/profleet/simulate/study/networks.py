"""The seven networks of the Lightning study as graphs of vector products.

Hand-written tables, as in the study: a layer is a number of equal vector products and the layers
that wait for it. A convolution is counted as in*out*height*width products of kernel^2, a dense
layer as one product an output; softmax, normalization, activation and pooling cost nothing, and
lookups of an embedding count as dense products. Dimensions and edges are facts of
hipersys-team/lightning 8f0804d, ``simulation/models.py`` (MIT).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from profleet.hardware.devices.core_array import Tasks

IMAGE_BYTES = 224 * 224 * 3
TOKEN_BYTES = 10


@dataclass(frozen=True)
class LayerGraph:
    """A network.

    Attributes:
        name: in schedules of requests.
        model: what hardware manifests call it (the key of a datapath's latency).
        tasks: of each layer.
        children: layers that wait for each layer, in the order in which they are started.
        input_bytes: of a request.
    """

    name: str
    model: str
    tasks: tuple[Tasks, ...]
    children: tuple[tuple[int, ...], ...]
    input_bytes: int

    def __len__(self) -> int:
        return len(self.tasks)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a request."""
        return sum(each.length * each.count for each in self.tasks)

    @property
    def wanted(self) -> tuple[int, ...]:
        """How many layers each layer waits for."""
        counts = [0] * len(self)
        for children in self.children:
            for child in children:
                counts[child] += 1
        return tuple(counts)


class _Graph:
    """A network that is being written down."""

    def __init__(self) -> None:
        self.tasks: list[Tasks] = []
        self.children: list[list[int]] = []

    def dense(self, inputs: int, outputs: int, *after: int) -> int:
        """Add a dense layer that waits for ``after``; return its number."""
        number = len(self.tasks)
        self.tasks.append(Tasks(inputs, outputs))
        self.children.append([])
        for before in after:
            self.children[before].append(number)
        return number

    def called(self, name: str, model: str, input_bytes: int) -> LayerGraph:
        return LayerGraph(
            name, model, tuple(self.tasks), tuple(map(tuple, self.children)), input_bytes
        )


Conv = tuple[int, int, int, int]
"""Input channels, edge of the kernel, output channels, edge of the output."""


def _chain(name: str, model: str, convs: Sequence[Conv], dense: Sequence[int]) -> LayerGraph:
    """Return convolutions and then dense layers between these widths, one after the other."""
    graph = _Graph()
    last: tuple[int, ...] = ()
    for channels, kernel, filters, side in convs:
        last = (graph.dense(kernel**2, channels * filters * side**2, *last),)
    for inputs, outputs in pairwise(dense):
        last = (graph.dense(inputs, outputs, *last),)
    return graph.called(name, model, IMAGE_BYTES)


def _alexnet() -> LayerGraph:
    convs = [(3, 11, 64, 55), (64, 5, 192, 27), (192, 3, 384, 13), (384, 3, 256, 13)]
    return _chain(
        "AlexNet", "alexnet", [*convs, (256, 3, 256, 13)], (256 * 6 * 6, 4096, 4096, 1000)
    )


def _resnet18() -> LayerGraph:
    """The shortcuts stand in line with the blocks, as in the study."""
    convs: list[Conv] = [(3, 7, 64, 112)] + [(64, 3, 64, 56)] * 4
    for width, side in ((128, 28), (256, 14), (512, 7)):
        half = width // 2
        convs += [(half, 3, width, side), (width, 3, width, side), (half, 1, width, side)]
        convs += [(width, 3, width, side)] * 2
    return _chain("ResNet-18", "resnet18", convs, (512, 1000))


def _vgg(name: str, model: str, depths: Sequence[int]) -> LayerGraph:
    convs: list[Conv] = []
    channels = 3
    blocks = zip(depths, (64, 128, 256, 512, 512), (224, 112, 56, 28, 14), strict=True)
    for depth, width, side in blocks:
        for _ in range(depth):
            convs.append((channels, 3, width, side))
            channels = width
    return _chain(name, model, convs, (512 * 7 * 7, 4096, 4096, 1000))


def _encoders(
    graph: _Graph, start: tuple[int, ...], *, tokens: int, width: int, hidden: int, heads: int,
    depth: int,
) -> int:  # fmt: skip
    """Add encoders, with the heads of one side by side; return the last layer."""
    last, share = start, tokens * width // heads
    end = -1
    for _ in range(depth):
        weighted = []
        for _ in range(heads):
            query, key, value = (graph.dense(width, share, *last) for _ in range(3))
            scores = graph.dense(width // heads, tokens**2, query, key)
            weighted.append(graph.dense(tokens, share, value, scores))
        joined = graph.dense(width, tokens * width, *weighted)
        wide = graph.dense(width, tokens * hidden, joined)
        end = graph.dense(hidden, tokens * width, wide)
        last = (end,)
    return end


def _bert() -> LayerGraph:
    graph = _Graph()
    words = graph.dense(29_056, 1024)
    _encoders(graph, (words,), tokens=512, width=1024, hidden=4096, heads=16, depth=24)
    return graph.called("BERT", "bert-large", 512 * TOKEN_BYTES)


def _gpt2() -> LayerGraph:
    graph = _Graph()
    words, positions = graph.dense(50_257, 1600), graph.dense(1024, 1600)
    last = _encoders(
        graph, (words, positions), tokens=1024, width=1600, hidden=6400, heads=25, depth=48
    )
    graph.dense(1600, 1024 * 50_257, last)
    return graph.called("GPT-2", "gpt2-xl", 1024 * TOKEN_BYTES)


EMBEDDINGS = (
    9_980_333, 36_084, 17_217, 7_378, 20_134, 3, 7_112, 1_442, 61, 9_758_201, 1_333_352, 313_829,
    10, 2_208, 11_156, 122, 4, 970, 14, 11_156, 7_267_859, 9_946_608, 415_421, 12_420, 101, 36,
)  # fmt: skip
"""Rows of the tables of DLRM."""


def _dlrm() -> LayerGraph:
    graph = _Graph()
    tables = [graph.dense(rows, 64) for rows in EMBEDDINGS]
    bottom = graph.dense(13, 512)
    bottom = graph.dense(512, 256, bottom)
    bottom = graph.dense(256, 64, bottom)
    top = graph.dense(415, 512, *tables, bottom)
    for inputs, outputs in ((512, 512), (512, 256), (256, 1)):
        top = graph.dense(inputs, outputs, top)
    return graph.called("DLRM", "dlrm", 512 * TOKEN_BYTES)


def _all() -> Iterator[LayerGraph]:
    yield _alexnet()
    yield _resnet18()
    yield _vgg("VGG-16", "vgg16", (2, 2, 3, 3, 3))
    yield _vgg("VGG-19", "vgg19", (2, 2, 4, 4, 4))
    yield _bert()
    yield _gpt2()
    yield _dlrm()


@cache
def networks() -> tuple[LayerGraph, ...]:
    """Return the seven networks, in the order of the study."""
    return tuple(_all())
