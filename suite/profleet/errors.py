"""Errors. A user's mistake is one or two sentences and exit code 2; a bug keeps its traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ProfleetError(Exception):
    """Base of every error that is shown to the user without a traceback.

    The message says what is wrong, where, and what to do next.
    """

    exit_code = 2


class ManifestError(ProfleetError):
    """A manifest, a reference or a lock cannot be used."""


class ArtifactError(ProfleetError):
    """A model artifact cannot be obtained, or is not what its manifest says."""


class ConfigError(ProfleetError):
    """A configuration value cannot be used."""


class EngineError(ProfleetError):
    """The container engine, an image or a container cannot be used.

    ``kind`` tells programs what the sentence tells people: ``absent`` (no engine answers),
    ``permission`` (not allowed to use it), ``lost`` (it stopped answering), ``refused`` (it
    answered with an error), ``image`` (missing, or not the one that is wanted), ``build`` (an
    image could not be made).
    """

    def __init__(self, message: str, kind: str = "refused") -> None:
        super().__init__(message)
        self.kind = kind


class StoreError(ProfleetError):
    """A result folder cannot be read or written."""


class HardwareError(ProfleetError):
    """A device, its parameters or a prediction with it is impossible or undefined."""


class TrackingError(ProfleetError):
    """The tracking server did not take what was sent; result files are unaffected."""

    exit_code = 1


def did_you_mean(word: str, known: Iterable[str], what: str = "Available") -> str:
    """Return ``Did you mean 'x'? Available: ...`` for an unknown word (sorted, at most 30)."""
    names = sorted(set(known))
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    listed = ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
    hint = f"Did you mean '{close[0]}'? " if close else ""
    return f"{hint}{what}: {listed or 'none'}."
