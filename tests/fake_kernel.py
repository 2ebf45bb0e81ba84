"""A folder that stands for ``/``, with the files of the kernel that settings are made of."""

from __future__ import annotations

from pathlib import Path

GOVERNORS = "conservative ondemand userspace powersave performance schedutil"
HUGE_PAGES = "sys/kernel/mm/transparent_hugepage/enabled"
NO_TURBO = "sys/devices/system/cpu/intel_pstate/no_turbo"
POLICIES = "sys/devices/system/cpu/cpufreq"
TUNED = """\
schema: profleet/hardware/v1
name: tuned
version: 1.0.0
description: This machine with one setting.
provenance: {source: written for a test}
kind: measured
detect: local
setup: [{setting: cpu-governor, value: performance}]
"""


class FakeKernel:
    """As many frequency policies as governors are given, Intel's turbo switch, huge pages."""

    def __init__(self, root: Path, *governors: str) -> None:
        self.root = root
        for number, governor in enumerate(governors):
            self.put(f"{POLICIES}/policy{number}/scaling_governor", governor)
            self.put(f"{POLICIES}/policy{number}/scaling_available_governors", GOVERNORS)
        self.put(NO_TURBO, "0")
        self.put(HUGE_PAGES, "[always] madvise never")
        self.put("proc/sys/kernel/random/boot_id", "11111111-2222-3333-4444-555555555555")

    def put(self, path: str, text: str) -> None:
        """Write a file of the kernel."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")

    def get(self, path: str) -> str:
        """Read the word in force."""
        text = (self.root / path).read_text().strip()
        return text.partition("[")[2].partition("]")[0] or text

    def governors(self) -> list[str]:
        """Read the governor of every policy."""
        paths = (self.root / POLICIES).glob("policy*/scaling_governor")
        return [path.read_text().strip() for path in sorted(paths)]

    def state(self) -> tuple[list[str], str, str]:
        """Read everything that a setting can change."""
        return self.governors(), self.get(NO_TURBO), self.get(HUGE_PAGES)
