"""The loop a person would write: one process, onnxruntime, a timer. Prints its samples in ns."""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime


def main() -> None:
    job_dir, seconds = Path(sys.argv[1]), float(sys.argv[2])
    job = json.loads((job_dir / "job.json").read_text("utf-8"))
    sys.path.insert(0, sys.argv[3])
    from profleet_runner.inputs import draw

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job["measure"]["intra_op_threads"]
    options.inter_op_num_threads = job["measure"]["inter_op_threads"]
    session = onnxruntime.InferenceSession(
        str(job_dir / job["model"]["artifact"]["path"]), options, providers=["CPUExecutionProvider"]
    )
    batch = job["batch_sizes"][0]
    binding = session.io_binding()
    for name, value in draw(job["model"]["inputs"], batch, job["measure"]["seed"]).items():
        binding.bind_cpu_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    for _ in range(50):
        session.run_with_iobinding(binding)
    samples, clock = [], time.perf_counter_ns
    gc.disable()
    end = clock() + int(seconds * 1e9)
    start = clock()
    while start < end:
        start = clock()
        session.run_with_iobinding(binding)
        samples.append(clock() - start)
    np.save(sys.stdout.buffer, np.array(samples))


if __name__ == "__main__":
    main()
