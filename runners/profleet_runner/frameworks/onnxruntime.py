"""ONNX Runtime as a measured framework, on the CPU or through the CUDA execution provider.

The measured region is one ``run_with_iobinding``: inputs are bound before, outputs go to memory
that is bound before wherever their shapes follow from the batch size (elsewhere ONNX Runtime
allocates them, as it does for every user). On CUDA inputs and outputs stay on the device, and the
region ends when the device has finished.

This module is not the package ``onnxruntime``: imports here are absolute.
"""

from __future__ import annotations

import functools
import os
import platform
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from profleet_runner.frameworks import Options, Request, Session, Tensors, Unsupported

OPTIONS = frozenset({"graph_optimization", "execution_mode", "spinning"})
GRAPH_OPTIMIZATION = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
EXECUTION_MODE = {"sequential": "ORT_SEQUENTIAL", "parallel": "ORT_PARALLEL"}
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
DTYPES = {
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


def import_framework() -> None:
    """Import ONNX Runtime, telemetry and chatter off."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    onnxruntime.disable_telemetry_events()


def unsupported(options: Options) -> str | None:
    """Return why ONNX Runtime cannot execute here with these options, or None."""
    import onnxruntime

    wrong = _wrong_options(options.options)
    if wrong:
        return wrong
    if options.accelerator == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    provider = PROVIDERS.get(options.accelerator)
    available = onnxruntime.get_available_providers()
    if provider in available:
        return None
    reason = (
        f"onnxruntime {onnxruntime.__version__} has no provider for '{options.accelerator}' "
        f"(it has {', '.join(available)})"
    )
    if options.accelerator == "cuda":
        reason += "; install onnxruntime-gpu in place of onnxruntime, on a machine with an NVIDIA "
        reason += "GPU and its driver"
    return reason


def _wrong_options(options: dict[str, Any]) -> str | None:
    for name, known in (
        ("graph_optimization", GRAPH_OPTIMIZATION),
        ("execution_mode", EXECUTION_MODE),
    ):
        if name in options and options[name] not in known:
            return f"option {name} must be one of {', '.join(known)}, not {options[name]!r}"
    if not isinstance(options.get("spinning", True), bool):
        return f"option spinning must be true or false, not {options['spinning']!r}"
    return None


def open_session(artifact: bytes, options: Options) -> Session:
    """Build an inference session.

    Raises:
        Unsupported: the graph needs what this release of ONNX Runtime does not implement, or the
            provider cannot start; there is no fallback to another provider.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    provider = PROVIDERS[options.accelerator]
    before = _tasks()
    try:
        session = onnxruntime.InferenceSession(
            artifact, _session_options(options), providers=[provider], enable_fallback=0
        )
    except state.NotImplemented as error:
        raise Unsupported(
            f"onnxruntime {onnxruntime.__version__} does not implement the graph: {error}"
        ) from error
    if session.get_providers()[0] != provider:
        raise Unsupported(
            f"onnxruntime could not start {provider} and would execute on "
            f"{session.get_providers()[0]} instead; check the NVIDIA driver and the CUDA and cuDNN "
            "libraries that this release needs"
        )
    return OnnxRuntimeSession(session, options, _tasks() - before)


def _session_options(options: Options) -> Any:
    import onnxruntime

    chosen = options.options
    session_options = onnxruntime.SessionOptions()
    session_options.log_severity_level = 3
    session_options.intra_op_num_threads = options.intra_op_threads
    session_options.inter_op_num_threads = options.inter_op_threads
    session_options.graph_optimization_level = getattr(
        onnxruntime.GraphOptimizationLevel,
        GRAPH_OPTIMIZATION[chosen.get("graph_optimization", "all")],
    )
    session_options.execution_mode = getattr(
        onnxruntime.ExecutionMode, EXECUTION_MODE[chosen.get("execution_mode", "sequential")]
    )
    if "spinning" in chosen:
        for pool in ("intra_op", "inter_op"):
            session_options.add_session_config_entry(
                f"session.{pool}.allow_spinning", "1" if chosen["spinning"] else "0"
            )
    return session_options


def _tasks() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 -- only the count matters


class OnnxRuntimeSession:
    """A session with one provider."""

    def __init__(self, session: Any, options: Options, started: int) -> None:
        self._session = session
        self._started = started
        self._chosen = options.options
        self._cuda = options.accelerator == "cuda"
        self._device = "cuda" if self._cuda else "cpu"

    def prepare(self, inputs: Tensors) -> Request:
        """Bind the inputs, and memory for the outputs.

        Raises:
            ValueError: the graph asks for an input that is missing, or has another type.
        """
        binding = self._session.io_binding()
        held: list[Any] = [self._bind_input(binding, one, inputs) for one in self._inputs()]
        static = self._output_shapes(inputs)
        arrays: dict[str, Any] = {}
        for output in self._session.get_outputs():
            shape = static.get(output.name)
            if shape is None or output.type not in DTYPES:
                binding.bind_output(output.name, self._device)
                continue
            arrays[output.name] = self._bind_output(binding, output.name, shape, output.type)
        held.append(arrays)
        execute = functools.partial(self._session.run_with_iobinding, binding)
        names = [output.name for output in self._session.get_outputs()]

        def outputs(_held: list[Any] = held) -> Tensors:  # the binding only points to memory
            copies = binding.copy_outputs_to_cpu()
            return {name: np.array(copy) for name, copy in zip(names, copies, strict=True)}

        return Request(execute=execute, outputs=outputs)

    def copy_seconds(self, inputs: Tensors) -> tuple[float, float] | str:
        """Time one copy of the inputs to the device and one of the outputs back."""
        import onnxruntime

        if not self._cuda:
            return "onnxruntime works in place on the inputs of a CPU"
        arrays = [inputs[one.name] for one in self._inputs()]
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", 0) for array in arrays]
        began = time.perf_counter()
        for value, array in zip(values, arrays, strict=True):
            value.update_inplace(array)
        to_device = time.perf_counter() - began
        binding = self._session.io_binding()
        for one, value in zip(self._inputs(), values, strict=True):
            binding.bind_ortvalue_input(one.name, value)
        for output in self._session.get_outputs():
            binding.bind_output(output.name, "cuda")
        self._session.run_with_iobinding(binding)
        began = time.perf_counter()
        binding.copy_outputs_to_cpu()
        return to_device, time.perf_counter() - began

    def peak_device_bytes(self) -> int | str:
        """What the driver says this process holds: weights, arena and CUDA context."""
        if not self._cuda:
            return "a CPU has no device memory of its own"
        return _device_bytes_of_this_process()

    def threads(self) -> dict[str, int | str]:
        """The sizes of both pools, as the session holds them and as the kernel confirms.

        A pool of n has n - 1 threads beside the caller. On the CPU the threads that came into
        being with the session must add up, else neither size is claimed.
        """
        options = self._session.get_session_options()
        intra_op, inter_op = int(options.intra_op_num_threads), int(options.inter_op_num_threads)
        parallel = self.options()["execution_mode"] == "parallel"
        expected = intra_op - 1 + (inter_op - 1 if parallel else 0)
        if not self._cuda and self._started != expected:
            said = f"{self._started} threads came into being with the session, not {expected}"
            return {"intra_op": said, "inter_op": said}
        return {"intra_op": intra_op, "inter_op": inter_op}

    def device(self) -> str:
        """The provider, and the device it executes on."""
        if self._cuda:
            device_id = self._session.get_provider_options()[PROVIDERS["cuda"]].get("device_id")
            return f"{PROVIDERS['cuda']}, device {device_id}"
        return f"{PROVIDERS['cpu']} ({platform.machine()})"

    def options(self) -> dict[str, Any]:
        """Options in effect, read back from the session; ``spinning`` it does not give back."""
        import onnxruntime

        options = self._session.get_session_options()
        levels = {
            getattr(onnxruntime.GraphOptimizationLevel, value): key
            for key, value in GRAPH_OPTIMIZATION.items()
        }
        modes = {
            getattr(onnxruntime.ExecutionMode, value): key for key, value in EXECUTION_MODE.items()
        }
        return {
            "graph_optimization": levels[options.graph_optimization_level],
            "execution_mode": modes[options.execution_mode],
            "requested_spinning": self._chosen.get("spinning", True),
            "providers": list(self._session.get_providers()),
            "build": onnxruntime.get_build_info(),
        }

    def _inputs(self) -> list[Any]:
        return list(self._session.get_inputs())

    def _bind_input(self, binding: Any, declared: Any, inputs: Tensors) -> Any:
        """Bind one input; returns what must stay alive."""
        import onnxruntime

        if declared.name not in inputs:
            raise ValueError(f"the graph needs the input '{declared.name}', which is missing")
        array = np.ascontiguousarray(inputs[declared.name])
        value = onnxruntime.OrtValue.ortvalue_from_numpy(array, self._device, 0)
        binding.bind_ortvalue_input(declared.name, value)
        return (array, value)

    def _bind_output(self, binding: Any, name: str, shape: list[int], kind: str) -> Any:
        import onnxruntime

        value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
            shape, DTYPES[kind], self._device, 0
        )
        binding.bind_ortvalue_output(name, value)
        return value

    def _output_shapes(self, inputs: Tensors) -> dict[str, list[int]]:
        """Shapes of the outputs that follow from those of the inputs, symbol by symbol.

        Only a symbol that the *inputs* define counts; an output with any other open axis, or of
        no elements, is left to ONNX Runtime.
        """
        symbols: dict[str, int] = {}
        for declared in self._inputs():
            array: npt.NDArray[Any] | None = inputs.get(declared.name)
            if array is not None and len(declared.shape) == array.ndim:
                axes = zip(declared.shape, array.shape, strict=True)
                symbols.update({name: size for name, size in axes if isinstance(name, str)})
        shapes = {}
        for output in self._session.get_outputs():
            shape = [symbols.get(s) if isinstance(s, str) else s for s in output.shape]
            if all(isinstance(size, int) and size > 0 for size in shape):
                shapes[output.name] = [int(size) for size in shape if size is not None]
        return shapes


def _device_bytes_of_this_process() -> int | str:
    """Device memory this process holds now, by NVML; ONNX Runtime's arena only grows."""
    try:
        import pynvml
    except ImportError:
        return "pynvml (nvidia-ml-py) is not installed, and onnxruntime does not tell its memory"
    try:
        from profleet_runner.resources import cuda_handle

        pynvml.nvmlInit()
        for process in pynvml.nvmlDeviceGetComputeRunningProcesses(cuda_handle(pynvml)):
            if process.pid == os.getpid() and process.usedGpuMemory is not None:
                return int(process.usedGpuMemory)
    except pynvml.NVMLError as error:
        return f"NVML: {error}"
    return "NVML does not list this process (a container hides process numbers)"
