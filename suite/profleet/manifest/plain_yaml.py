"""Read the plain part of YAML: mappings with text keys, lists, text, numbers, true, false, null.

Built straight from the parser's events, so nothing of YAML that can surprise or harm ever takes
effect: aliases and anchors (documents that expand without end), tags (types), several documents,
duplicate keys, deep nesting. Plain words follow the core schema of YAML 1.2 (``1e-6`` is a number,
a date is text); words that YAML 1.1 reads otherwise (``yes``, ``010``, ``1:30``) are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from profleet.errors import ManifestError
from profleet.manifest.reference import shorten

MAX_BYTES = 1 << 20
MAX_DEPTH = 32

Path = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UTF16_OR_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_AMBIGUOUS = re.compile(
    r"(?:yes|no|on|off)\Z"
    r"|[-+]?0(?:[0-9]+|[xob][0-9a-f_]+)\Z"
    r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?\Z"
    r"|[-+]?[0-9]+_[0-9_]*(?:\.[0-9_]*)?\Z",
    re.IGNORECASE,
)


class _RefusedError(Exception):
    """What is wrong with the value at hand; the caller knows where it is."""


@dataclass(slots=True)
class _Open:
    """A mapping or list that has begun and not ended."""

    value: dict[str, Any] | list[Any]
    path: Path
    key: str | None = None

    def next_path(self) -> Path:
        if isinstance(self.value, list):
            return (*self.path, len(self.value))
        return self.path if self.key is None else (*self.path, self.key)

    def wants_key(self) -> bool:
        return isinstance(self.value, dict) and self.key is None

    def take(self, value: Any) -> None:
        if isinstance(self.value, list):
            self.value.append(value)
        elif self.key is None:
            self.key = _key(value, self.value)
        else:
            self.value[self.key] = value
            self.key = None


def read_mapping(data: bytes, where: str) -> dict[str, Any]:
    """Return the one mapping that ``data`` (UTF-8, with or without byte order mark) holds.

    ``where`` names the source in messages.

    Raises:
        ManifestError: it is not plain YAML, not UTF-8, too large, or not a mapping.
    """
    opened: list[_Open] = []
    line = 1
    try:
        for event in _events(decode(data, where), where):
            line = event.start_mark.line + 1 if event.start_mark else line
            done = _feed(event, opened)
            if done is not None:
                return _finish(done, where)
    except _RefusedError as refused:
        inside = format_path(opened[-1].next_path()) if opened else ""
        place = f"{inside} (line {line})" if inside else f"line {line}"
        raise ManifestError(f"{where}: {place}: {refused}") from None
    raise ManifestError(f"{where}: the file is empty; a manifest is a mapping of keys to values.")


def read_top_level_text(text: str, key: str) -> str | None:
    """Return the text at ``key`` of the outermost mapping, reading no further than that.

    Meant for listings: the rest of the document is neither read nor checked.

    Raises:
        ManifestError: what had to be read is not YAML.
    """
    depth = 0
    is_key = True
    wanted = False
    for event in _events(text, "manifest"):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif depth == 1 and isinstance(event, yaml.ScalarEvent) and wanted:
            return str(event.value)
        if depth == 1 and isinstance(event, yaml.ScalarEvent | yaml.CollectionEndEvent):
            wanted = is_key and getattr(event, "value", None) == key
            is_key = not is_key
    return None


def decode(data: bytes, where: str) -> str:
    """Decode UTF-8.

    Raises:
        ManifestError: it is too large or not UTF-8.
    """
    if len(data) > MAX_BYTES:
        raise ManifestError(
            f"{where}: the file is larger than {MAX_BYTES // 1024} KiB, the limit for a manifest. "
            "Keep data in files of their own and name them by path and sha256."
        )
    if data.startswith(_UTF16_OR_32):
        raise ManifestError(f"{where}: the file is UTF-16 or UTF-32. Save it as UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            f"{where}: line {line}: byte 0x{data[error.start]:02x} at offset {error.start} is not "
            "UTF-8. Save the file as UTF-8."
        ) from None


def format_path(path: Path) -> str:
    """Write a path inside a document: ``inputs[0].dtype``, ``outputs['a.b'].shape``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]{1,60}", part):
            text += f".{part}" if text else part
        else:
            text += f"[{shorten(part)}]"
    return text


def _events(text: str, where: str) -> Iterator[yaml.Event]:
    try:
        events: Iterable[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        yield from events
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = error.problem or error.context or "it cannot be parsed"
        raise ManifestError(f"{where}: {place}not valid YAML: {problem}.") from None
    except yaml.YAMLError as error:
        reason = getattr(error, "reason", None) or "it cannot be parsed"
        raise ManifestError(f"{where}: not valid YAML: {reason}.") from None


def _feed(event: yaml.Event, opened: list[_Open]) -> Any:
    """Take one event; return the finished outermost value at the end of the stream's document."""
    _refuse_references(event)
    if isinstance(event, yaml.CollectionStartEvent):
        _begin(event, opened)
    elif isinstance(event, yaml.CollectionEndEvent):
        if len(opened) > 1:
            finished = opened.pop()
            opened[-1].take(finished.value)
    elif isinstance(event, yaml.ScalarEvent):
        if not opened:
            raise _RefusedError("a manifest is a mapping of keys to values, not a single value")
        opened[-1].take(_scalar(event))
    elif isinstance(event, yaml.DocumentStartEvent) and opened:
        raise _RefusedError("a second document begins; one file holds one manifest")
    elif isinstance(event, yaml.StreamEndEvent) and opened:
        return opened[0].value
    return None


def _finish(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ManifestError(f"{where}: a manifest is a mapping of keys to values, not a list.")
    return value


def _refuse_references(event: yaml.Event) -> None:
    if isinstance(event, yaml.AliasEvent):
        raise _RefusedError(f"aliases are not allowed in a manifest: write *{event.anchor} out")
    if getattr(event, "anchor", None):
        raise _RefusedError("anchors (&) are not allowed in a manifest: write the values out")
    if getattr(event, "tag", None):
        raise _RefusedError("tags (!) are not allowed in a manifest: it holds plain values only")


def _begin(event: yaml.Event, opened: list[_Open]) -> None:
    if len(opened) >= MAX_DEPTH:
        raise _RefusedError(f"nested more than {MAX_DEPTH} levels deep")
    if opened and opened[-1].wants_key():
        raise _RefusedError("a key must be text, not a list or mapping")
    value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
    opened.append(_Open(value, opened[-1].next_path() if opened else ()))


def _key(value: Any, mapping: dict[str, Any]) -> str:
    if not isinstance(value, str):
        if value is None:
            raise _RefusedError("a key is empty")
        shown = str(value).lower() if isinstance(value, bool) else value
        raise _RefusedError(f"a key must be text: quote {shown}")
    if value in mapping:
        raise _RefusedError(f"the key {shorten(value)} appears twice")
    return value


def _scalar(event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    control = _CONTROL.search(text)
    if control:
        raise _RefusedError(f"the control character U+{ord(control.group()):04X} is not allowed")
    if event.style:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _AMBIGUOUS.match(text):
        raise _RefusedError(
            f"{shorten(text)} means different things to different readers of YAML: "
            "write true or false, a plain number, or quote it"
        )
    if _INTEGER.match(text):
        return _integer(text)
    if _FLOAT.match(text):
        return _finite(float(text), text)
    if _NOT_FINITE.match(text):
        return _finite(math.nan, text)
    return text


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= 1 << 63:
        raise _RefusedError(
            f"the number {shorten(text)} does not fit in 64 bits; quote it if it is text"
        )
    return int(text)


def _finite(number: float, text: str) -> float:
    if not math.isfinite(number):
        raise _RefusedError(f"the number {shorten(text)} is not finite; quote it if it is text")
    return number
