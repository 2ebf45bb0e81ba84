"""From measurements on one device to another one."""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import chain, combinations
from math import log, log2
from statistics import mean, median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_cases import gpu
from profleet.errors import HardwareError
from profleet.hardware import layers
from profleet.hardware.devices.base import Calibration
from profleet.hardware.devices.roofline import Roofline
from profleet.hardware.layers import Network, conv_layer, dense_layer, vector_layer
from profleet.hardware.measured import measured_at
from profleet.hardware.predict import predict
from profleet.hardware.stack import modelled_stack
from profleet.hardware.transfer import AS_GIVEN, ONE_POINT, Curve, Measurements, Transfer
from profleet.paths import data_dir
from support import make_profile_dir

A = gpu(op_s=2e-6, invoke_s=2e-5)
B = gpu(
    name="other", peaks={"float32": 5e12}, bandwidth=1.5e12, compute_efficiency=1.0,
    memory_efficiency=1.0, op_s=1e-6, invoke_s=1e-5,
)  # fmt: skip
SIZES = (1, 4, 16, 64)


@lru_cache
def network(batch: int) -> Network:
    """Layers that compute, layers that wait for memory, and one that costs a launch only."""
    return layers.chain("net", batch, [
        conv_layer("conv", channels=256, filters=256, kernel=(3, 3), image=(28, 28), batch=batch),
        vector_layer("relu", "Softmax", reads=batch * 400_000, writes=batch * 400_000, ops=1),
        dense_layer("dense", inputs=4096, outputs=4096, batch=batch),
        vector_layer("small", "Softmax", reads=batch, writes=batch, ops=batch),
    ])  # fmt: skip


def on(device: Roofline):
    """What `Transfer` asks: a prediction by batch size."""
    return lambda batch: predict(network(batch), device)


def measured(seconds: dict[int, float], noise: float = 0.0) -> Measurements:
    return Measurements(seconds, noise, "net on a machine", "made by the test")


def slower(device: Roofline, factors: dict[str, float], batch: int) -> float:
    """A machine whose compute-, memory- and overhead-bound layers take longer than modelled."""
    by_bound = predict(network(batch), device).by_bound
    return sum(factors[bound] * seconds for bound, seconds in by_bound.items())


def transfer(points=None, **other) -> Transfer:
    known = {size: 2 * predict(network(size), A).seconds for size in SIZES}
    on_b = None if points is None else measured(points)
    return Transfer(on(other.pop("a", A)), on(other.pop("b", B)), measured(known), on_b, **other)


# -- the value -----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(0.05, 20), batch=st.integers(1, 64), points=st.sets(st.sampled_from(SIZES)))
def test_a_machine_that_is_slower_throughout_is_so_elsewhere_too(factor, batch, points):
    points = points or {4}
    known = {size: factor * predict(network(size), A).seconds for size in points}
    made = Transfer(on(A), on(B), measured(known), allow_extrapolation=True).at(batch)
    assert made.seconds == pytest.approx(factor * predict(network(batch), B).seconds, rel=1e-6)
    assert sum(made.layers) == pytest.approx(made.seconds)


def test_layers_carry_their_own_factor():
    """Where only what computes is slow on A, layers bound by something else are not slow on B."""
    factors = {"compute": 3.0, "memory": 1.0, "overhead": 1.0}
    known = {size: slower(A, factors, size) for size in SIZES}
    made = Transfer(on(A), on(B), measured(known))
    for batch in SIZES:
        ours, theirs = predict(network(batch), A), predict(network(batch), B)
        costs = zip((*ours.costs, ours.invocation), (*theirs.costs, theirs.invocation), strict=True)
        truth = sum(factors[one.bound] * other.seconds for one, other in costs)
        by_ratio = known[batch] / ours.seconds * theirs.seconds
        found = made.at(batch).seconds
        assert found == pytest.approx(truth, rel=0.1)
        assert abs(log(found / truth)) <= abs(log(by_ratio / truth)) + 1e-9
    assert made.fitted.factors["compute"] > 2 * made.fitted.factors["memory"]


def test_what_software_takes_for_a_layer_is_not_scaled():
    """Of devices whose models know of no launches, both with the same software on top."""
    quick = {"op_s": 0.0, "invoke_s": 0.0}
    a, b, launch = gpu(**quick), gpu(name="ten times", bandwidth=2e13, **quick), 1e-4
    known = {size: predict(network(size), a).seconds + 4 * launch for size in SIZES}
    made = Transfer(on(a), on(b), measured(known))
    for size in SIZES:
        truth = predict(network(size), b).seconds + 4 * launch
        assert made.at(size).seconds == pytest.approx(truth, rel=0.1)
    assert made.at(1).launch == pytest.approx(launch, rel=0.1)


@settings(max_examples=25, deadline=None)
@given(points=st.dictionaries(st.integers(1, 64), st.floats(1e-5, 1), min_size=1, max_size=4))
def test_it_meets_every_point_of_the_other_device(points):
    made = transfer(points)
    for size, seconds in points.items():
        found = made.at(size)
        assert found.seconds == pytest.approx(seconds, rel=1e-9)
        assert found.evidence == "measured"


def test_evidence_is_by_what_lies_around():
    made = transfer({4: 1e-3, 16: 3e-3})
    evidence = {batch: made.at(batch).evidence for batch in (1, 4, 8, 16, 32)}
    assert evidence == {
        1: "calibrated", 4: "measured", 8: "interpolated", 16: "measured", 32: "calibrated",
    }  # fmt: skip
    assert transfer().at(8).evidence == "modelled"


def test_outside_the_grid_is_refused_unless_allowed():
    with pytest.raises(HardwareError, match=r"128 lies outside the measured ones, 1 to 64"):
        transfer().at(128)
    assert transfer(allow_extrapolation=True).at(128).seconds > transfer().at(64).seconds
    assert transfer({256: 1e-2}).at(128).seconds > 0  # the grid is of both devices


def test_other_layers_cannot_be_paired():
    made = transfer(b=B)
    cut = Transfer(
        made.on_a,
        lambda batch: predict(layers.chain("net", batch, list(network(batch).layers[:2])), B),
        made.measured_a,
    )
    with pytest.raises(HardwareError, match="nothing leads from one to the other"):
        cut.at(4)


# -- the interval --------------------------------------------------------------------------------


def width(found) -> float:
    low, high = found.interval
    assert low <= found.seconds * (1 + 1e-12)
    assert high >= found.seconds * (1 - 1e-12)
    return log(high / low)


def test_the_interval_widens_with_the_distance_from_data():
    points = {4: 1.1e-3, 8: 1.7e-3, 16: 3.5e-3}
    made = transfer(points, allow_extrapolation=True)
    assert made.at(16).unknown == AS_GIVEN
    widths = [width(made.at(batch)) for batch in (20, 32, 64, 256)]
    assert widths == sorted(widths)
    assert widths[-1] > 1.9 * widths[-2]  # four octaves against two
    assert made.at(64).coverage == 1 - 1 / 3


def test_without_points_the_interval_is_that_of_both_device_models():
    error = Calibration(9, 0.1, 0.2, 1 / 1.3, 1.3, 0.9, source="test")
    both = transfer(a=gpu(op_s=2e-6, invoke_s=2e-5, calibration=error),
                    b=gpu(name="other", calibration=error))  # fmt: skip
    found = both.at(16)
    assert width(found) == pytest.approx(2 * 2**0.5 * log(1.3))
    assert found.coverage == 0.9
    assert "known of gpu and other;" in transfer().at(16).unknown
    one = transfer(b=gpu(name="other", calibration=error)).at(16)
    assert one.interval is None
    assert "known of gpu;" in one.unknown
    first = Transfer(both.on_a, both.on_b, measured({4: 1e-3}), allow_extrapolation=True)
    assert first.at(4).unknown is None
    assert (first.at(8).interval, first.at(8).unknown) == (None, ONE_POINT)


def test_one_point_borrows_the_drift_of_the_first_device():
    bent = {size: (1 + 0.1 * log2(size)) * predict(network(size), A).seconds for size in SIZES}
    made = Transfer(on(A), on(B), measured(bent), measured({4: 1e-3}))
    assert (made.at(4).interval, made.at(4).unknown) == (None, AS_GIVEN)
    assert width(made.at(16)) == pytest.approx(2 * width(made.at(8)))
    alone = Transfer(on(A), on(B), measured({4: 1e-3}), measured({4: 1e-3}, noise=0.1),
                     allow_extrapolation=True)  # fmt: skip
    assert width(alone.at(4)) == pytest.approx(0.2)
    assert (alone.at(8).interval, alone.at(8).unknown) == (None, ONE_POINT)


def test_noise_of_the_measurement_stays_in_the_interval():
    error = Calibration(9, 0.1, 0.2, 1 / 1.3, 1.3, 0.9, source="test")
    a, b = gpu(calibration=error), gpu(name="other", calibration=error)
    known = {size: predict(network(size), a).seconds for size in SIZES}
    quiet, loud = (Transfer(on(a), on(b), measured(known, noise)).at(4) for noise in (0.0, 0.5))
    assert width(loud) == pytest.approx(width(quiet) + 1.0)


@pytest.mark.parametrize(
    ("low", "high", "noise"), [(0.8, 1.1, 1.25), (0.0, 1.1, 2.0), (0.9, 1.5, 1.5)]
)
def test_noise_is_the_larger_half_of_a_mean_and_below_at_most_a_factor_of_two(
    tmp_path, low, high, noise
):
    folder = make_profile_dir(tmp_path / "p", model="squeezenet", samples=30)
    path = folder / "profile.json"
    profile = json.loads(path.read_text("utf-8"))
    for point in profile["points"]:
        mean = point["latency_ms"]["mean"]
        mean["low"], mean["high"] = low * mean["value"], high * mean["value"]
    path.write_text(json.dumps(profile), "utf-8")
    found = measured_at(folder, "from", "squeezenet").measurements
    assert found.noise == pytest.approx(log(noise))


@settings(max_examples=50, deadline=None)
@given(
    values=st.dictionaries(st.integers(1, 1024), st.floats(-2, 2), min_size=1, max_size=6),
    batch=st.integers(1, 4096),
)
def test_a_curve_stays_between_its_points(values, batch):
    curve = Curve(values)
    found = curve.at(batch)
    assert min(values.values()) - 1e-12 <= found <= max(values.values()) + 1e-12
    if batch in values:
        assert found == pytest.approx(values[batch])
        assert curve.distance(batch) == 0


def test_drift_is_what_a_point_misses_the_line_of_the_others_by():
    assert Curve({1: 0.0, 4: 1.0, 16: 2.0}).drift == pytest.approx(0.5)  # the ends, from level ones
    assert Curve({1: 0.3, 4: 0.3, 16: 0.3}).drift == 0
    assert Curve({8: 1.0}).drift is None


def test_latencies_of_nothing_are_refused():
    with pytest.raises(HardwareError, match="above 0"):
        measured({})
    with pytest.raises(HardwareError, match="above 0"):
        measured({1: 0.0})


def test_intervals_hold_what_they_claim_on_the_shipped_profiles():
    """From one thread to two, with one, two or three points of the two; prints the numbers."""
    one, two = (data_dir("profiles") / name for name in ("epyc-2c-1t", "epyc-2c-2t"))
    errors, held, claimed = [], [], []
    for folder in sorted(two.iterdir()):
        model = folder.name.partition("-onnx")[0].partition("-openvino")[0]
        known, own = (
            measured_at(top / folder.name, "from", model).measurements.seconds for top in (one, two)
        )
        stack = modelled_stack(model, "amd-epyc-9654")
        subsets = chain.from_iterable(combinations(own, count) for count in (1, 2, 3))
        for points in subsets:
            made = Transfer(stack.predict, stack.predict, measured(known),
                            measured({size: own[size] for size in points}))  # fmt: skip
            for size in set(own) - set(points):
                found = made.at(size)
                errors.append(abs(found.seconds / own[size] - 1))
                held.append(found.interval[0] <= own[size] <= found.interval[1])
                claimed.append(found.coverage)
    share = sum(held) / len(held)
    print(f"\n{len(errors)} left-out points: median error {median(errors):.1%}; "
          f"{share:.0%} in intervals that claim {mean(claimed):.0%}")  # fmt: skip
    assert median(errors) < 0.25
    assert share >= mean(claimed) - 0.1
