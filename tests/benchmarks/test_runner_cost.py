"""What measuring with Profleet costs, against a bare loop and against doing nothing.

Ratios inside one run, alternating the two sides, so that a machine that drifts does not decide.
Run by `make bench`; leave the machine alone meanwhile.
"""

from __future__ import annotations

import io
import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tiny

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

ROUNDS = 16
SECONDS = 0.8


@pytest.fixture(scope="module")
def half_millisecond(tmp_path_factory):
    """A folder with a job of a network that takes about 0.5 ms, ready for the runner."""
    from profleet.execute.plan import plan
    from profleet.execute.settings import RunSettings

    root = tmp_path_factory.mktemp("bench")
    manifests = tiny.workspace(root, width=768, layers=10)
    return root, lambda **measure: _job(plan, RunSettings, root, manifests, measure)


def _job(plan, settings, root: Path, manifests: Path, measure: dict) -> Path:
    from hydra import compose, initialize_config_dir

    from profleet.execute.settings import parse
    from profleet.paths import data_dir

    overrides = [
        "model=tiny", f"manifests=[{manifests}]", f"store={root / 'store'}", "batch_sizes=[1]",
        *(f"measure.{key}={value}" for key, value in measure.items()),
    ]  # fmt: skip
    with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
        config = compose("run", overrides)
    (job,) = plan(parse(config), frozenset({"batch_sizes"}))
    number = len(list(root.glob("job-*")))
    folder = root / f"job-{number}"
    (folder / "artifact").mkdir(parents=True)
    (folder / "artifact" / "model.onnx").symlink_to(manifests / "model" / "tiny.onnx")
    (folder / "job.json").write_text(json.dumps(job.document()))
    return folder


MEASURE = {
    "processes": 1, "min_seconds": SECONDS, "min_samples": 100, "max_samples": 1000000,
    "target_interval": 0.5, "idle_gaps_ms": "[]", "intra_op_threads": 1, "budget_seconds": 60,
}  # fmt: skip


def test_overhead_of_the_measuring_loop(half_millisecond):
    """Bar: p50 at most 1 % above a bare loop, on one session in one process, block by block."""
    from profleet_runner.frameworks import Options, load
    from profleet_runner.inputs import draw
    from profleet_runner.measure import quiet, run_block

    _, make_job = half_millisecond
    job = make_job(**MEASURE)
    described = json.loads((job / "job.json").read_text("utf-8"))
    framework = load("onnxruntime")
    framework.import_framework()
    session = framework.open_session(
        (job / "artifact" / "model.onnx").read_bytes(), Options("cpu", 1, 1, {})
    )
    request = session.prepare(draw(described["model"]["inputs"], 1, 0))
    blocks, size, clock = 60, 200, time.perf_counter_ns
    run_block(request.execute, size)
    ours, bare = [], []
    with quiet():
        for _ in range(blocks):
            ours.append(run_block(request.execute, size)[1])
            samples = []
            for _ in range(size):
                start = clock()
                request.execute()
                samples.append(clock() - start)
            bare.append(np.array(samples))
    ratios = sorted(float(np.median(a) / np.median(b)) for a, b in zip(ours, bare, strict=True))
    print(
        f"\nmeasuring loop, p50 {np.median(np.concatenate(bare)) / 1e6:.4f} ms: median ratio "
        f"{statistics.median(ratios):.4f} (p10 {ratios[blocks // 10]:.4f}, "
        f"p90 {ratios[blocks * 9 // 10]:.4f}, {blocks} pairs of blocks); bar 1.01"
    )


def test_latency_overhead_against_a_bare_loop(half_millisecond):
    """Bar: p50 at most 1 % above a bare loop of the same framework, about 0.5 ms a request."""
    from profleet.execute.process import ProcessExecutor
    from profleet.paths import data_dir

    _, make_job = half_millisecond
    ours, bare = [], []
    for round_number in range(ROUNDS):
        sides = [True, False] if round_number % 2 else [False, True]
        for side in sides:
            job = make_job(**MEASURE)
            if side:
                ended = ProcessExecutor().execute(job, timeout_seconds=120, on_event=lambda _: None)
                assert ended.code == 0, ended.log.read_text()
                data = np.load(job / "samples.npz")
                ours.append(float(np.median(data["latency_ns"][data["phase"] == 1])) / 1e6)
            else:
                command = [sys.executable, str(Path(__file__).with_name("bare_loop.py")), str(job)]
                done = subprocess.run(
                    [*command, str(SECONDS), str(data_dir("runners"))],
                    capture_output=True, check=True,
                )  # fmt: skip
                bare.append(float(np.median(np.load(io.BytesIO(done.stdout)))) / 1e6)
    ratios = sorted(a / b for a, b in zip(ours, bare, strict=True))
    print(
        f"\np50 bare loop {statistics.median(bare):.4f} ms, "
        f"profile {statistics.median(ours):.4f} ms\n"
        f"p50 overhead: median ratio {statistics.median(ratios):.4f} "
        f"(min {ratios[0]:.4f}, max {ratios[-1]:.4f}, {ROUNDS} pairs); bar 1.01"
    )


def test_supervisor_cpu_time(half_millisecond):
    """Bar: CPU time of the supervising processes at most 1 % of the time the runner measures."""
    from rich.console import Console

    from profleet.execute.process import ProcessExecutor
    from profleet.execute.progress import Progress

    _, make_job = half_millisecond
    job = make_job(**{**MEASURE, "min_seconds": 30})
    seen: dict[str, float] = {}

    def watch(event: dict) -> None:
        progress.event(event)
        if event["phase"] in {"warmup", "measure"} and "start" not in seen:
            seen["start"], seen["host"] = time.monotonic(), time.process_time()
            seen["coordinator"] = _coordinator_seconds(job)
        if event["phase"] == "measure":
            seen["end"], seen["host_end"] = time.monotonic(), time.process_time()
            seen["coordinator_end"] = _coordinator_seconds(job)

    screen = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Progress("tiny · onnxruntime", 60, screen) as progress:
        ended = ProcessExecutor().execute(job, timeout_seconds=120, on_event=watch)
    assert ended.code == 0
    wall = seen["end"] - seen["start"]
    assert wall > 15, "the runner reported too rarely to tell"
    host = (seen["host_end"] - seen["host"]) / wall
    coordinator = (seen["coordinator_end"] - seen["coordinator"]) / wall
    print(
        f"\nsupervisor CPU over {wall:.1f} s: host {host:.2%} with its display, "
        f"coordinator {coordinator:.2%}; bar 1 %"
    )


def _coordinator_seconds(job: Path) -> float:
    """CPU seconds of the runner's coordinator itself, without its workers."""
    import os

    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"profleet_runner" in words and str(job).encode() in words:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    raise AssertionError("the coordinator was not found")


@pytest.mark.parametrize("threads", [1, 2])
def test_repeated_runs_agree(tmp_path, threads):
    """Bar: two runs of one stack agree within their stated intervals in at least 90 % of pairs."""
    from shop import Shop

    shop = Shop(tmp_path)
    runs = 8
    for _ in range(runs):
        options = [
            "measure=quick", "batch_sizes=[1]", "measure.processes=5", "measure.idle_gaps_ms=[]",
            f"measure.intra_op_threads={threads}",
        ]  # fmt: skip
        done = shop.run("model=squeezenet", options=options)
        assert done.returncode == 0, done.stderr
    metrics = [result["metrics"]["latency_p50_ms/b1"] for result in shop.results()]
    pairs = list(itertools.combinations(metrics, 2))
    agree = sum(a["low"] <= b["high"] and b["low"] <= a["high"] for a, b in pairs)
    floor = sorted(abs(a["value"] / b["value"] - 1) for a, b in pairs)
    widths = [(m["high"] - m["low"]) / m["value"] for m in metrics]
    print(
        f"\nA/A, {threads} threads, {runs} runs: {agree}/{len(pairs)} pairs agree "
        f"({agree / len(pairs):.0%}); bar 90 %\n"
        f"A/A floor: median difference {statistics.median(floor):.2%}, "
        f"p90 {floor[int(len(floor) * 0.9)]:.2%}; "
        f"median interval width {statistics.median(widths):.2%}"
    )


@pytest.mark.parametrize("words", [["--help"], ["manifest", "list"]])
def test_start_up(words):
    """Bar: 0.4 s."""
    script = Path(sys.executable).with_name("profleet")
    ours, nothing = [], []
    for _ in range(7):
        for command, times in (
            ([str(script), *words], ours),
            ([sys.executable, "-c", ""], nothing),
        ):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
    print(
        f"\nprofleet {' '.join(words)}: median {statistics.median(ours):.3f} s "
        f"(max {max(ours):.3f}); a bare interpreter {statistics.median(nothing):.3f} s; bar 0.4 s"
    )
