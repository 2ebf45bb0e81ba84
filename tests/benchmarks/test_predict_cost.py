"""What it costs to predict every shipped model on every device of the catalogue.

Cold: a fresh process, no layers cached, imports included; the artifacts are there. Warm: the same
process again. Between them, a fresh process that finds the layers on disk, for comparison.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from profleet.manifest.library import Library
from profleet.model.artifact import default_cache, obtain

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

COLD_S, WARM_S = 10.0, 1.0
PROGRAM = """
import json, sys, time
begun = time.perf_counter()
from pathlib import Path
from profleet.errors import HardwareError
from profleet.hardware.stack import stack_of
from profleet.manifest.library import Library

library, cache = Library.standard(), Path(sys.argv[1])

def all_of(kind):
    names = dict.fromkeys(entry.name for entry in library.entries(kind))
    return [library.resolve(kind, name) for name in names]

def predict_all():
    seconds, refused = [], 0
    devices = [each for each in all_of("hardware") if each.document.kind != "measured"]
    for model in all_of("model"):
        batch = min(model.document.batch_sizes or (1,))
        for device in devices:
            try:
                seconds.append(stack_of(model, device, cache=cache).predict(batch).seconds)
            except HardwareError as error:
                if "needs at least" not in str(error):
                    raise
                refused += 1  # it does not fit into memory
    return seconds, refused

seconds, refused = predict_all()
first = time.perf_counter() - begun
begun = time.perf_counter()
again, _ = predict_all()
warm = time.perf_counter() - begun
assert min(seconds) > 0
assert again == seconds
print(json.dumps([len(seconds), refused, first, warm]))
"""


def _measure(cache: Path) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(cache)], check=True, capture_output=True, text=True
    )
    return list(map(float, json.loads(done.stdout.splitlines()[-1])))


def test_the_whole_catalogue(tmp_path):
    library = Library.standard()
    for name in dict.fromkeys(entry.name for entry in library.entries("model")):
        found = library.resolve("model", name)
        obtain(found.document, found.path.parent, default_cache())
    (tmp_path / "artifacts").symlink_to(default_cache() / "artifacts")
    done, refused, cold, warm = _measure(tmp_path)
    _, _, disk, _ = _measure(tmp_path)
    print(
        f"\npredictions {done:.0f} ({refused:.0f} do not fit): cold {cold:.2f} s, layers on disk "
        f"{disk:.2f} s, warm {warm:.2f} s"
    )
    assert done >= 24 * 20
    assert cold <= COLD_S
    assert warm <= WARM_S
