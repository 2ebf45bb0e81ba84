from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Commands, Done

SMALL = ["tracking=none", "replications=2", "requests=1000"]
THEORY = ["fleet=theory", "fleet.servers=4", "batching=none"]


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    """Commands whose engine is not compiled, which takes longer than a small simulation."""
    commands = Commands(NUMBA_DISABLE_JIT="1")
    yield commands
    commands.close()


class Desk:
    """A folder to work in, with a store, and the command."""

    def __init__(self, commands: Commands, root: Path) -> None:
        self.commands, self.root, self.store = commands, root, root / "store"

    def __call__(self, *words: str, **env: str) -> Done:
        given = {"PROFLEET_STORE": str(self.store), "MPLBACKEND": "agg", **env}
        return self.commands(*words, cwd=self.root, env=given)

    def simulate(self, *words: str, **env: str) -> Done:
        """Simulate four servers, unless the words name another fleet."""
        return self("simulate", *_with_defaults(words), **env)

    def plan(self, *words: str, **env: str) -> Done:
        return self("plan", *_with_defaults(words), **env)

    def folders(self) -> list[Path]:
        return sorted(path.parent for path in self.store.glob("**/result.json"))

    def results(self) -> list[dict[str, Any]]:
        return [json.loads((f / "result.json").read_text("utf-8")) for f in self.folders()]

    def litter(self) -> list[Path]:
        return list(self.store.glob("**/*")) if self.store.exists() else []


def _with_defaults(words: tuple[str, ...]) -> list[str]:
    fleet = [] if any(word.startswith("fleet=") for word in words) else THEORY
    options = [word for word in words if word.startswith("-")]
    return [*options, *SMALL, *fleet, *(word for word in words if word not in options)]


@pytest.fixture
def desk(commands: Commands, tmp_path: Path) -> Desk:
    return Desk(commands, tmp_path)
