"""``profleet predict``: its numbers, its files and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd
import pytest

from profleet.errors import ConfigError, HardwareError, ManifestError
from profleet.execute.settings import check
from profleet.hardware.forecast import LAYER_COLUMNS, PredictSettings, forecast
from profleet.hardware.stack import modelled_stack, precision_of
from profleet.manifest.library import Library
from profleet.profile.points import PointRow, SourceFile, make_points, write_points
from profleet.report.forecasts import print_forecast
from support import make_profile_dir

PLAIN = {
    "model": "squeezenet", "hardware": "nvidia-t4", "batch_sizes": [1, 8], "dtype": None,
    "from": None, "from_hardware": None, "from_model": None, "from_scenario": None,
    "from_dtype": None, "measured": None, "allow_extrapolation": False,
    "layers": 3, "store": "unused", "manifests": [],
}  # fmt: skip
LIBRARY = Library.standard()


def asked(**values):
    return check(PredictSettings, PLAIN | values)


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    return make_profile_dir(
        tmp_path_factory.mktemp("from") / "p", model="squeezenet", base_ms=1.0, slope_ms=3.0,
        samples=30, processes=3,
    )  # fmt: skip


def test_the_numbers_agree_with_each_other():
    answer = forecast(asked())
    made = answer.forecast
    rows = pd.DataFrame(answer.layers)
    assert list(rows.columns) == list(LAYER_COLUMNS)
    for each in made.batches:
        at = f"b{each.batch_size}"
        own = rows[rows.batch_size == each.batch_size]
        assert own.seconds.sum() * 1e3 == pytest.approx(each.latency_ms)
        parts = own[["accelerator_s", "movement_s", "framework_s"]].sum()
        assert parts.sum() * 1e3 == pytest.approx(each.latency_ms)
        assert each.shares["framework"] == pytest.approx(parts.framework_s / parts.sum())
        assert sum(each.shares.values()) == pytest.approx(1)
        assert sum(each.bound_shares.values()) == pytest.approx(1)
        assert each.bound == max(each.bound_shares, key=each.bound_shares.get)
        rate = made.metrics[f"throughput_rps/{at}"]
        assert rate.value == pytest.approx(each.batch_size / each.latency_ms * 1e3)
        assert made.metrics[f"latency_mean_ms/{at}"].value == each.latency_ms
        assert made.metrics[f"share_compute_bound/{at}"].value == each.bound_shares["compute"]


def test_macs_of_all_layers_are_those_of_the_model():
    rows = pd.DataFrame(forecast(asked(model="vgg19", batch_sizes=[1])).layers)
    stated = LIBRARY.resolve("model", "vgg19").document.metadata["macs"]
    assert rows.macs.sum() == pytest.approx(float(stated.value), rel=0.01)


def test_a_calibrated_device_states_an_interval_and_others_say_that_they_cannot():
    t4 = forecast(asked(model="resnet50", hardware="nvidia-t4", dtype="int8")).forecast
    error = LIBRARY.resolve("hardware", "nvidia-t4").document.calibration.error
    first = t4.batches[0]
    assert first.evidence == "calibrated"
    assert first.low_ms / first.latency_ms == pytest.approx(error.low)
    assert first.high_ms / first.latency_ms == pytest.approx(error.high)
    assert first.coverage == error.coverage
    rate = t4.metrics["throughput_rps/b1"]
    assert rate.low < rate.value < rate.high
    assert t4.metrics["energy_j/b1"].evidence == "modelled"
    assert f"{error.points} measured points" in t4.expectation
    v5e = forecast(asked(hardware="google-tpu-v5e")).forecast
    assert {each.evidence for each in v5e.batches} == {"modelled"}
    assert {each.low_ms for each in v5e.batches} == {None}
    assert "No expected error" in v5e.expectation
    assert ["no overhead" in each.expectation for each in (t4, v5e)] == [False, True]


@pytest.mark.parametrize(
    ("model", "hardware", "dtype", "evidence", "scope"),
    [
        ("resnet50", "nvidia-t4", "float32", "assumed", "resnet50 in int8"),  # its peak is recalled
        ("resnet50", "nvidia-t4", "float16", "modelled", "resnet50 in int8"),
        ("squeezenet", "nvidia-t4", "int8", "modelled", "resnet50 in int8"),
        ("bert-large", "nvidia-h100-sxm", "float16", "modelled", "single layers in bfloat16"),
        ("resnet50", "nvidia-h100-sxm", "float8", "modelled", "single layers in bfloat16"),
        ("resnet50", "nvidia-b200-sxm", "bfloat16", "modelled", "single layers in bfloat16"),
        ("resnet50", "cim-rram-22nm", "int8", "modelled", "single layers in int8"),
        ("squeezenet", "sushi-zcu104", "int8", "assumed", "single layers in int8"),
    ],
)
def test_a_calibration_claims_nothing_of_what_it_is_not_of(model, hardware, dtype, evidence, scope):
    other = forecast(asked(model=model, hardware=hardware, dtype=dtype, batch_sizes=[1])).forecast
    assert other.batches[0].evidence == evidence
    assert (other.batches[0].low_ms, other.calibration) == (None, None)
    stated = f"No expected error can be stated: the calibration of {hardware} is of {scope}."
    assert other.expectation.startswith(stated)
    assert ("took 0.5 to 18 times" in other.expectation) == (hardware == "nvidia-t4")


def test_a_core_array_computes_in_no_precision():
    asked_for = asked(model="resnet18", hardware="mit-lightning", dtype="float16", batch_sizes=[1])
    assert forecast(asked_for).forecast.dtype is None
    with pytest.raises(HardwareError, match="no peak for dtype=floaty"):
        forecast(asked(model="resnet18", hardware="mit-lightning", dtype="floaty"))


def test_a_datapath_whose_latency_is_not_stated_is_named():
    stated = forecast(asked(model="resnet18", hardware="mit-lightning")).forecast
    assert not any("datapath" in note for note in stated.notes)
    other = forecast(asked(model="gpt2", hardware="mit-lightning")).forecast
    (note,) = (note for note in other.notes if "datapath" in note)
    assert "gpt2-xl" in note
    assert "none for gpt2: it counts as 0 us" in note


def test_energy_is_stated_where_power_is_known():
    assert "energy_j/b8" in forecast(asked(hardware="nvidia-h100-sxm")).forecast.metrics
    without = forecast(asked(hardware="google-tpu-v5e")).forecast
    assert "energy_j/b8" not in without.metrics
    assert without.batches[0].energy_j is None
    lightning = forecast(asked(model="vgg19", hardware="mit-lightning", batch_sizes=[1])).forecast
    (one,) = lightning.batches  # products at full power; the rest adds next to nothing
    assert one.energy_j == pytest.approx(19.63e9 / 576 / 97e9 * 91.875, rel=0.02)
    h100 = forecast(asked(hardware="nvidia-h100-sxm")).forecast
    assert [sum("no idle power" in note for note in each.notes) for each in (h100, without)] == [
        1,
        0,
    ]


def test_precision_is_as_asked_or_the_widest_there_is():
    t4, v5e = (LIBRARY.resolve("hardware", n).document for n in ("nvidia-t4", "google-tpu-v5e"))
    lightning = LIBRARY.resolve("hardware", "mit-lightning").document
    assert precision_of(t4, None) == "float32"
    assert precision_of(v5e, None) == "bfloat16"
    assert precision_of(lightning, None) is None
    assert precision_of(lightning, "int8") == "int8"
    with pytest.raises(HardwareError, match=r"'nvidia-t4' has no peak for dtype=float64.*int8"):
        precision_of(t4, "float64")
    slow, fast = (forecast(asked(dtype=dtype)).forecast for dtype in ("float32", "int8"))
    assert slow.batches[1].latency_ms > fast.batches[1].latency_ms
    assert any("computed in bfloat16" in note for note in
               forecast(asked(hardware="google-tpu-v5e")).forecast.notes)  # fmt: skip


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"model": "squeezenett"}, ManifestError, "Did you mean 'squeezenet'"),
        ({"hardware": "nvidia-t5"}, ManifestError, "Did you mean 'nvidia-t4'"),
        ({"hardware": "local"}, HardwareError, "is measured, not modelled"),
        ({"dtype": "floaty"}, HardwareError, "no peak for dtype=floaty"),
        ({"model": "vgg16", "hardware": "groq-lpu"}, HardwareError, "Take a smaller batch"),
        ({"batch_sizes": [2, 2]}, ConfigError, "holds a size twice"),
        ({"batch_sizes": [0]}, ConfigError, "batch_sizes.0"),
        ({"measured": {1: 2.0}}, ConfigError, "say from=FOLDER"),
    ],
)
def test_mistakes_have_a_place(values, error, message):
    with pytest.raises(error, match=message):
        forecast(asked(**values))


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("value: 320, unit: GB/s", "value: 0, unit: GB/s", "memory.bandwidth"),
        ("value: 70, unit: W", "value: -70, unit: W", "power.peak"),
        ("kind: roofline", "kind: cim", "cim"),
    ],
)
def test_impossible_hardware_is_refused_with_the_place(tmp_path, old, new, place):
    source = LIBRARY.resolve("hardware", "nvidia-t4").path.read_text("utf-8")
    assert old in source
    path = tmp_path / "nvidia-t4@1.0.0.yaml"
    path.write_text(source.replace(old, new, 1), "utf-8")
    with pytest.raises(ManifestError) as caught:
        forecast(asked(hardware=str(path)))
    assert place in str(caught.value)
    assert path.name in str(caught.value)


# -- scaling a measurement -----------------------------------------------------------------------


def scaled(profile, **values):
    return forecast(
        asked(**{"from": str(profile), "from_hardware": "intel-xeon-8592"} | values)
    ).forecast


def test_a_profile_is_scaled_between_devices(profile):
    made = scaled(profile, batch_sizes=[1, 2], hardware="nvidia-t4")
    assert "scaled layer by layer" in made.source
    assert set(made.transfer["measured_ms"]) >= {"1", "2"}
    plain = {hardware: forecast(asked(batch_sizes=[1], hardware=hardware)).forecast.batches[0]
             for hardware in ("intel-xeon-8592", "nvidia-t4")}  # fmt: skip
    by_ratio = plain["nvidia-t4"].latency_ms / plain["intel-xeon-8592"].latency_ms
    found = made.batches[0].latency_ms / made.transfer["measured_ms"]["1"]
    assert 0.2 * by_ratio < found < 5 * by_ratio


def test_points_of_the_device_itself_are_met(profile):
    made = scaled(profile, batch_sizes=[1, 2, 4], measured={1: 2.5, 4: 7.0})
    values = {each.batch_size: (each.latency_ms, each.evidence) for each in made.batches}
    assert values[1] == (pytest.approx(2.5), "measured")
    assert values[4] == (pytest.approx(7.0), "measured")
    assert values[2][1] == "interpolated"
    low, high = made.batches[1].low_ms, made.batches[1].high_ms
    assert 0 < low < values[2][0] < high


def test_on_the_device_itself_a_profile_is_its_own_points(profile):
    made = scaled(profile, batch_sizes=[2], hardware="intel-xeon-8592")
    assert made.batches[0].evidence == "measured"
    assert made.batches[0].latency_ms == pytest.approx(made.transfer["measured_ms"]["2"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"from_hardware": None}, "Say from_hardware=NAME"),
        ({"model": "resnet50"}, "measured squeezenet, not resnet50"),
        ({"batch_sizes": [512]}, "512 lies outside the measured ones"),
    ],
)
def test_what_cannot_be_scaled_is_said(profile, values, message):
    with pytest.raises((ConfigError, HardwareError), match=message):
        scaled(profile, **values)


def test_beyond_the_grid_if_allowed(profile):
    assert scaled(profile, batch_sizes=[512], allow_extrapolation=True).batches[0].latency_ms > 0


# -- other people's points -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    """Two devices; on one of them two ways, two rounds, and no more than lower bounds."""
    shared = {"device": "T4", "hardware": "nvidia-t4", "dtype": "float32", "quantity": "latency",
              "unit": "s", "count": 1, "model": "SqueezeNet_v01", "scenario": "summed"}  # fmt: skip

    def row(batch, value, **other):
        given = {"batch_size": batch, "value": value, "low": value, "high": value}
        return PointRow(**(shared | given | other))

    rows = [
        row(1, 1e-3, bound="lower"), row(8, 4e-3, bound="lower"),
        row(1, 5e-3, hardware="nvidia-l4"), row(1, 9e-3, hardware="nvidia-l4", round="v9.1"),
        row(1, 2e-3, hardware="nvidia-l4", round="v10.0"),
        row(1, 3e-3, hardware="nvidia-a10"), row(1, 3e-3, hardware="nvidia-a10", scenario="path"),
    ]  # fmt: skip
    file = SourceFile(name="f", sha256=None, title="A table", license="CC0-1.0", references=[])
    folder = tmp_path_factory.mktemp("points")
    write_points(folder, make_points("test", file, rows, notes=[]))
    return folder


def test_points_of_other_people_are_scaled_too(points):
    made = scaled(points, from_hardware="nvidia-t4", from_model="squeezenet-v1",
                  hardware="nvidia-l4", batch_sizes=[4])  # fmt: skip
    assert made.transfer["measured_ms"] == {"1": pytest.approx(1.0), "8": pytest.approx(4.0)}
    assert any("lower bounds" in note for note in made.notes)
    assert "A table" in made.source
    made = scaled(points, from_hardware="nvidia-l4", from_model="squeezenet-v1", batch_sizes=[1])
    assert made.transfer["measured_ms"] == {"1": pytest.approx(2.0)}  # of the newest round
    assert any("no peak for float32, in which it ran" in note for note in made.notes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "no latency of 'squeezenet'. Say from_model=NAME"),
        ({"from_model": "squeezenet-v1", "from_hardware": None}, "say with from_hardware"),
        ({"from_model": "squeezenet-v1", "from_hardware": "nvidia-p4"}, "There are: nvidia-a10"),
        ({"from_model": "squeezenet-v1", "from_hardware": "nvidia-a10"}, "one of: path, summed"),
    ],
)
def test_points_that_could_mean_several_things_are_asked_about(points, values, message):
    with pytest.raises(ConfigError, match=message):
        scaled(points, **{"from_hardware": "nvidia-t4"} | values)


def test_a_single_measurement_claims_no_interval_and_says_why(points):
    made = scaled(points, from_hardware="nvidia-t4", from_model="squeezenet-v1",
                  hardware="nvidia-l4", batch_sizes=[1], measured={1: 2.5, 8: 6.0})  # fmt: skip
    (one,) = made.batches
    assert (one.latency_ms, one.evidence) == (pytest.approx(2.5), "measured")
    assert (one.low_ms, one.high_ms, one.coverage) == (None, None, None)
    assert made.expectation.startswith(
        "No interval at batch size 1: it is the measurement as given"
    )


def test_batch_sizes_without_an_interval_say_why(points):
    """The cause is one measured batch size, not device models that nobody compared."""
    made = scaled(points, from_hardware="nvidia-l4", from_model="squeezenet-v1",
                  hardware="nvidia-l4", batch_sizes=[1, 8], allow_extrapolation=True)  # fmt: skip
    assert made.batches[1].low_ms is None
    assert "batch size 8: one measured batch size does not show" in made.expectation
    other = scaled(points, from_hardware="nvidia-t4", from_model="squeezenet-v1",
                   hardware="nvidia-l4", batch_sizes=[1])  # fmt: skip
    assert "precision is known of nvidia-t4 and nvidia-l4; give points" in other.expectation
    assert other.calibration is None


def test_the_precision_that_ran_decides_what_the_first_device_model_says(tmp_path):
    """MLPerf does not say it; results in 8 bits are no float32 ones, whatever the model is in."""

    def row(hardware, dtype):
        return PointRow(device="d", hardware=hardware, model="resnet50", dtype=dtype, batch_size=1,
                        scenario="single_stream", quantity="latency", unit="s", value=8.2e-4,
                        low=8.2e-4, high=8.2e-4, count=1)  # fmt: skip

    rows = [row("nvidia-t4", None), row("nvidia-a30", "int8"), row("nvidia-a30", "float16")]
    file = SourceFile(name="f", sha256=None, title="A table", license="CC0-1.0", references=[])
    write_points(tmp_path, make_points("test", file, rows, notes=[]))
    given = {"model": "resnet50", "hardware": "nvidia-a10", "dtype": "int8", "batch_sizes": [1]}
    asked_for = given | {"from_hardware": "nvidia-t4"}
    with pytest.raises(ConfigError, match=r"say with from_dtype .*, which they do not say"):
        scaled(tmp_path, **asked_for)
    with pytest.raises(ConfigError, match=r"there are float16, int8"):
        scaled(tmp_path, **given | {"from_hardware": "nvidia-a30"})
    with pytest.raises(ConfigError, match=r"nothing in float32\. There are: float16, int8"):
        scaled(tmp_path, **given | {"from_hardware": "nvidia-a30", "from_dtype": "float32"})
    first, second = (
        modelled_stack("resnet50", name, "int8") for name in ("nvidia-t4", "nvidia-a10")
    )
    ratio = second.predict(1).seconds / first.predict(1).seconds
    made = scaled(tmp_path, **asked_for | {"from_dtype": "int8"})
    assert made.batches[0].latency_ms == pytest.approx(0.82 * ratio, rel=0.01)
    assert not made.notes


def test_a_device_unlike_its_model_is_asked_about(profile):
    made = scaled(profile, from_hardware="nvidia-h100-sxm", batch_sizes=[1])
    (note,) = (text for text in made.notes if "Is that what it was measured on" in text)
    assert "times what the device model of nvidia-h100-sxm says" in note


# -- what people and scripts see -----------------------------------------------------------------


def test_the_terminal_shows_the_longest_layers_and_what_it_is_worth(capsys):
    answer = forecast(asked(hardware="nvidia-h100-sxm"))
    print_forecast(answer, 2)
    shown = capsys.readouterr().out
    longest = max((row for row in answer.layers if row["batch_size"] == 8),
                  key=lambda row: row["seconds"])  # fmt: skip
    assert longest["name"] in shown
    assert "No expected error" in shown
    assert "nvidia-h100-sxm@1.0.0" in shown
    print_forecast(answer, 0)
    assert "Longest layers" not in capsys.readouterr().out


def test_the_command_writes_what_it_says(tmp_path):
    words = ["-m", "model=squeezenet", "hardware=nvidia-t4,local", "batch_sizes=[1,8]"]
    done = _command(tmp_path, *words)
    assert done.returncode == 1  # one of the two is measured, not modelled
    assert "is measured, not modelled" in done.stderr
    (path,) = tmp_path.rglob("result.json")
    made = json.loads(path.read_text("utf-8"))
    assert (made["schema"], made["status"]) == ("profleet/prediction/v1", "finished")
    layers = pd.read_parquet(path.parent / made["paths"]["layers.parquet"])
    total = layers[layers.batch_size == 8].seconds.sum() * 1e3
    assert total == pytest.approx(made["metrics"]["latency_mean_ms/b8"]["value"])


def test_a_mistake_leaves_nothing(tmp_path):
    done = _command(tmp_path, "model=squeezenet", "hardware=nvidia-t5")
    assert done.returncode == 2
    assert "Did you mean 'nvidia-t4'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store").exists()


def _command(folder, *words):
    program = "import sys; from profleet.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, "predict", *words, f"store={folder / 'store'}"],
        capture_output=True, text=True, check=False, cwd=folder, timeout=120,
    )  # fmt: skip


def test_the_same_model_and_device_are_made_once():
    first, second = (modelled_stack("squeezenet", "nvidia-t4") for _ in range(2))
    assert first.device is second.device
    assert first.predict(2).network.layers is second.predict(2).network.layers
