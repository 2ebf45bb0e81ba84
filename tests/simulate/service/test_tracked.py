"""Profiles read back from MLflow, as the tracking package wrote them there."""

import os
import shutil
from pathlib import Path

import pytest

from profleet.errors import ConfigError, TrackingError
from profleet.execute.settings import TrackingSettings, check
from profleet.profile.samples import STEADY
from profleet.profile.store import load_samples
from profleet.simulate.service.catalog import Catalog, Wanted
from profleet.simulate.service.sources import Places, SourceSettings
from profleet.tracking import log_result
from support import Synthetic, make_profile_dir


def tracking_at(store, **changes):
    fields = {
        "uri": f"sqlite:///{store}/profleet.db",
        "artifacts": str(store / "artifacts"),
        "experiment": "profiles",
    }
    return TrackingSettings(**fields | changes)


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A store whose result folders are gone: what is left is in MLflow. -> its run ids by model."""
    store = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            patch.delenv(name)
        folders = {
            "squeezenet": make_profile_dir(store / "runs" / "a", processes=2, samples=40),
            "resnet50": make_profile_dir(store / "runs" / "b", model="resnet50", seed=1),
            "vgg19": make_profile_dir(store / "runs" / "c", model="vgg19", status="failed"),
            "alexnet": make_profile_dir(store / "runs" / "d", model="alexnet", scenario="server"),
        }
        runs = {}
        for model, folder in folders.items():
            (folder / "plots").mkdir()
            (folder / "plots" / "latency.svg").write_text("<svg/>")
            runs[model] = log_result(folder, tracking_at(store)).run_id
    expected = load_samples(folders["squeezenet"])
    shutil.rmtree(store / "runs")
    return store, runs, expected


def catalog(source, store, **changes):
    places = Places(tracking=tracking_at(store, **changes))
    return Catalog((check(SourceSettings, source),), places)


def find(found, model=None, hardware=None):
    return found.find(Wanted(model, None, hardware, "fleet.groups.0"))


def test_a_profile_is_found_by_model_and_hardware_and_read_whole(logged):
    store, runs, samples = logged
    found = catalog("mlflow", store)
    (candidate,) = find(found, "squeezenet", "example-2c-2t").values()
    assert candidate.where == f"MLflow run {runs['squeezenet']}"
    profile = found.measured(candidate)
    steady = samples.where((samples.phase == STEADY) & (samples.batch_size == 4))
    assert profile.rows[4].mean() == pytest.approx(steady.latency_ns.mean(), rel=1e-6)
    assert Synthetic(processes=2, samples=40).run_id in profile.source


def test_only_batch_sweeps_that_finished_are_listed(logged):
    assert sorted(find(catalog("mlflow", logged[0]), hardware="local")) == [
        "resnet50",
        "squeezenet",
    ]


def test_a_run_is_found_by_its_id_in_mlflow_or_in_profleet(logged):
    store, runs, _ = logged
    own = Synthetic(model="resnet50", seed=1).run_id
    for run in (runs["resnet50"], own):
        (candidate,) = find(catalog({"mlflow": run, "hardware": "A"}, store), None, "A").values()
        assert candidate.stack.model == "resnet50@1.0.0"
        assert candidate.title == "resnet50 under onnxruntime on A"


def test_what_is_fetched_is_gone_with_the_catalog(logged):
    store, runs, _ = logged
    found = catalog(f"mlflow:{runs['squeezenet']}", store)
    (candidate,) = find(found).values()
    found.measured(candidate)
    folder = Path(candidate.folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "environment.json", "profile.json", "samples.parquet",
    ]  # fmt: skip
    found.sources[0]._scratch.cleanup()
    assert not folder.exists()


@pytest.mark.parametrize("model", ["vgg19", "alexnet"])
def test_a_run_without_a_sweep_is_refused(logged, model):
    store, runs, _ = logged
    with pytest.raises(
        ConfigError, match=rf"run {runs[model]} on .* holds no finished batch sweep"
    ):
        find(catalog(f"mlflow:{runs[model]}", store))


@pytest.mark.parametrize("run", ["0" * 32, "nonsense", "a' OR 1=1 --", "../../etc"])
def test_an_unknown_run_is_one_sentence(logged, run):
    with pytest.raises(ConfigError, match=r"^fleet\.profiles: .* has no run '"):
        find(catalog(f"mlflow:{run}", logged[0]))


def test_a_run_that_is_half_written_is_not_used(logged, tmp_path):
    from mlflow import MlflowClient

    store, runs, _ = logged
    shutil.copytree(store, tmp_path / "copy")
    tracking = tracking_at(tmp_path / "copy")
    MlflowClient(tracking.uri).delete_tag(runs["squeezenet"], "profleet.logged")
    with pytest.raises(ConfigError, match="no profile of model 'squeezenet'"):
        find(catalog("mlflow", tmp_path / "copy"), "squeezenet")


def test_artifacts_that_are_gone_are_one_sentence(logged, tmp_path):
    store, runs, _ = logged
    shutil.copytree(store, tmp_path / "copy")
    found = catalog(f"mlflow:{runs['squeezenet']}", tmp_path / "copy")
    (candidate,) = found.sources[0].candidates
    moved = store / "artifacts" / runs["squeezenet"]
    moved.rename(moved.with_suffix(".away"))
    try:
        with pytest.raises(
            TrackingError, match=r"profile\.json of the MLflow run .* cannot be fetched"
        ):
            _ = candidate.profile
    finally:
        moved.with_suffix(".away").rename(moved)


def test_another_experiment_is_missing(logged):
    with pytest.raises(ConfigError, match="has no experiment 'other'"):
        find(catalog({"experiment": "other"}, logged[0]))


def test_profiles_are_looked_for_where_they_are_logged_and_not_where_simulations_are(logged):
    store, _, _ = logged
    assert "resnet50" in find(catalog("mlflow", store, experiment="simulations"), hardware="local")
    named = {"experiment": "profiles", "hardware": "A"}
    assert "resnet50" in find(catalog(named, store, experiment="simulations"), hardware="A")


def test_a_store_without_a_database_is_not_made(tmp_path):
    with pytest.raises(ConfigError, match=r"profleet\.db does not exist"):
        find(catalog("mlflow", tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_without_tracking_there_is_nothing_to_ask():
    for tracking in (None, TrackingSettings(uri=None, artifacts=None, experiment="profiles")):
        found = Catalog((check(SourceSettings, "mlflow"),), Places(tracking=tracking))
        with pytest.raises(ConfigError, match="no tracking server is configured"):
            find(found)


def test_a_server_that_is_down_is_one_sentence(tmp_path):
    with pytest.raises(TrackingError, match=r"gave no answer: nothing listens there"):
        find(catalog("mlflow", tmp_path, uri="http://127.0.0.1:9"))
