"""Settings of the machine that decide how comparable latencies are, by name.

A setting stands for one or several files of the kernel. What a manifest calls ``disabled`` may be
a 0 in one file and a 1 in another; everything above this module speaks the manifest's words.
Every function takes ``root``, the folder that stands for ``/``.

Left out on purpose: address-space randomization and SMT. Fresh processes with different layouts are
what the intervals of a profile are made of, and switching threads of a core off takes processors
away from every program of the machine; ``measure.cpus`` keeps a measurement off them instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

SetupMode = Literal["dry_run", "apply", "off"]
SettingName = Literal["cpu-governor", "turbo", "transparent-huge-pages"]

CPUS = "sys/devices/system/cpu"


@dataclass(frozen=True)
class KernelFile:
    """A file of the kernel that holds one word, which can be read and replaced."""

    path: Path
    words: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)
    """Word of the manifest -> word of the kernel, where they differ."""
    offers: Path | None = None
    """The file that lists what may be written, where there is one."""

    def read(self) -> str:
        """Return the word in force, as the kernel writes it.

        Raises:
            OSError: the file cannot be read.
        """
        text = self.path.read_text("utf-8", errors="replace").strip()
        chosen = [word for word in text.split() if word.startswith("[")]
        return chosen[0].strip("[]") if chosen else text

    def write(self, word: str) -> None:
        """Write a word of the kernel; read it back to know whether it holds.

        Raises:
            OSError: the kernel refuses it.
        """
        descriptor = os.open(self.path, os.O_WRONLY | os.O_TRUNC)  # must not create the file
        try:
            os.write(descriptor, word.encode())
        finally:
            os.close(descriptor)

    def offered(self) -> list[str]:
        """Return the words that may be written; empty where the kernel does not say."""
        try:
            text = (self.offers or self.path).read_text("utf-8", errors="replace")
        except OSError:
            return []
        words = [word.strip("[]") for word in text.split()]
        return words if self.offers or len(words) > 1 else []

    def to_kernel(self, value: str) -> str:
        """Translate a value of a manifest."""
        return self.words.get(value, value)

    def to_manifest(self, word: str) -> str:
        """Translate a word of the kernel; an unknown one stays."""
        return next((value for value, kernel in self.words.items() if kernel == word), word)


@dataclass(frozen=True)
class Setting:
    """A named, reversible setting.

    ``irreversible`` are words of the kernel that come with state of their own, which would be lost.
    """

    name: SettingName
    description: str
    values: tuple[str, ...]
    files: Callable[[Path], list[KernelFile]]
    irreversible: frozenset[str] = frozenset()


def _governors(root: Path) -> list[KernelFile]:
    cpus = root / CPUS
    paths = sorted(cpus.glob("cpufreq/policy*/scaling_governor")) or sorted(
        cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")
    )
    return [
        KernelFile(path, offers=path.with_name("scaling_available_governors")) for path in paths
    ]


def _turbo(root: Path) -> list[KernelFile]:
    """Intel's driver has a switch of its own; others share one, or have one for each policy."""
    cpus = root / CPUS
    intel = cpus / "intel_pstate/no_turbo"
    if intel.exists():
        return [KernelFile(intel, {"disabled": "1", "enabled": "0"})]
    paths = [cpus / "cpufreq/boost"]
    if not paths[0].exists():
        paths = sorted(cpus.glob("cpufreq/policy*/boost"))
    return [KernelFile(path, {"disabled": "0", "enabled": "1"}) for path in paths]


def _huge_pages(root: Path) -> list[KernelFile]:
    path = root / "sys/kernel/mm/transparent_hugepage/enabled"
    return [KernelFile(path)] if path.exists() else []


SETTINGS: dict[SettingName, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            "cpu-governor",
            "frequency governor",
            ("performance", "schedutil", "ondemand", "conservative", "powersave"),
            _governors,
            irreversible=frozenset({"userspace"}),  # the frequency it was told would be lost
        ),
        Setting("turbo", "turbo frequencies", ("disabled", "enabled"), _turbo),
        Setting(
            "transparent-huge-pages",
            "use of huge pages",
            ("always", "madvise", "never"),
            _huge_pages,
        ),
    )
}
assert set(SETTINGS) == set(get_args(SettingName))
