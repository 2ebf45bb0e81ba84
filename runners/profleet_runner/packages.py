"""Installed distributions, and whether they are in the ranges that a job asks for."""

from __future__ import annotations

import re
from importlib import metadata
from itertools import zip_longest

from profleet_runner.protocol import Failure

_CLAUSE = re.compile(r"\s*(~=|==|!=|<=|>=|<|>)\s*([0-9A-Za-z.+*!-]+)\s*\Z")


def installed(packages: dict[str, str]) -> dict[str, str]:
    """Return the version of every package.

    Args:
        packages: distribution -> version range such as ``>=1.20,<2``.

    Raises:
        Failure: kind ``unsupported`` when one is missing or out of range; ``invalid_job`` for a
            range that cannot be read.
    """
    found = {}
    for name, wanted in packages.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise Failure(
                "unsupported",
                f"{name} is not installed in the environment of the runner.",
                f"Install it there: pip install '{name}{wanted}'.",
            ) from None
        if not satisfies(version, wanted):
            raise Failure(
                "unsupported",
                f"{name} {version} is installed, the job wants {wanted}.",
                f"Install a release in that range: pip install '{name}{wanted}'.",
            )
        found[name] = version
    return found


def satisfies(version: str, wanted: str) -> bool:
    """Tell whether a version is in a range (PEP 440 without epochs; local labels are ignored).

    A pre-release counts as its release, but for ``<``: it is not below its own release.

    Raises:
        Failure: kind ``invalid_job``, when the range cannot be read.
    """
    have = _release(version)
    for clause in filter(str.strip, wanted.split(",")):
        match = _CLAUSE.match(clause)
        if match is None:
            raise Failure(
                "invalid_job", f"job.json: framework.packages: '{wanted}' is not a version range."
            )
        operator, text = match.groups()
        if not _holds(have, operator, text):
            return False
    return True


def _holds(have: tuple[int, ...], operator: str, text: str) -> bool:
    if text.endswith(".*") and operator in {"==", "!="}:
        prefix = _release(text[:-2])
        return (have[: len(prefix)] == prefix) == (operator == "==")
    bound = _release(text)
    order = _compare(have, bound)
    match operator:
        case "~=":
            return order >= 0 and have[: len(bound) - 1] == bound[:-1]
        case "==":
            return order == 0
        case "!=":
            return order != 0
        case "<":
            return order < 0
        case "<=":
            return order <= 0
        case ">":
            return order > 0
        case _:
            return order >= 0


def _release(version: str) -> tuple[int, ...]:
    public = version.partition("+")[0]
    numbers = re.match(r"v?(\d+(?:\.\d+)*)", public)
    return tuple(int(part) for part in numbers[1].split(".")) if numbers else ()


def _compare(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    for one, other in zip_longest(first, second, fillvalue=0):
        if one != other:
            return 1 if one > other else -1
    return 0
