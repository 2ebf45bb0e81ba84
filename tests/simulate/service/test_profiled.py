import dataclasses

import numpy as np
import pytest

from profleet.errors import ConfigError, StoreError
from profleet.profile.samples import STEADY
from profleet.profile.schema import Value
from profleet.simulate.service.profiled import measured
from profleet.simulate.service.table import POINTS
from support import Synthetic, make_profile


def read(what=None, edit=None):
    profile, samples = make_profile(what or Synthetic())
    if edit is not None:
        profile = profile.model_copy(deep=True)
        edit(profile)
    return measured(profile, samples, "S", "epyc-2c-1t", "here")


def test_only_steady_samples_count():
    profile, samples = make_profile(Synthetic())
    steady = samples.where((samples.phase == STEADY) & (samples.batch_size == 4))
    means = [steady.latency_ns[steady.process == each].mean() for each in range(5)]
    found = measured(profile, samples, "S", "m", "here")
    assert found.sizes == (1, 2, 4, 8)
    assert found.rows[4].mean() == pytest.approx(np.mean(means), abs=1)


def test_what_a_service_class_carries():
    service = read().service_class("squeezenet", 8, allow_extrapolation=False, field="f")
    cold = make_profile(Synthetic())[0].cold_start
    assert service.name == "squeezenet"
    assert service.quantiles.shape == (8, POINTS)
    assert service.mean_ns == pytest.approx(service.quantiles.mean(axis=1))
    assert service.evidence == (
        "measured", "measured", "interpolated", "measured",
        "interpolated", "interpolated", "interpolated", "measured",
    )  # fmt: skip
    assert (service.input_bytes, service.output_bytes) == (602112, 4000)
    assert service.load_ns == round((cold.load_s + cold.init_s) * 1e9)
    assert Synthetic().run_id in service.source
    assert "squeezenet@1.0.0 onnxruntime@1.0.0 epyc-2c-1t" in service.source


def test_the_source_names_no_place():
    assert "here" not in read().source


def test_sizes_beyond_the_grid_are_an_error_unless_allowed():
    with pytest.raises(
        ConfigError, match=r"^batching\.max_size: .* S was measured at .*1, 2, 4, 8"
    ):
        read().service_class("m", 9, allow_extrapolation=False, field="batching.max_size")
    service = read().service_class("m", 10, allow_extrapolation=True, field="f")
    assert service.evidence[8:] == ("modelled", "modelled")
    assert service.source.endswith("; batch sizes 9, 10 extrapolated linearly")
    step = service.mean_ns[7] - service.mean_ns[3]
    assert service.mean_ns[9] == pytest.approx(service.mean_ns[7] + step / 2, rel=1e-3)


def test_energy_is_unknown_unless_measured():
    assert np.isnan(
        read().service_class("m", 2, allow_extrapolation=False, field="f").energy_j
    ).all()

    def known(profile):
        for point, energy in zip(profile.measurement.points, (1.0, 2.0, 5.0, 9.0), strict=True):
            point.energy_j = Value(value=energy)

    service = read(edit=known).service_class("m", 8, allow_extrapolation=False, field="f")
    assert service.energy_j == pytest.approx([1, 2, 3.5, 5, 6, 7, 8, 9])


def test_energy_of_one_size_says_nothing_about_others():
    def known(profile):
        profile.measurement.points[1].energy_j = Value(value=2.0)

    energy = read(edit=known).service_class("m", 4, allow_extrapolation=False, field="f").energy_j
    assert energy[1] == 2.0
    assert np.isnan(energy[[0, 2, 3]]).all()


def test_the_spread_of_processes_is_measured():
    assert read(Synthetic(between=0.2)).process_cv > 3 * read(Synthetic(between=0.01)).process_cv
    assert read(Synthetic(processes=1)).process_cv is None


def test_processes_made_alike_keep_the_mean_and_lose_their_spread():
    found = read(Synthetic(between=0.2, noise=0.001))
    assert found.alike[4].mean() == pytest.approx(found.rows[4].mean(), rel=1e-4)
    middle = slice(int(0.05 * POINTS), int(0.95 * POINTS))
    spread = [np.ptp(rows[4][middle]) / rows[4].mean() for rows in (found.rows, found.alike)]
    assert spread[0] > 0.2
    assert spread[1] < 0.01
    made = found.service_class("m", 4, allow_extrapolation=False, field="f", alike=True)
    assert (made.quantiles[3] == found.alike[4]).all()


def test_unstable_sizes_and_missing_tails_are_noted():
    assert not read().notes
    unstable, few = read(Synthetic(unstable=(2, 4), samples=20)).notes
    assert "unstable at batch size 2, 4" in unstable
    assert "p99 service time at batch size 1, 2, 4, 8" in few


def test_a_scenario_is_no_batch_sweep():
    with pytest.raises(StoreError, match=r"here measured server.*scenario=sweep"):
        read(Synthetic(scenario="server"))


def test_samples_of_another_run_are_refused():
    profile, _ = make_profile(Synthetic())
    _, samples = make_profile(Synthetic(samples=100))
    with pytest.raises(StoreError, match=r"counts 700 samples of batch size 1.*holds 500"):
        measured(profile, samples, "S", "m", "here")


@pytest.mark.parametrize("time", [0, 2 * 10**15])
def test_impossible_times_are_refused(time):
    profile, samples = make_profile(Synthetic())
    column = samples.latency_ns.copy()
    column[np.flatnonzero(samples.phase == STEADY)[0]] = time
    broken = dataclasses.replace(samples, latency_ns=column)
    with pytest.raises(StoreError, match="took no time at all or more than"):
        measured(profile, broken, "S", "m", "here")


def test_a_point_that_is_missing_from_the_measurement_is_refused():
    def cut(profile):
        profile.measurement.points = profile.measurement.points[1:]

    with pytest.raises(StoreError, match="nothing usable about batch size 1"):
        read(edit=cut)
