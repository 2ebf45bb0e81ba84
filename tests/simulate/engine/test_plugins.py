"""Policies of your own do what the built-in ones do, if they are the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profleet.errors import ConfigError
from profleet.simulate import policies
from simulate.engine.small import arrivals, fleet, policy, service, simulate

PLUGIN = """
from profleet.simulate.policies import batching, router


@router("own_jsq")
def own_jsq(fleet, request):
    best = -1
    for replica in range(len(fleet.outstanding)):
        serves = fleet.serves[fleet.group[replica], request.model]
        if fleet.up[replica] and serves:
            if best < 0 or fleet.outstanding[replica] < fleet.outstanding[best]:
                best = replica
    return best


@router("picky")
def picky(fleet, request):
    return -1 if request.priority > 0 else int(request.random % 2)


@batching("own_dynamic")
def own_dynamic(queue):
    if queue.waiting >= queue.largest:
        return queue.largest
    left = queue.head_since_ns + 6 - queue.now_ns
    return -left if left > 0 else queue.waiting
"""


@pytest.fixture
def _plugin(tmp_path: Path) -> Iterator[None]:
    known = dict(policies._routers), dict(policies._batchings)
    path = tmp_path / "own.py"
    path.write_text(PLUGIN)
    policies.load_plugins([path])
    yield
    policies._routers.clear()
    policies._batchings.clear()
    policies._routers.update(known[0])
    policies._batchings.update(known[1])


def custom(name: str) -> dict[str, Any]:
    return {"kind": "custom", "name": name}


@pytest.mark.usefixtures("_plugin")
def test_the_same_policies_give_the_same_rows() -> None:
    random = np.random.default_rng(3)
    stream = arrivals(
        np.cumsum(random.integers(0, 4, 300)).tolist(), model=random.integers(0, 2, 300)
    )
    of = fleet(
        [2, 3],
        [service([9.0, 11, 14]), None, service([8.0, 9, 12]), service([10.0, 12])],
        models=2,
        outages=[(100, 1, 0), (200, 1, 1)],
    )
    own = simulate(of, stream, policy(custom("own_jsq"), custom("own_dynamic")))
    built_in = simulate(of, stream, policy("jsq", {"kind": "dynamic", "max_delay_ms": 6e-6}))
    assert (own.table == built_in.table).all()
    assert set(own.column("replica")) == {0, 1, 2, 3, 4}


@pytest.mark.usefixtures("_plugin")
def test_a_router_may_turn_requests_away() -> None:
    stream = arrivals([0] * 40, priority=[0, 1] * 20)
    result = simulate(fleet([2], [service([5])]), stream, policy(custom("picky")))
    assert result.column("dropped") == [-1, 1] * 20
    assert set(result.column("replica")[::2]) == {0, 1}


@pytest.mark.usefixtures("_plugin")
def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(ConfigError, match=r"router.name: .*'own_jsk'. Did you mean 'own_jsq'"):
        simulate(fleet([1], [service()]), arrivals([0]), policy(custom("own_jsk")))


@pytest.mark.parametrize(
    ("text", "match"),
    [("x = 1", "registers no policy"), ("1 / 0", "ZeroDivisionError"), ("(", "SyntaxError")],
)
def test_files_that_are_no_plugins(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"plugins.0: .*{match}"):
        policies.load_plugins([path])
    with pytest.raises(ConfigError, match=r"plugins.0: there is no file"):
        policies.load_plugins([tmp_path / "none.py"])
