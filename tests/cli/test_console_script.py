"""The installed ``profleet`` command, from the checkout and from the wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.wheel
SCRIPT = Path(sys.executable).with_name("profleet")


def profleet(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *words],
        capture_output=True, text=True, check=False, timeout=240, cwd=cwd,
        env={**os.environ, **env},
    )  # fmt: skip


def test_the_package_under_test_is_the_expected_one():
    import profleet as package

    installed = "site-packages" in str(Path(package.__file__))
    assert installed == (os.environ.get("PROFLEET_EXPECT") == "wheel")


def test_help_names_every_command():
    done = profleet("--help")
    assert done.returncode == 0
    for command in ("run", "simulate", "plan", "manifest", "profile", "log", "ui", "recover"):
        assert command in done.stdout


def test_no_command_shows_help_and_is_a_mistake():
    assert profleet().returncode == 2


def test_unknown_command_is_a_mistake():
    done = profleet("rum")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_light_commands_import_nothing_heavy():
    code = (
        "import sys; from profleet.cli import main\n"
        "try: main(['manifest', 'list'])\n"
        "except SystemExit: pass\n"
        "heavy = {'mlflow', 'onnx', 'torch', 'matplotlib', 'pandas', 'hydra'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_manifest_list_and_show():
    listed = profleet("manifest", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    names = {entry["name"] for entry in json.loads(listed.stdout)}
    assert {"squeezenet", "onnxruntime", "local", "quickstart"} <= names
    shown = profleet("manifest", "show", "squeezenet")
    assert "profleet/model/v1" in shown.stdout


def test_closed_pipe_is_quiet():
    done = subprocess.run(
        f"{SCRIPT} manifest list | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("profleet r", {"run", "recover"}),
        ("profleet run meas", {"measure="}),
        ("profleet run measure=", {"measure=quick", "measure=standard"}),
        (
            "profleet run scenario=s",
            {"scenario=server", "scenario=single_stream", "scenario=sweep"},
        ),
        ("profleet run measure.proc", {"measure.processes="}),
    ],
)
def test_shell_completion(line, offered):
    done = profleet("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert done.returncode == 0, done.stderr
    assert offered <= set(done.stdout.split())


def test_completion_script_installs_for_the_command():
    done = profleet("run", "-sc", "install=bash")
    assert done.returncode == 0, done.stderr
    assert "complete" in done.stdout
    assert done.stdout.rstrip().endswith("profleet")


def test_a_real_model_from_manifest_to_mlflow(tmp_path):
    done = profleet(
        "run", "model=magika", "batch_sizes=[1]", "measure=quick", "measure.idle_gaps_ms=[1]",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    store = tmp_path / "profleet-results"
    assert (store / "profleet.db").is_file()
    (result,) = store.glob("runs/**/result.json")
    content = json.loads(result.read_text("utf-8"))
    assert content["status"] == "finished"
    assert content["tracking"]["status"] == "logged"
    again = profleet("log", str(result.parent), cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    shown = profleet("profile", "show", str(result.parent), cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "magika" in shown.stdout
    assert list((result.parent / "plots").glob("*.svg"))


def test_a_fleet_is_simulated_and_planned_with_the_shipped_configuration(tmp_path):
    words = ("fleet=theory", "batching=none", "tracking=none", "replications=2", "requests=1500")
    done = profleet("simulate", *words, "workload.load=0.7", cwd=tmp_path, NUMBA_DISABLE_JIT="1")
    assert done.returncode == 0, done.stderr
    assert "stable" in done.stdout
    (result,) = (tmp_path / "profleet-results").glob("simulations/**/result.json")
    assert json.loads(result.read_text("utf-8"))["schema"] == "profleet/simulation/v1"
    assert (result.parent / "report.html").is_file()
    planned = profleet(
        "plan", *words, "workload.rate=3000", "slo.p90_ms=5", cwd=tmp_path, NUMBA_DISABLE_JIT="1"
    )
    assert planned.returncode == 0, planned.stderr
    assert "servers" in planned.stdout


def test_the_compiled_engine_is_cached_outside_the_package(tmp_path):
    words = ("fleet=theory", "batching=none", "tracking=none", "requests=1500", "workload.load=0.7")
    cache = {"PROFLEET_CACHE": "", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = profleet("simulate", *words, cwd=tmp_path, **cache)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "cache" / "profleet" / "numba").rglob("*.nbi"))


def test_the_simulator_is_a_function_of_the_package(tmp_path):
    code = (
        "import profleet\n"
        "s = profleet.simulate('theory', {'load': 0.5}, batching='none', requests=500)\n"
        "print(s.summary().verdict, len(s.table('replications')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
    )  # fmt: skip
    assert done.stdout.split() == ["stable", "5"]
