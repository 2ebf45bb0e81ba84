import io
import re

from rich.console import Console

from profleet.report.simulation_tables import print_simulation, print_simulations
from simulated_jobs import REFUSAL, Made, latency_ms, make_failure, make_simulation


def lines_of(capsys):
    return [re.sub(r"\s+", " ", line).strip() for line in capsys.readouterr().out.splitlines()]


def test_a_simulation_says_its_verdict_and_numbers(tmp_path, capsys):
    what = Made(groups={"a": 2, "b": 3}, promised_ms=1000.0, notes=("Mind the tail.",))
    make_simulation(tmp_path, what)
    print_simulation(tmp_path)
    lines = lines_of(capsys)
    assert lines[0] == "2 a + 3 b · squeezenet · poisson 500/s · jsq · no batching · stable"
    p50, p99 = latency_ms(what, 0.5), latency_ms(what, 0.99)
    (row,) = [line for line in lines if line.startswith("latency ")]
    assert f"{p50:.3f} [{0.9 * p50:.3f}, {1.1 * p50:.3f}]" in row
    assert f"{p99:.2f} [{0.9 * p99:.2f}, {1.1 * p99:.2f}]" in row
    assert "b 3 0.5000 [0.4500, 0.5500] 0.5000 [0.4500, 0.5500] - -" in lines
    assert "throughput, 1/s 500.0 [450.0, 550.0] interpolated" in lines
    assert any(re.match(r"latency_p99_ms 1000 46\.05 .* kept$", line) for line in lines)
    assert "Note: Mind the tail." in lines
    assert any("[95 % CI]" in line for line in lines)


def test_overload_gives_a_reason_instead_of_latencies(tmp_path, capsys):
    make_simulation(tmp_path, Made(verdict="overloaded", load=1.2, replications=1))
    print_simulation(tmp_path)
    lines = lines_of(capsys)
    assert lines[0].endswith("overloaded")
    assert lines[1] == REFUSAL
    assert "no steady state latency_p50_ms, latency_p99_ms, latency_p99_9_ms" in lines
    assert not any(line.startswith("latency ") for line in lines)
    assert not any("CI]" in line for line in lines)


def test_a_sweep_is_one_row_a_job_and_a_reason_for_each_failure(tmp_path, capsys):
    make_simulation(tmp_path / "0", Made(load=0.5, extra={"cost_per_million": 2.0}))
    make_simulation(tmp_path / "1", Made(load=1.2, verdict="overloaded"))
    make_failure(tmp_path / "2", "No replica serves it", ("router=jsq", "workload.load=9"))
    print_simulations(tmp_path)
    lines = lines_of(capsys)
    assert "job workload.load verdict p50 ms p99 ms req/s load utilization cost/1e6" in lines
    assert "0 0.5 stable 6.931 46.05 500.0 0.5000 0.5000 2.000" in lines
    assert "1 1.2 overloaded - - 1200 1.200 1.000 -" in lines
    assert "2 9 failed - - - - - -" in lines
    assert lines[-1] == "2 (load=9): failed: No replica serves it."


def test_promises_have_a_column_where_there_are_any(tmp_path, capsys):
    for number, bound in enumerate((1000.0, 1.0)):
        make_simulation(tmp_path / str(number), Made(promised_ms=bound))
    print_simulations([tmp_path / "0", tmp_path / "1"])
    rows = [line for line in lines_of(capsys) if line[:2] in {"0 ", "1 "}]
    assert [row.split(" ", 2)[1] for row in rows] == ["1000", "1"]
    assert rows[0].endswith(" kept")
    assert not rows[0].endswith("not kept")
    assert rows[1].endswith("not kept")


def test_nothing_is_cut_in_a_narrow_terminal(tmp_path):
    make_simulation(tmp_path / "0", Made(groups={"a" * 60: 2}))
    make_simulation(tmp_path / "1", Made(router="random", groups={"a" * 60: 2}))
    screen = io.StringIO()
    console = Console(file=screen, width=60, force_terminal=True, color_system=None)
    print_simulation(tmp_path / "0", console)
    print_simulations(tmp_path, console)
    assert "…" not in screen.getvalue()


def test_foreign_text_cannot_drive_the_terminal(tmp_path, capsys):
    hostile = "a\x1b[2Jb\x07[red]c[/red]"
    what = Made(model=hostile, groups={hostile: 1}, notes=(hostile,))
    make_simulation(tmp_path / "0", what)
    make_failure(tmp_path / "1", hostile, (f"router={hostile}",))
    print_simulation(tmp_path / "0")
    print_simulations(tmp_path)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[red]c[/red]" in out


def test_no_simulation_at_all_is_an_empty_table(tmp_path, capsys):
    print_simulations(tmp_path)
    assert "Simulations" in capsys.readouterr().out
