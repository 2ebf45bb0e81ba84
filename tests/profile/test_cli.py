import argparse
import json
import subprocess
import sys

import pytest

from profleet.errors import ProfleetError, StoreError
from profleet.profile.cli import add_parsers
from support import make_profile_dir


def show(*words):
    parser = argparse.ArgumentParser()
    add_parsers(parser.add_subparsers())
    parsed = parser.parse_args(["profile", "show", *map(str, words)])
    return parsed.execute(parsed)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    make_profile_dir(root / "0", batch_sizes=(1, 4))
    make_profile_dir(root / "1", batch_sizes=(1, 4), framework="torch", base_ms=3.0, seed=2)
    make_profile_dir(root / "2", framework="openvino", status="failed", reason="It ran out.")
    return root


def test_one_profile_gives_a_table_and_plots(tmp_path, capsys):
    make_profile_dir(tmp_path, batch_sizes=(1, 4))
    assert show(tmp_path) == 0
    out, err = capsys.readouterr()
    assert "squeezenet@1.0.0" in out
    assert "Cold start" in out
    listed = err.split()
    assert f"{tmp_path}/plots/cdf.svg" in listed
    assert sorted(listed) == sorted(str(path) for path in (tmp_path / "plots").iterdir())


def test_without_plots_nothing_is_written(sweep, capsys):
    before = sorted(sweep.rglob("*"))
    assert show(sweep / "0", "--no-plots") == 0
    assert sorted(sweep.rglob("*")) == before
    assert capsys.readouterr().err == ""


def test_a_failed_job_says_why(sweep, capsys):
    assert show(sweep / "2") == 1
    assert capsys.readouterr().out == "squeezenet · openvino: failed: It ran out.\n"


def test_a_sweep_gives_its_jobs_and_a_comparison(sweep, capsys):
    assert show(sweep) == 0
    out, err = capsys.readouterr()
    assert "Jobs" in out
    assert "openvino: failed: It ran out." in out
    assert {line.rpartition("/")[2] for line in err.split()} == {
        "latency.svg", "latency.png", "throughput.svg", "throughput.png",
    }  # fmt: skip
    assert (sweep / "plots" / "latency.svg").exists()


def test_several_folders_are_compared(sweep, tmp_path, capsys):
    assert show(sweep / "0", sweep / "1", "--output", tmp_path / "both") == 0
    assert "p50 ratio" in capsys.readouterr().out
    assert len(list((tmp_path / "both").iterdir())) == 4
    assert show(sweep / "0", sweep / "1") == 0
    assert "--output DIR" in capsys.readouterr().err


def test_the_same_folder_twice_is_one(sweep, capsys):
    assert show(sweep / "0", sweep / "0", "--no-plots") == 0
    assert "Cold start" in capsys.readouterr().out


def test_json_is_one_array_and_alone_on_standard_output(sweep, capsys):
    assert show(sweep, "--json", "--no-plots") == 0
    jobs = json.loads(capsys.readouterr().out)
    assert [job["result"]["status"] for job in jobs] == ["finished", "finished", "failed"]
    assert jobs[0]["profile"]["schema"] == "profleet/profile/v1"
    assert jobs[2]["profile"] is None
    assert jobs[1]["path"] == str(sweep / "1")


def test_a_reused_result_shows_the_earlier_profile(sweep, tmp_path, capsys):
    content = json.loads((sweep / "0" / "result.json").read_text())
    content["reused_from"] = str(sweep / "0")
    (tmp_path / "result.json").write_text(json.dumps(content))
    assert show(tmp_path) == 0
    assert "Cold start" in capsys.readouterr().out
    assert (tmp_path / "plots" / "cdf.png").exists()


def test_plots_of_one_profile_go_where_they_are_asked_to(tmp_path):
    make_profile_dir(tmp_path / "run", batch_sizes=(1,))
    assert show(tmp_path / "run", "--output", tmp_path / "pictures") == 0
    assert (tmp_path / "pictures" / "cdf.png").exists()
    assert not (tmp_path / "run" / "plots").exists()


def test_a_file_is_no_result_folder(sweep):
    with pytest.raises(StoreError, match=r"profile\.json is no folder"):
        show(sweep / "0" / "profile.json")


def test_lost_samples_are_one_sentence(tmp_path):
    make_profile_dir(tmp_path, batch_sizes=(1,))
    (tmp_path / "samples.parquet").unlink()
    with pytest.raises(StoreError, match=r"samples\.parquet is missing\. Restore"):
        show(tmp_path)


def test_folders_without_results_are_a_mistake(tmp_path):
    with pytest.raises(StoreError, match="holds no result"):
        show(tmp_path)
    with pytest.raises(StoreError, match="No such file"):
        show(tmp_path / "nowhere")


def test_plots_that_cannot_be_written_come_after_the_table(tmp_path, capsys):
    make_profile_dir(tmp_path, batch_sizes=(1,))
    (tmp_path / "plots").write_text("in the way")
    with pytest.raises(ProfleetError, match="--no-plots"):
        show(tmp_path)
    assert "Cold start" in capsys.readouterr().out


def test_help_imports_nothing_heavy():
    code = (
        "import argparse, sys; from profleet.profile.cli import add_parsers;"
        "add_parsers(argparse.ArgumentParser().add_subparsers());"
        "print({'numpy', 'pydantic', 'rich', 'matplotlib', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_statistics_do_not_need_scipy():
    code = (
        "import sys; sys.modules['scipy'] = None; import profleet.profile.summary;"
        "print('scipy' in sys.modules and sys.modules['scipy'] is not None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
