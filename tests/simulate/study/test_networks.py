"""The networks of the Lightning study: their sizes and work, as published."""

from __future__ import annotations

import pytest

from profleet.simulate.study.networks import networks

PUBLISHED = {
    "AlexNet": (8, 150_528, "7.142e+08"),
    "ResNet-18": (21, 150_528, "1.814e+09"),
    "VGG-16": (16, 150_528, "1.547e+10"),
    "VGG-19": (19, 150_528, "1.963e+10"),
    "BERT": (1_993, 5_120, "1.675e+11"),
    "GPT-2": (6_147, 10_240, "1.753e+12"),
    "DLRM": (33, 5_120, "2.506e+09"),
}
BY_NAME = {graph.name: graph for graph in networks()}


def test_the_study_has_seven_networks():
    assert list(BY_NAME) == list(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_as_published(name):
    graph = BY_NAME[name]
    assert (len(graph), graph.input_bytes, f"{graph.macs:.3e}") == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_layers_form_a_graph_with_one_end(name):
    graph = BY_NAME[name]
    for layer, children in enumerate(graph.children):
        assert all(child > layer for child in children)
        assert len(set(children)) == len(children)
    assert [layer for layer, found in enumerate(graph.children) if not found] == [len(graph) - 1]


def test_heads_stand_side_by_side():
    """The widest front of an encoder is query, key and value of all its heads."""
    bert, gpt2, dlrm = BY_NAME["BERT"], BY_NAME["GPT-2"], BY_NAME["DLRM"]
    assert max(map(len, bert.children)) == 3 * 16
    assert max(map(len, gpt2.children)) == 3 * 25
    assert max(gpt2.wanted) == 25
    assert max(dlrm.wanted) == 26 + 1
    assert gpt2.wanted.count(0) == 2  # words and positions
