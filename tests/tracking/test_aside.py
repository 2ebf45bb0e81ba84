from __future__ import annotations

import signal
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
