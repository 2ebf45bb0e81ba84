"""Benanza's data: made-up graphs for the rules, the shared archive for the published totals."""

from __future__ import annotations

import json
from math import exp, log

import pyarrow.parquet as pq
import pytest

from profleet.errors import StoreError
from profleet.profile.importers.dlperf import import_dlperf, read_dlperf
from profleet.profile.points import load_points, write_points
from workloads import shared_data

HEADER = "LayerName,LayerType,BenchmarkName,RealTime(ms),Theoretical Flops\n"
V100 = "Tesla_V100-SXM2-16GB"


def layer(name, kind, inputs, shape=(1, 4)):
    return {
        "name": name, "type": kind, "inputs": inputs, "outputs": [f"{name}_out"],
        "input_dimensions": {"input_shapes": [list(shape)], "output_shapes": [list(shape)]},
    }  # fmt: skip


# x -> a -> (b -> c | d) -> join (free) -> e; the join waits for the longer branch
GRAPH = [
    {"name": "x", "type": "ConstantInput", "input_dimensions": {}},
    layer("a", "Conv", ["x"]), layer("b", "Relu", ["a_out"]), layer("c", "Conv", ["b_out"]),
    layer("d", "Conv", ["a_out"], (1, 8)), layer("join", "Concat", ["c_out", "d_out"]),
    layer("e", "Gemm", ["join_out"]),
]  # fmt: skip
ROWS = [
    "a,Conv,CONV_1,1,10", "a,Conv,ADD_TENSOR1,0.5,10", "b,Relu,ACT,0.25,1", "c,Conv,CONV_1,1,10",
    "d,Conv,CONV_2,4,10", "e,Gemm,GEMM,2,10",
]  # fmt: skip


def write(folder, rows=ROWS, graph=GRAPH, batch=2, total="99"):
    stats = folder / "assets" / "layer_stats"
    table = folder / "assets" / "serial_latency" / f"batchsize_{batch}" / "GPU"
    for each in (stats, table):
        each.mkdir(parents=True, exist_ok=True)
    (stats / "net.json").write_text(json.dumps(graph))
    body = "".join(f"{row}\n" for row in [*rows, f",,Total,{total},0"])
    (table / "net.csv").write_text(HEADER + body)
    return folder


def test_bounds_count_biases_and_wait_for_the_longer_branch(tmp_path):
    data = read_dlperf(write(tmp_path))
    assert data.layers == 6
    assert data.unique() == data.unique("net") == 5  # a and c are alike; d has another shape
    bounds = data.bounds("GPU", "net", 2)
    assert bounds.sequential == pytest.approx((1.5 + 0.25 + 1 + 4 + 2) / 1e3)
    assert bounds.critical_path == pytest.approx((1.5 + 4 + 2) / 1e3)


def test_a_missing_layer_raises_and_is_never_zero(tmp_path):
    folder = write(tmp_path, ROWS[:-1], total="6.75")
    write(tmp_path, batch=4)
    data = read_dlperf(folder)
    with pytest.raises(StoreError, match=r"1 of 6 layers have no row, such as 'e'"):
        data.bounds("GPU", "net", 2)
    points = import_dlperf(folder, {})
    assert {row.batch_size for row in points.rows} == {4}
    assert [left.count for left in points.about.left_out] == [1]
    with pytest.raises(StoreError, match="such as 'e'"):
        import_dlperf(folder, {}, strict=True)


def test_names_that_two_layers_share_are_matched_in_order(tmp_path):
    graph = [layer("d", "Dropout", []), layer("d", "Dropout", ["d_out"])]
    data = read_dlperf(write(tmp_path, ["d,Dropout,D,1,0", "d,Dropout,D,3,0"], graph))
    assert data.seconds("GPU", "net", 2) == [0.001, 0.003]


def test_points_are_labelled_as_lower_bounds(tmp_path):
    points = import_dlperf(write(tmp_path), {"GPU": "nvidia-t4"})
    assert {row.scenario for row in points.rows} == {"sequential", "critical_path"}
    for row in points.rows:
        assert (row.bound, row.evidence, row.hardware) == ("lower", "measured", "nvidia-t4")
    assert any("Lower bounds" in note for note in points.about.notes)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*ROWS, "z,Conv,C,1,1"], "layer 'z' is not in the graph of net"),
        ([*ROWS, "e,Gemm,G,-1,1"], r"line 8: RealTime\(ms\) is '-1'"),
        ([*ROWS, "e,Gemm,G,1"], "line 8: 4 values in place of 5"),
        ([], "has no layers or no Total row"),
    ],
)
def test_wrong_rows_are_one_error_with_the_place(tmp_path, rows, message):
    with pytest.raises(StoreError, match=message) as error:
        read_dlperf(write(tmp_path, rows))
    assert "batchsize_2/GPU/net.csv" in str(error.value)


def test_wrong_columns_graphs_and_folders(tmp_path):
    folder = write(tmp_path)
    table = folder / "assets/serial_latency/batchsize_2/GPU/net.csv"
    table.write_text(table.read_text().replace("RealTime(ms)", "Time"))
    with pytest.raises(StoreError, match=r"net.csv: the column 'RealTime\(ms\)' is missing"):
        read_dlperf(folder)
    (folder / "assets/layer_stats/net.json").write_text('[{"name": 1')
    with pytest.raises(StoreError, match=r"net.json is not a list of layers"):
        read_dlperf(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=r"has no assets/layer_stats"):
        read_dlperf(tmp_path / "empty")


def test_what_was_not_measured(tmp_path):
    data = read_dlperf(write(tmp_path))
    with pytest.raises(StoreError, match=r"at 2, not at 3"):
        data.bounds("GPU", "net", 3)
    with pytest.raises(StoreError, match=r"Unknown device 'GPV'. Did you mean 'GPU'"):
        data.bounds("GPV", "net", 2)
    with pytest.raises(StoreError, match=r"Unknown model 'nett'. Did you mean 'net'"):
        data.bounds("GPU", "nett", 2)


# -- the published data ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published():
    return read_dlperf(shared_data("dlperf-assets.tar.gz"))


def test_layers_are_as_many_as_published(published):
    assert published.layers == 5754
    assert published.unique() == 1030
    assert (published.unique("ResNet050-v1"), len(published.graph("ResNet050-v1"))) == (47, 175)


def test_bounds_are_those_known(published):
    bounds = published.bounds(V100, "ResNet050-v1", 32)
    assert bounds.sequential * 1e3 == pytest.approx(33.68, abs=0.005)
    assert bounds.critical_path * 1e3 == pytest.approx(30.33, abs=0.005)


def test_stated_totals_have_the_ratio_known(published):
    """What the paper gives for a V100 at batch 1; from its own totals, missing rows included."""
    stated = [
        published.timings[V100, model, 1].stated / published.stated_paths[V100, model, 1]
        for model in published.graphs
    ]
    assert exp(sum(map(log, stated)) / len(stated)) == pytest.approx(1.151, abs=5e-4)
    assert max(stated) == pytest.approx(2.82, abs=0.005)


def test_critical_paths_agree_with_the_stated_ones_but_for_their_last_layer(published):
    """The stated paths leave the last layer out; where it is put back they agree."""
    close = 0
    complete = [key for key in published.stated_paths if key not in published.incomplete]
    for key in complete:
        path, stated = published.bounds(*key).critical_path, published.stated_paths[key]
        assert path >= stated * 0.94
        last = published.seconds(*key)[-1]
        close += abs(path - stated) < 1e-3 * path or abs(path - last - stated) < 1e-3 * path
    assert len(complete) == 1440 - 264
    assert close > 0.8 * len(complete)


def test_import_writes_what_is_complete(published, tmp_path):
    points = import_dlperf(shared_data("dlperf-assets.tar.gz"), {V100: "nvidia-v100-sxm"})
    write_points(tmp_path, points)
    found = load_points(tmp_path)
    assert found.about.points == 2 * (1440 - 264)
    assert found.about.left_out[0].count == 264
    (row,) = found.of(
        hardware="nvidia-v100-sxm", model="ResNet050-v1", batch_size=32, scenario="sequential"
    )
    assert row.value == pytest.approx(33.682578e-3)
    layers = pq.read_table(tmp_path / "layers.parquet")
    assert layers.num_rows == 48 * published.layers
