from __future__ import annotations

import signal
import time
from multiprocessing import active_children
from pathlib import Path

from profleet.execute.settings import TrackingSettings
from profleet.tracking import aside


def test_nobody_waits_for_a_process_that_has_nothing_to_log(tmp_path: Path) -> None:
    before = set(active_children())
    uri = f"sqlite:///{tmp_path}/profleet.db"
    aside.start(TrackingSettings(uri=uri, artifacts=None, experiment="profiles"))
    (child,) = set(active_children()) - before
    aside.abandon()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    aside.abandon()  # there is none any more


def test_what_was_given_is_done_before_the_process_leaves(tmp_path: Path) -> None:
    before = set(active_children())
    uri = f"sqlite:///{tmp_path}/profleet.db"
    aside.start(TrackingSettings(uri=uri, artifacts=None, experiment="profiles"))
    (child,) = set(active_children()) - before
    given = aside._pool().submit(time.sleep, 0.5)
    aside.finish()
    assert given.result() is None
    child.join(30)
    assert child.exitcode == 0
    aside.finish()  # there is none any more
