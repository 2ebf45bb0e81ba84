"""Versions of manifests and the constraints a reference may put on them.

Versions are semantic ones (https://semver.org) whose prerelease, if any, is ``alpha``, ``beta`` or
``rc`` and a number. Ordering and ranges are those of PEP 440, which agrees with semantic
versioning on this subset: 1.0.0-alpha.2 < 1.0.0-alpha.10 < 1.0.0-beta.1 < 1.0.0-rc.1 < 1.0.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.version import Version

from profleet.errors import ManifestError

_NUMBER = r"(?:0|[1-9][0-9]{0,8})"
_PRERELEASE = rf"-(?:alpha|beta|rc)\.{_NUMBER}"
_FULL = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:{_PRERELEASE})?"
_PARTIAL = rf"{_NUMBER}(?:\.{_NUMBER})?"

SEMVER = re.compile(rf"{_FULL}\Z")
SEMVER_PATTERN = rf"^{_FULL}$"
_PARTIAL_VERSION = re.compile(rf"{_PARTIAL}\Z")
_COMPARATOR = re.compile(rf"(?:>=|<=|==|!=|~=|>|<)(?:{_FULL}|{_PARTIAL}(?:\.\*)?)\Z")


def ordered(version: str) -> Version:
    """Return the sort key of a semantic version: its precedence."""
    return Version(version)


def is_prerelease(version: str) -> bool:
    """Whether a semantic version is a prerelease."""
    return "-" in version


@dataclass(frozen=True)
class Constraint:
    """Which versions a reference accepts: any release, one version, a series, or a range."""

    text: str = ""

    def allows(self, version: str) -> bool:
        """Whether ``version`` (a semantic version) is accepted.

        A prerelease is accepted only when asked for: exactly, or by a range that names one.
        """
        if not self.text:
            return not is_prerelease(version)
        if SEMVER.match(self.text):
            return version == self.text
        if _PARTIAL_VERSION.match(self.text):
            return version.startswith(f"{self.text}.") and not is_prerelease(version)
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(self.text).contains(
            Version(version), prereleases=is_prerelease(self.text)
        )


def parse_constraint(text: str) -> Constraint:
    """Parse what follows the ``@`` of a reference.

    ``1.2.0`` (exactly), ``1`` and ``1.2`` (the newest of the series), ``latest`` (any release), or
    comparators joined by commas: ``>=1,<2``, ``~=1.2``, ``==1.2.*``.

    Raises:
        ManifestError: it is none of these.
    """
    compact = re.sub(r"\s+", "", text)
    if compact == "latest":
        return Constraint()
    if SEMVER.match(compact) or _PARTIAL_VERSION.match(compact) or _is_range(compact):
        return Constraint(compact)
    raise ManifestError(
        f"'{text}' is neither a version such as 1, 1.2, 1.2.0 or 1.2.0-rc.1, "
        "nor a range such as >=1,<2."
    )


def _is_range(text: str) -> bool:
    if not all(_COMPARATOR.match(part) for part in text.split(",")):
        return False
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return False
    return True
