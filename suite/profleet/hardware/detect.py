"""This machine, as the runner's own environment capture sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

from profleet.errors import ProfleetError
from profleet.paths import data_dir

CLASS_FIELDS = (
    "architecture", "cpu_model", "physical_cores", "threads_per_core", "gpus",
    "cpu_affinity", "cgroup_cpu_quota", "cgroup_memory_limit_bytes",
)  # fmt: skip
"""Fields that decide whether two machines may share a finished run."""

HARMLESS = {"variable_PYTHONHASHSEED"}
"""Variables that are captured, and change nothing that is measured."""


@cache
def snapshot(python: str | None = None) -> dict[str, dict[str, Any]]:
    """Return every field as ``{"value": ...}`` or ``{"unavailable": "why"}``.

    Args:
        python: interpreter that will measure; None for the one that runs this.

    Raises:
        ProfleetError: the interpreter cannot run the capture.
    """
    interpreter = python or sys.executable
    environment = {**os.environ, "PYTHONPATH": str(data_dir("runners"))}
    try:
        done = subprocess.run(
            [interpreter, "-P", "-m", "profleet_runner.environment"],
            capture_output=True,
            check=True,
            env=environment,
            timeout=60,
        )
        fields = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        detail = getattr(error, "stderr", b"") or str(error).encode()
        last = detail.decode(errors="replace").strip().splitlines()[-1:]
        raise ProfleetError(
            f"This machine cannot be inspected with '{interpreter}': {' '.join(last).rstrip('.')}. "
            "Check executor.python; it needs numpy and the framework."
        ) from None
    assert isinstance(fields, dict)
    return fields


def machine_class(fields: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the stable part of a snapshot: what must agree for two runs to be the same job.

    That includes the environment variables that are set and steer threads, memory or devices.
    """
    stable: dict[str, Any] = {name: fields.get(name, {}).get("value") for name in CLASS_FIELDS}
    variables = {
        name: reading["value"]
        for name, reading in fields.items()
        if name.startswith("variable_") and "value" in reading and name not in HARMLESS
    }
    return {**stable, "variables": variables} if variables else stable
