"""The kinds of manifest. Kept apart from the documents, which cost more to import."""

from __future__ import annotations

from typing import Literal

Kind = Literal["model", "framework", "hardware", "suite"]
KINDS: tuple[Kind, ...] = ("model", "framework", "hardware", "suite")
