"""Where things are inside a runner's image: the agreement of its Dockerfile and the executor."""

from __future__ import annotations

from typing import Final

ROOT: Final = "/opt/profleet"
PYTHON: Final = f"{ROOT}/venv/bin/python"
"""Interpreter with the locked packages and nothing else: not even pip."""
SITE_PACKAGES: Final = f"{ROOT}/venv/lib/python3.11/site-packages"
RUNNERS: Final = f"{ROOT}/runners"
"""On ``PYTHONPATH``; holds ``profleet_runner``."""
OUT: Final = "/out"
"""Mode 1777 in the image, so an anonymous volume mounted there is writable for every user."""
USER: Final = "1000:1000"
COMMAND: Final = (PYTHON, "-P", "-m", "profleet_runner")
"""The image's entry point; its one argument is the folder of the job, below ``OUT``."""
