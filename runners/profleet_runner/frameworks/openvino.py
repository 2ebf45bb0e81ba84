"""OpenVINO as a measured framework, on its CPU plugin.

The graph is compiled once, with its batch axis open; the first inference of each new batch size
builds the kernels of that shape, so it is slower and never part of the warm samples (the worker's
warm-up takes it). The measured region is one synchronous ``infer()`` of a request whose input
tensors were set before; the outputs stay in the request's own memory (``share_outputs``).

This module is not the package ``openvino``: imports here are absolute.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np

from profleet_runner.frameworks import Options, Request, Session, Tensors, Unsupported

OPTIONS = frozenset({"performance_hint", "execution_mode", "hyper_threading", "cpu_pinning"})
PERFORMANCE_HINTS = {"latency": "LATENCY", "throughput": "THROUGHPUT"}
EXECUTION_MODES = {"performance": "PERFORMANCE", "accuracy": "ACCURACY"}


def import_framework() -> None:
    """Import OpenVINO, telemetry off."""
    os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")
    import openvino  # noqa: F401  # the import is what is timed


def unsupported(options: Options) -> str | None:
    """Return why OpenVINO cannot execute here with these options, or None."""
    import openvino

    chosen = options.options
    for name, known in (
        ("performance_hint", PERFORMANCE_HINTS),
        ("execution_mode", EXECUTION_MODES),
    ):
        if name in chosen and chosen[name] not in known:
            return f"option {name} must be one of {', '.join(known)}, not {chosen[name]!r}"
    for name in ("hyper_threading", "cpu_pinning"):
        if not isinstance(chosen.get(name, False), bool):
            return f"option {name} must be true or false, not {chosen[name]!r}"
    if options.accelerator != "cpu":
        return f"openvino is measured on 'cpu' only, not on '{options.accelerator}'"
    if options.inter_op_threads != 1:
        return "openvino has one thread pool: inter_op_threads must be 1"
    devices = openvino.Core().available_devices
    if "CPU" not in devices:
        return f"openvino finds no CPU plugin (devices: {', '.join(devices) or 'none'})"
    return None


def open_session(artifact: bytes, options: Options) -> Session:
    """Read and compile the graph.

    Raises:
        Unsupported: the ONNX front end or the CPU plugin does not know an operator.
    """
    import openvino

    core = openvino.Core()
    try:
        model = core.read_model(artifact)
        compiled = core.compile_model(model, "CPU", _properties(options))
    except RuntimeError as error:
        text = str(error)
        if any(word in text for word in ("not supported", "Unsupported", "OpConversionFailure")):
            raise Unsupported(
                f"openvino {openvino.__version__} cannot execute the graph: {_last_line(text)}"
            ) from error
        raise
    return OpenVinoSession(core, compiled, options)


def _properties(options: Options) -> dict[str, Any]:
    chosen = options.options
    properties: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": options.intra_op_threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": PERFORMANCE_HINTS[chosen.get("performance_hint", "latency")],
        "EXECUTION_MODE_HINT": EXECUTION_MODES[chosen.get("execution_mode", "performance")],
        "NUM_STREAMS": 1,
    }
    if "hyper_threading" in chosen:
        properties["ENABLE_HYPER_THREADING"] = chosen["hyper_threading"]
    if "cpu_pinning" in chosen:
        properties["ENABLE_CPU_PINNING"] = chosen["cpu_pinning"]
    return properties


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else text


class OpenVinoSession:
    """A compiled model with one stream."""

    def __init__(self, core: Any, compiled: Any, options: Options) -> None:
        self._core = core
        self._compiled = compiled
        self._chosen = options.options

    def prepare(self, inputs: Tensors) -> Request:
        """Set the input tensors of a request of its own; they share the memory of the arrays.

        Raises:
            ValueError: the graph asks for an input that is missing.
        """
        import openvino

        request = self._compiled.create_infer_request()
        held = []
        for port in self._compiled.inputs:
            name = next((name for name in inputs if name in port.get_names()), None)
            if name is None:
                raise ValueError(f"the graph needs the input '{port.any_name}', which is missing")
            array = np.ascontiguousarray(inputs[name])
            tensor = openvino.Tensor(array, shared_memory=True)
            request.set_tensor(port, tensor)
            held.append((array, tensor))

        execute = functools.partial(request.infer, share_outputs=True)
        ports = self._compiled.outputs

        def outputs(_held: list[Any] = held) -> Tensors:
            result = {}
            for port in ports:
                data = np.array(request.get_tensor(port).data)
                result.update(dict.fromkeys(port.get_names(), data))
            return result

        return Request(execute=execute, outputs=outputs)

    def copy_seconds(self, inputs: Tensors) -> tuple[float, float] | str:
        """No copy: the CPU plugin reads the arrays in place."""
        return "openvino works in place on the inputs of a CPU"

    def peak_device_bytes(self) -> int | str:
        """Unavailable on a CPU."""
        return "a CPU has no device memory of its own"

    def threads(self) -> dict[str, int | str]:
        """Threads of the one pool, read back from the compiled model."""
        return {
            "intra_op": int(self._compiled.get_property("INFERENCE_NUM_THREADS")),
            "inter_op": "openvino has one pool",
        }

    def device(self) -> str:
        """Name of the processor, as OpenVINO reports it."""
        return str(self._core.get_property("CPU", "FULL_DEVICE_NAME"))

    def options(self) -> dict[str, Any]:
        """Options in effect, read back from the compiled model."""
        get = self._compiled.get_property
        return {
            "performance_hint": str(get("PERFORMANCE_HINT")).rpartition(".")[2].lower(),
            "execution_mode": get("EXECUTION_MODE_HINT").name.lower(),
            "hyper_threading": bool(get("ENABLE_HYPER_THREADING")),
            "cpu_pinning": bool(get("ENABLE_CPU_PINNING")),
            "inference_precision": str(get("INFERENCE_PRECISION_HINT").get_type_name()),
            "streams": int(get("NUM_STREAMS")),
        }
