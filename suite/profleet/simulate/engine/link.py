"""Specialize the engine for what a simulation uses, and compile it.

The engine's functions call each other and read ``features`` as module globals. Linking makes a copy
of a function, and of every engine function it calls, whose globals hold the wanted values: code
that is switched off disappears before it is compiled, a user's policy is called directly, and the
same source runs as plain Python when it is not compiled at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

from profleet.simulate.engine.loop import advance
from profleet.simulate.engine.state import Chunk, State, Tables

Advance = Callable[[State, Tables, Chunk], int]
PACKAGE = __name__.rpartition(".")[0]


def specialize(
    values: Mapping[str, Any], functions: Mapping[str, Callable[..., int]], *, compiled: bool
) -> Advance:
    """Return ``advance`` with the globals named in ``values`` and ``functions`` replaced.

    ``values`` are features (``features.py``); ``functions`` the user's policies, replacing
    ``custom_route`` and ``custom_batch``. Compiled code is cached on disk, keyed by the values, by
    the source of the engine and of the user's policies.
    """
    if not compiled:
        return _link(advance, {**values, **functions}, lambda function: function, {})
    from numba import njit

    foreign = {name: njit(function) for name, function in functions.items()}
    tag = _digest(sorted(values.items()), [_source(f) for f in functions.values()])

    def compile_one(function: FunctionType) -> Any:
        if function.__name__ != advance.__name__:
            return njit(function, **_OPTIONS, forceinline=True)
        function.__qualname__ = f"advance_{tag}"
        with _cache_folder():
            return njit(function, **_OPTIONS, cache=True)

    return _link(advance, {**values, **foreign}, compile_one, {})


_OPTIONS = {"_nrt": False, "error_model": "numpy", "fastmath": False, "boundscheck": False}
"""The engine allocates nothing, so it needs no reference counts; it never divides by zero."""


def _link(
    function: FunctionType | Callable[..., Any],
    replace: Mapping[str, Any],
    finish: Callable[[FunctionType], Any],
    done: dict[Any, Any],
) -> Any:
    """Copy ``function`` and the engine functions it names, with other globals."""
    if function in done:
        return done[function]
    assert isinstance(function, FunctionType)
    scope = dict(function.__globals__)
    for name in function.__code__.co_names:
        if name in replace:
            scope[name] = replace[name]
        elif isinstance(scope.get(name), FunctionType) and _is_ours(scope[name]):
            scope[name] = _link(scope[name], replace, finish, done)
    copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__)
    copy.__module__ = function.__module__
    done[function] = finish(copy)
    return done[function]


def _is_ours(function: FunctionType) -> bool:
    return function.__module__.startswith(PACKAGE + ".")


def _source(function: Callable[..., int]) -> str:
    """What a user's policy is made of: the whole file, since it may use constants of it."""
    code = getattr(function, "__code__", None)
    path = Path(code.co_filename) if code else Path()
    text = path.read_text(encoding="utf-8") if path.is_file() else repr(code and code.co_code)
    return f"{function.__qualname__}\n{text}"


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@cache
def _engine_digest() -> str:
    folder = Path(__file__).parent
    return _digest(*[path.read_bytes() for path in sorted(folder.glob("*.py"))])


@contextlib.contextmanager
def _cache_folder() -> Iterator[None]:
    """Where Numba caches the engine: a folder per version of its source, in the user's cache.

    Numba itself looks only at the file of the outermost function. ``NUMBA_CACHE_DIR`` wins.
    """
    from numba import config

    before = config.CACHE_DIR
    if not os.environ.get("NUMBA_CACHE_DIR"):
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        before, config.CACHE_DIR = config.CACHE_DIR, str(base / "profleet" / "numba")
    config.CACHE_DIR = str(Path(config.CACHE_DIR) / _engine_digest())
    try:
        yield
    finally:
        config.CACHE_DIR = before
