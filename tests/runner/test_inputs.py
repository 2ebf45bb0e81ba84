from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profleet_runner.inputs import draw, stream


def one(name: str, dtype: str, shape: list[Any], **values: Any) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": shape, "values": values}


def image(name: str = "x", low: float = -2.0, high: float = 2.0) -> dict[str, Any]:
    return one(name, "float32", ["batch", 3, 4], kind="uniform", low=low, high=high)


def test_values_are_the_same_on_every_machine_and_version() -> None:
    # The reference checks of all manifests rest on these words; they must never change.
    assert stream(1, "data_0").random_raw(2).tolist() == WORDS
    drawn = draw([image("data_0")], 1, 1)["data_0"]
    top = [(word >> 40) * 2.0**-24 * 4.0 - 2.0 for word in WORDS]
    assert drawn.reshape(-1)[:2].tolist() == np.asarray(top, np.float32).tolist()


WORDS = [6955202659563240131, 9741129217255830203]


@given(batch=st.integers(1, 5), larger=st.integers(6, 9), seed=st.integers(0, 2**63))
def test_an_item_does_not_depend_on_the_batch_size(batch: int, larger: int, seed: int) -> None:
    inputs = [image(), one("s", "float32", [2, "batch", 3], kind="uniform", low=0.0, high=1.0)]
    small, big = draw(inputs, batch, seed), draw(inputs, larger, seed)
    assert np.array_equal(small["x"], big["x"][:batch])
    assert small["s"].shape == (2, batch, 3)
    assert np.array_equal(small["s"], big["s"][:, :batch])
    assert all(value.flags.c_contiguous for value in small.values())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@given(
    low=st.floats(-1000, 1000, width=16),
    width=st.floats(0.015625, 1000, width=16),
    seed=st.integers(0, 1000),
)
def test_uniform_values_stay_below_high(dtype: str, low: float, width: float, seed: int) -> None:
    high = float(np.float16(low + width))
    if not low < high:
        return
    inputs = [one("x", dtype, ["batch", 4096], kind="uniform", low=low, high=high)]
    drawn = draw(inputs, 1, seed)["x"]
    assert drawn.dtype == dtype
    assert (drawn >= low).all()
    assert (drawn < high).all()


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("int64", 0, 30522), ("int8", -128, 128), ("bool", 0, 2)]
)
def test_integers_cover_their_range(dtype: str, low: int, high: int) -> None:
    inputs = [one("ids", dtype, ["batch", 4000], kind="integers", low=low, high=high)]
    drawn = draw(inputs, 2, 7)["ids"].astype(np.int64)
    assert drawn.min() >= low
    assert drawn.max() < high
    assert drawn.min() < low + (high - low) / 100 + 1
    assert drawn.max() > high - (high - low) / 100 - 2


def test_uniform_values_are_uniform_and_tensors_independent() -> None:
    inputs = [one(name, "float64", [50000], kind="uniform", low=0.0, high=1.0) for name in "ab"]
    drawn = draw(inputs, 1, 3)
    assert abs(drawn["a"].mean() - 0.5) < 0.01
    assert abs(drawn["a"].var() - 1 / 12) < 0.005
    assert abs(np.corrcoef(drawn["a"], drawn["b"])[0, 1]) < 0.02


def test_a_tensor_depends_on_seed_and_name_only() -> None:
    both = draw([image("a"), image("b")], 2, 5)
    assert np.array_equal(draw([image("b")], 2, 5)["b"], both["b"])
    assert not np.array_equal(both["a"], both["b"])
    assert not np.array_equal(draw([image("a")], 2, 6)["a"], both["a"])


def test_constants_and_scalars() -> None:
    inputs = [
        one("sr", "int64", [], kind="constant", value=16000),
        one("mask", "bool", ["batch", 2], kind="constant", value=True),
    ]
    drawn = draw(inputs, 3, 0)
    assert drawn["sr"].shape == ()
    assert drawn["sr"] == 16000
    assert drawn["mask"].tolist() == [[True, True]] * 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (one("x", "int64", ["batch"], kind="uniform", low=0.0, high=1.0), "'x'.*uniform.*int64"),
        (one("x", "float32", ["batch", "batch"], kind="uniform", low=0, high=1), "more than one"),
        (one("x", "float32", ["batch"], kind="normal", low=0, high=1), "normal"),
    ],
)
def test_what_cannot_be_drawn_is_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        draw([wrong], 1, 0)
