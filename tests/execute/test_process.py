"""What a runner prints is foreign, too: it neither breaks the host nor drives the terminal."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from profleet.execute import executor, process
from profleet.execute.process import ProcessExecutor
from profleet.execute.progress import Progress

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
def foreign(tmp_path):
    """An interpreter that executes ``RUNNER`` instead of the runner."""
    script = tmp_path / "runner.py"
    script.write_text(RUNNER)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}"\n')
    python.chmod(0o755)
    return str(python)


def test_events_are_told_from_noise(foreign, tmp_path):
    events = []
    ended = ProcessExecutor(foreign).execute(tmp_path, timeout_seconds=60, on_event=events.append)
    assert [event["phase"] for event in events] == ["warmup", "measure"]
    assert (ended.code, ended.timed_out) == (7, False)
    log = ended.log.read_text("utf-8")
    assert log.count("x") == 200_000, "what is no event is a log"
    assert "nonsense" in log


def test_a_line_without_end_is_not_held_in_memory(foreign, tmp_path, monkeypatch):
    lengths = []
    original = process.parse_event
    monkeypatch.setattr(
        process, "parse_event", lambda line: lengths.append(len(line)) or original(line)
    )
    ProcessExecutor(foreign).execute(tmp_path, timeout_seconds=60, on_event=lambda _: None)
    assert sum(lengths) > 200_000
    assert max(lengths) == executor.LONGEST_LINE


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
