"""Core arrays: the closed form against one step a task, and LightSpeed's numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profleet.errors import HardwareError
from profleet.hardware.devices.core_array import CoreArray, Cores, Tasks
from profleet.hardware.layers import Network, chain, conv_layer, dense_layer, vector_layer
from profleet.hardware.predict import predict


def one_by_one(cores, jobs):
    """The original: every task goes to the next core, at the end of what that core has to do."""
    free, following, ends = [0] * cores, 0, []
    for tasks, now in jobs:
        end = now
        for _ in range(tasks.count):
            free[following] = max(free[following], now) + tasks.length
            end = max(end, free[following])
            following = (following + 1) % cores
        ends.append(end)
    return ends, free, following


JOBS = st.lists(
    st.tuples(st.builds(Tasks, st.integers(1, 9), st.integers(1, 40)), st.integers(0, 60)),
    min_size=1,
    max_size=12,
).map(lambda jobs: sorted(jobs, key=lambda job: job[1]))


@settings(deadline=None)
@given(st.integers(1, 13), JOBS)
def test_placing_a_layer_at_once_equals_placing_its_tasks_one_by_one(cores, jobs):
    array = Cores(cores)
    ends = [array.place(tasks, now) for tasks, now in jobs]
    assert (ends, array.free.tolist(), array.next) == one_by_one(cores, jobs)


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 5000), st.integers(1, 4096))
def test_joining_short_products_keeps_the_work(length, count, granularity):
    joined = Tasks(length, count).at_least(granularity)
    assert joined.length >= granularity or joined.length == length
    assert 0 <= joined.length * joined.count - length * count < joined.length


def lightning(**other):
    given = {"name": "lightning", "cores": 576, "clock_hz": 97e9, "granularity": 2048}
    return CoreArray(**(given | other))


ALEXNET = chain(
    "alexnet",
    1,
    [
        conv_layer(
            f"conv{index}", channels=channels, filters=filters, kernel=(kernel, kernel),
            image=(side, side), strides=(1, 1),
        )
        for index, (channels, filters, kernel, side) in enumerate(
            [(3, 64, 11, 55), (64, 192, 5, 27), (192, 384, 3, 13), (384, 256, 3, 13),
             (256, 256, 3, 13)]
        )
    ]
    + [
        dense_layer(f"fc{index}", inputs=inputs, outputs=outputs)
        for index, (inputs, outputs) in enumerate([(9216, 4096), (4096, 4096), (4096, 1000)])
    ],
)  # fmt: skip


@pytest.mark.parametrize(
    ("cores", "clock_hz", "busy_ms"), [(576, 97e9, 0.0128), (6912, 1.41e9, 0.0733)]
)
def test_alexnet_keeps_a_device_busy_as_long_as_lightspeed_says(cores, clock_hz, busy_ms):
    """A layer of fewer tasks than cores takes longer than its share of the device."""
    device = lightning(cores=cores, clock_hz=clock_hz, granularity=1, peak_w=1.0)
    prediction = predict(ALEXNET, device)
    assert prediction.energy_j * 1e3 == pytest.approx(busy_ms, abs=5e-5)
    assert busy_ms <= prediction.seconds * 1e3 < 1.1 * busy_ms


def test_a_request_pays_the_datapath_of_its_model_once():
    device = lightning(datapath_s={"alexnet": 8 * 115e-9}, default_datapath_s=1e-3)
    computing = predict(ALEXNET, lightning()).seconds
    prediction = predict(ALEXNET, device)
    assert prediction.seconds - computing == pytest.approx(920e-9)
    assert prediction.parts.framework == pytest.approx(920e-9)
    other = Network("other", 1, ALEXNET.layers, ALEXNET.after)
    assert predict(other, device).parts.framework == pytest.approx(1e-3)


def test_branches_share_an_idle_array():
    layer = dense_layer("fc", inputs=100, outputs=4)
    device = lightning(cores=8, clock_hz=1.0, granularity=1)
    fork = Network("fork", 1, (layer, layer, layer), ((), (), (0, 1)))
    assert device.completion_s(fork) == 200  # two layers of 4 tasks on 8 cores, then the third
    assert predict(fork, device).seconds == 300
    assert device.completion_s(chain("chain", 1, [layer, layer, layer])) == 300


def test_a_layer_that_moves_data_only_takes_no_core():
    moved = vector_layer("t", "Transpose", reads=100, writes=100, ops=0)
    assert lightning().layer(moved).seconds == 0
    pointwise = vector_layer("r", "Relu", reads=4096, writes=4096, ops=4096)
    assert lightning().tasks(pointwise) == Tasks(2048, 2)


def test_energy_is_idle_power_and_the_busy_share_of_the_cores():
    device = lightning(cores=4, clock_hz=1.0, granularity=1, idle_w=10.0, peak_w=90.0)
    layer = dense_layer("fc", inputs=3, outputs=5)  # 5 tasks of 3 ticks on 4 cores: 6 ticks
    assert device.layer(layer).energy_j == pytest.approx(10 * 6 + 80 * 15 / 4)


@pytest.mark.parametrize(
    "wrong", [{"cores": 0}, {"clock_hz": 0.0}, {"datapath_s": {"alexnet": -1.0}}]
)
def test_impossible_arrays_are_refused(wrong):
    with pytest.raises(HardwareError, match="'lightning' is impossible"):
        lightning(**wrong)
    with pytest.raises(HardwareError, match="at least one core"):
        Cores(0)


@settings(deadline=None)
@given(st.integers(1, 64), st.integers(1, 300), st.integers(1, 300))
def test_more_cores_never_cost_time(cores, inputs, outputs):
    layer = dense_layer("fc", inputs=inputs, outputs=outputs)
    few = lightning(cores=cores, granularity=1)
    more = replace(few, cores=cores + 1)
    assert more.layer(layer).seconds <= few.layer(layer).seconds
    assert few.layer(layer).seconds >= layer.macs / cores / 97e9
