"""Only what a dead process left behind counts as left behind."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from profleet.container import labels, owner

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def container(label, state="running", age_s=0.0):
    created = (NOW - timedelta(seconds=age_s)).timestamp()
    return {"Labels": label, "State": state, "Created": created}


def test_what_this_process_made_is_its_own():
    mine = owner.mine("job", "run1")
    assert (mine[labels.KIND], mine[labels.RUN]) == ("job", "run1")
    assert owner.alive(mine) is True
    for state in ("created", "running", "exited"):
        assert not owner.left_behind(container(mine, state, 1e6), NOW)


def dead():
    """Labels as a process that has ended would have made them."""
    code = "from profleet.container import owner; print(repr(owner.mine('job', 'r')))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    return eval(printed)


def test_what_a_dead_process_made_is_left_behind_at_once():
    assert owner.alive(dead()) is False
    for state in ("created", "running", "exited"):
        assert owner.left_behind(container(dead(), state), NOW)


def test_another_process_with_the_same_number_is_not_the_owner():
    reused = {**owner.mine("job", "r"), labels.STARTED: "1"}
    assert owner.left_behind(container(reused), NOW)


def test_a_zombie_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    started = owner._started(child.pid)
    try:
        label = {**owner.mine("job", "r"), labels.PID: str(child.pid), labels.STARTED: started}
        child._waitpid_lock.acquire()
        while owner.alive(label):
            pass
    finally:
        child._waitpid_lock.release()
        child.wait()
    assert owner.alive(label) is False


@pytest.mark.parametrize(
    ("state", "age_s", "left"),
    [
        ("running", 1e6, False),
        ("paused", 1e6, False),
        ("exited", 10, False),
        ("exited", 1000, True),
        ("created", 1000, True),
        ("created", 10, False),
    ],
)
def test_of_another_machine_only_what_has_long_stopped_counts(state, age_s, left):
    """Its process cannot be asked; but no container outlives the process that keeps it."""
    theirs = {**owner.mine("job", "r"), labels.BOOT: "another boot"}
    assert owner.alive(theirs) is None
    assert owner.left_behind(container(theirs, state, age_s), NOW) is left


@pytest.mark.parametrize("label", [{}, {labels.PID: "1"}, {labels.PID: "x", labels.STARTED: ""}])
def test_labels_without_an_owner(label):
    assert not owner.left_behind(container(label), NOW)
    assert not owner.left_behind(container({**label, labels.BOOT: "x"}, "running", 1e6), NOW)
