import hashlib
import re
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from profleet.profile.samples import STEADY
from profleet.profile.schema import StackRef
from profleet.report import plots, style
from profleet.report.plots import stack_names, write_comparison, write_plots
from support import Synthetic, make_profile

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def drawn(monkeypatch):
    """Axes by file name instead of files: what a picture shows, without reading pixels."""
    pictures: dict[str, Axes] = {}

    def keep(figure: Figure, folder: Path, name: str) -> list[Path]:
        figure.draw_without_rendering()
        pictures[name] = figure.axes[0]
        return []

    monkeypatch.setattr(plots, "save", keep)
    return pictures


def stems(paths):
    return sorted({path.stem for path in paths})


def test_every_picture_is_there_as_svg_and_png(tmp_path):
    paths = write_plots(*make_profile(Synthetic()), tmp_path / "plots")
    assert sorted(paths) == sorted((tmp_path / "plots").iterdir())
    assert stems(paths) == ["cdf", "idle", "latency", "throughput"]
    for path in paths:
        if path.suffix == ".svg":
            assert ET.parse(path).getroot().tag.endswith("svg")
        else:
            assert path.read_bytes()[:8] == PNG


def test_svgs_are_the_same_bytes_in_another_process(tmp_path):
    digests = []
    for number in range(2):
        code = (
            "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
            "from support import Synthetic, make_profile;"
            "from profleet.report.plots import write_plots;"
            "write_plots(*make_profile(Synthetic()), Path(sys.argv[2]))"
        )
        folder = tmp_path / str(number)
        tests = str(Path(__file__).parent.parent)
        subprocess.run([sys.executable, "-c", code, tests, str(folder)], check=True)
        digests.append(
            [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.svg"))]
        )
    assert len(digests[0]) == 4
    assert digests[0] == digests[1]


def test_the_ticks_of_batch_sizes_are_the_batch_sizes(drawn, tmp_path):
    sizes = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128)
    write_plots(*make_profile(Synthetic(batch_sizes=sizes, samples=10)), tmp_path)
    axis = drawn["latency"].xaxis
    assert [label.get_text() for label in axis.get_ticklabels()] == [str(size) for size in sizes]
    assert list(axis.get_minorticklocs()) == []


def test_lines_pass_through_the_profiles_numbers(drawn, tmp_path):
    profile, samples = make_profile(Synthetic())
    write_plots(profile, samples, tmp_path)
    lines = {line.get_label(): line for line in drawn["latency"].get_lines()}
    for name in ("p50", "p90", "p99"):
        expected = [point.latency_ms.percentiles[name].value for point in profile.points]
        assert list(lines[name].get_ydata()) == expected
    (trade,) = drawn["throughput"].get_lines()
    assert list(trade.get_ydata()) == [point.throughput_rps.value for point in profile.points]
    labels = [text.get_text() for text in drawn["throughput"].texts]
    assert labels == ["batch 1", "batch 2", "batch 4", "batch 8"]


def test_refused_percentiles_are_not_drawn(drawn, tmp_path):
    write_plots(*make_profile(Synthetic(samples=20)), tmp_path)
    assert {line.get_label() for line in drawn["latency"].get_lines()} == {"p50", "p90"}


def test_the_cdf_of_each_batch_size_reaches_from_none_to_all(drawn, tmp_path):
    profile, samples = make_profile(Synthetic(samples=3000, processes=1))
    write_plots(profile, samples, tmp_path)
    lines = drawn["cdf"].get_lines()
    assert [line.get_label() for line in lines] == [f"batch {b} (n=3000)" for b in (1, 2, 4, 8)]
    steady = samples.where((samples.phase == STEADY) & (samples.batch_size == 1)).latency_ns / 1e6
    x, y = lines[0].get_data()
    assert (x[0], x[-1], y[0], y[-1]) == (steady.min(), steady.max(), 0, 1)
    assert (np.diff(y) >= 0).all()
    assert len(x) < 700, "long runs are thinned"
    middle = np.searchsorted(y, 0.5)
    assert x[middle] == pytest.approx(np.median(steady), rel=0.01)


@pytest.mark.parametrize(("slope", "scale"), [(0.2, "linear"), (30.0, "log")])
def test_latency_axes_turn_logarithmic_only_when_the_range_is_wide(drawn, tmp_path, slope, scale):
    write_plots(*make_profile(Synthetic(slope_ms=slope, batch_sizes=(1, 16))), tmp_path)
    assert drawn["cdf"].get_xscale() == scale
    assert drawn["latency"].get_yscale() == scale


def test_idle_gaps_are_named_and_rated(drawn, tmp_path):
    write_plots(*make_profile(Synthetic(idle_gaps_ms=(5.0, 2.5))), tmp_path)
    ticks = [label.get_text() for label in drawn["idle"].get_xticklabels()]
    assert ticks == ["back-to-back", "2.5", "5"]
    ratios = [float(text.get_text()[1:]) for text in drawn["idle"].texts]
    assert ratios == sorted(ratios)
    assert ratios[0] > 1


def test_every_axis_has_a_label(drawn, tmp_path):
    profile, samples = make_profile(Synthetic())
    write_plots(profile, samples, tmp_path)
    assert len(drawn) == 4
    for axes in drawn.values():
        assert axes.get_xlabel()
        assert re.search(r"ms|per second|Share", axes.get_ylabel())


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ({"batch_sizes": (4,)}, ["cdf", "idle", "latency", "throughput"]),
        ({"samples": 1, "processes": 1, "idle_samples": 1}, ["cdf"]),
        (
            {"samples": 6, "processes": 1, "idle_samples": 5},
            ["cdf", "idle", "latency", "throughput"],
        ),
        ({"samples": 1, "processes": 1, "idle_gaps_ms": ()}, ["cdf"]),
        ({"scenario": "server", "samples": 1, "processes": 1}, ["cdf"]),
        ({"scenario": "offline"}, ["cdf"]),
        ({"base_ms": 0.0001, "slope_ms": 0.0}, ["cdf", "idle", "latency", "throughput"]),
        ({"model": "m" * 64, "framework": "f" * 64}, ["cdf", "idle", "latency", "throughput"]),
        ({"model": "a$b_{c}$d<&>"}, ["cdf", "idle", "latency", "throughput"]),
    ],
)
def test_unusual_profiles_are_drawn(tmp_path, what, expected):
    assert stems(write_plots(*make_profile(Synthetic(**what)), tmp_path)) == expected


def test_no_samples_give_no_picture(tmp_path):
    profile, samples = make_profile(Synthetic(scenario="server"))
    assert write_plots(profile, samples.where(samples.phase > 9), tmp_path) == []


def test_a_comparison_has_a_line_a_stack(drawn, tmp_path):
    profiles = [make_profile(Synthetic(framework=name, seed=i))[0] for i, name in enumerate("abc")]
    write_comparison(profiles, tmp_path)
    for name in ("latency", "throughput"):
        assert [line.get_label() for line in drawn[name].get_lines()] == ["a", "b", "c"]
        assert drawn[name].get_title(loc="left").endswith(": squeezenet")


def test_a_comparison_of_many_stacks_tells_all_lines_apart(drawn, tmp_path):
    profiles = [make_profile(Synthetic(model=f"m{i}", seed=i))[0] for i in range(12)]
    write_comparison(profiles, tmp_path)
    lines = drawn["latency"].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 12
    assert not drawn["throughput"].texts, "labels of twelve stacks would hide each other"


def test_profiles_without_batches_are_left_out_of_a_comparison(tmp_path):
    scenario, _ = make_profile(Synthetic(scenario="server"))
    assert write_comparison([scenario], tmp_path) == []
    sweep, _ = make_profile(Synthetic())
    assert stems(write_comparison([scenario, sweep], tmp_path)) == ["latency", "throughput"]


def stack(model="m@1.0.0", framework="f@1.0.0", hardware="local@1.0.0"):
    return StackRef(model=model, framework=framework, hardware=hardware)


@pytest.mark.parametrize(
    ("stacks", "names"),
    [
        ([stack()], ["m · f"]),
        ([stack(), stack(framework="g@1.0.0")], ["f", "g"]),
        ([stack(), stack(model="n@1.0.0", framework="g@1.0.0")], ["m · f", "n · g"]),
        ([stack(), stack(model="m@2.0.0")], ["m@1.0.0", "m@2.0.0"]),
        ([stack(), stack(), stack()], ["m · f", "m · f #2", "m · f #3"]),
    ],
)
def test_stacks_are_named_by_what_differs(stacks, names):
    assert stack_names(stacks) == names


def test_executors_name_what_differs_in_nothing_else():
    assert stack_names([stack(), stack()], ["process", "docker"]) == ["process", "docker"]
    assert stack_names([stack(), stack(model="n@1.0.0")], ["docker", "docker"]) == ["m", "n"]


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path):
    (tmp_path / "plots").write_text("in the way")
    with pytest.raises(OSError, match="plots"):
        write_plots(*make_profile(Synthetic(batch_sizes=(1,))), tmp_path / "plots")


def test_colors_differ_also_for_color_blind_eyes():
    """Relative luminance or hue under deuteranopia must differ between any two of the palette."""

    def linear(color):
        values = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)

    # Machado, Oliveira and Fernandes 2009, deuteranomaly of severity 1.0
    matrix = np.array(
        [[0.367322, 0.860646, -0.227968],
         [0.280085, 0.672501, 0.047413],
         [-0.01182, 0.04294, 0.968881]]
    )  # fmt: skip
    seen = [np.cbrt(np.clip(matrix @ linear(color), 0, 1)) for color in style.COLORS]
    for i, one in enumerate(seen):
        for other in seen[:i]:
            assert np.linalg.norm(one - other) > 0.08
