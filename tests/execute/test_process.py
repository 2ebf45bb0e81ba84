"""What a runner prints is foreign, too: it neither breaks the host nor drives the terminal."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from profleet.execute import executor, leftovers, output
from profleet.execute.output import STDOUT, Output
from profleet.execute.process import ProcessExecutor
from profleet.execute.progress import Progress

STDERR = 2
RUNNER = """
import sys
deep = '{"event": ' + '[' * 30_000
print('{"event": "state", "phase": "warmup"}')
print(deep)
print('{"event": nonsense')
print("x" * 200_000)
print('{"event": "state", "phase": "measure"}')
sys.exit(7)
"""


@pytest.fixture
def executing(tmp_path):
    """Makes an interpreter that executes other code instead of the runner."""

    def make(code):
        script = tmp_path / "runner.py"
        script.write_text(code)
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}"\n')
        python.chmod(0o755)
        return str(python)

    return make


@pytest.fixture
def foreign(executing):
    """An interpreter that executes ``RUNNER`` instead of the runner."""
    return executing(RUNNER)


def test_events_are_told_from_noise(foreign, tmp_path):
    events = []
    ended = ProcessExecutor(foreign).execute(tmp_path, timeout_seconds=60, on_event=events.append)
    assert [event["phase"] for event in events] == ["warmup", "measure"]
    assert (ended.code, ended.timed_out) == (7, False)
    log = ended.log.read_text("utf-8")
    assert log.count("x") == 200_000, "what is no event is a log"
    assert "nonsense" in log


def test_a_line_without_end_is_not_held_in_memory():
    log, line = io.BytesIO(), b'{"event": "' + b"x" * 10 * executor.LONGEST_LINE
    with Output(log, pytest.fail) as output:
        for start in range(0, len(line), 1000):
            output(STDOUT, line[start : start + 1000])
            assert len(output._pending) <= executor.LONGEST_LINE
    assert log.getvalue() == line


def test_a_log_without_end_keeps_its_beginning_and_its_end(executing, tmp_path, monkeypatch):
    monkeypatch.setattr(output, "LOG_HEAD", 1000)
    monkeypatch.setattr(output, "LOG_TAIL", 500)
    python = executing("""
import sys
for number in range(100_000):
    print(f"line {number}", file=sys.stderr)
sys.exit(3)
""")
    ended = ProcessExecutor(python).execute(tmp_path, timeout_seconds=60, on_event=pytest.fail)
    text = ended.log.read_text("utf-8")
    size = sum(len(f"line {number}\n") for number in range(100_000))
    assert ended.code == 3, "the runner is not blocked"
    assert text.startswith("line 0\nline 1\n")
    assert text.endswith("line 99998\nline 99999\n")
    assert f"[{size - 1500} bytes are left out here" in text
    assert len(text) < 1600


@given(
    pieces=st.lists(st.binary(max_size=40), max_size=20),
    head=st.integers(1, 100),
    tail=st.integers(1, 100),
)
def test_the_log_is_what_came_or_its_two_ends(pieces, head, tail):
    log, whole = io.BytesIO(), b"".join(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "LOG_HEAD", head)
        patch.setattr(output, "LOG_TAIL", tail)
        with Output(log, pytest.fail) as sorting:
            for piece in pieces:
                sorting(STDERR, piece)
    if len(whole) <= head + tail:
        assert log.getvalue() == whole
    else:
        assert log.getvalue().startswith(whole[:head] + b"\n[")
        assert log.getvalue().endswith(b"]\n" + whole[-tail:])
        assert f"[{len(whole) - head - tail} bytes".encode() in log.getvalue()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full")
def test_a_log_that_cannot_be_written_is_not_worth_the_measurement(executing, tmp_path):
    (tmp_path / executor.LOG).symlink_to("/dev/full")
    events = []
    python = executing("""
import sys
print("an error", file=sys.stderr)
print("a line")
print('{"event": "state"}')
sys.exit(3)
""")
    ended = ProcessExecutor(python).execute(tmp_path, timeout_seconds=60, on_event=events.append)
    assert (ended.code, events) == (3, [{"event": "state"}])


def test_a_timeout_ends_the_runner_also_while_its_events_are_looked_at(executing, tmp_path):
    python = executing("""
import os, pathlib, time
pathlib.Path("daemon.pid").write_text(str(os.getpid()))
print('{"event": "state"}', flush=True)
time.sleep(600)
""")
    seen = []

    def look(_):
        end = time.monotonic() + 30
        while lives(tmp_path) and time.monotonic() < end:
            time.sleep(0.02)
        seen.append(lives(tmp_path))

    ended = ProcessExecutor(python).execute(tmp_path, timeout_seconds=1, on_event=look)
    assert seen == [False]
    assert (ended.code, ended.timed_out) == (-signal.SIGTERM, True)


def test_a_timeout_longer_than_any_clock_counts_is_none(executing, tmp_path, monkeypatch):
    raised = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    python = executing("import time; time.sleep(0.2)")
    ended = ProcessExecutor(python).execute(tmp_path, timeout_seconds=1e12, on_event=lambda _: None)
    assert (ended.code, ended.timed_out, raised) == (0, False, [])


def test_a_runner_that_ended_in_time_is_not_late_because_its_events_are(executing, tmp_path):
    python = executing("""
import sys
print('{"event": "state"}', flush=True)
sys.exit(3)
""")
    ended = ProcessExecutor(python).execute(
        tmp_path, timeout_seconds=2, on_event=lambda _: time.sleep(2.5)
    )
    assert (ended.code, ended.timed_out) == (3, False)


DAEMON = """
import os, pathlib, sys, time
sys.stdout.flush()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        pathlib.Path("daemon.pid").write_text(str(os.getpid()))
        while True:
            print("still here", flush=True)
            time.sleep(0.05)
    os._exit(0)
while not pathlib.Path("daemon.pid").exists():
    time.sleep(0.01)
print('{{"event": "state", "phase": "write"}}', flush=True)
{then}
"""


def lives(folder):
    """One that has ended has no command line, even while nobody has asked how it ended."""
    try:
        return bool(Path("/proc", (folder / "daemon.pid").read_text(), "cmdline").read_bytes())
    except OSError:
        return False


def test_a_daemon_that_holds_the_output_ends_with_its_runner(executing, tmp_path):
    events = []
    python = executing(DAEMON.format(then="sys.exit(7)"))
    ended = ProcessExecutor(python).execute(tmp_path, timeout_seconds=60, on_event=events.append)
    assert (ended.code, ended.timed_out) == (7, False)
    assert [event["phase"] for event in events] == ["write"]
    assert not lives(tmp_path)


def test_a_daemon_that_holds_the_output_ends_at_the_timeout(executing, tmp_path):
    python = executing(DAEMON.format(then="time.sleep(600)"))
    ended = ProcessExecutor(python).execute(tmp_path, timeout_seconds=1, on_event=lambda _: None)
    assert (ended.code, ended.timed_out) == (-signal.SIGTERM, True)
    assert not lives(tmp_path)


def test_nobody_waits_for_a_daemon_that_cannot_be_found(executing, tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers, "PROC", tmp_path / "nothing")
    python = executing(DAEMON.format(then="sys.exit(7)"))
    try:
        ended = ProcessExecutor(python).execute(
            tmp_path, timeout_seconds=60, on_event=lambda _: None
        )
        assert (ended.code, ended.timed_out) == (7, False)
    finally:
        os.kill(int((tmp_path / "daemon.pid").read_text()), signal.SIGKILL)


def test_an_interrupt_ends_the_daemon_too(executing, tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    python = executing(DAEMON.format(then="time.sleep(600)"))
    with pytest.raises(KeyboardInterrupt):
        ProcessExecutor(python).execute(tmp_path, timeout_seconds=60, on_event=interrupt)
    assert not lives(tmp_path)


def test_what_waits_in_the_pipe_when_the_runner_ends_is_kept(executing, tmp_path):
    """More than is read at once."""
    python = executing("""
import fcntl, os
for stream, letter in ((1, b"x"), (2, b"y")):
    fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, 2**19)
    os.write(stream, letter * 500_000)
""")
    ended = ProcessExecutor(python).execute(tmp_path, timeout_seconds=60, on_event=pytest.fail)
    log = ended.log.read_text("utf-8")
    assert (log.count("x"), log.count("y")) == (500_000, 500_000)


@pytest.mark.parametrize("terminal", [True, False])
def test_an_event_cannot_drive_the_terminal(capsys, terminal):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=200, color_system=None)
    with Progress("tiny", 60.0, console) as progress:
        progress.event({
            "event": "state", "phase": "\x1b]0;owned\x07", "process": "\x1b[31m1", "processes": 2,
            "batch_size": ["\x1b[2J"],
        })  # fmt: skip
    shown = stream.getvalue() + capsys.readouterr().err
    assert "process [31m1/2" in shown
    for harm in ("\x1b]0;", "\x07", "\x1b[31m", "\x1b[2J"):
        assert harm not in shown
