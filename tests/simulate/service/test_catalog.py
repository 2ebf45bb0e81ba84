import json
import shutil

import pytest

from profleet.errors import ConfigError, StoreError
from profleet.execute.settings import check
from profleet.simulate.service.catalog import Catalog, Wanted
from profleet.simulate.service.sources import Places, SourceSettings
from support import make_profile_dir


def profile(folder, *, cpu="Example CPU", threads=2, finished=None, **what):
    """A result folder of a machine of that name, measured with that many threads."""
    make_profile_dir(folder, **{"samples": 30, "processes": 2, **what})
    edit(folder / "environment.json", lambda d: d["before"].update(cpu_model={"value": cpu}))
    if what.get("status", "finished") == "finished":
        edit(
            folder / "profile.json",
            lambda d: d["measurement"]["framework"]["threads"].update(intra_op={"value": threads}),
        )
    if finished:
        edit(folder / "result.json", lambda d: d.update(finished_at=finished))
    return folder


def edit(path, change):
    if path.exists():
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))


def catalog(*sources, store=None):
    settings = tuple(
        check(SourceSettings, str(source) if not isinstance(source, dict) else source)
        for source in sources
    )
    return Catalog(settings, Places(store=store))


def find(found, model=None, framework=None, hardware=None):
    return found.find(Wanted(model, framework, hardware, "fleet.groups.0"))


def one(found, *wanted, **named):
    (candidate,) = find(found, *wanted, **named).values()
    return candidate


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Two models, two frameworks, two machines, two numbers of threads."""
    top = tmp_path_factory.mktemp("shelf")
    profile(top / "a", model="squeezenet", seed=1)
    profile(top / "b", model="squeezenet", framework="openvino", seed=2)
    profile(top / "c", model="squeezenet", threads=1, seed=3)
    profile(top / "d", model="squeezenet", cpu="Other CPU", seed=4)
    profile(top / "e", model="resnet50", cpu="Other CPU", seed=5)
    make_profile_dir(top / "f", model="vgg19", status="failed", seed=6)
    make_profile_dir(top / "g", model="alexnet", scenario="server", seed=7)
    return top


@pytest.mark.parametrize(
    ("wanted", "folder"),
    [
        (("squeezenet", "onnxruntime", "example-2c-2t"), "a"),
        (("squeezenet@1", "onnxruntime@>=1,<2", "example-2c-2t"), "a"),
        (("squeezenet", "openvino", "example-2c"), "b"),
        (("squeezenet", "openvino", "local"), "b"),
        (("squeezenet", "openvino", "local@1"), "b"),
        (("squeezenet", None, "example-2c-1t"), "c"),
        (("squeezenet", None, "other-2c"), "d"),
        (("resnet50", None, None), "e"),
    ],
)
def test_a_stack_is_found_by_names_and_references(shelf, wanted, folder):
    assert one(catalog(shelf), *wanted).folder == shelf / folder


def test_without_a_model_every_model_on_the_hardware_is_found(shelf):
    found = find(catalog(shelf), hardware="other-2c")
    assert {model: each.folder.name for model, each in found.items()} == {
        "resnet50": "e", "squeezenet": "d",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "choices"),
    [
        (("squeezenet", None, "example-2c-2t"), ["under onnxruntime on example-2c-2t", "openvino"]),
        (("squeezenet", "onnxruntime", "example-2c"), ["example-2c-1t", "example-2c-2t"]),
        (("squeezenet", "onnxruntime", "local"), ["example-2c-1t", "other-2c-2t"]),
    ],
)
def test_different_stacks_are_not_chosen_between(shelf, wanted, choices):
    with pytest.raises(ConfigError, match=r"^fleet\.groups\.0: .*in several ways") as caught:
        find(catalog(shelf), *wanted)
    assert all(choice in str(caught.value) for choice in choices)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (("squeezenot", None, None), "Did you mean 'squeezenet'"),
        (("squeezenet", "openvin", None), "Did you mean 'openvino'"),
        (("vgg19", None, None), "no profile of model 'vgg19'"),
        (("alexnet", None, None), "no profile of model 'alexnet'"),
        (("resnet50", None, "example-2c"), "There are: resnet50 under onnxruntime on other-2c-2t;"),
        (("squeezenet@2", None, None), "no profile of model 'squeezenet@2'"),
        (("squeezenet", None, "epyc-2c"), "on hardware 'epyc-2c'"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(shelf, wanted, said):
    with pytest.raises(ConfigError, match=r"^fleet\.groups\.0: ") as caught:
        find(catalog(shelf), *wanted)
    assert said in str(caught.value)


def test_an_alias_names_the_hardware_of_a_source(shelf):
    found = catalog(
        {"path": str(shelf / "a"), "hardware": "A"}, {"path": str(shelf / "d"), "hardware": "B"}
    )
    assert one(found, hardware="A").folder == shelf / "a"
    assert one(found, hardware="B").folder == shelf / "d"
    assert one(found, hardware="B").title == "squeezenet under onnxruntime on B"
    assert one(found, hardware="other-2c").folder == shelf / "d"


def test_an_alias_does_not_hide_that_stacks_differ(shelf):
    said = (
        r"model 'squeezenet' under framework 'onnxruntime' on hardware 'A' is .*on example-2c-1t;"
    )
    with pytest.raises(ConfigError, match=said):
        find(catalog({"path": str(shelf), "hardware": "A"}), None, "onnxruntime", "A")


def test_the_first_source_that_has_it_answers(shelf):
    assert one(catalog(shelf / "e", shelf / "d"), "squeezenet").folder.name == "d"
    assert one(catalog(shelf / "c", shelf / "a"), "squeezenet").folder.name == "c"


def test_of_several_measurements_the_newest_is_used_with_a_note(tmp_path):
    for name, finished in (("a", "05"), ("b", "07"), ("c", "06")):
        profile(tmp_path / name, seed=ord(name), finished=f"2026-02-03T04:{finished}:00+00:00")
    found = catalog(tmp_path)
    assert one(found, "squeezenet").folder.name == "b"
    (note,) = found.notes
    assert "newest of 3 measurements" in note
    assert "2026-02-03 04:07 UTC" in note


def test_moments_are_compared_across_time_zones(tmp_path):
    profile(tmp_path / "a", seed=1, finished="2026-02-03T04:00:00+00:00")
    profile(tmp_path / "b", seed=2, finished="2026-02-03T05:30:00+02:00")
    assert one(catalog(tmp_path), "squeezenet").folder.name == "a"


def test_a_newer_release_of_the_model_goes_before_a_newer_measurement(tmp_path):
    def release(document):
        document["stack"]["model"] = "squeezenet@1.10.0"

    profile(tmp_path / "a", seed=1, finished="2026-02-03T04:00:00+00:00")
    profile(tmp_path / "b", seed=2, finished="2026-02-03T03:00:00+00:00")
    edit(tmp_path / "b" / "result.json", release)
    edit(tmp_path / "b" / "profile.json", release)
    assert one(catalog(tmp_path), "squeezenet").folder.name == "b"
    assert one(catalog(tmp_path), "squeezenet@1.0.0").folder.name == "a"


def test_a_reused_run_is_the_run_it_reuses(tmp_path):
    profile(tmp_path / "first", seed=1)
    again = tmp_path / "sweep" / "0"
    again.mkdir(parents=True)
    shutil.copyfile(tmp_path / "first" / "result.json", again / "result.json")
    edit(again / "result.json", lambda d: d.update(reused_from="../../first"))
    found = catalog(tmp_path / "sweep")
    assert one(found, "squeezenet").folder == tmp_path / "first"
    assert catalog(tmp_path).sources[0].candidates[0].folder == tmp_path / "first"
    assert len(catalog(tmp_path).sources[0].candidates) == 1


def test_the_store_in_use_may_be_empty_or_missing(tmp_path, shelf):
    assert one(catalog("store", store=shelf), "resnet50").folder == shelf / "e"
    for store in (tmp_path, tmp_path / "none", None):
        with pytest.raises(ConfigError, match="no profile at all in store"):
            find(catalog("store", store=store), "resnet50")


@pytest.mark.parametrize("source", ["nowhere", "file"])
def test_a_folder_that_is_not_there(tmp_path, source):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=rf"^fleet\.profiles: .*{source} is not a folder"):
        find(catalog(tmp_path / source), "squeezenet")


def test_a_folder_without_sweeps(shelf, tmp_path):
    for folder in (shelf / "f", shelf / "g", tmp_path):
        with pytest.raises(ConfigError, match=r"^fleet\.profiles: .*no finished batch sweep"):
            find(catalog(folder), "vgg19")


DAMAGES = {
    "result.json": ["", "{", "[]", '{"schema": "profleet/result/v9"}', "\x00" * 100, "{" * 99_999],
    "profile.json": ["", "{}", '{"schema": "profleet/profile/v1"}', "[" * 99_999],
    "environment.json": ["", "[]", '{"before": []}', '{"before": 3}', "{}"],
}


@pytest.mark.parametrize(
    ("name", "content"), [(name, each) for name, list_ in DAMAGES.items() for each in list_]
)
def test_a_damaged_folder_is_passed_over_with_a_note(tmp_path, name, content):
    profile(tmp_path / "good", seed=1)
    broken = profile(tmp_path / "broken", seed=2, finished="2027-01-01T00:00:00+00:00")
    (broken / name).write_text(content)
    found = catalog(tmp_path)
    assert one(found, "squeezenet", hardware="example-2c").folder.name == "good"
    assert any(note.startswith("Passed over: ") and "broken" in note for note in found.notes)
    with pytest.raises(ConfigError, match="broken"):
        find(catalog(broken), "squeezenet", hardware="example-2c")


@pytest.mark.parametrize("name", ["profile.json", "environment.json", "result.json"])
def test_a_missing_file_is_passed_over_or_said(tmp_path, name):
    broken = profile(tmp_path / "broken")
    (broken / name).unlink()
    with pytest.raises(ConfigError, match=r"broken|no finished batch sweep"):
        find(catalog(broken), "squeezenet")


def test_references_that_are_not_exact_are_passed_over(tmp_path):
    broken = profile(tmp_path / "broken")
    edit(broken / "result.json", lambda d: d["stack"].update(model="../etc@passwd"))
    with pytest.raises(ConfigError, match=r"does not name a stack by exact references"):
        find(catalog(broken), "squeezenet")


def test_a_profile_of_another_run_is_not_taken_for_it(tmp_path):
    mixed = profile(tmp_path / "mixed", seed=1)
    profile(tmp_path / "other", seed=2)
    shutil.copyfile(tmp_path / "other" / "profile.json", mixed / "profile.json")
    with pytest.raises(ConfigError, match=r"mixed: profile\.json belongs to another run"):
        find(catalog(mixed), "squeezenet")


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"PAR1")]
)
def test_damaged_samples_of_the_profile_in_use_are_an_error(tmp_path, damage):
    damage(profile(tmp_path / "a") / "samples.parquet")
    found = catalog(tmp_path)
    with pytest.raises(StoreError, match=r"samples"):
        found.measured(one(found, "squeezenet"))


def test_a_profile_is_read_once_and_its_notes_are_kept(tmp_path):
    profile(tmp_path / "a", unstable=(1,))
    found = catalog(tmp_path)
    candidate = one(found, "squeezenet")
    assert found.measured(candidate) is found.measured(candidate)
    assert sum("unstable" in note for note in found.notes) == 1


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({}, "give one of path"),
        ({"path": "a", "mlflow": "b"}, "give one of path"),
        ({"experiment": "a", "mlflow": "b"}, "give one of path"),
        ({"path": "a", "alias": "b"}, "unknown key"),
        ({"path": ""}, "path: "),
        (3, "must be a group of keys"),
    ],
)
def test_sources_are_checked(source, said):
    with pytest.raises(ConfigError, match=said):
        check(SourceSettings, source)


def test_sources_as_text():
    shown = ["shipped", "store", "mlflow", "mlflow:abc", "some/folder"]
    assert [check(SourceSettings, each).shown for each in shown] == shown
    assert check(SourceSettings, "mlflow:abc").mlflow == "abc"
    assert check(SourceSettings, "mlflow").experiment == "profiles"
