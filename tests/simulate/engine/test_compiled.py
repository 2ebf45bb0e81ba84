"""The compiled engine and its cache; the only tests here that compile."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from profleet.simulate.engine import link
from profleet.simulate.engine.state import own

PROGRAM = """
import sys
import numpy as np
from simulate.engine.small import arrivals, fleet, policy, service, simulate
from profleet.simulate import run

random = np.random.default_rng(5)
stream = arrivals(
    np.cumsum(random.integers(0, 30, 2000)),
    work=random.integers(1, 3, 2000),
    deadline_ns=random.integers(50, 300, 2000),
)
of = fleet([3], [service([40.0, 50, 60])], draw=lambda r, n: r.standard_exponential(n))
by = policy(sys.argv[1], "dynamic", limit=9)
result = simulate(of, stream, by)
rows = result.table.astype(object)
print(hash(tuple(map(tuple, rows.tolist()))), result.outcome.histogram.sum())
for engine in run._engines.values():
    stats = getattr(engine, "stats", None)
    print("hits", sum(stats.cache_hits.values()) if stats else None, file=sys.stderr)
"""


def execute(router: str, **environment: str) -> tuple[str, str]:
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, router],
        env={**kept, "PYTHONPATH": paths, "PYTHONHASHSEED": "0", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


def test_compiled_and_plain_give_the_same_rows_and_the_cache_is_used(tmp_path: Path) -> None:
    cache = {"PROFLEET_CACHE": str(tmp_path / "cache")}
    first, missed = execute("jsq", **cache)
    again, hit = execute("jsq", **cache)
    plain, _ = execute("jsq", NUMBA_DISABLE_JIT="1")
    assert first == again == plain
    assert "hits 0" in missed
    assert "hits 1" in hit
    assert list((tmp_path / "cache" / "numba").rglob("*.nbi"))


def test_without_a_folder_to_write_it_compiles_every_time(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    _, missed = execute("round_robin", PROFLEET_CACHE=str(blocked))
    assert "hits 0" in missed


def test_versions_of_the_engine_that_nobody_uses_any_more_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    with link._cache_folder():
        (current,) = tmp_path.iterdir()
    for name, days in (("0" * 16, 8), ("1" * 16, 6), ("notes of mine", 99), (current.name, 99)):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "engine.nbi").touch()
        used = time.time() - days * 86_400
        os.utime(tmp_path / name, (used, used))
    with link._cache_folder() as writable:
        assert writable
    left = {folder.name for folder in tmp_path.iterdir()}
    assert left == {"1" * 16, "notes of mine", current.name}


@pytest.mark.parametrize(
    "column",
    [
        np.broadcast_to(np.int64(3), 6),
        np.repeat(np.arange(6), 2)[::2],
        np.arange(6, dtype=np.int8),
        np.arange(6),
    ],
)
def test_columns_may_come_in_any_layout(column: np.ndarray) -> None:
    """The compiled engine takes one layout only."""
    made = own(column, np.int64)
    assert made.dtype == np.int64
    assert made.flags.c_contiguous
    assert made.flags.writeable
    assert made.tolist() == column.tolist()


def halves(number: int) -> int:
    return 7 // number


def test_a_policy_raises_where_python_would_whatever_the_engine_that_calls_it_does() -> None:
    policy_of_the_user = njit(halves, **link.FOREIGN)

    @njit(error_model="numpy")
    def engine(number: int) -> int:
        return policy_of_the_user(number)

    assert engine(2) == 3
    with pytest.raises(ZeroDivisionError):
        engine(0)
