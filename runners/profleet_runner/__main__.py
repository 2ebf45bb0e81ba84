"""``python -m profleet_runner JOB_DIR``: execute one job. See ``runners/README.md``."""

from __future__ import annotations

import sys
from pathlib import Path

from profleet_runner.coordinate import run_job


def main() -> int:
    """Return the exit code of the protocol."""
    if len(sys.argv) != 2:
        print("usage: python -m profleet_runner JOB_DIR", file=sys.stderr)
        return 2
    return run_job(Path(sys.argv[1]).absolute())


if __name__ == "__main__":
    sys.exit(main())
