"""A folder with a tiny model and a store, and the console script to run on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import tiny

FAST = [
    "measure.processes=2",
    "measure.min_seconds=0.05",
    "measure.min_samples=20",
    "measure.warmup_max_seconds=0.2",
    "measure.idle_gaps_ms=[1,2]",
    "measure.idle_samples=3",
    "measure.copy_samples=2",
    "measure.intra_op_threads=1",
    "measure.budget_seconds=20",
    "batch_sizes=[1,2]",
]
ENDLESS = [
    "measure.processes=1",
    "measure.min_seconds=600",
    "measure.max_samples=1000000000",
    "measure.budget_seconds=600",
    "measure.intra_op_threads=1",
    "batch_sizes=[1]",
]


class Shop:
    """A folder with a tiny model, a store, and the console script."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifests = tiny.workspace(root)
        self.store = root / "store"
        self.scratch = root / "tmp"
        self.scratch.mkdir()

    def command(
        self, *overrides: str, options: list[str] = FAST, tracking: str = "none"
    ) -> list[str]:
        script = Path(sys.executable).with_name("profleet")
        return [
            str(script), "run", *[word for word in overrides if word.startswith("-")],
            f"store={self.store}", f"tracking={tracking}",
            f"manifests=[{self.manifests}]", *options,
            *[word for word in overrides if not word.startswith("-")],
        ]  # fmt: skip

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "TMPDIR": str(self.scratch),
            "PROFLEET_CACHE": str(self.root / "cache"),
        }

    def run(self, *overrides: str, **kw: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*overrides, **kw),
            capture_output=True, text=True, env=self.environment, timeout=180, check=False,
        )  # fmt: skip

    def start(self, *overrides: str, **kw: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*overrides, **kw),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self.environment, start_new_session=True,
        )  # fmt: skip

    def results(self) -> list[dict[str, Any]]:
        paths = sorted(self.store.glob("**/result.json"))
        return [json.loads(path.read_text("utf-8")) for path in paths]

    def folders(self) -> list[Path]:
        return sorted(path.parent for path in self.store.glob("**/result.json"))


def descendants(pid: int) -> list[int]:
    """Process ids below ``pid``."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def runners_alive(marker: Path) -> list[int]:
    """Runner processes whose command line names a folder below ``marker``."""
    alive = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if "profleet_runner" in words and str(marker) in words and state != "Z":
                alive.append(int(entry.name))
    return alive
