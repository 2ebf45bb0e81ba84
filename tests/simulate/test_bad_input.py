"""What a simulation cannot use: one clear sentence that names it, exit code 2, nothing left."""

from __future__ import annotations

from pathlib import Path

import pytest

POLICIES = """
from profleet.simulate.policies import batching, router

@router("far")
def far(fleet, request):
    return len(fleet.up)

@router("fraction")
def fraction(fleet, request):
    return 0.5

@router("word")
def word(fleet, request):
    return "first"

@router("nothing")
def nothing(fleet, request):
    pass

@router("raises")
def raises(fleet, request):
    raise ValueError("out of luck")

@router("loops")
def loops(fleet, request):
    for model in request.model:
        return model

@router("beyond")
def beyond(fleet, request):
    return fleet.outstanding[10**6]

@router("narrow")
def narrow(fleet):
    return 0

@batching("greedy")
def greedy(queue):
    return queue.waiting + 1

@batching("endless")
def endless(queue):
    return -1

@batching("breaks")
def breaks(queue):
    return queue.nobody
"""

GROUPS = "fleet.groups=[{{service: {{dist: deterministic, mean_ms: 1}}, {0}}}]"
ASSUMED = ["fleet=assumed", "workload.rate=100"]
LOAD = ["workload.load=0.5"]

MISTAKES: dict[str, tuple[list[str], str]] = {
    # rates
    "no rate": ([], "say how many requests come"),
    "zero rate": (["workload.rate=0"], "workload.rate"),
    "negative rate": (["workload.rate=-1"], "workload.rate"),
    "NaN rate": (["workload.rate=nan"], "workload.rate"),
    "infinite rate": (["workload.rate=inf"], "workload.rate"),
    "huge rate": (["workload.rate=1e300"], "workload.rate"),
    "no number": (["workload.rate=many"], "workload.rate"),
    "zero load": (["workload.load=0"], "workload.load"),
    "rate and load": (["workload.load=1", "workload.rate=1"], "give one, not both"),
    "infinite level": (["workload=mmpp", *LOAD, "workload.states.busy.level=inf"], "states"),
    "NaN variation": (["workload=gamma", *LOAD, "workload.cv=nan"], "workload.cv"),
    "no users": (["workload=closed_loop", "workload.users=0"], "workload.users"),
    # fleets
    "no server": (["fleet.servers=0", *LOAD], "fleet.servers"),
    "negative servers": (["fleet.servers=-4", *LOAD], "fleet.servers"),
    "no groups": ([*ASSUMED, "fleet.groups=[]"], "at least one group"),
    "empty group": ([*ASSUMED, GROUPS.format("count: 0")], "fleet.groups.0.count"),
    "group without count": ([*ASSUMED, GROUPS.format("name: a")], "fleet.groups.0.count"),
    "too many": (["fleet.servers=100000000", *LOAD], "fleet.servers"),
    "no service time": (["fleet.service.mean_ms=0", *LOAD], "fleet.service.mean_ms"),
    "NaN service time": (["fleet.service.mean_ms=nan", *LOAD], "fleet.service.mean_ms"),
    "unknown law": (["fleet.service.dist=normal", *LOAD], "fleet.service.dist"),
    "lognormal without cv": (["fleet.service.dist=lognormal", *LOAD], "cv"),
    "unknown hardware": (["fleet=quickstart", "fleet.hardware=abacus", *LOAD], "abacus"),
    # models and batches
    "a model nobody serves": ([*LOAD, "workload.models={resnet50: 1}"], "resnet50"),
    "weights of nothing": ([*LOAD, "workload.models={any: 0}"], "above 0"),
    "batch outside the grid": (["batching=dynamic", "batching.size=4", *ASSUMED,
                                GROUPS.format("count: 2, max_batch: 0")], "max_batch"),
    "batch of nothing": (["batching=dynamic", "batching.size=0", *LOAD], "batching.size"),
    "negative delay": (["batching=dynamic", "batching.max_delay_ms=-1", *LOAD], "max_delay_ms"),
    # periods
    "no request": ([*LOAD, "requests=0"], "requests"),
    "two ends": ([*LOAD, "duration_s=5"], "requests and duration_s"),
    "NaN duration": ([*LOAD, "requests=null", "duration_s=nan"], "duration_s"),
    "all warm-up": ([*LOAD, "warmup=1"], "warmup"),
    "no replication": ([*LOAD, "replications=0"], "replications"),
    "negative seed": ([*LOAD, "seed=-1"], "seed"),
    "certainty": ([*LOAD, "confidence=1"], "confidence"),
    "window backwards": ([*LOAD, "trace_window_ms=[5,1]"], "trace_window_ms"),
    "NaN window": ([*LOAD, "trace_window_ms=[nan,1]"], "trace_window_ms"),
    "promises that contradict": ([*LOAD, "slo.p50_ms=9", "slo.p99_ms=3"], "slo"),
    "negative promise": ([*LOAD, "slo.p99_ms=-3"], "slo.p99_ms"),
    # keys and options
    "misspelled group": (["wrokload.rate=3"], "Did you mean 'workload'"),
    "misspelled key": (["workload.rte=3"], "Did you mean 'rate'"),
    "deeply misspelled": (["fleet.service.meanms=3"], "Did you mean 'mean_ms'"),
    "key of another option": (["fleet.count=3", *LOAD], "Available: kind, servers, service"),
    "added": (["+fleet.service.cvv=3", *LOAD], "Did you mean 'cv'"),
    "added in a list": ([*ASSUMED, GROUPS.format("cuont: 3")], "Did you mean 'count'"),
    "misspelled option": (["router=jqs", *LOAD], "Did you mean 'jsq'"),
    "misspelled workload": (["workload=posson", *LOAD], "Did you mean 'poisson'"),
    "a value for a group": (["queue=3", *LOAD], "queue: must be a group"),
    "needed": (["router=power_of_d", *LOAD], "router.d"),
    "no trace": (["workload=lightning"], "workload.path has no default: say workload.path=VALUE"),
    "no column": (["workload=csv", "workload.path=x"], "say workload.csv.time=VALUE"),
    "several without -m": (["router=jsq,random", *LOAD], "add -m"),
    "bracket": (["trace_window_ms=[1", *LOAD], "trace_window_ms"),
    # policies
    "no such file": ([*LOAD, "plugins=[nowhere.py]"], "plugins.0: there is no file"),
    "file without policies": ([*LOAD, "plugins=[empty.py]"], "registers no policy"),
    "file that breaks": ([*LOAD, "plugins=[broken.py]"], "broken.py cannot be imported"),
    "no name": ([*LOAD, "router=custom"], "router.name"),
    "unknown name": ([*LOAD, "plugins=[my.py]", "router=custom", "router.name=fra"], "router.name"),
    "name without file": ([*LOAD, "router=custom", "router.name=far"], "plugins=[FILE.py]"),
    "a replica that is not": ([*LOAD, "router.name=far"], "Router 'far' returned 4"),
    "half a replica": ([*LOAD, "router.name=fraction"], "returned a fraction"),
    "a word": ([*LOAD, "router.name=word"], "Router 'word' returned 'first', which is no number"),
    "nothing": ([*LOAD, "router.name=nothing"], "'nothing' returned None, which is no number"),
    "raises": ([*LOAD, "router.name=raises"], "Router 'raises' raised ValueError: out of luck"),
    "loops over a number": ([*LOAD, "router.name=loops"], "not iterable"),
    "index": ([*LOAD, "router.name=beyond"], "Router 'beyond' raised IndexError"),
    "too few arguments": ([*LOAD, "router.name=narrow"], "Router 'narrow' raised TypeError"),
    "too large a batch": ([*LOAD, "batching.name=greedy"], "Batching policy 'greedy' returned 2"),
    "asks for ever": ([*LOAD, "batching.name=endless"], "'endless' wanted to be asked again"),
    "no such field": ([*LOAD, "batching.name=breaks"], "Batching policy 'breaks' raised Attribute"),
    # places
    "no store": ([*LOAD, "store="], "store is empty"),
    "store nowhere": ([*LOAD, "store=/proc/nope"], "/proc/nope"),
    "store unknown": ([*LOAD, "store=${nope}"], "'nope' not found"),
    "store a file": ([*LOAD, "store=my.py"], "my.py"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence_and_leaves_nothing(desk, name):
    (desk.root / "my.py").write_text(POLICIES, "utf-8")
    (desk.root / "empty.py").write_text("x = 1\n", "utf-8")
    (desk.root / "broken.py").write_text("import nowhere_to_be_found\n", "utf-8")
    words, said = MISTAKES[name]
    if any(".name=" in word for word in words) and "no plugin" not in said:
        group = "router" if any(word.startswith("router.name") for word in words) else "batching"
        plugins = [] if name == "name without file" else ["plugins=[my.py]"]
        words = [f"{group}=custom", *plugins, *words]
    done = desk.simulate(*words)
    assert done.code == 2, done
    assert said in done.err
    sentences = [line for line in done.err.splitlines() if line.startswith("profleet: ")]
    assert len(sentences) == 1
    assert done.err.splitlines()[-1] == sentences[0]
    assert "Traceback" not in done.err
    assert done.out == ""
    assert desk.litter() == []
    assert sorted(path.name for path in desk.root.iterdir()) == ["broken.py", "empty.py", "my.py"]


TRACES: dict[str, tuple[str, str]] = {
    "backwards": ("time\n0.1\n0.3\n0.2\n", "line 4"),
    "negative": ("time\n-1\n2\n", "line 2"),
    "NaN": ("time\n0.1\nnan\n", "line 3"),
    "gap": ("time\n0.1\n\n0.3\n", "line 3"),
    "columns": ("when\n0.1\n0.2\n", "time"),
    "words": ("time\n0.1\nlater\n", "line 3"),
    "empty": ("", "bad.csv"),
    "header only": ("time\n", "bad.csv"),
}


@pytest.mark.parametrize("name", TRACES)
def test_a_malformed_trace_is_named_with_its_line(desk, name):
    text, said = TRACES[name]
    (desk.root / "bad.csv").write_text(text, "utf-8")
    done = desk.simulate("workload=csv", "workload.path=bad.csv", "workload.csv.time=time")
    assert done.code == 2, done
    assert "bad.csv" in done.err
    assert said in done.err
    assert "Traceback" not in done.err
    assert desk.litter() == []


def test_a_truncated_archive_and_a_missing_trace_are_named(desk):
    import gzip

    whole = gzip.compress(b"time\n" + b"0.1\n" * 5000)
    (desk.root / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    for path in ("cut.csv.gz", "nowhere.csv"):
        done = desk.simulate("workload=csv", f"workload.path={path}", "workload.csv.time=time")
        assert done.code == 2, done
        assert path in done.err
        assert desk.litter() == []


def test_a_batch_size_outside_the_grid_of_a_profile_is_refused(desk):
    from support import make_profile_dir

    make_profile_dir(desk.root / "measured", samples=40, processes=2)
    source = "fleet.profiles=[{path: measured, hardware: A}]"
    words = ("fleet=quickstart", "fleet.hardware=A", "fleet.count=2", source, "workload.load=0.3")
    done = desk.simulate(*words, "batching=dynamic", "batching.size=16")
    assert done.code == 2, done
    assert "batching.size" in done.err
    assert "8" in done.err, "the largest measured size"
    assert desk.litter() == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["workload.rate=100"], "no latency is promised"),
        (["slo.p99_ms=5"], "say how many requests come"),
        (["slo.p99_ms=5", "workload.load=0.5"], "workload.rate="),
        (["slo.p99_ms=0", "workload.rate=100"], "slo.p99_ms"),
        (["slo.p99_ms=5", "workload.rate=nan"], "workload.rate"),
        (["slo.p99_ms=5", "workload.rate=100", "objective=size"], "objective"),
        (["slo.p99_ms=5", "workload.rate=100", "objective=cost"], "price_per_hour"),
        (["slo.p99_ms=5", "workload.rate=100", "objective=energy"], "power"),
        (["slo.p99_ms=5", "workload.rate=100", "hardware=[A]"], "hardware"),
        (["slo.p99_ms=5", "workload.rate=100", "max_replicas=0"], "max_replicas"),
        (["slo.p99_ms=5", "workload.rate=100", "requests=300"], "requests=1200"),
        (["slo.p99_ms=5", "workload.rate=100", "objectiv=cost"], "Did you mean 'objective'"),
        (["slo.p99_ms=5", "workload.rate=100", "fleet=quickstart", "fleet.model=nobody"], "fleet"),
        (["slo.p99_ms=5", "workload.rate=100", "fleet=quickstart", "hardware=[abacus]"], "abacus"),
    ],
)  # fmt: skip
def test_a_plan_that_makes_no_sense_is_refused(desk, words, said):
    done = desk.plan(*words)
    assert done.code == 2, done
    assert said in done.err
    assert "Traceback" not in done.err
    assert desk.litter() == []


def test_clients_with_a_relative_rate_cannot_be_planned_for(desk):
    loads = [f"+workload.clients.{name}.arrivals.load=0.2" for name in ("interactive", "batch")]
    done = desk.plan("slo.p99_ms=5", "workload=mixture", *loads)
    assert done.code == 2, done
    assert "workload.clients.interactive.arrivals.rate=" in done.err


def test_a_store_that_cannot_be_written_is_refused_before_anything_runs(desk, small_disk: Path):
    import subprocess

    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = desk.simulate("workload.load=0.5", f"store={small_disk}/store")
    assert done.code == 2, done
    assert str(small_disk) in done.err
    assert "store=DIR" in done.err
    assert "Traceback" not in done.err


def test_a_full_disk_is_named_and_no_part_is_left_as_a_result(desk, small_disk: Path):
    (small_disk / "fill").write_bytes(bytes(16_700_000))
    words = ("workload.load=0.5", "per_request=true", "requests=5000")
    done = desk.simulate(*words, f"store={small_disk}/store")
    assert done.code == 2, done
    assert "requests.parquet" in done.err
    assert "Traceback" not in done.err
    assert not list(small_disk.glob("**/result.json"))
