from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from profleet.errors import ConfigError
from profleet.execute.settings import check
from profleet.paths import data_dir
from profleet.simulate.fleet import ANY_MODEL, ProfiledFleet, TheoryFleet, build_fleet
from profleet.simulate.service.sources import Places
from support import make_profile_dir

NAN, INF = float("nan"), float("inf")
CONSTANT = {"dist": "deterministic", "mean_ms": 10.0}
BATCHED = {"dist": "deterministic", "mean_ms": 4.0, "per_request_ms": 1.0}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Two models on one machine, of which one also under another framework."""
    top = tmp_path_factory.mktemp("shelf")
    small = {"samples": 30, "processes": 3}
    make_profile_dir(top / "a", model="squeezenet", base_ms=1.0, slope_ms=3.0, **small)
    make_profile_dir(top / "b", model="resnet50", base_ms=5.0, slope_ms=20.0, seed=1, **small)
    make_profile_dir(top / "c", model="resnet50", framework="openvino", seed=2, **small)
    return top


def fleet(*groups, max_batch=1, places=None, **values):
    plain = {"kind": "profiles", "profiles": [], "allow_extrapolation": False, **values}
    if groups:
        plain["groups"] = list(groups)
    return build_fleet(check(ProfiledFleet, plain), places or Places(), max_batch=max_batch)


def assumed(count=1, service=CONSTANT, **values):
    return {"count": count, "service": service, **values}


def arrays(made, seed=0):
    return made.arrays(np.random.default_rng(seed))


# -- profiles ------------------------------------------------------------------------------------


def test_a_fleet_is_one_group_unless_it_has_several(shelf):
    made = fleet(hardware="example-2c", model="squeezenet", count=3, profiles=[str(shelf)])
    assert made.models == ("squeezenet",)
    assert arrays(made).first.tolist() == [0, 3]
    assert [group.name for group in made.groups] == ["example-2c"]


def test_groups_serve_their_models_and_share_numbers(shelf):
    made = fleet(
        {"hardware": "local", "model": "squeezenet", "count": 2},
        {
            "hardware": "local",
            "model": ["resnet50", "squeezenet"],
            "framework": "onnxruntime",
            "count": 3,
        },
        profiles=[str(shelf)],
        max_batch=4,
    )
    cells = arrays(made)
    assert made.models == ("squeezenet", "resnet50")
    assert cells.groups == ("local", "local-2")
    assert [service and service.name for service in cells.services] == [
        "squeezenet", None, "squeezenet", "resnet50",
    ]  # fmt: skip
    assert all(each.max_batch == 4 for each in cells.services if each)
    assert cells.loaded.tolist() == [0, 0, 1, 0, 1]
    assert cells.group_of.tolist() == [0, 0, 1, 1, 1]
    assert cells.draw(np.random.default_rng(1), 1000).max() < 1


def test_all_models_of_a_hardware_are_served_where_none_is_named(shelf):
    made = fleet({"hardware": "A", "framework": "onnxruntime", "count": 1},
                 profiles=[{"path": str(shelf), "hardware": "A"}])  # fmt: skip
    assert set(made.models) == {"squeezenet", "resnet50"}


def test_a_group_may_have_a_source_of_its_own(shelf):
    made = fleet(
        {"count": 1, "profile": str(shelf / "a")},
        {"count": 1, "profile": {"path": str(shelf / "c"), "hardware": "B"}},
    )
    assert [group.name for group in made.groups] == ["example-2c-2t", "B"]
    assert made.describe()[1]["stack"] == "resnet50 under openvino on B"


def test_the_batch_limit_of_a_group_goes_before_the_policy(shelf):
    limited = {"hardware": "local", "model": "squeezenet", "count": 1, "max_batch": 2}
    made = fleet(limited, {**limited, "max_batch": 99}, profiles=[str(shelf)], max_batch=8)
    assert [service.max_batch for service in arrays(made).services] == [2, 8]


def test_batches_beyond_the_profile_name_the_setting(shelf):
    group = {"hardware": "local", "model": "squeezenet", "count": 1}
    with pytest.raises(ConfigError, match=r"^batching\.size: .* 1, 2, 4, 8 only"):
        fleet(group, profiles=[str(shelf)], max_batch=16)
    with pytest.raises(ConfigError, match=r"^fleet\.groups\.0\.max_batch: .* 1, 2, 4, 8 only"):
        fleet({**group, "max_batch": 12}, profiles=[str(shelf)], max_batch=16)
    made = fleet(group, profiles=[str(shelf)], max_batch=16, allow_extrapolation=True)
    assert made.describe()[0]["evidence"][8:] == ["modelled"] * 8


def test_the_model_is_loaded_as_measured_or_as_said(shelf):
    group = {"hardware": "local", "model": "squeezenet", "count": 2, "warm": False}
    made = arrays(fleet(group, {**group, "load_ms": 1500.0}, profiles=[str(shelf)]))
    assert made.services[0].load_ns > 0
    assert made.services[1].load_ns == 1_500_000_000
    assert made.loaded.tolist() == [-1] * 4


def test_several_models_are_loaded_at_once_or_in_turn(shelf):
    group = {"hardware": "local", "framework": "onnxruntime", "count": 2}
    kept = fleet(group, profiles=[str(shelf)])
    swapped = fleet({**group, "memory": "one"}, profiles=[str(shelf)])
    assert [service.load_ns for service in arrays(kept).services] == [0, 0]
    assert all(service.load_ns > 0 for service in arrays(swapped).services)
    with pytest.raises(ConfigError, match=r"fleet\.groups\.0: .*cannot start cold"):
        fleet({**group, "warm": False}, profiles=[str(shelf)])


def test_power_and_price_come_from_the_hardware_manifest(tmp_path, shelf):
    folder = tmp_path / "hardware"
    folder.mkdir()
    said = {"evidence": "assumed", "source": "a test"}
    manifest = {
        "schema": "profleet/hardware/v1", "name": "box", "version": "1.0.0", "kind": "measured",
        "description": "A box.", "provenance": {"source": "a test"},
        "power": {
            "idle": {"value": 20, "unit": "W", **said}, "peak": {"value": 90, "unit": "W", **said},
        },
        "price": {"value": 0.5, "unit": "USD/h", **said},
    }  # fmt: skip
    (folder / "box@1.0.0.yaml").write_text(yaml.safe_dump(manifest))
    measured = make_profile_dir(tmp_path / "run", samples=20, processes=2)
    for name in ("result.json", "profile.json"):
        path = measured / name
        path.write_text(path.read_text().replace("local@1.0.0", "box@1.0.0"))
    group = {"hardware": "box", "count": 1}
    said = {**group, "power": {"active_w": 50.0}, "price_per_hour": 0.0}
    made = arrays(
        fleet(group, said, profiles=[str(measured)], places=Places(manifests=(str(tmp_path),)))
    )
    assert made.idle_w.tolist() == [20, 20]
    assert made.active_w.tolist() == [90, 50]
    assert made.price_per_hour.tolist() == [0.5, 0.0]


def test_power_and_price_that_nobody_states_are_unknown_and_not_zero(shelf):
    made = arrays(fleet({"count": 1, "profile": str(shelf / "a")}, assumed()))
    for column in (made.idle_w, made.active_w, made.price_per_hour):
        assert np.isnan(column).all()


def test_replicas_may_differ_as_the_processes_did(shelf):
    made = fleet({"count": 4000, "profile": str(shelf / "a"), "speed_cv": "measured"})
    spread = made.groups[0].speed_cv
    assert 0.001 < spread < 0.1
    speeds = 1 / arrays(made).slowdown
    assert speeds.mean() == pytest.approx(1, abs=5 * spread / np.sqrt(4000))
    assert speeds.std() == pytest.approx(spread, rel=0.1)


# -- settings ------------------------------------------------------------------------------------

BAD = [
    ({"count": 0}, "groups.0.count"),
    ({"count": -3}, "groups.0.count"),
    ({"count": NAN}, "groups.0.count"),
    ({"count": 2.5}, "groups.0.count"),
    ({"count": INF}, "groups.0.count"),
    ({"count": 10**9}, "groups.0.count"),
    ({"weight": 0.0}, "groups.0.weight"),
    ({"max_batch": 0}, "groups.0.max_batch"),
    ({"link": {"latency_us": -1.0}}, "groups.0.link.latency_us"),
    ({"link": {"latency_us": INF}}, "groups.0.link.latency_us"),
    ({"link": {"bandwidth_gbps": 0.0}}, "groups.0.link.bandwidth_gbps"),
    ({"link": {"bandwith_gbps": 1.0}}, "groups.0.link.bandwith_gbps"),
    ({"host_overhead_us": NAN}, "groups.0.host_overhead_us"),
    ({"power": {"idle_w": -1.0}}, "groups.0.power.idle_w"),
    ({"price_per_hour": -1.0}, "groups.0.price_per_hour"),
    ({"load_ms": -1.0}, "groups.0.load_ms"),
    ({"memory": "some"}, "groups.0.memory"),
    ({"speed_cv": -0.1}, "groups.0.speed_cv"),
    ({"speed_cv": "measured"}, "needs a profile"),
    ({"stragglers": {"fraction": 1.5}}, "groups.0.stragglers.fraction"),
    ({"stragglers": {"slowdown": 0.5}}, "groups.0.stragglers.slowdown"),
    ({"failures": {"mtbf_s": 10.0}}, "mtbf_s and mttr_s go together"),
    ({"failures": {"mtbf_s": 0.0, "mttr_s": 1.0}}, "groups.0.failures.mtbf_s"),
    ({"failures": {"mtbf_s": 9.0, "mttr_s": 1.0, "outages": [{"at_s": 1.0}]}}, "not both"),
    ({"failures": {"outages": [{"at_s": -1.0}]}}, "groups.0.failures.outages.0.at_s"),
    ({"failures": {"outages": [{"at_s": 1.0, "for_s": 0.0}]}}, "outages.0.for_s"),
    ({"model": []}, "model is an empty list"),
    ({"framework": "openvino"}, "service takes the place of a profile"),
    ({"service": {**CONSTANT, "mean_ms": 0.0}}, "groups.0.service.mean_ms"),
    ({"colour": "red"}, "groups.0.colour"),
]


@pytest.mark.parametrize(("values", "said"), BAD, ids=[str(values) for values, _ in BAD])
def test_what_cannot_be_is_refused_by_field(values, said):
    with pytest.raises(ConfigError) as caught:
        fleet({**assumed(), **values})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"groups": []}, "a fleet needs at least one group"),
        ({"groups": [{"hardware": "A"}]}, r"^fleet\.groups\.0\.count is missing"),
        ({"groups": [assumed(), {"count": 3}]}, r"^fleet\.groups\.1\.hardware is missing"),
        ({"hardware": "A"}, r"^fleet\.count is missing"),
        ({"count": 2}, r"^fleet\.hardware is missing"),
        ({"groups": [assumed(2**23), assumed(2**23)]}, "replicas are more than"),
        ({"hardware": "A", "count": 2}, r"^fleet: there is no profile at all in no source"),
    ],
)
def test_a_fleet_needs_replicas_with_a_service_time(values, said):
    with pytest.raises(ConfigError, match=said):
        fleet(**values)


def test_profiles_of_several_machines_are_not_mixed_unasked(tmp_path, shelf):
    other = make_profile_dir(tmp_path / "m" / "x", model="vgg19", samples=20, processes=2)
    path = other / "environment.json"
    path.write_text(path.read_text().replace("Example CPU", "Other CPU"))
    make_profile_dir(tmp_path / "m" / "y", model="alexnet", samples=20, processes=2)
    with pytest.raises(ConfigError, match=r"^fleet\.groups\.0\.hardware is missing, .*other-2c-2t"):
        fleet({"count": 1, "profile": str(tmp_path / "m")})


# -- arrays --------------------------------------------------------------------------------------


def test_links_and_overheads_are_in_nanoseconds_and_bytes():
    made = arrays(
        fleet(
            assumed(
                link={"latency_us": 12.5, "bandwidth_gbps": 10.0}, host_overhead_us=3.0, weight=2.0
            ),
            assumed(),
        )
    )
    assert made.link_latency_ns.tolist() == [12_500, 0]
    assert made.link_bytes_per_s.tolist() == [1.25e9, INF]
    assert made.host_ns.tolist() == [3_000, 0]
    assert made.weight.tolist() == [2.0, 1.0]


def test_outages_are_in_order_of_time_and_numbered_over_all_groups():
    outages = [{"at_s": 2.0, "for_s": 1.0, "replicas": [1]}, {"at_s": 5.0, "replicas": 0}]
    made = arrays(
        fleet(
            assumed(2, failures={"outages": [{"at_s": 2.5, "for_s": 0.5}]}),
            assumed(2, failures={"outages": outages}),
        )
    )
    events = list(zip(made.outage_ns / 1e9, made.outage_up, made.outage_replica, strict=True))
    assert events == [
        (2.0, 0, 3), (2.5, 0, 0), (2.5, 0, 1), (3.0, 1, 0), (3.0, 1, 1), (3.0, 1, 3), (5.0, 0, 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("outages", "said"),
    [
        ([{"at_s": 1.0, "replicas": [2]}], "there is no replica 2; the group has 2"),
        ([{"at_s": 1.0, "for_s": 5.0}, {"at_s": 3.0, "replicas": 0}], "already down at 3 s"),
        ([{"at_s": 1.0}, {"at_s": 3.0}], "already down at 3 s"),
        ([{"at_s": 1.0, "for_s": 2.0}, {"at_s": 3.0}], "already down at 3 s"),
    ],
)
def test_outages_that_cannot_be(outages, said):
    with pytest.raises(ConfigError, match=r"^fleet\.groups\.0\.failures\.outages: ") as caught:
        arrays(fleet(assumed(2, failures={"outages": outages})))
    assert said in str(caught.value)


def test_exponential_failures_are_in_nanoseconds():
    made = arrays(fleet(assumed(failures={"mtbf_s": 100.0, "mttr_s": 0.5}), assumed()))
    assert made.mtbf_ns.tolist() == [100 * 10**9, 0]
    assert made.mttr_ns.tolist() == [5 * 10**8, 0]


def test_replicas_are_alike_unless_asked_otherwise():
    assert (arrays(fleet(assumed(50))).slowdown == 1.0).all()


def test_speeds_vary_around_one_and_by_seed():
    made = fleet(assumed(20_000, speed_cv=0.2))
    speeds = 1 / arrays(made).slowdown
    assert speeds.mean() == pytest.approx(1, abs=0.01)
    assert speeds.std() == pytest.approx(0.2, rel=0.05)
    assert (arrays(made).slowdown == arrays(made).slowdown).all()
    assert (arrays(made, 1).slowdown != arrays(made).slowdown).any()


@pytest.mark.parametrize(
    ("fraction", "counts"), [(0.25, {2}), (0.3, {2, 3}), (0.0, {0}), (1.0, {8})]
)
def test_stragglers_are_as_many_as_said(fraction, counts):
    made = fleet(assumed(8, stragglers={"fraction": fraction, "slowdown": 3.0}))
    found = [arrays(made, seed).slowdown for seed in range(40)]
    assert {int((each == 3.0).sum()) for each in found} == counts
    assert all(set(each) <= {1.0, 3.0} for each in found)


def test_a_group_does_not_change_the_speeds_of_the_others():
    plain, fancy = (
        arrays(fleet(assumed(4, **first), assumed(4, speed_cv=0.3))).slowdown[4:]
        for first in ({}, {"speed_cv": 0.5, "stragglers": {"fraction": 0.5, "slowdown": 2.0}})
    )
    assert (plain == fancy).all()


def test_a_law_is_drawn_by_the_fleet_and_mixtures_become_tables(shelf):
    exponential = {"dist": "exponential", "mean_ms": 2.0}
    alone = fleet(assumed(service=exponential), assumed(service={**exponential, "mean_ms": 3.0}))
    draws = arrays(alone).draw(np.random.default_rng(1), 200_000)
    assert draws.mean() == pytest.approx(1, abs=0.02)
    assert draws.max() > 5
    assert all(service.quantiles.size == 0 for service in arrays(alone).services)
    for other in (assumed(), {"count": 1, "profile": str(shelf / "a")}):
        mixed = arrays(fleet(assumed(service=exponential), other))
        assert mixed.draw(np.random.default_rng(1), 1000).max() < 1
        assert all(service is None or service.quantiles.size for service in mixed.services)
        assert mixed.services[0].mean_ns[0] == pytest.approx(2e6, rel=1e-6)


# -- capacity ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "max_batch", "capacity"),
    [
        ([assumed(3)], 1, 300.0),
        ([assumed(1, BATCHED)], 1, 250.0),
        ([assumed(1, BATCHED)], 8, 8 / 0.011),
        ([assumed(2, BATCHED), assumed(5)], 8, 2 * 8 / 0.011 + 5 * 8 / 0.010),
        ([assumed(2, BATCHED, max_batch=2)], 8, 2 * 2 / 0.005),
        ([assumed(4, failures={"mtbf_s": 3.0, "mttr_s": 1.0})], 1, 300.0),
        ([assumed(4, stragglers={"fraction": 0.5, "slowdown": 2.0})], 1, 300.0),
        ([assumed(4, speed_cv=0.5)], 1, 400.0),
        ([assumed(4, failures={"outages": [{"at_s": 1.0}]})], 1, 400.0),
    ],
)
def test_capacity_by_hand(groups, max_batch, capacity):
    assert fleet(*groups, max_batch=max_batch).capacity_rps() == pytest.approx(capacity, rel=1e-9)


def test_capacity_of_theory():
    plain = {"kind": "theory", "servers": 16, "service": {"dist": "exponential", "mean_ms": 1.0}}
    made = build_fleet(check(TheoryFleet, plain), Places())
    assert made.capacity_rps() == pytest.approx(16_000)
    assert made.models == (ANY_MODEL,)
    assert arrays(made).replicas == 16


FAST = {"dist": "deterministic", "mean_ms": 5.0}


def test_capacity_of_a_mixture_splits_requests_where_they_fit():
    made = fleet(
        assumed(1, FAST, model="a"),  # 200/s of a
        assumed(1, model=["a", "b"]),  # 100/s of either
        assumed(1, model="b"),  # 100/s of b
    )
    assert made.capacity_rps({"a": 1.0}) == pytest.approx(300)
    assert made.capacity_rps({"b": 1.0}) == pytest.approx(200)
    assert made.capacity_rps({"a": 1, "b": 1}) == pytest.approx(400)
    assert made.capacity_rps() == pytest.approx(400)
    assert made.capacity_rps({"a": 3, "b": 1}) == pytest.approx(400)
    assert made.capacity_rps({"a": 9, "b": 1}) == pytest.approx(300 / 0.9)
    assert made.capacity_rps({"a": 1, "b": 0}) == pytest.approx(300)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 500), st.floats(0.1, 50)), min_size=1, max_size=4),
    st.floats(0.05, 20),
)
def test_capacity_of_groups_that_serve_everything_alike_is_their_sum(shapes, weight):
    made = fleet(*(assumed(n, {**CONSTANT, "mean_ms": ms}, model=["a", "b"]) for n, ms in shapes))
    total = sum(count / ms * 1e3 for count, ms in shapes)
    assert made.capacity_rps({"a": 1.0, "b": weight}) == pytest.approx(total, rel=1e-6)


def test_a_link_may_be_the_limit(shelf):
    group = {"count": 10, "profile": str(shelf / "a"), "link": {"bandwidth_gbps": 0.1}}
    assert fleet(group).capacity_rps() == pytest.approx(0.1e9 / 8 / 602112, rel=1e-6)
    wide = {**group, "link": {"bandwidth_gbps": 1000.0}}
    free = {**group, "link": {}}
    assert fleet(wide).capacity_rps() == pytest.approx(fleet(free).capacity_rps())


def test_a_model_no_replica_serves():
    made = fleet(assumed(model=["resnet50", "vgg19"]))
    said = r"^workload\.models: no replica of the fleet serves 'resnet5'\. Did you mean 'resnet50'"
    with pytest.raises(ConfigError, match=said):
        made.capacity_rps({"resnet5": 1.0})
    assert made.index("vgg19", "workload.models") == 1


@pytest.mark.parametrize("weights", [{"a": 0.0}, {"a": -1.0, "b": 2.0}, {"a": NAN}, {"a": INF}, {}])
def test_weights_that_cannot_be(weights):
    with pytest.raises(ConfigError, match=r"^workload\.models"):
        fleet(assumed(model=["a", "b"])).capacity_rps(weights)


# -- what ships ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", sorted(data_dir("conf").glob("fleet/*.yaml")), ids=lambda p: p.stem
)
def test_shipped_configurations_are_valid(path: Path):
    plain = yaml.safe_load(path.read_text())
    check(TheoryFleet if plain["kind"] == "theory" else ProfiledFleet, plain)


def test_the_quickstart_lists_every_key_of_a_group():
    plain = yaml.safe_load((data_dir("conf") / "fleet" / "quickstart.yaml").read_text())
    missing = set(ProfiledFleet.model_fields) - set(plain)
    assert missing == {"name", "service", "profile"}
    spelled = ProfiledFleet(kind="profiles", profiles=()).model_dump()
    same = (
        "link",
        "power",
        "stragglers",
        "speed_cv",
        "warm",
        "memory",
        "weight",
        "host_overhead_us",
    )
    assert {key: check(ProfiledFleet, plain).model_dump()[key] for key in same} == {
        key: spelled[key] for key in same
    }
