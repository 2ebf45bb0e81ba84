"""The record of other people's measurements."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profleet.errors import StoreError
from profleet.profile.points import (
    ABOUT,
    COLUMNS,
    POINTS,
    LeftOut,
    PointRow,
    SourceFile,
    load_points,
    make_points,
    write_points,
)

SOURCE = SourceFile(name="x.csv", sha256=None, title="x", license="CC0-1.0", references=[])


def row(**changed):
    given = {
        "device": "box", "hardware": None, "model": "net", "dtype": None, "batch_size": 4,
        "scenario": "offline", "quantity": "latency", "unit": "s", "value": 0.5, "low": 0.4,
        "high": 0.6, "count": 3,
    }  # fmt: skip
    return PointRow(**(given | changed))


def points(*rows, **more):
    return make_points("test", SOURCE, rows, notes=["n"], **more)


positive = st.floats(1e-9, 1e9)


@given(
    st.lists(
        st.builds(
            lambda values, batch, name, bound: row(
                low=min(values),
                high=max(values),
                value=sorted(values)[1],
                batch_size=batch,
                device=name,
                bound=bound,
            ),
            st.tuples(positive, positive, positive),
            st.none() | st.integers(1, 2**31),
            st.text(st.characters(codec="utf-8"), min_size=1),
            st.sampled_from(["exact", "lower"]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_is_written_is_read(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("points")
    made = points(*rows)
    write_points(folder, made)
    found = load_points(folder)
    assert found.rows == made.rows
    assert found.about == made.about


def test_columns_are_described_and_in_order(tmp_path):
    assert list(COLUMNS) == [field.name for field in fields(PointRow)]
    write_points(tmp_path, points(row()))
    assert pq.read_schema(tmp_path / POINTS).names == list(COLUMNS)
    about = json.loads((tmp_path / ABOUT).read_text())
    assert about["schema"] == "profleet/points/v1"
    assert about["columns"] == dict(COLUMNS)


def test_equal_points_give_equal_files(tmp_path):
    one, two = row(device="a"), row(device="b")
    write_points(tmp_path / "x", points(one, two))
    write_points(tmp_path / "y", points(two, one))
    for name in (ABOUT, POINTS):
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()


def test_rows_are_found_by_column():
    made = points(row(device="a", model="m"), row(device="b", model="m"), row(device="a"))
    assert [found.model for found in made.of(device="a")] == ["m", "net"]
    assert made.of(device="a", model="m", batch_size=5) == []


@pytest.mark.parametrize(
    "changed",
    [{"value": 0.0, "low": 0.0}, {"low": 0.55}, {"high": 0.45}, {"high": float("inf")},
     {"value": float("nan")}, {"count": 0}, {"batch_size": 0}],
)  # fmt: skip
def test_an_impossible_point_is_refused(changed):
    with pytest.raises(ValueError, match="impossible"):
        row(**changed)


def test_nothing_is_no_points():
    with pytest.raises(StoreError, match="holds nothing"):
        points()


def test_further_tables_and_what_was_left_out_are_kept(tmp_path):
    left = LeftOut(why="odd", count=2, examples=["a"])
    table = pa.table({"x": [1, 2]})
    write_points(tmp_path, points(row(), left_out=[left], tables={"more.parquet": ("x", table)}))
    assert load_points(tmp_path).about.left_out == [left]
    assert pq.read_table(tmp_path / "more.parquet")["x"].to_pylist() == [1, 2]


def damage_schema(folder):
    about = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(json.dumps(about | {"schema": "profleet/points/v9"}))


def damage_count(folder):
    about = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(json.dumps(about | {"points": 7}))


def damage_columns(folder):
    pq.write_table(pa.table({"device": ["box"]}), folder / POINTS)


def damage_value(folder):
    table = pa.Table.from_pylist([asdict(row()) | {"value": -1.0}])
    pq.write_table(table, folder / POINTS)


def cut(folder):
    data = (folder / POINTS).read_bytes()
    (folder / POINTS).write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_schema, "written by a newer profleet"),
        (damage_count, "has 1 points where points.json says 7"),
        (damage_columns, "its columns are device"),
        (damage_value, "impossible"),
        (cut, "missing or damaged"),
        (lambda folder: (folder / POINTS).unlink(), "missing or damaged"),
        (lambda folder: (folder / ABOUT).unlink(), "points.json is missing"),
    ],
    ids=["version", "count", "columns", "value", "cut", "no table", "no json"],
)
def test_a_damaged_folder_is_one_error(tmp_path, damage, message):
    write_points(tmp_path, points(row()))
    damage(tmp_path)
    with pytest.raises(StoreError, match=message):
        load_points(tmp_path)
