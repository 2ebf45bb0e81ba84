import numpy as np
import pytest

from profleet.report.simulated import load_jobs, load_table
from profleet.report.simulation_plots import distribution, write_simulation_plots
from profleet.report.sweep import axis_of, best_of, curves, knee_of, last_steady
from profleet.report.sweep_plots import write_sweep_plots
from profleet.simulate.engine import histogram
from simulated_jobs import Made, make_failure, make_simulation


def names(paths):
    assert all(path.stat().st_size for path in paths)
    assert {path.suffix for path in paths} == {".svg", ".png"}
    return {path.stem for path in paths}


@pytest.fixture
def drawn(monkeypatch):
    """Keep the figures as they are when they are saved."""
    figures = {}
    for module in ("simulation_plots", "sweep_plots"):

        def keep(figure, folder, name):
            figures[name] = figure
            return []

        monkeypatch.setattr(f"profleet.report.{module}.save", keep)
    return figures


def sweep(root, routers=("jsq", "random"), loads=(0.3, 0.5, 0.7, 0.9), over=(1.1,), **what):
    number = 0
    for rank, router in enumerate(routers):
        for load in (*loads, *over):
            overloaded = load >= 1
            make_simulation(
                root / str(number),
                Made(
                    router=router,
                    load=load,
                    mean_ms=(rank + 1) * 10 / max(0.01, 1 - load),
                    verdict="overloaded" if overloaded else "stable",
                    extra={"cost_per_million": 1 / load},
                    **what,
                ),
            )
            number += 1
    return load_jobs(root)


def test_every_picture_that_has_data_is_drawn(tmp_path):
    make_simulation(tmp_path, Made(groups={"a": 2, "b": 3}))
    paths = write_simulation_plots(tmp_path)
    assert names(paths) == {"latency", "latency_by_group", "levels", "utilization", "batches"}
    assert {path.parent for path in paths} == {tmp_path / "plots"}


def test_pictures_that_say_nothing_are_left_out(tmp_path):
    make_simulation(tmp_path, Made(batch_sizes=(1,)))
    assert names(write_simulation_plots(tmp_path)) == {"latency", "levels", "utilization"}
    make_failure(tmp_path / "failed", "no")
    assert write_simulation_plots(tmp_path / "failed") == []


def test_pictures_are_the_same_bytes_each_time(tmp_path):
    contents = []
    for name in ("one", "two"):
        root = tmp_path / name
        jobs = sweep(root, ("jsq",), (0.5, 0.7), over=(), groups={"a": 2, "b": 60})
        paths = [*write_simulation_plots(root / "0"), *write_sweep_plots(root, jobs)]
        contents.append({path.relative_to(root): path.read_bytes() for path in paths})
    assert contents[0] == contents[1]
    assert len(contents[0]) > 10


def test_a_distribution_is_that_of_the_histogram(tmp_path):
    make_simulation(tmp_path, Made(groups={"a": 1, "b": 1}))
    rows = load_table(tmp_path, "latencies")
    rows = rows[rows["span"] == "latency"]
    times = distribution(rows)
    counts = np.zeros(histogram.BUCKETS, dtype=np.int64)
    np.add.at(counts, np.searchsorted(histogram.edges() / 1e6, rows["from_ms"]), rows["count"])
    assert times.requests == counts.sum() == 10_000
    for share in (0.5, 0.99):
        at = times.ms[np.searchsorted(times.share, share)]
        assert at == pytest.approx(histogram.quantile(counts, share) / 1e6, rel=1e-3)
    assert times.share[-1] == 1
    assert (np.diff(times.ms) > 0).all()


def test_tails_end_where_few_requests_are_left(tmp_path, drawn):
    make_simulation(tmp_path)
    write_simulation_plots(tmp_path)
    _, tail = drawn["latency"].axes
    for line in tail.lines:
        assert line.get_ydata().min() >= 10 / 5000


def test_few_replicas_are_drawn_one_by_one_and_many_as_quantiles(tmp_path, drawn):
    make_simulation(tmp_path, Made(groups={"a": 48}))
    write_simulation_plots(tmp_path)
    (axes,) = drawn["utilization"].axes
    assert axes.get_xlabel() == "Replica"
    make_simulation(tmp_path, Made(groups={"a": 5000}))
    write_simulation_plots(tmp_path)
    (axes,) = drawn["utilization"].axes
    (line,) = axes.lines
    assert len(line.get_xdata()) == 5000
    assert (np.diff(line.get_ydata()) >= 0).all()


def test_overloaded_simulations_say_so_in_every_picture(tmp_path, drawn):
    make_simulation(tmp_path, Made(verdict="overloaded"))
    write_simulation_plots(tmp_path)
    titles = [figure.axes[0].get_title(loc="left") for figure in drawn.values()]
    assert len(titles) == 4
    assert all("overloaded" in title for title in titles)


def test_load_latency_curves_end_before_overload(tmp_path, drawn):
    write_sweep_plots(tmp_path, sweep(tmp_path))
    p99 = drawn["load_latency"].axes[0]
    lines = {line.get_label(): line for line in p99.lines}
    assert list(lines["jsq"].get_xdata()) == [0.3, 0.5, 0.7, 0.9]
    crosses = [line for line in p99.lines if line.get_marker() == "x"]
    assert [list(line.get_xdata()) for line in crosses] == [[1.1], [1.1]]
    rings = [line for line in p99.lines if line.get_markerfacecolor() == "none"]
    assert [list(line.get_xdata()) for line in rings] == [[0.5], [0.5]]
    body = drawn["latency"].axes[0]
    shown = {line.get_label() for line in body.lines}
    assert shown == {"jsq", "random"}
    assert "load=0.9" in body.get_title(loc="left")


def test_knees_and_the_last_steady_load(tmp_path):
    jobs = sweep(tmp_path)
    axis = axis_of(jobs)
    first = curves(jobs)[0]
    assert axis.label == "Offered load (1: 1000 requests/s)"
    assert knee_of(first, axis).result.offered_rps == 500
    assert last_steady(first).result.offered_rps == 900


def test_fleets_of_other_capacity_are_compared_by_rate(tmp_path):
    make_simulation(tmp_path / "0", Made())
    make_simulation(tmp_path / "1", Made(capacity_rps=2000.0))
    axis = axis_of(load_jobs(tmp_path))
    assert axis.label == "Offered rate, requests/s"
    assert [axis.of(job) for job in load_jobs(tmp_path)] == [500, 1000]


def test_jobs_without_a_load_to_vary_are_compared_side_by_side(tmp_path, drawn):
    jobs = sweep(tmp_path, loads=(0.5,), over=())
    write_sweep_plots(tmp_path, jobs)
    assert set(drawn) == {"latency", "variants", "utilization", "cost"}
    (axes,) = drawn["variants"].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["jsq", "random"]


def test_the_front_holds_the_best_of_all_jobs(tmp_path):
    jobs = sweep(tmp_path)
    best = best_of(jobs, "cost_per_million")
    assert [(job.variant, job.result.offered_rps) for job in best] == [
        ("jsq", rate) for rate in (300, 500, 700, 900)
    ]


def test_twenty_variants_have_twenty_looks(tmp_path, drawn):
    jobs = sweep(tmp_path, routers=[f"r{n}" for n in range(20)], loads=(0.5,), over=())
    write_sweep_plots(tmp_path, jobs)
    lines = [line for line in drawn["latency"].axes[0].lines if line.get_label() in
             {job.variant for job in jobs}]  # fmt: skip
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 20


def test_a_sweep_without_results_draws_nothing(tmp_path):
    make_failure(tmp_path / "0", "no")
    assert write_sweep_plots(tmp_path) == []
    assert not (tmp_path / "plots").exists()
