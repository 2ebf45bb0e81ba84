"""Turn what pydantic reports about a document into sentences with the path inside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Any

from pydantic import BaseModel, ValidationError

from profleet.errors import did_you_mean
from profleet.manifest.plain_yaml import Path, format_path
from profleet.manifest.reference import shorten

MAX_PROBLEMS = 8

_NAMES = "lower-case letters and digits joined by '.', '_' or '-', such as resnet50"
_PATTERNS = (  # what a pattern of documents.py asks for, by how the pattern begins
    ("^[a-z0-9]+(?:", _NAMES),
    ("^[0-9a-f]{64}$", "a sha256: 64 digits 0-9a-f"),
    ("^sha256:", "an image digest: sha256: and 64 digits 0-9a-f"),
)
_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}

Error = dict[str, Any]


def explain(error: ValidationError, model: type[BaseModel], data: dict[str, Any]) -> list[str]:
    """Return a sentence ``path: what is wrong`` for each problem, at most ``MAX_PROBLEMS``.

    Args:
        error: what validating ``data`` as ``model`` raised.
        model: the document's class.
        data: the document as read: mappings, lists, text, numbers, true, false, null.
    """
    found: dict[Path, list[Error]] = {}
    problems = error.errors(include_url=False)
    for item in sorted(problems, key=lambda each: each["type"] == "missing"):  # what is, first
        found.setdefault(_inside(item["loc"], data), []).append(dict(item))
    for path in _explained_deeper(found) | _explained_by_a_typo(found, model, data):
        del found[path]
    sentences = [
        f"{format_path(path)}: {_sentence(errors, path, model, data)}".removeprefix(": ")
        for path, errors in islice(found.items(), MAX_PROBLEMS)
    ]
    hidden = len(found) - MAX_PROBLEMS
    return [*sentences, f"and {hidden} more problems"] if hidden > 0 else sentences


def known_keys(model: type[BaseModel], path: Path, data: Any) -> list[str]:
    """Return the keys that the mapping at ``path`` may have; none where any key is allowed."""
    schema = _schema(model)
    definitions = schema.get("$defs", {})
    nodes = list(_variants(schema, data, definitions))
    for part in path:
        data = data[part]
        nodes = [
            variant
            for node in nodes
            for child in _children(node, part)
            for variant in _variants(child, data, definitions)
        ]
    return sorted({key for node in nodes for key in node.get("properties", {})})


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True)


def _variants(node: Any, data: Any, definitions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the schemas that ``node`` may stand for, references followed."""
    if not isinstance(node, dict):
        return
    if "$ref" in node:
        yield from _variants(definitions[node["$ref"].rsplit("/", 1)[1]], data, definitions)
    mapping = node.get("discriminator", {}).get("mapping", {})
    tag = data.get("kind") if isinstance(data, dict) else None
    if isinstance(tag, str) and tag in mapping:
        yield from _variants({"$ref": mapping[tag]}, data, definitions)
    else:
        for option in (*node.get("anyOf", ()), *node.get("oneOf", ())):
            yield from _variants(option, data, definitions)
    yield node


def _children(node: dict[str, Any], part: str | int) -> Iterator[Any]:
    if isinstance(part, int):
        yield node.get("items")
    elif part in node.get("properties", {}):
        yield node["properties"][part]
    else:
        yield node.get("additionalProperties")


def _inside(location: tuple[str | int, ...], data: Any) -> Path:
    """Drop from pydantic's location what is not in the document: names of union members."""
    path: list[str | int] = []
    here, tag_seen = data, False
    for part in location:
        if isinstance(here, dict) and isinstance(part, str):
            if part == here.get("kind") and not tag_seen:
                tag_seen = True  # the chosen member of a discriminated union
            elif part in here:
                path.append(part)
                here, tag_seen = here[part], False
            elif part == location[-1] and part != "[key]":
                path.append(part)  # a missing key
        elif isinstance(here, list) and isinstance(part, int):
            path.append(part)
            here, tag_seen = here[part], False
    return tuple(path)


def _explained_deeper(found: dict[Path, list[Error]]) -> set[Path]:
    """Find paths that are wrong only because something below is, which a path below says.

    No member of a union fits, or a list counts as too short since its entry does not.
    """
    above = {path[:length] for path in found for length in range(len(path))}
    return {
        path
        for path in above & found.keys()
        if all(error["type"] in _TYPES or error["type"] == "too_short" for error in found[path])
    }


def _explained_by_a_typo(
    found: dict[Path, list[Error]], model: type[BaseModel], data: Any
) -> set[Path]:
    """Find missing keys that an unknown key beside them was meant to be."""
    missing = {path for path, errors in found.items() if errors[0]["type"] == "missing"}
    incomplete = {path[:-1] for path in missing}
    unknown = (
        path
        for path, errors in found.items()
        if errors[0]["type"] == "extra_forbidden" and path[:-1] in incomplete
    )
    meant = set()
    for path in islice(unknown, MAX_PROBLEMS):
        hint = did_you_mean(str(path[-1]), known_keys(model, path[:-1], data))
        close = re.match(r"Did you mean '(.+?)'\?", hint)
        if close:
            meant.add((*path[:-1], close.group(1)))
    return meant & missing


def _sentence(errors: list[Error], path: Path, model: type[BaseModel], data: Any) -> str:
    first = errors[0]
    if first["loc"] and first["loc"][-1] == "[key]":
        return f"the key {_shown(first['input'])} is not {_expected(first)}"
    if first["type"] == "extra_forbidden":
        return "unknown key. " + did_you_mean(str(path[-1]), known_keys(model, path[:-1], data))
    if first["type"] in _WHOLE:
        return _WHOLE[first["type"]](first)
    expected = list(dict.fromkeys(_expected(error) for error in errors))
    if "a number" in expected and "a whole number" in expected:
        expected.remove("a whole number")
    value = first["input"]
    choices = [choice for error in errors for choice in _choices(error)]
    if choices and len(errors) == 1:
        return f"{_shown(value)} is not allowed here. {did_you_mean(str(value), choices)}"
    text = f"{_shown(value)} is not {' or '.join(expected)}"
    if expected == ["text"] and isinstance(value, bool | int | float):
        return f"{text}; quote it: '{_shown(value)}'"
    return text


def _expected(error: Error) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _TYPES:
        return _TYPES[kind]
    if kind in _BOUNDS:
        key, word = _BOUNDS[kind]
        return f"{word} {context[key]:g}"
    if kind == "literal_error":
        return " or ".join(f"'{choice}'" for choice in _choices(error))
    if kind == "string_pattern_mismatch":
        for start, meaning in _PATTERNS:
            if context["pattern"].startswith(start):
                return meaning
    return f"as required ({error['msg']})"


def _choices(error: Error) -> list[str]:
    if error["type"] != "literal_error":
        return []
    return re.findall(r"'([^']*)'", error["ctx"]["expected"])


def _length(error: Error) -> str:
    return f"needs at least {error['ctx']['min_length']} entry"


_WHOLE: dict[str, Callable[[Error], str]] = {
    "missing": lambda _: "missing key",
    "value_error": lambda error: str(error["ctx"]["error"]),
    "too_short": _length,
    "string_too_short": lambda _: "must not be empty",
    "string_too_long": lambda error: f"is longer than {error['ctx']['max_length']} characters",
    "union_tag_not_found": lambda _: "missing key 'kind'",
    "union_tag_invalid": lambda error: (
        f"kind: {shorten(error['ctx']['tag'])} is not allowed here. "
        + did_you_mean(error["ctx"]["tag"], re.findall(r"'([^']*)'", error["ctx"]["expected_tags"]))
    ),
}
"""Problems that are told without naming what else was expected."""


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return shorten(value)
    if isinstance(value, int | float):
        return repr(value)
    return "a list" if isinstance(value, list | tuple) else "a mapping"
