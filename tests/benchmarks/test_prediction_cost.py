"""What predictions cost: all shipped models on all catalogued devices, in a fresh process.

At most 10 s cold, layers read from the artifacts included, and 1 s once layers and costs are known.
Artifacts are made before the clock starts; models whose artifact is not at hand are built.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

PROGRAM = """
import sys, time
from pathlib import Path

from profleet.manifest.library import Library
from profleet.manifest.loading import load_document
from profleet.model.artifact import default_cache, obtain

library = Library.standard()
models = [load_document(entry.path) for entry in library.entries("model")]
for model in models:
    obtain(model, None)
fresh = Path(sys.argv[1])
(fresh / "artifacts").symlink_to(default_cache() / "artifacts")

began = time.perf_counter()
from profleet.hardware.catalog import device_of
from profleet.hardware.predict import predict
from profleet.hardware.signatures import network_of

documents = [load_document(entry.path) for entry in library.entries("hardware")]
devices = [device_of(one) for one in documents if one.kind != "measured"]

def precision(device):
    peaks = getattr(device, "peaks", None)
    choices = ("float32", "bfloat16", "float16", "int8")
    return next((one for one in choices if one in peaks), next(iter(peaks))) if peaks else None

def everything(networks):
    return [
        predict(network, device, precision(device)).seconds
        for network in networks
        for device in devices
        if device.memory_bytes is None or device.memory_bytes > 2 * 2**30
    ]

networks = [network_of(model, 1, cache=fresh) for model in models]
first = everything(networks)
cold = time.perf_counter() - began
began = time.perf_counter()
assert everything(networks) == first
warm = time.perf_counter() - began
print(len(models), len(devices), len(first), cold, warm)
"""


def test_predicting_every_model_on_every_device(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    models, devices, count, cold, warm = run.stdout.split()
    print(
        f"\n{count} predictions ({models} models, {devices} devices): "
        f"cold {float(cold):.2f} s, warm {float(warm):.2f} s"
    )
    assert float(cold) <= 10
    assert float(warm) <= 1
