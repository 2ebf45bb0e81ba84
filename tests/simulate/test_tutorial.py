"""The tutorial of the simulator's README does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

import profleet
from profleet.simulate import policies
from profleet.simulate.engine import invariants, layout

README = Path(profleet.__file__).parent / "simulate" / "README.md"
SERVICE = "{dist: exponential, mean_ms: 2, per_request_ms: 0.5}"
FLEET = f"fleet.groups=[{{count: 4, max_batch: 6, service: {SERVICE}}}]"


def block(language: str) -> str:
    tutorial = README.read_text("utf-8").partition("## A policy of your own\n")[2]
    (found,) = re.findall(rf"```{language}\n(.*?)```", tutorial.partition("\n## ")[0], re.DOTALL)
    return str(found)


def commands() -> list[list[str]]:
    """The words after ``profleet simulate`` of every command in the tutorial."""
    return [line.split()[2:] for line in block("sh").splitlines() if line.strip()]


@pytest.mark.parametrize("number", [0, 1])
def test_the_commands_of_the_tutorial_work(desk, number):
    (desk.root / "my_policies.py").write_text(block("python"), "utf-8")
    words = [*commands()[number], "fleet=assumed", FLEET, "batching.size=6", "duration_s=1",
             "requests=null"]  # fmt: skip
    if number == 0:
        words += ["batching=dynamic", "workload.load=0.85"]
    done = desk.simulate(*words)
    assert done.code == 0, done
    (folder,) = desk.folders()
    batches = pd.read_parquet(folder / "tables" / "batches.parquet").set_index("size")["count"]
    if number == 1:
        assert batches.idxmax() == 3, "half of the largest batch"
        assert batches.index.min() < 3, "or two milliseconds"


def test_the_policies_of_the_tutorial_can_be_compiled(tmp_path):
    import numpy as np
    from numba import njit

    from profleet.simulate.engine.batching import Queue
    from profleet.simulate.engine.routers import Fleet, Request

    path = tmp_path / "my_policies.py"
    path.write_text(block("python"), "utf-8")
    policies.load_plugins([path])
    small = np.array([3, 1, 2], dtype=np.int32)
    fleet = Fleet(
        now_ns=5, outstanding=small, waiting=small, serving=small,
        free_at_ns=np.array([9, 8, 7]), loaded=small, up=np.ones(3, np.int32), group=small,
        slowdown=np.ones(3), expected_ns=np.ones((1, 2), np.int64),
        serves=np.ones((1, 1), np.int32),
    )  # fmt: skip
    route = njit(policies.find_router("two_choices"))
    for first, second, chosen in ((0, 1, 1), (0, 2, 2), (1, 2, 1), (2, 2, 2)):
        random = next(r for r in range(second << 31, 1 << 62) if r % 3 == first)
        assert route(fleet, Request(0, 0, 0, 10, 1.0, random)) == chosen
    down = fleet._replace(up=np.zeros(3, np.int32))
    assert route(down, Request(0, 0, 0, 10, 1.0, 5)) == -1
    start = njit(policies.find_batching("half_full"))
    queue = Queue(1000, 1, 6, 0, 10, np.ones(7, np.int64), 1.0, 0)
    assert start(queue) == -1_999_000
    assert start(queue._replace(waiting=3)) == 3
    assert start(queue._replace(now_ns=2_000_000)) == 1


def test_the_tables_of_the_readme_are_those_of_the_engine():
    text = README.read_text("utf-8")
    kinds = ("REPAIR", "COMPLETION", "RETURN", "DELIVERY", "ARRIVAL", "RETRY", "TIMER", "FAILURE")
    rows = re.findall(r"^\| (\d) \| (\w+)", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == [getattr(layout, kind) for kind in kinds]
    assert [word.upper() for _, word in rows] == list(kinds)
    assert invariants.__doc__ is not None
    numbered = re.findall(r"INV-\d", invariants.__doc__)
    assert re.findall(r"^\| (INV-\d) \|", text, re.MULTILINE) == numbered
