"""``profleet simulate`` as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from profleet.simulate.results import find_simulations, load_invocation, load_simulation

SCRIPT = Path(sys.executable).with_name("profleet")
THEORY = ("fleet=theory", "fleet.servers=4", "batching=none", "tracking=none", "replications=2")
POLICIES = '''
"""Policies of my own."""

from profleet.simulate.policies import batching, router


@router("fewest_waiting")
def fewest_waiting(fleet, request):
    best = -1
    for replica in range(len(fleet.waiting)):
        if fleet.up[replica] and (best < 0 or fleet.waiting[replica] < fleet.waiting[best]):
            best = replica
    return best


@router("by_heart")
def by_heart(fleet, request):
    return min((waiting, replica) for replica, waiting in enumerate(fleet.outstanding))[1]


@batching("pairs")
def pairs(queue):
    if queue.waiting >= 2:
        return 2
    left = queue.head_since_ns + 1_000_000 - queue.now_ns
    return -left if left > 0 else 1
'''


def profleet(
    *words: str, cwd: Path, compiled: bool = False, **env: str
) -> subprocess.CompletedProcess[str]:
    jit = {} if compiled else {"NUMBA_DISABLE_JIT": "1"}
    return subprocess.run(
        [str(SCRIPT), *words], capture_output=True, text=True, check=False, timeout=240, cwd=cwd,
        env={**os.environ, "PROFLEET_STORE": str(cwd / "store"), **jit, **env},
    )  # fmt: skip


# -- one simulation --------------------------------------------------------------------------------


def test_the_compiled_command_simulates_and_says_what_came_out(tmp_path):
    words = (
        "fleet=theory", "fleet.servers=16", "fleet.service.dist=exponential",
        "fleet.service.mean_ms=1", "workload=poisson", "workload.load=0.8",
        "router=central_queue", "batching=none", "requests=20000", "tracking=none",
    )  # fmt: skip
    done = profleet("simulate", *words, cwd=tmp_path, compiled=True)
    assert done.returncode == 0, done.stderr
    assert "stable" in done.stdout
    assert "latency" in done.stdout
    assert "events in" in done.stderr
    (folder,) = find_simulations(tmp_path / "store")
    assert str(folder) in done.stderr
    result = load_simulation(folder)
    assert result.status == "finished"
    assert result.replications == 5
    metric = result.metrics["wait_mean_ms"]
    assert metric.low is not None
    assert 0.01 < metric.low < 0.105 < 0.2, "Erlang C says 0.105 ms; 5 short replications are near"
    assert load_invocation(folder).overrides == list(words)
    for name, path in result.paths.items():
        assert (folder / path).exists(), name
    assert {"report", "plots", "invocation", "tables/levels"} <= set(result.paths)


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(desk):
    for seed in ("3", "3", "4"):
        assert desk.simulate("workload.load=0.7", f"seed={seed}").code == 0
    one, two, other = ((f / "result.json").read_bytes() for f in desk.folders())
    assert one == two
    assert one != other
    ids = {load_invocation(folder).run_id for folder in desk.folders()}
    assert len(ids) == 3, "runs are told apart where they are logged"


def test_a_bare_command_asks_for_a_rate(desk):
    done = desk("simulate")
    assert done.code == 2
    assert "workload.rate=" in done.err
    assert desk.litter() == []


def test_a_load_of_one_or_more_has_no_steady_state(desk):
    assert desk.simulate("workload.load=1.2").code == 0
    (result,) = desk.results()
    assert result["verdict"] == "overloaded"
    assert "1.2 times" in result["reasons"][0]
    assert not [name for name in result["metrics"] if name.startswith(("latency", "wait"))]
    assert "latency_p50_ms" in result["refused"]
    assert result["metrics"]["throughput_rps"]["value"] > 0


def test_groups_link_failures_and_a_promise(desk):
    done = desk.simulate(
        "fleet=assumed", "workload.rate=500", "slo.p99_ms=200", "router=least_work",
        "batching=dynamic", "duration_s=36", "requests=null", "queue.limit=100", "workload=gamma",
    )  # fmt: skip
    assert done.code == 0, done
    (result,) = desk.results()
    names = set(result["metrics"])
    assert {"cost_per_hour", "power_mean_w", "utilization/large", "wire_mean_ms"} <= names
    assert result["metrics"]["availability"]["value"] < 1, "two replicas are down for a while"
    promised = {promise["name"]: promise for promise in result["slo"]}
    assert promised["latency_p99_ms"]["bound"] == 200
    assert set(promised) == {"latency_p99_ms", "drop_ratio"}
    assert "Promises" in done.out


def test_a_timeline_and_every_request(desk):
    done = desk.simulate("workload.load=0.7", "trace=true", "trace_window_ms=[100,200]",
                         "per_request=true")  # fmt: skip
    assert done.code == 0, done
    (folder,) = desk.folders()
    paths = load_simulation(folder).paths
    assert paths["timeline"] == "timeline.json"
    slices = [e for e in json.loads((folder / "timeline.json").read_text("utf-8"))["traceEvents"]
              if e["ph"] == "X"]  # fmt: skip
    assert slices
    assert all(e["ts"] < 200_000 and e["ts"] + e["dur"] >= 100_000 for e in slices)
    assert len(pd.read_parquet(folder / paths["requests"])) == 1000, "of the first replication"


def test_an_azure_trace_at_a_load(desk, tmp_path):
    rows = [f"2023-11-16 18:15:{46 + i / 100:010.7f},{10 + i % 7},{5 + i % 3}" for i in range(600)]
    text = "\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n"
    (tmp_path / "conv.csv").write_text(text, "utf-8")
    words = ("workload=azure_llm_2023_conv", "workload.path=conv.csv", "workload.load=0.6")
    cut = desk.simulate(*words)
    assert cut.code == 2, cut
    assert "19,366" in cut.err, "a part of a known trace is not passed off as the whole"
    known = ("workload.dataset=null", "workload.format=azure_llm_2023")
    done = desk.simulate(*words, *known, "requests=null")
    assert done.code == 0, done
    (result,) = desk.results()
    assert result["metrics"]["injected"]["value"] == 540, "the warm-up is a tenth of the trace"
    assert result["workload"]["clients"][0]["trace"]["requests"] == 600


def test_hardware_that_was_measured_is_found_by_the_name_it_is_given(desk, tmp_path):
    from support import make_profile_dir

    for name, base in (("a", 1.5), ("b", 6.0)):
        make_profile_dir(tmp_path / name, samples=40, processes=2, base_ms=base)
    done = desk.simulate(
        "fleet=quickstart",
        "fleet.profiles=[{path: a, hardware: A}, {path: b, hardware: B}]",
        "fleet.groups=[{hardware: A, count: 2}, {hardware: B, count: 3}]",
        "router=shortest_expected", "workload.load=0.5",
    )  # fmt: skip
    assert done.code == 0, done
    (result,) = desk.results()
    assert [(row["group"], row["count"]) for row in result["fleet"]] == [("A", 2), ("B", 3)]
    assert result["fleet"][0]["evidence"][:3] == ["measured", "measured", "interpolated"]
    assert result["metrics"]["latency_p50_ms"]["evidence"] in {"measured", "interpolated"}


@pytest.mark.parametrize("router", ["fewest_waiting", "by_heart"])
def test_a_policy_of_ones_own(desk, router):
    (desk.root / "mine.py").write_text(POLICIES, "utf-8")
    done = desk.simulate("plugins=[mine.py]", "router=custom", f"router.name={router}",
                         "workload.load=0.7")  # fmt: skip
    assert done.code == 0, done
    (result,) = desk.results()
    assert result["configuration"]["router"] == {"kind": "custom", "name": router}
    assert result["metrics"]["completed"]["value"] == 900


def test_a_batching_policy_of_ones_own_forms_its_batches(desk):
    (desk.root / "mine.py").write_text(POLICIES, "utf-8")
    service = "{dist: deterministic, mean_ms: 4, per_request_ms: 1}"
    done = desk.simulate(
        "fleet=assumed", f"fleet.groups=[{{count: 2, max_batch: 4, service: {service}}}]",
        "plugins=[mine.py]", "batching=custom", "batching.name=pairs", "batching.size=4",
        "workload.rate=300",
    )  # fmt: skip
    assert done.code == 0, done
    (folder,) = desk.folders()
    assert set(pd.read_parquet(folder / "tables" / "batches.parquet")["size"]) == {1, 2}


def test_a_policy_that_cannot_be_compiled_works_and_says_that_it_is_slow(tmp_path):
    (tmp_path / "mine.py").write_text(POLICIES, "utf-8")
    done = profleet(
        "simulate", *THEORY, "plugins=[mine.py]", "router=custom", "router.name=by_heart",
        "workload.load=0.7", "requests=1000", cwd=tmp_path, compiled=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Router 'by_heart' cannot be compiled, so everything is slower.") == 1
    (folder,) = find_simulations(tmp_path / "store")
    assert load_simulation(folder).verdict == "stable"


def test_the_configuration_can_be_shown(desk):
    done = desk("simulate", "--cfg", "job", "fleet=theory", "workload.load=0.5")
    assert done.code == 0, done
    assert "servers: 16" in done.out
    assert "kind: jsq" in done.out
    assert desk.litter() == []


def test_an_option_of_ones_own_comes_from_a_folder(desk):
    folder = desk.root / "conf" / "workload"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("kind: deterministic\nrate: 1500\n", "utf-8")
    done = desk.simulate("--config-dir", "conf", "workload=mine")
    assert done.code == 0, done
    assert desk.results()[0]["workload"]["kind"] == "deterministic"


# -- sweeps ----------------------------------------------------------------------------------------


def test_a_sweep_goes_on_after_a_job_that_fails(desk):
    done = desk.simulate("-m", "router=jsq,random", "workload.load=0.5,0")
    assert done.code == 1, done
    assert "Traceback" not in done.err
    results = desk.results()
    assert [result["status"] for result in results] == ["finished", "failed"] * 2
    assert "workload.load" in results[1]["reason"]
    assert done.out.count("failed") >= 2
    (root,) = {folder.parent for folder in desk.folders()}
    assert (root / "report.html").is_file()
    sweeps = {load_invocation(folder).sweep_id for folder in desk.folders()}
    assert sweeps == {root.name}


def test_a_sweep_in_parallel_gives_the_same_results(desk, tmp_path):
    theory = (word for word in THEORY if word != "tracking=none")
    words = ("-m", *theory, "requests=800", "router=jsq,random,random", "workload.load=0.6")
    parallel = profleet("simulate", *words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
                        cwd=tmp_path)  # fmt: skip
    assert parallel.returncode == 0, parallel.stderr
    assert "not logged" not in parallel.stderr
    one = desk("simulate", *words, "tracking=none", PROFLEET_STORE=str(tmp_path / "other"))
    assert one.code == 0, one
    pairs = zip(
        find_simulations(tmp_path / "store"), find_simulations(tmp_path / "other"), strict=True
    )
    compared = [(a / "result.json").read_bytes() == (b / "result.json").read_bytes()
                for a, b in pairs]  # fmt: skip
    assert compared == [True, True, True]
    assert "jsq" in parallel.stdout
    assert "random" in parallel.stdout


# -- interrupts ------------------------------------------------------------------------------------


def endless(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(SCRIPT), "simulate", *words, *THEORY[:-1], "workload.load=0.6", "requests=2000",
         "replications=10000", "per_request=true"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        cwd=tmp_path,
        env={**os.environ, "PROFLEET_STORE": str(tmp_path / "store"), "NUMBA_DISABLE_JIT": "1"},
    )  # fmt: skip


def await_requests(process: subprocess.Popen[str], tmp_path: Path) -> None:
    """Wait until the file of the first replication grows, then a few replications more."""
    end = time.monotonic() + 120
    while not list(tmp_path.glob("store/**/.requests.parquet.*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_the_replications_that_are_finished(tmp_path, number):
    process = endless(tmp_path)
    await_requests(process, tmp_path)
    process.send_signal(number)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "What is finished stays." in err
    (folder,) = find_simulations(tmp_path / "store")
    result = load_simulation(folder)
    assert result.status == "interrupted"
    assert result.reason == f"Interrupted after {result.replications} of 10000 replications."
    assert 1 <= result.replications < 10000
    table = pd.read_parquet(folder / "tables" / "replications.parquet")
    assert len(table) == result.replications
    assert len(pd.read_parquet(folder / "requests.parquet")) == 2000, "the whole first replication"
    assert not list(folder.glob(".*.parquet"))
    assert "interrupted" in out


def test_an_interrupted_sweep_starts_no_other_job(tmp_path):
    process = endless(tmp_path, "-m", "router=jsq,random")
    await_requests(process, tmp_path)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    (folder,) = find_simulations(tmp_path / "store")
    assert load_simulation(folder).status == "interrupted"


# -- tracking --------------------------------------------------------------------------------------


def test_a_simulation_is_logged_once(tmp_path):
    done = profleet(
        "simulate", *THEORY[:3], "replications=2", "requests=800", "workload.load=0.5",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder,) = find_simulations(tmp_path / "store")
    tracking = load_invocation(folder).tracking
    assert tracking.status == "logged"
    assert (tmp_path / "store" / "profleet.db").is_file()
    again = profleet("log", str(folder), cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("already logged") == 1
    assert str(tracking.mlflow_run_id) in again.stdout


def test_a_server_that_is_down_costs_no_result(tmp_path):
    done = profleet(
        "simulate", *THEORY[:3], "replications=2", "requests=800", "workload.load=0.5",
        "tracking=server", "tracking.uri=http://127.0.0.1:9", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "profleet log" in done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = find_simulations(tmp_path / "store")
    assert load_simulation(folder).status == "finished"
    assert load_invocation(folder).tracking.status == "not_logged"


# -- the shell -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("profleet sim", {"simulate"}),
        ("profleet simulate rout", {"router="}),
        ("profleet simulate fleet=th", {"fleet=theory"}),
        ("profleet plan objec", {"objective="}),
    ],
)
def test_shell_completion(desk, line, offered):
    done = desk("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert done.code == 0, done
    assert offered <= set(done.out.split())
