from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from attackers import attack, attacker_image
from engines import far_engine, own_engine
from shop import Shop, runners_alive

__all__ = ["attack", "attacker_image", "far_engine", "own_engine", "shop", "wait_for"]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    assert runners_alive(tmp_path) == [], "a runner outlived its test"


@pytest.fixture
def wait_for() -> Callable[..., Any]:
    def wait(condition: Callable[[], Any], seconds: float = 60) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := condition():
                return value
            time.sleep(0.05)
        raise AssertionError(f"did not happen within {seconds} s")

    return wait
