from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profleet_runner.check import check_outputs, compare
from profleet_runner.protocol import Failure

OUTPUT = np.array([[0.5, -2.0, 1.0], [0.25, 4.0, 0.0]], np.float32)


def reference(output=OUTPUT, positions=(0, 4)):
    wide = output.astype(np.float64)
    return {
        "shape": list(output.shape),
        "sha256": hashlib.sha256(output.tobytes()).hexdigest(),
        "positions": list(positions),
        "values": wide.reshape(-1)[list(positions)].tolist(),
        "mean": float(wide.mean()), "std": float(wide.std()), "abs_max": float(abs(wide).max()),
    }  # fmt: skip


def check(**changed):
    return {
        "seed": 1, "batch": 2, "producer": "reference", "rtol": 1e-2, "atol": 1e-3,
        "outputs": {"y": {**reference(), **changed}},
    }  # fmt: skip


def test_equal_bits():
    result = check_outputs({"y": OUTPUT}, check())
    assert result["status"] == "passed"
    assert result["outputs"]["y"] == {
        "bit_identical": True, "max_error": 0.0, "allowed_error": pytest.approx(0.041),
        "passed": True,
    }  # fmt: skip


def test_tolerance_scales_with_the_largest_element():
    """0.04 is allowed at an element of 0.5, since the output reaches 4."""
    near = OUTPUT.copy()
    near[0, 0] += 0.04
    result = check_outputs({"y": near}, check())["outputs"]["y"]
    assert not result["bit_identical"]
    assert result["max_error"] == pytest.approx(0.04, rel=1e-5)
    far = OUTPUT.copy()
    far[0, 0] += 0.05
    with pytest.raises(Failure, match=r"'y' disagrees.*error 0\.05, allowed 0\.041") as caught:
        check_outputs({"y": far}, check())
    assert caught.value.kind == "check"


def test_elements_between_the_positions_show_in_the_moments():
    wrong = OUTPUT.copy()
    wrong[0, 2] = 9.0
    with pytest.raises(Failure, match="disagrees"):
        check_outputs({"y": wrong}, check())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_never_agrees(value):
    wrong = OUTPUT.copy()
    wrong[1, 2] = value
    with pytest.raises(Failure, match="not finite"):
        check_outputs({"y": wrong}, check())


def test_shape_and_presence():
    with pytest.raises(Failure, match=r"shape \[3, 2\]"):
        check_outputs({"y": OUTPUT.reshape(3, 2)}, check())
    with pytest.raises(Failure, match="'y' is missing; the model gave z"):
        check_outputs({"z": OUTPUT}, check())


def test_position_outside_is_a_mistake_of_the_job():
    with pytest.raises(Failure, match="positions") as caught:
        check_outputs({"y": OUTPUT}, check(positions=[6], values=[0.0]))
    assert caught.value.kind == "invalid_job"


@given(st.integers(-128, 127), st.sampled_from([np.int8, np.int64, np.float16]))
def test_every_dtype_is_compared(value, dtype):
    output = np.array([value, 1], dtype)
    result = compare(output, reference(output, (0, 1)), 0.0)
    assert result["passed"]
    assert result["bit_identical"]
