from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _plain_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the engine uncompiled: compiling every variant would take hours.

    That both give the same digits is what test_compiled.py checks.
    """
    if "test_compiled" not in request.node.nodeid:
        monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
