"""Specialize the engine for what a simulation uses, and compile it.

The engine's functions call each other and read ``features`` as module globals. Linking makes a copy
of a function, and of every engine function it calls, whose globals hold the wanted values: code
that is switched off disappears before it is compiled, a user's policy is called directly, and the
same source runs as plain Python when it is not compiled at all.
"""

from __future__ import annotations

import contextlib
import dis
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, cast

from profleet.model.artifact import default_cache
from profleet.simulate.engine.loop import advance
from profleet.simulate.engine.state import Chunk, State, Tables
from profleet.simulate.policies import numbers_only

Advance = Callable[[State, Tables, Chunk], int]
PACKAGE = __name__.rpartition(".")[0]
STALE_S = 7 * 86_400
"""A version of the engine that was not used for so long is taken for gone, in seconds."""
_DIGEST = re.compile(r"[0-9a-f]{16}")


def specialize(
    values: Mapping[str, Any],
    functions: Mapping[str, Callable[..., int]],
    sample: tuple[State, Tables, Chunk] | None,
) -> Advance:
    """Return ``advance`` with the globals named in ``values`` and ``functions`` replaced.

    ``values`` are features (``features.py``); ``functions`` the user's policies, replacing
    ``custom_route`` and ``custom_batch``. It is compiled for arguments like ``sample``, and cached
    on disk by the values, by the source of the engine and of the user's policies. None: not
    compiled.
    """
    if sample is None:
        plain = {name: numbers_only(function) for name, function in functions.items()}
        return cast("Advance", _link(advance, {**values, **plain}, lambda each: each, {}))
    from numba import njit

    types = _types(sample)
    tag = _digest(sorted(values.items()), [_source(f) for f in functions.values()])

    def compile_one(function: FunctionType) -> Any:
        # Compiled code from the cache is linked by name with what this process has compiled:
        # two variants of a function must never have the same.
        function.__qualname__ = f"{function.__name__}_{tag}"
        if function.__name__ == advance.__name__:
            with _cache_folder() as writable:
                return njit(function, **_OPTIONS, cache=writable)
        return _declared(njit(function, **_OPTIONS, **_INNER), function, types)

    foreign = {name: njit(_renamed(f, tag), **FOREIGN) for name, f in functions.items()}
    return cast("Advance", _link(advance, {**values, **foreign}, compile_one, {}))


_OPTIONS = {"_nrt": False, "error_model": "numpy", "fastmath": False, "boundscheck": False}
"""The engine allocates nothing, so it needs no reference counts; it never divides by zero."""
FOREIGN = {"error_model": "python", "boundscheck": True}
"""Of the user's policies, whose authors may slip: an index out of range is an error and never other
memory, and so is a division by zero, which they would otherwise take over from their caller."""
_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": True}
"""Nobody but the engine calls its parts: entry points for them would triple the time to compile."""


def _declared(dispatcher: Any, function: FunctionType, types: Mapping[str, Any]) -> Any:
    """Compile for the types in the annotations only, when first called.

    Left alone, Numba compiles a function again for every literal and width of its arguments.
    """
    names = [kind for name, kind in function.__annotations__.items() if name != "return"]
    template_for = dispatcher.get_call_template

    def get_call_template(args: Any, kws: Any) -> Any:
        return template_for([types.get(k, a) for k, a in zip(names, args, strict=True)], kws)

    dispatcher.get_call_template = get_call_template
    return dispatcher


def _types(sample: tuple[State, Tables, Chunk]) -> dict[str, Any]:
    """What Numba calls the types in the engine's annotations."""
    from numba import boolean, float64, int64, typeof

    state, tables, chunk = sample
    return {
        "int": int64,
        "float": float64,
        "bool": boolean,
        "State": typeof(state),
        "Tables": typeof(tables),
        "Chunk": typeof(chunk),
        "Small | Ints": typeof(state.tree),
    }


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
    for name in _globals_of(function):
        if name in replace:
            scope[name] = replace[name]
        elif isinstance(scope.get(name), FunctionType) and _is_ours(scope[name]):
            scope[name] = _link(scope[name], replace, finish, done)
    copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__)
    copy.__module__ = function.__module__
    copy.__annotations__ = function.__annotations__
    done[function] = finish(copy)
    return done[function]


def _renamed(function: Callable[..., int], tag: str) -> Callable[..., int]:
    """A copy of a user's function under a name of its own, for the same reason."""
    if not isinstance(function, FunctionType):
        return function
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__qualname__ = f"{function.__name__}_{tag}"
    return copy


def _globals_of(function: FunctionType) -> set[str]:
    """The names that a function reads as globals; not those of attributes."""
    return {i.argval for i in dis.get_instructions(function) if i.opname == "LOAD_GLOBAL"}


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


def _remove_stale(around: Path) -> None:
    """Remove what versions of the engine left that were not used lately."""
    for folder in around.iterdir():
        if _DIGEST.fullmatch(folder.name):
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > STALE_S:
                    shutil.rmtree(folder)


@contextlib.contextmanager
def _cache_folder() -> Iterator[bool]:
    """Where Numba caches the engine: a folder per version of its source, in Profleet's cache.

    Numba itself looks only at the file of the outermost function. ``NUMBA_CACHE_DIR`` wins. Folders
    of versions that nobody used for a week are removed.
    Yields whether the folder can be written; without one, every process compiles for itself.
    """
    from numba import config

    own = os.environ.get("NUMBA_CACHE_DIR")
    before = config.CACHE_DIR
    try:
        around = Path(own) if own else default_cache() / "numba"
        folder = around / _engine_digest()
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()  # it is in use
        _remove_stale(around)
        writable = os.access(folder, os.W_OK)
    except (OSError, RuntimeError):  # no such disk, no home
        writable = False
    if writable:
        config.CACHE_DIR = str(folder)
    try:
        yield writable
    finally:
        config.CACHE_DIR = before
