"""The set of profiles that ships with Profleet."""

import re

import numpy as np
import pytest
import yaml

from profleet.execute.settings import check
from profleet.manifest.library import Library
from profleet.paths import data_dir
from profleet.profile.store import load_profile, load_result
from profleet.simulate.api import configure
from profleet.simulate.fleet import ProfiledFleet, build_fleet
from profleet.simulate.service.sources import Places, Source, SourceSettings
from profleet.simulate.simulation import prepare

FILES = {
    "environment.json", "job.json", "lock.json", "profile.json", "result.json", "samples.parquet",
}  # fmt: skip
CANDIDATES = Source(SourceSettings(path="shipped"), Places()).candidates


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda each: each.folder.name)
def test_a_shipped_profile_is_whole_and_lies_under_its_own_name(candidate):
    folder, stack = candidate.folder, candidate.stack
    model, framework = (part.partition("@")[0] for part in (stack.model, stack.framework))
    assert {path.name for path in folder.iterdir()} == FILES
    assert folder.name == f"{model}-{framework}"
    assert folder.parent.name == candidate.machine
    profile = load_profile(folder)
    assert profile.measurement.check.status == "passed"
    assert profile.run_id == load_result(folder).run_id
    library = Library.standard()
    assert library.resolve("model", stack.model).reference == stack.model
    assert library.resolve("framework", stack.framework).reference == stack.framework


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda each: each.folder.name)
def test_a_shipped_profile_serves_every_batch_size_up_to_its_largest(candidate):
    measured = candidate.measured()
    assert measured.sizes[:4] == (1, 2, 4, 8)
    service = measured.service_class(
        "m", measured.sizes[-1], allow_extrapolation=False, field="max_batch"
    )
    assert set(service.evidence) == {"measured", "interpolated"}
    assert (np.diff(service.mean_ns) > 0).all()


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda each: each.folder.name)
def test_a_shipped_profile_names_no_machine(candidate):
    for path in candidate.folder.glob("*.json"):
        assert not re.search(r"/(home|root|tmp|Users|work)/|hostname", path.read_text("utf-8"))


def test_the_set_is_small():
    sizes = [path.stat().st_size for path in data_dir("profiles").rglob("*") if path.is_file()]
    assert sum(sizes) < 2_000_000


@pytest.mark.parametrize("name", ["quickstart", "mixed"])
def test_the_shipped_fleets_need_nothing_else(name):
    plain = yaml.safe_load((data_dir("conf") / "fleet" / f"{name}.yaml").read_text())
    fleet = build_fleet(check(ProfiledFleet, plain), Places(), max_batch=8)
    assert fleet.models == ("squeezenet",)
    assert fleet.capacity_rps() > 2000


@pytest.mark.parametrize(
    ("group", "fleet", "served"),
    [
        ({}, {}, "squeezenet under onnxruntime"),
        ({}, {"model": "resnet50", "framework": "openvino"}, "resnet50 under openvino"),
        ({"model": "magika"}, {}, "magika under onnxruntime"),
        ({"framework": "openvino"}, {}, "squeezenet under openvino"),
    ],
)
def test_a_group_that_names_only_its_hardware_serves_what_the_fleet_does(group, fleet, served):
    groups = [{"hardware": "epyc-2c-1t", "count": 2, **group}]
    made = prepare(configure({"fleet": {"groups": groups, **fleet}, "workload": {"rate": 1}}, {}))
    assert [row["stack"] for row in made.fleet.describe()] == [f"{served} on epyc-2c-1t"]


def test_a_group_may_serve_every_model_of_its_hardware():
    groups = [{"hardware": "epyc-2c-1t", "count": 2, "model": None}]
    made = prepare(configure({"fleet": {"groups": groups}, "workload": {"rate": 1}}, {}))
    assert made.fleet.models == ("magika", "resnet50", "squeezenet")
