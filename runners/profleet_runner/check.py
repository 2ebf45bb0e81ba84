"""The numeric check: do the outputs agree with the manifest's reference?

Rule of the manifest: a value v agrees with the reference r when |v - r| <= atol + rtol * abs_max,
with abs_max of the reference output. Compared are the sampled elements, the mean and the standard
deviation; the digest tells whether the outputs are equal bit by bit.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from profleet_runner.protocol import Failure


def compare(output: npt.NDArray[Any], reference: dict[str, Any], allowed: float) -> dict[str, Any]:
    """Compare one output with its reference.

    Args:
        output: what this stack computed.
        reference: ``ReferenceOutput`` of the manifest, of the same shape as ``output``.
        allowed: largest difference that agrees.

    Returns:
        ``OutputCheck`` as JSON-ready data. A value that is not finite never agrees; its error is
        given as the largest finite float, since JSON has no infinity.
    """
    flat = np.ascontiguousarray(output).reshape(-1)
    wide = flat.astype(np.float64)
    error = float(np.finfo(np.float64).max)
    if np.isfinite(wide).all():
        got = [*wide[reference["positions"]], *_moments(wide)]
        wanted = [*reference["values"], reference["mean"], reference["std"]]
        error = max(abs(float(v) - r) for v, r in zip(got, wanted, strict=True))
    little = flat.astype(flat.dtype.newbyteorder("<"), copy=False)
    return {
        "bit_identical": hashlib.sha256(little.tobytes()).hexdigest() == reference["sha256"],
        "max_error": error,
        "allowed_error": allowed,
        "passed": error <= allowed,
    }


def _moments(wide: npt.NDArray[np.float64]) -> tuple[float, float]:
    return (float(wide.mean()), float(wide.std())) if wide.size else (0.0, 0.0)


def check_outputs(outputs: dict[str, npt.NDArray[Any]], check: dict[str, Any]) -> dict[str, Any]:
    """Compare all outputs that the check names.

    Returns:
        ``CheckResult`` as JSON-ready data.

    Raises:
        Failure: kind ``check``, when an output is missing, has another shape or disagrees.
    """
    results = {}
    for name, reference in check["outputs"].items():
        if name not in outputs:
            raise Failure(
                "check",
                f"Output '{name}' is missing; the model gave {', '.join(sorted(outputs))}.",
                "The manifest and the artifact do not belong together.",
            )
        output = outputs[name]
        if list(output.shape) != reference["shape"]:
            raise Failure(
                "check",
                f"Output '{name}' has shape {list(output.shape)}, the manifest's reference "
                f"{reference['shape']}.",
                "The manifest and the artifact do not belong together.",
            )
        if any(position >= output.size for position in reference["positions"]):
            raise Failure(
                "invalid_job",
                f"job.json: model.check.outputs.{name}.positions reaches beyond the "
                f"{output.size} elements of the output.",
            )
        allowed = check["atol"] + check["rtol"] * reference["abs_max"]
        results[name] = compare(output, reference, allowed)
    failed = {name: result for name, result in results.items() if not result["passed"]}
    if failed:
        raise Failure(
            "check",
            "; ".join(_disagreement(name, result) for name, result in failed.items())
            + f" (batch {check['batch']}, seed {check['seed']}).",
            "This stack computes something else than the reference "
            f"({check['producer']}): its latency would be that of a wrong answer.",
        )
    return {
        "status": "passed",
        "seed": check["seed"],
        "batch": check["batch"],
        "outputs": results,
    }


def _disagreement(name: str, result: dict[str, Any]) -> str:
    error = result["max_error"]
    shown = f"{error:.3g}" if error < 1e300 else "not finite"
    return (
        f"Output '{name}' disagrees with the reference: error {shown}, "
        f"allowed {result['allowed_error']:.3g}"
    )
