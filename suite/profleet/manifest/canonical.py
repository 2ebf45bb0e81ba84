"""Canonical JSON: one byte string for one value, and its digest."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profleet.manifest.documents import Document


def canonical_json(value: Any) -> bytes:
    """Return ``value`` as JSON with sorted keys and no white space, in UTF-8.

    Floats are written as the shortest text that reads back as the same float.

    Raises:
        ValueError: a number is not finite, or a text is not valid Unicode.
        TypeError: something in it is not JSON: a key that is not text, an object.
    """
    _refuse_other_keys(value)
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8")


def sha256_of(value: Any) -> str:
    """Return the sha256 of the canonical JSON of ``value``, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def document_sha256(document: Document) -> str:
    """Return the digest of a document's content.

    It does not depend on how the file is written: comments, order of keys, quotes, and optional
    keys that are spelled out with their default value leave it as it is.
    """
    return sha256_of(document.model_dump(mode="json", by_alias=True, exclude_defaults=True))


def _refuse_other_keys(value: Any) -> None:
    """``json`` would turn the keys 1 and True into text, and two keys into one."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a key of canonical JSON is text, not {key!r}")
            _refuse_other_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_other_keys(item)
