"""``profleet`` commands, each in a child of one process that has imported everything.

The console script imports for seconds before it simulates for milliseconds. A fork starts from
there, and still has a process, an output and an exit code of its own. Pictures of simulations are
stand-ins; those of plans are real.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SECONDS = 90.0
HEAVY = (
    "pandas", "pyarrow.parquet", "profleet.simulate.app", "profleet.simulate.plan_app",
    "profleet.report.plans", "profleet.report.simulation_html",
    "profleet.report.simulation_tables",
)  # fmt: skip


class Done(NamedTuple):
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


class Commands:
    """Call it with the words after ``profleet``."""

    def __init__(self, **env: str) -> None:
        self.server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **env},
        )  # fmt: skip

    def __call__(self, *words: str, cwd: Path, env: Mapping[str, str] | None = None) -> Done:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        asked = {"words": words, "cwd": str(cwd), "env": dict(env or {})}
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        return Done(*json.loads(self.server.stdout.readline()))

    def close(self) -> None:
        self.server.communicate()


def _serve() -> None:
    for name in HEAVY:
        importlib.import_module(name)
    _draw_nothing()
    for line in sys.stdin:
        asked = json.loads(line)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            child = os.fork()
            if child == 0:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                _child(asked)
            code = _wait(child)
            out.seek(0)
            err.seek(0)
            print(json.dumps((code, out.read(), err.read())), flush=True)


def _draw_nothing() -> None:
    """Leave an empty picture in place of real ones, which take longer than what they show."""
    from profleet.report import simulation_html, simulation_plots

    def draw(folder: Path, jobs: object = None) -> list[Path]:
        path = folder / "plots" / "latency.svg"
        path.parent.mkdir(exist_ok=True)
        path.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>', "utf-8")
        return [path]

    for module in (simulation_plots, simulation_html):
        module.write_simulation_plots = draw  # type: ignore[assignment]  # a stand-in
    simulation_html.write_sweep_plots = draw  # type: ignore[assignment]  # a stand-in


def _child(asked: dict[str, object]) -> None:
    import traceback

    from profleet.cli import main

    code = 1
    try:
        os.chdir(str(asked["cwd"]))
        os.environ.update(asked["env"])  # type: ignore[call-overload]  # from JSON
        sys.argv = ["profleet"]
        code = main(asked["words"])  # type: ignore[arg-type]  # from JSON
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 -- as Python does at its end
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int) -> int:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -9


if __name__ == "__main__":
    _serve()
