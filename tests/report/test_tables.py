import io

import pytest
from rich.console import Console

from profleet.profile.schema import Value
from profleet.profile.store import load_result
from profleet.report.cells import number_text
from profleet.report.tables import (
    JobRow,
    comparison_table,
    print_comparison,
    print_jobs,
    print_profile,
)
from support import Synthetic, make_profile, make_profile_dir


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0001234, "0.0001234"), (0.00001234, "1.234e-05"), (0.35666, "0.3567"),
     (1, "1.000"), (27.06, "27.06"), (294.94, "294.9"), (999.96, "1000"), (1234.5, "1234"),
     (12345678, "12345678")],
)  # fmt: skip
def test_numbers_have_four_digits(value, text):
    assert number_text(value) == text


def row(out, first):
    (line,) = [line for line in out.splitlines() if line.split()[:1] == [first]][:1]
    return line.split()


def test_the_table_states_what_the_profile_states(capsys):
    profile, _ = make_profile(Synthetic(unstable=(4,)))
    print_profile(profile)
    out = capsys.readouterr().out
    four = profile.points[2]
    p50 = four.latency_ms.percentiles["p50"]
    cells = row(out, "4")
    assert cells[1:4] == [
        number_text(p50.value), f"[{number_text(p50.low)},", f"{number_text(p50.high)}]",
    ]  # fmt: skip
    assert number_text(four.throughput_rps.value) in cells
    assert cells[-1] == "unstable"
    assert row(out, "1")[-1] == "steady"
    assert "Warning: Batch 4: unstable" in out


def test_refused_percentiles_say_how_many_samples_they_need(capsys):
    print_profile(make_profile(Synthetic(samples=20))[0])
    out = capsys.readouterr().out
    assert row(out, "1")[5:9] == ["needs", "130", "needs", "662"]
    print_profile(make_profile(Synthetic(samples=1, processes=2))[0])
    assert row(capsys.readouterr().out, "8")[1:3] == ["needs", "6"]


def test_unavailable_readings_are_a_dash_with_their_reason(capsys):
    profile, _ = make_profile(Synthetic(batch_sizes=(1,)))
    profile.measurement.points[0].energy_j = Value(value=0.25)
    print_profile(profile)
    out = capsys.readouterr().out
    assert "- copies, device memory: the device is the host" in out
    assert "0.2500" in out
    assert "RAPL" not in out


def test_a_scenario_has_its_own_table(capsys):
    print_profile(make_profile(Synthetic(scenario="find_peak"))[0])
    out = capsys.readouterr().out
    assert "MLPerf LoadGen, find peak" in out
    assert "61.50" in out
    assert "valid" in out
    assert "Latency by batch size" not in out


def test_throughput_counts_items(capsys):
    print_profile(make_profile(Synthetic())[0])
    out = capsys.readouterr().out
    assert "items/s" in out
    assert "req/s" not in out


def test_offline_states_a_wait_and_loadgens_rate(capsys):
    print_profile(make_profile(Synthetic(scenario="offline", processes=1))[0])
    out = capsys.readouterr().out
    assert "MLPerf LoadGen, offline: wait since the test began, ms" in out
    assert "peak req/s" not in out
    assert row(out, "1")[-2:] == ["88.50", "valid"]
    assert "[" not in " ".join(row(out, "1"))


def test_a_refused_rest_has_no_ratio(capsys):
    print_profile(make_profile(Synthetic(processes=1, idle_samples=5, idle_gaps_ms=(5.0,)))[0])
    (line,) = [li for li in capsys.readouterr().out.splitlines() if li.split()[:2] == ["1", "5"]]
    assert line.split() == ["1", "5", "needs", "6", "-", "5"]


def test_a_batch_without_samples_keeps_its_row(capsys):
    profile, _ = make_profile(Synthetic())
    del profile.points[1]
    print_profile(profile)
    assert row(capsys.readouterr().out, "2")[1:7] == ["-"] * 6


def test_output_that_is_no_terminal_is_plain_and_never_cut(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    reason = "word " * 200
    result = load_result(make_profile_dir(tmp_path, status="failed", reason=reason, model="m" * 64))
    print_jobs([JobRow("0", result)])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "…" not in out
    assert reason.strip() in out
    assert "m" * 64 in out


def test_a_narrow_terminal_loses_nothing():
    screen = io.StringIO()
    console = Console(file=screen, width=40, force_terminal=True, color_system=None, markup=False)
    print_profile(make_profile(Synthetic())[0], console)
    assert "…" not in screen.getvalue()


@pytest.mark.parametrize("executor", ["process", "docker"])
def test_a_usual_terminal_keeps_names_whole(tmp_path, executor):
    made = load_result(make_profile_dir(tmp_path, model="squeezenet", framework="onnxruntime"))
    screen = io.StringIO()
    console = Console(file=screen, width=80, force_terminal=True, color_system=None, markup=False)
    print_jobs([JobRow("0", made.model_copy(update={"executor": executor}))], console)
    lines = screen.getvalue().splitlines()
    assert any("squeezenet  onnxruntime" in line for line in lines)
    assert all(len(line) <= 80 for line in lines)


def test_foreign_text_cannot_drive_the_terminal(capsys, tmp_path):
    reason = "a\x1b[2Jb\x07c\r[red]d[/red]"
    result = load_result(make_profile_dir(tmp_path, status="failed", reason=reason))
    print_jobs([JobRow("0\x1b", result)])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "\r" not in out
    assert "[red]d[/red]" in out


def test_tables_show_the_executor_where_one_is_a_container(capsys, tmp_path):
    made = load_result(make_profile_dir(tmp_path / "0"))
    process = JobRow("job-0", made.model_copy(update={"executor": "process"}))
    docker = JobRow("job-1", made.model_copy(update={"executor": "docker"}))
    print_jobs([process])
    assert "executor" not in capsys.readouterr().out
    print_jobs([process, docker])
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.startswith("job-")]
    assert [row[3] for row in rows] == ["process", "docker"]


def test_jobs_show_first_latency_best_throughput_and_reasons(capsys, tmp_path):
    made = [
        load_result(make_profile_dir(tmp_path / "0")),
        load_result(make_profile_dir(tmp_path / "1", scenario="find_peak", framework="torch")),
        load_result(
            make_profile_dir(
                tmp_path / "2", framework="openvino", status="unsupported",
                reason="The operator Foo is unknown", hint="Use onnxruntime",
            )
        ),
    ]  # fmt: skip
    unstable, _ = make_profile(Synthetic())
    unstable = unstable.model_copy(update={"status": "unstable"})
    profiles = [unstable, None, None]
    print_jobs(
        [JobRow(f"job-{n}", *both) for n, both in enumerate(zip(made, profiles, strict=True))]
    )
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines() if line.startswith("job-")]
    metrics = made[0].metrics
    assert lines[0] == [
        "job-0", "squeezenet", "onnxruntime", "finished,", "unstable", "1",
        number_text(metrics["latency_p50_ms/b1"].value),
        number_text(metrics["latency_p99_ms/b1"].value),
        "8", number_text(metrics["throughput_rps/b8"].value),
    ]  # fmt: skip
    assert lines[1][3:6] == ["finished", "find", "peak"]
    assert lines[1][-1] == "61.50"
    assert lines[2][4:] == ["-"] * 5
    assert (
        "squeezenet · openvino: unsupported: The operator Foo is unknown. Use onnxruntime." in out
    )


def test_a_comparison_is_relative_to_the_first_profile(capsys):
    one, _ = make_profile(Synthetic(batch_sizes=(1, 2)))
    other, _ = make_profile(Synthetic(batch_sizes=(2, 4), framework="torch", base_ms=3.0, seed=5))
    print_comparison([one, other])
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "squeezenet" in line]
    ratio = (
        other.points[0].latency_ms.percentiles["p50"].value
        / one.points[1].latency_ms.percentiles["p50"].value
    )
    assert [(cells[0], cells[2], cells[6]) for cells in rows] == [
        ("1", "onnxruntime", "1.00"), ("2", "onnxruntime", "1.00"),
        ("2", "torch", f"{ratio:.2f}"), ("4", "torch", "-"),
    ]  # fmt: skip
    assert comparison_table([one, other]).row_count == 4
