"""Groups of hardware that nobody measured, simulated by its device model."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import yaml

from profleet.errors import ConfigError, HardwareError, ManifestError
from profleet.execute.settings import check
from profleet.hardware.stack import modelled_stack, stack_of
from profleet.manifest.library import Library
from profleet.simulate.api import simulate
from profleet.simulate.fleet import ProfiledFleet, build_fleet
from profleet.simulate.plan import PlanSettings, plan
from profleet.simulate.service.modelled import modelled_class, sizes
from profleet.simulate.service.sources import Places
from support import make_profile_dir
from tiny import workspace

DEVICE = """
schema: profleet/hardware/v1
name: {name}
version: 1.0.0
description: A device for tests.
provenance: {{source: made by the test}}
kind: roofline
peaks:
  {dtype}: {{value: 1, unit: GFLOP/s, {basis}}}
memory:
  bandwidth: {{value: 1, unit: GB/s, {basis}}}
  capacity: {{value: 100, unit: kB, {basis}}}
power:
  idle: {{value: 500, unit: mW, {basis}}}
  peak: {{value: 2, unit: W, {basis}}}
overheads:
  invocation: {{value: 10, unit: us, {basis}}}
{more}
"""
BASIS = "evidence: modelled, provenance: datasheet, source: made by the test"
ERROR = "{points: 9, median: 0.1, p90: 0.2, low: 0.8, high: 1.25, coverage: 0.9, held_out: true}"
FITTED = f"calibration:\n  fitted_on: nine points\n  models: [tiny]\n  error: {ERROR}\n"
PRICE = "price: {value: 3, unit: USD/h, evidence: assumed, provenance: recalled, source: made up}\n"
WIDTH = 32


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    """A perceptron of two 32 x 32 layers; a plain device, a calibrated one, one without float32."""
    top = workspace(tmp_path_factory.mktemp("modelled"), width=WIDTH)
    folder = top / "hardware"
    folder.mkdir()
    for name, dtype, more in (
        ("plain", "float32", ""), ("fitted", "float32", FITTED + PRICE), ("half", "float16", ""),
    ):  # fmt: skip
        text = DEVICE.format(name=name, dtype=dtype, more=more, basis=BASIS)
        assert yaml.safe_load(text)
        (folder / f"{name}@1.0.0.yaml").write_text(text, "utf-8")
    workspace(top.parent, name="rigid", width=WIDTH)
    rigid = top / "model" / "rigid@1.0.0.yaml"
    rigid.write_text(yaml.safe_dump(yaml.safe_load(rigid.read_text()) | {"batch_sizes": [1, 2]}))
    return top


@pytest.fixture
def places(manifests):
    return Places(manifests=(str(manifests),))


def fleet(places, *groups, max_batch=1, allow=True, profiles=()):
    plain = {"kind": "profiles", "profiles": list(profiles), "allow_models": allow}
    settings = check(ProfiledFleet, plain | {"groups": list(groups)})
    return build_fleet(settings, places, max_batch=max_batch)


def seconds(batch, peak=1e9, bandwidth=1e9, size=4):
    """The roofline by hand: product and Relu in one kernel, two such layers, one invocation."""
    total = 10e-6
    for _ in range(2):
        operations = 2 * batch * WIDTH * WIDTH + batch * WIDTH
        moved = size * (2 * batch * WIDTH + WIDTH * WIDTH)
        total += max(operations / peak, moved / bandwidth)
    return total


def group(hardware="plain", **values):
    return {"hardware": hardware, "model": "tiny", "count": 2, **values}


def test_times_are_those_of_the_device_model(places):
    made = fleet(places, group(), max_batch=4).groups[0]
    service = made.services["tiny"]
    assert service.mean_ns == pytest.approx([seconds(b) * 1e9 for b in (1, 2, 3, 4)], abs=0.51)
    assert (service.quantiles == service.mean_ns[:, None]).all()  # they do not vary
    assert service.evidence == ("modelled",) * 4
    assert (service.input_bytes, service.output_bytes) == (4 * WIDTH, 4 * WIDTH)
    assert "roofline of plain@1.0.0" in service.source
    assert made.titles == {"tiny": "tiny in float32 on plain"}


def test_power_price_and_energy_come_from_the_manifest(places):
    plain, fitted = fleet(places, group(), group("fitted")).groups
    assert (plain.idle_w, plain.active_w) == (0.5, 2.0)
    assert math.isnan(plain.price_per_hour)
    assert fitted.price_per_hour == 3
    joules = plain.services["tiny"].energy_j[0]
    assert 0.5 * seconds(1) < joules < 2.0 * seconds(1)


def test_a_calibrated_device_says_so_and_how_far_off_it_is(places):
    made = fleet(places, group("fitted"), max_batch=2)
    assert made.groups[0].services["tiny"].evidence == ("calibrated",) * 2
    (said,) = (text for text in made.notes if "nobody measured" in text)
    assert "10.0% (median)" in said
    assert "nine points" in said


def test_an_uncalibrated_device_states_no_error(places):
    assert any("No expected error" in text for text in fleet(places, group()).notes)


def test_without_permission_it_is_refused_and_says_how(places):
    with pytest.raises(ConfigError, match=r"nobody measured model 'tiny'.*allow_models=true"):
        fleet(places, group(), allow=False)


def test_a_profile_goes_before_a_model(places, tmp_path):
    make_profile_dir(tmp_path / "p", model="tiny", samples=30)
    source = {"path": str(tmp_path), "hardware": "plain"}
    made = fleet(places, group(), group("fitted"), profiles=[source])
    first, second = (each.services["tiny"] for each in made.groups)
    assert first.evidence == ("measured",)
    assert second.evidence == ("calibrated",)


def test_the_precision_is_that_of_the_device_unless_said(places):
    made = fleet(places, group("half"))
    assert made.groups[0].services["tiny"].mean_ns[0] == pytest.approx(
        seconds(1, size=2) * 1e9, abs=0.51
    )
    assert any("no peak for float32: computed in float16" in text for text in made.notes)
    with pytest.raises(HardwareError, match="no peak for dtype=int8"):
        fleet(places, group("half", dtype="int8"))


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"warm": False}, ConfigError, "load_ms is missing"),
        ({"speed_cv": "measured"}, ConfigError, "speed_cv=measured needs a profile"),
        ({"hardware": "plane"}, ConfigError, "Did you mean 'plain'"),
        ({"model": "tinny"}, ManifestError, "Did you mean 'tiny'"),
        ({"model": None}, ConfigError, "model is missing"),
    ],
)
def test_what_a_model_cannot_know_is_asked_for(places, values, error, message):
    with pytest.raises(error, match=message):
        fleet(places, group(**values))


def test_a_batch_that_does_not_fit_is_refused(places):
    with pytest.raises(HardwareError, match="Take a smaller batch"):
        fleet(places, group(), max_batch=1024)


def test_a_batch_that_the_graph_does_not_take_is_refused(places):
    assert fleet(places, group(model="rigid"), max_batch=2).groups[0].services["rigid"]
    with pytest.raises(ConfigError, match=r"rigid takes batch sizes 1, 2 only.*1 to 3"):
        fleet(places, group(model="rigid"), max_batch=3)


def test_batches_of_one_unless_a_limit_is_given(places):
    made = fleet(places, group(), max_batch=None)
    assert made.groups[0].services["tiny"].max_batch == 1
    assert any("no largest batch" in text for text in made.notes)


def test_large_batches_lie_on_lines_between_predicted_ones(manifests):
    stack = modelled_stack("tiny", "plain", manifests=[manifests])
    service = modelled_class(stack, 100, "batching.size")
    exact = np.array([stack.predict(size).seconds * 1e9 for size in range(1, 101)])
    assert service.mean_ns == pytest.approx(exact, rel=0.01)
    assert sizes(16) == tuple(range(1, 17))
    assert sizes(100)[15:] == (16, 19, 23, 27, 32, 38, 45, 54, 64, 76, 91, 100)


def test_a_simulation_carries_the_evidence(manifests):
    done = simulate(
        {"groups": [group("fitted")], "allow_models": True},
        {"load": 0.5},
        manifests=[str(manifests)],
        requests=2000,
        replications=2,
        tracking="none",
    )
    evidence = dict(done.metrics()["evidence"])
    energy = {name for name in evidence if name.startswith(("energy", "power"))}
    assert {evidence.pop(name) for name in energy} == {"modelled"}  # nobody compared a joule
    assert set(evidence.values()) == {"calibrated"}
    assert done.result().fleet[0].evidence == ["calibrated"]


def test_a_plan_compares_modelled_hardware(manifests):
    from profleet.simulate.api import configure

    base = configure(
        {
            "fleet": {"model": "tiny", "allow_models": True}, "slo": {"p99_ms": 1},
            "workload": {"rate": 30_000}, "tracking": "none",
        },
        {"manifests": [str(manifests)], "requests": 4000, "replications": 2},
    )  # fmt: skip
    settings = PlanSettings(
        **dict(base), hardware=("plain", "half"), objective="count", max_replicas=64
    )
    found = plan(settings)
    assert [answer.hardware for answer in found.answers] == ["plain", "half"]
    least = math.floor(30_000 * seconds(1)) + 1
    assert all(least - 1 <= (answer.replicas or 0) <= 64 for answer in found.answers)
    assert {answer.metrics["replicas"].evidence for answer in found.answers} == {"modelled"}
    assert sum("nobody measured this" in text for text in found.notes) == 2
    assert any("on half" in text and "No expected error" in text for text in found.notes)


def test_a_plan_without_an_answer_keeps_what_to_know(manifests):
    from profleet.simulate.api import configure

    base = configure(
        {
            "fleet": {"model": "tiny", "allow_models": True}, "slo": {"p99_ms": 1e-3},
            "workload": {"rate": 100}, "tracking": "none",
        },
        {"manifests": [str(manifests)], "requests": 2000, "replications": 2},
    )  # fmt: skip
    found = plan(PlanSettings(**dict(base), hardware=("plain",), objective="count", max_replicas=4))
    assert found.answers[0].replicas is None
    assert any("nobody measured this" in text for text in found.notes)


def test_equal_files_under_other_names_are_not_one_service(manifests):
    """A calibration is of a model by its name; so is the evidence of what is remembered."""
    stack = modelled_stack("tiny", "fitted", manifests=[manifests])
    document = stack.model.document.model_copy(update={"name": "other"})
    library = Library.standard([manifests])
    other = stack_of(replace(stack.model, document=document), library.resolve("hardware", "fitted"))
    found = [modelled_class(each, 1, "x").evidence[0] for each in (stack, other)]
    assert found == ["calibrated", "modelled"]


def test_a_plan_says_that_the_catalogue_is_compared_only_where_named(manifests, capsys):
    from profleet.report.plans import print_plan
    from profleet.simulate.api import configure

    base = configure(
        {"fleet": {"allow_models": True}, "slo": {"p99_ms": 1e6}, "workload": {"rate": 10},
         "tracking": "none"},
        {"manifests": [str(manifests)], "requests": 2000, "replications": 2},
    )  # fmt: skip
    found = plan(PlanSettings(**dict(base), hardware=None, objective="count", max_replicas=2))
    assert any("hardware=[nvidia-t4,nvidia-l4]" in text for text in found.notes)
    print_plan(found)
    assert "Name devices of the catalogue" in " ".join(capsys.readouterr().out.split())
