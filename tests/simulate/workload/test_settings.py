"""The group ``workload``: every file in ``conf`` works, and what cannot work is refused by name."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from profleet.errors import ConfigError
from profleet.paths import data_dir
from profleet.simulate.records import ClosedLoop
from profleet.simulate.workload import Workload, model_shares, parse
from workloads import drawn, workload

CONF = sorted(path.stem for path in (data_dir("conf") / "workload").glob("*.yaml"))
TRACES = {
    "azure_functions_2021": "app,func,end_timestamp,duration\na,f,5,1\na,g,7,1\n",
    "burstgpt": "Timestamp,Model,Request tokens,Response tokens\n5,x,1,2\n7,y,1,2\n",
    "lightning": "model,arrival_ns\na,5\nb,70\n",
    "mooncake": '{"timestamp": 0, "input_length": 1, "output_length": 2}\n' * 2
    + '{"timestamp": 9, "input_length": 1, "output_length": 2}\n',
    "azure_llm": "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00,2,5\n"
    "2024-05-10 00:00:01,2,5\n",
    "csv": "at\n1\n2\n",
}


def composed(name: str, *overrides: str) -> object:
    with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
        found = compose(overrides=[f"+workload={name}", *overrides])
    return OmegaConf.to_container(found.workload, resolve=True, throw_on_missing=True)


def test_every_kind_has_a_file():
    kinds = {OmegaConf.load(data_dir("conf") / f"workload/{name}.yaml").kind for name in CONF}
    assert kinds == {
        "deterministic", "poisson", "gamma", "weibull", "mmpp", "diurnal", "piecewise", "trace",
        "mixture", "closed_loop",
    }  # fmt: skip


@pytest.mark.parametrize("name", CONF)
def test_every_file_composes_and_gives_requests(name, tmp_path):
    overrides = [] if name == "closed_loop" else ["workload.load=0.5"]
    form = next((form for form in TRACES if name.startswith(form)), None)
    if name == "trace":
        form, overrides = "burstgpt", [*overrides, "workload.format=burstgpt"]
    if form is not None:
        path = tmp_path / "trace"
        path.write_text(TRACES[form])
        overrides += [f"workload.path={path}", "workload.loop=true"]
    if name == "csv":
        overrides += ["workload.csv.time=at"]
    plain = composed(name, *overrides)
    if name.startswith("azure_llm_2023"):
        plain = {**plain, "dataset": None, "format": "azure_llm_2023"}
    found = Workload.build(parse(plain), ("a", "b"), 200.0)
    assert len(drawn(found, 1000)) == 1000
    assert found.mean_rate_rps == (None if name == "closed_loop" else pytest.approx(100))
    json.dumps(found.describe(), allow_nan=False)


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("trace", [], "give either a dataset or the format"),
        ("trace", ["workload.format=burstgpt"], "path: name the file"),
    ],
)
def test_what_a_file_leaves_open_is_asked_for(name, overrides, said):
    with pytest.raises(ConfigError) as error:
        parse(composed(name, *overrides))
    assert said in str(error.value)


def test_load_is_a_fraction_of_the_capacity():
    assert workload("poisson", load=0.8, capacity=2500.0).mean_rate_rps == 2000.0


@pytest.mark.parametrize("capacity", [None, 0.0, math.nan, math.inf, -1.0])
def test_load_without_a_capacity_is_refused(capacity):
    with pytest.raises(ConfigError, match=r"workload\.load: .*give workload\.rate"):
        workload("poisson", load=0.8, capacity=capacity)


@pytest.mark.parametrize("kind", ["poisson", "deterministic"])
def test_no_rate_at_all_is_refused(kind):
    with pytest.raises(ConfigError, match=r"workload: say .*workload\.rate.*workload\.load"):
        workload(kind)


POISSON = {"kind": "poisson", "rate": 1.0}
MMPP = {"kind": "mmpp", "rate": 1.0}
SILENT, SHORT = {"level": 0, "mean_seconds": 1}, {"level": 1, "mean_seconds": 0}
PIECE = {"seconds": 1.0, "level": 1.0}
CLIENT = {"arrivals": {"kind": "poisson"}}
REFUSED = {
    "zero rate": ({**POISSON, "rate": 0}, "workload.rate: input should be greater than 0"),
    "negative rate": ({**POISSON, "rate": -1}, "workload.rate: input should be greater than 0"),
    "nan rate": ({**POISSON, "rate": math.nan}, "workload.rate: input should be a finite number"),
    "infinite": ({**POISSON, "rate": math.inf}, "workload.rate: input should be a finite number"),
    "a word": ({**POISSON, "rate": "fast"}, "workload.rate: input should be a valid number"),
    "zero load": ({"kind": "poisson", "load": 0}, "workload.load: input should be greater than 0"),
    "two rates": ({**POISSON, "load": 1}, "workload: rate and load are two ways"),
    "too slow": ({**POISSON, "rate": 1e-9}, "workload.rate: 1e-09 requests per second is outside"),
    "too fast": ({**POISSON, "rate": 1e12}, "workload.rate: 1e+12 requests per second is outside"),
    "unknown kind": ({**POISSON, "kind": "poison"}, "kind 'poison'. Did you mean 'poisson'?"),
    "unknown key": ({**POISSON, "rates": 1}, "workload.rates: unknown key"),
    "zero deadline": ({**POISSON, "deadline_ms": 0}, "workload.deadline_ms: input should be"),
    "long deadline": ({**POISSON, "deadline_ms": 1e20}, "workload.deadline_ms: longer than"),
    "priority": ({**POISSON, "priority": 1.5}, "workload.priority: input should be a valid int"),
    "no weight": ({**POISSON, "models": {"m": 0}}, "workload: models: give at least one model"),
    "negative weight": ({**POISSON, "models": {"m": -1}}, "workload.models.m: input should be"),
    "nan weight": ({**POISSON, "models": {"m": math.nan}}, "workload.models.m: input should be"),
    "unknown model": ({**POISSON, "models": {"mm": 1}}, "serves 'mm'. Did you mean 'm'?"),
    "no cv": ({"kind": "gamma", "rate": 1}, "workload.cv: field required"),
    "zero cv": ({"kind": "gamma", "rate": 1, "cv": 0}, "workload.cv: input should be greater"),
    "nan cv": ({"kind": "weibull", "rate": 1, "cv": math.nan}, "workload.cv: input should be"),
    "one state": ({**MMPP, "states": {"a": {"level": 1, "mean_seconds": 1}}}, "workload.states: "),
    "silent": ({**MMPP, "states": {"a": SILENT, "b": SILENT}},
               "workload: states: give at least one state"),
    "no stay": ({**MMPP, "states": {"a": SHORT, "b": SHORT}},
                "workload.states.a.mean_seconds: input should be"),
    "no pieces": ({"kind": "piecewise", "cv": 1, "pieces": []}, "workload.pieces: "),
    "no time": ({"kind": "piecewise", "cv": 1, "pieces": [PIECE, {**PIECE, "seconds": 0}]},
                "workload.pieces.1.seconds: input should be"),
    "silent pieces": ({"kind": "piecewise", "cv": 1, "pieces": [{**PIECE, "level": 0}]},
                      "workload: pieces: give at least one piece"),
    "own level too fast": ({"kind": "piecewise", "cv": 1, "pieces": [{**PIECE, "level": 1e12}]},
                           "workload: 1e+12 requests per second is outside"),
    "negative swing": ({"kind": "diurnal", "rate": 1, "period_seconds": 9, "swing": 1.1, "cv": 1,
                        "peak_seconds": 0}, "workload.swing: input should be less"),
    "no clients": ({"kind": "mixture", "rate": 1, "clients": {}}, "workload.clients: "),
    "no rate of a client": ({"kind": "mixture", "clients": {"a": CLIENT}},
                            "workload.clients.a.arrivals: say how many"),
    "rates in two places": ({"kind": "mixture", "rate": 1, "clients": {"a": {"arrivals": POISSON}}},
                            "workload: clients.a: has a rate of its own"),
    "loads and rates": ({"kind": "mixture", "clients": {"a": {"arrivals": POISSON}, "b": {
        "arrivals": {"kind": "poisson", "load": 1}}}}, "workload: clients: some have a load"),
    "weight": ({"kind": "mixture", "rate": 1, "clients": {"a": {**CLIENT, "weight": 0}}},
               "workload.clients.a.weight: input should be greater than 0"),
    "share too small": ({"kind": "mixture", "rate": 1, "clients": {"a": {**CLIENT, "weight": 1e-9},
                                                                   "b": CLIENT}},
                        "workload.clients.a.arrivals: 1e-09 requests per second is outside"),
    "mixture in a mixture": ({"kind": "mixture", "rate": 1, "clients": {"a": {
        "arrivals": {"kind": "mixture", "clients": {"a": CLIENT}}}}},
        "workload.clients.a.arrivals: unknown kind 'mixture'"),
    "no users": ({"kind": "closed_loop", "users": 0, "think": {"dist": "gamma", "mean_ms": 1}},
                 "workload.users: input should be greater"),
    "negative think": ({"kind": "closed_loop", "users": 1, "think": {"dist": "gamma",
                                                                     "mean_ms": -1}},
                       "workload.think.mean_ms: input should be greater"),
    "rate of a loop": ({"kind": "closed_loop", "users": 1, "rate": 1, "think": {"dist": "gamma",
                                                                               "mean_ms": 1}},
                       "workload.rate: unknown key"),
    "dataset": ({"kind": "trace", "dataset": "azure"}, "workload: dataset: unknown 'azure'"),
    "format": ({"kind": "trace", "format": "azure"}, "workload: format: unknown 'azure'"),
    "neither": ({"kind": "trace", "path": "x"}, "workload: give either a dataset or the format"),
    "no path": ({"kind": "trace", "format": "burstgpt"}, "workload: path: name the file"),
    "no columns": ({"kind": "trace", "format": "csv", "path": "x"}, "workload: csv: says which"),
    "csv with iso durations": ({"kind": "trace", "format": "csv", "path": "x", "csv": {
        "time": "a", "unit": "iso", "duration": "b"}}, "workload.csv: duration: needs a time in s"),
    "three rates": ({"kind": "trace", "dataset": "burstgpt", "rate": 1, "speed": 2},
                    "workload: rate, load and speed all set the rate"),
    "no speed": ({"kind": "trace", "dataset": "burstgpt", "speed": 0}, "workload.speed: input"),
    "quote": ({"kind": "trace", "format": "csv", "path": "x", "csv": {
        "time": "a", "unit": "s", "delimiter": '"'}}, "workload.csv.delimiter: "),
    "window": ({"kind": "trace", "dataset": "burstgpt", "window_seconds": [5, 5]},
               "workload: window_seconds: its start is not before its end"),
    "useless models": ({"kind": "trace", "dataset": "burstgpt", "trace_models": "keep",
                        "models": {"m": 1}}, "workload: models: has no effect"),
    "useless rename": ({"kind": "trace", "dataset": "burstgpt", "rename": {"m": "n"}},
                       "workload: rename: has no effect"),
    "useless work": ({"kind": "trace", "dataset": "burstgpt", "work": {}}, "workload.work: give"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_by_name(case):
    plain, said = REFUSED[case]
    with pytest.raises(ConfigError) as error:
        Workload.build(parse(plain), ("m", "n"))
    assert said in str(error.value)
    assert str(error.value).startswith("Configuration: ")
    assert "\n" not in str(error.value)


ONE, OTHER = {"kind": "poisson", "models": {"a": 1, "b": 3}}, {"kind": "poisson"}
SHARES = {
    "equal": ({**OTHER, "load": 0.5}, [1 / 3, 1 / 3, 1 / 3]),
    "weights": ({**ONE, "load": 0.5}, [0.25, 0.75, 0]),
    "mixture by weight": ({"kind": "mixture", "load": 0.5, "clients": {
        "x": {"weight": 3, "arrivals": ONE}, "y": {"arrivals": {**ONE, "models": {"c": 9}}}}},
        [0.1875, 0.5625, 0.25]),
    "mixture by rate": ({"kind": "mixture", "clients": {
        "x": {"arrivals": {**ONE, "rate": 30}}, "y": {"arrivals": {**OTHER, "rate": 10}}}},
        [0.75 / 4 + 0.25 / 3, 0.75 * 3 / 4 + 0.25 / 3, 0.25 / 3]),
    "mixture by load": ({"kind": "mixture", "clients": {
        "x": {"arrivals": {**ONE, "load": 0.1}}, "y": {"arrivals": {**ONE, "load": 0.7}}}},
        [0.25, 0.75, 0]),
}  # fmt: skip


@pytest.mark.parametrize("case", SHARES)
def test_shares_of_models_are_those_of_the_requests(case):
    plain, shares = SHARES[case]
    names = ("a", "b", "c")
    found = model_shares(parse(plain), names)
    assert [found[name] for name in names] == pytest.approx(shares)
    requests = drawn(Workload.build(parse(plain), names, 9.0), 100_000)
    counts = np.bincount(requests.model, minlength=3)
    assert counts / 100_000 == pytest.approx(shares, abs=0.01)


def test_shares_of_a_trace_are_those_of_its_lines(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("model,arrival_ns\na,1\nb,2\na,3\nc,9\n")
    plain = {"kind": "trace", "format": "lightning", "path": str(path)}
    kept = parse({**plain, "trace_models": "keep", "rename": {"c": "b"}})
    assert model_shares(kept, ("b", "a")) == {"b": 0.5, "a": 0.5}
    spread = parse({**plain, "trace_models": "spread"})
    assert model_shares(spread, ("x", "y")) == {"x": 0.75, "y": 0.25}


def test_a_fleet_without_models_is_refused():
    with pytest.raises(ConfigError, match="serves no model"):
        workload("poisson", rate=1.0, served=())


# Closed loop: chunks hold think times.


def test_a_closed_loop_gives_think_times():
    found = workload(
        "closed_loop", users=7, think={"dist": "gamma", "mean_ms": 2.0, "cv": 0.5},
        served=("a", "b"), models={"b": 1}, priority=3, deadline_ms=9,
    )  # fmt: skip
    assert found.closed_loop == ClosedLoop(users=7)
    assert found.mean_rate_rps is None
    assert found.describe()["users"] == 7
    requests = drawn(found, 100_000)
    assert requests.time_ns.mean() == pytest.approx(2e6, rel=0.01)
    assert requests.time_ns.std() / requests.time_ns.mean() == pytest.approx(0.5, rel=0.02)
    assert {*requests.model.tolist()} == {1}
    assert {*requests.priority.tolist()} == {3}
    assert {*requests.deadline_ns.tolist()} == {9_000_000}
    assert np.array_equal(drawn(found, 1000, size=13).time_ns, requests.time_ns[:1000])


def test_users_may_answer_at_once():
    think = {"dist": "exponential", "mean_ms": 0}
    assert not drawn(workload("closed_loop", users=1, think=think), 100).time_ns.any()


def test_workloads_load_without_heavy_imports():
    source = Path(parse.__code__.co_filename).parent
    for path in source.rglob("*.py"):
        for line in path.read_text().splitlines():
            assert not line.startswith(("import pyarrow", "from pyarrow", "import pandas"))
