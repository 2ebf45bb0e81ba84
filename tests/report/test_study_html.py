"""The page of the Lightning study: both tellings on it, everything foreign escaped."""

from __future__ import annotations

from profleet.profile.metrics import Metric
from profleet.report.study_html import write_study_report
from profleet.report.study_tables import print_study
from profleet.report.tables import make_console
from profleet.simulate.results import find_simulations, finish, new_invocation
from profleet.simulate.schema import Served, SimulationResult
from profleet.simulate.study.ratios import load_study

HOSTILE = "one</script><img src=x onerror=alert(1)>\x1b[2J"


def metric(value, low=None, high=None):
    return Metric(value=value, low=low, high=high, unit="1", evidence="modelled")


def study(device, load, mean):
    numbers = {"offered_load": load, "utilization": 0.4, "completed": 7, "active_requests_max": 3}
    numbers["completion_mean_ns/AlexNet"] = mean
    return SimulationResult(
        status="finished", verdict="stable" if load < 1 else "overloaded",
        metrics={name: metric(value) for name, value in numbers.items()},
        configuration={"study": {"kind": "lightspeed", "device": device, "trace": HOSTILE}},
    )  # fmt: skip


def fleet():
    return SimulationResult(
        status="finished", verdict="stable",
        metrics={"latency_p99_ms": metric(12.5, 11.5, 13.5), "energy_per_request_j": metric(0.25)},
        fleet=[Served(group="measured-here", count=4, model="alexnet", stack="s", source="s",
                      evidence=["measured"], max_batch=1, service_mean_ms=[1.0], capacity_rps=1.0)],
    )  # fmt: skip


def written(root, **results):
    for name, result in results.items():
        finish(root / name.replace("_", "/"), result, new_invocation())
    folders = list(find_simulations(root))
    return folders, load_study(folders)


def test_the_page_tells_the_study_and_fleets_beside_it(tmp_path, capsys):
    folders, found = written(
        tmp_path,
        a=study("mit-lightning", 0.4, 1e6),
        b=study("lightspeed-a100", 2.4, 3e8),
        c=SimulationResult(status="failed", reason="Broken & gone."),
        steady_0=fleet(),
    )
    page = write_study_report(tmp_path, found, folders).read_text("utf-8")
    assert "<img src=x" not in page
    assert "\x1b" not in page
    assert ">300<" in page.replace("300.0", "300")
    assert "lightspeed-a100 takes 6" in page
    assert "No steady state: lightspeed-a100." in page
    assert "measured-here" in page
    assert "12.50" in page
    assert "[11.50, 13.50]" in page
    assert "Broken &amp; gone." in page
    print_study(folders, found, make_console())
    assert "Broken & gone." in capsys.readouterr().out


def test_without_fleets_the_page_says_how_to_have_them(tmp_path):
    folders, found = written(tmp_path, a=study("mit-lightning", 0.4, 1e6))
    page = write_study_report(tmp_path, found, folders).read_text("utf-8")
    assert "study=lightspeed_steady hydra.sweep.dir=DIR/steady" in page
    assert "What the study says" not in page
    assert "No steady state" not in page
