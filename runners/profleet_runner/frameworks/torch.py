"""Torch as a measured framework: the ONNX artifact, imported node by node (`torch_graph`).

Eager torch executes the nodes as they stand, one kernel after the other. With ``compile`` the same
module goes through ``torch.compile(dynamic=False)``: it specializes on shapes, so the first
execution at each batch size compiles, which takes seconds to minutes. That time belongs to the cold
start or to the first run of the batch size, never to a warm sample. A compiler cache left by
earlier processes shortens it; a fresh container has none (``options()`` says where the cache is).

The measured region calls ``torch.nn.Module.__call__``, as ``model(x)`` does, under inference mode,
which the executing thread enters once and keeps: entering it anew would cost more than a
microsecond a call. On CUDA the region ends with a synchronization.

This module is not the package ``torch``: imports here are absolute.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from profleet_runner.frameworks import Options, Request, Session, Tensors, Unsupported

if TYPE_CHECKING:
    from profleet_runner.frameworks.torch_graph import ImportedGraph

OPTIONS = frozenset({"compile", "compile_mode", "channels_last", "tf32"})
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
_COMPILATIONS = 256
"""Batch sizes that may be compiled; torch would silently turn eager after eight."""

_thread = threading.local()


def import_framework() -> None:
    """Import torch and the importer of ONNX graphs."""
    import torch  # noqa: F401  # the import is what is timed

    import profleet_runner.frameworks.torch_graph  # noqa: F401  # likewise


def unsupported(options: Options) -> str | None:
    """Return why torch cannot execute here with these options, or None."""
    import torch

    cuda = options.accelerator == "cuda"
    if not cuda and options.accelerator != "cpu":
        return f"torch is measured on 'cpu' or 'cuda', not on '{options.accelerator}'"
    if cuda and not torch.cuda.is_available():
        return (
            f"torch {torch.__version__} finds no CUDA device "
            f"(built for CUDA {torch.version.cuda or 'none'}); "
            "install a CUDA build and check nvidia-smi"
        )
    return _wrong_options(options.options, cuda) or (
        _no_compiler(cuda) if options.options.get("compile") else None
    )


def _wrong_options(options: dict[str, Any], cuda: bool) -> str | None:
    for name in sorted(OPTIONS - {"compile_mode"}):
        if not isinstance(options.get(name, False), bool):
            return f"option {name} must be true or false, not {options[name]!r}"
    mode = options.get("compile_mode")
    if mode is not None and not options.get("compile"):
        return "option compile_mode needs compile: true"
    if mode is not None and mode not in COMPILE_MODES:
        return f"option compile_mode must be one of {', '.join(COMPILE_MODES)}, not {mode!r}"
    if options.get("tf32") and not cuda:
        return "option tf32 needs the accelerator cuda"
    return None


def _no_compiler(cuda: bool) -> str | None:
    if cuda:
        if importlib.util.find_spec("triton") is None:
            return "option compile needs the package triton on CUDA; it is not installed"
        compiler = os.environ.get("CC") or "gcc"
        return None if shutil.which(compiler) else _missing("C", compiler, "CC")
    compiler = os.environ.get("CXX") or "g++"
    return None if shutil.which(compiler) else _missing("C++", compiler, "CXX")


def _missing(language: str, compiler: str, variable: str) -> str:
    return (
        f"option compile needs a {language} compiler; '{compiler}' is not on PATH "
        f"(install it or name another in {variable})"
    )


def open_session(artifact: bytes, options: Options) -> Session:
    """Import the artifact into torch and ready it for execution.

    Raises:
        Unsupported: an operator, or what a node asks of it, is not covered.
    """
    import torch

    from profleet_runner.frameworks.torch_graph import import_graph

    _set_threads(options.intra_op_threads, options.inter_op_threads)
    chosen = options.options
    if options.accelerator == "cuda":
        allowed = bool(chosen.get("tf32", False))
        torch.backends.cuda.matmul.allow_tf32 = allowed
        torch.backends.cudnn.allow_tf32 = allowed
    graph = import_graph(artifact, options.accelerator)
    if chosen.get("channels_last"):
        _to_channels_last(graph.module)
    return TorchSession(graph, options)


def _set_threads(intra_op: int, inter_op: int) -> None:
    """Set both thread pools; torch takes the second one once a process, before parallel work.

    What is in force is read back by ``TorchSession.threads``.
    """
    import torch

    if torch.get_num_interop_threads() != inter_op:
        try:
            torch.set_num_interop_threads(inter_op)
        except RuntimeError as error:
            raise Unsupported(
                f"torch fixed its inter-op threads at {torch.get_num_interop_threads()} earlier in "
                f"this process; {inter_op} need a fresh process"
            ) from error
    torch.set_num_threads(intra_op)


def _to_channels_last(module: Any) -> None:
    """Lay four-dimensional weights out as channels last; other ranks have no such layout."""
    import torch

    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


class TorchSession:
    """An imported module on its device."""

    def __init__(self, graph: ImportedGraph, options: Options) -> None:
        import torch

        self._graph = graph
        self._accelerator = options.accelerator
        self._chosen = options.options
        self._cuda = options.accelerator == "cuda"
        self._channels_last = bool(options.options.get("channels_last", False))
        self._forward: Any = functools.partial(torch.nn.Module.__call__, graph.module)
        if options.options.get("compile"):
            self._forward = _compiled(graph.module, options.options.get("compile_mode"))
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()

    def prepare(self, inputs: Tensors) -> Request:
        """Copy the inputs into tensors on the device, in the layout the session uses.

        Raises:
            ValueError: an input is missing, or its shape is not the declared one.
        """
        import torch

        _enter_inference_mode()
        arguments = tuple(self._to_device(t) for t in self._host_tensors(inputs))
        forward, names = self._forward, self._graph.outputs
        in_inference_mode = torch.is_inference_mode_enabled
        last: list[Any] = []

        def execute() -> None:
            if not in_inference_mode():
                _enter_inference_mode()
            last[:] = forward(*arguments)

        def execute_and_wait() -> None:
            if not in_inference_mode():
                _enter_inference_mode()
            last[:] = forward(*arguments)
            torch.cuda.synchronize()

        def outputs() -> Tensors:
            if not last:
                raise RuntimeError("outputs were asked for before the first execution")
            return {name: _to_numpy(t) for name, t in zip(names, last, strict=True)}

        if self._cuda:
            torch.cuda.synchronize()
        return Request(execute=execute_and_wait if self._cuda else execute, outputs=outputs)

    def copy_seconds(self, inputs: Tensors) -> tuple[float, float] | str:
        """Time one copy to the device and one back, both with pinned host memory."""
        import torch

        if not self._cuda:
            return "torch works in place on the inputs of a CPU"
        _enter_inference_mode()
        host = [tensor.pin_memory() for tensor in self._host_tensors(inputs)]
        device = [torch.empty_like(tensor, device="cuda") for tensor in host]
        produced = self._forward(*(self._to_device(tensor) for tensor in host))
        returned = [torch.empty_like(t, device="cpu").pin_memory() for t in produced]
        return _timed_copy(host, device), _timed_copy(produced, returned)

    def peak_device_bytes(self) -> int | str:
        """Peak of what torch's allocator handed out on the device since the last call."""
        import torch

        if not self._cuda:
            return "a CPU has no device memory of its own"
        peak = int(torch.cuda.max_memory_allocated())
        torch.cuda.reset_peak_memory_stats()
        return peak

    def threads(self) -> dict[str, int | str]:
        """Both thread pools, read back from torch."""
        import torch

        return {
            "intra_op": int(torch.get_num_threads()),
            "inter_op": int(torch.get_num_interop_threads()),
        }

    def device(self) -> str:
        """The name of the CUDA device, or the instruction set torch uses on a CPU."""
        import torch

        if self._cuda:
            return str(torch.cuda.get_device_name())
        return f"CPU ({torch.backends.cpu.get_cpu_capability()})"

    def options(self) -> dict[str, Any]:
        """Options in effect (``tf32`` read back), torch's build, where compiled code is cached."""
        import torch

        compiles = bool(self._chosen.get("compile", False))
        effective: dict[str, Any] = {
            "compile": compiles,
            "channels_last": self._channels_last,
            "tf32": self._cuda
            and bool(torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32),
            "build": " ".join(torch.__config__.show().split()),
        }
        if compiles:
            effective["compile_mode"] = self._chosen.get("compile_mode") or "default"
            effective["compile_cache"] = os.environ.get("TORCHINDUCTOR_CACHE_DIR", "default")
        return effective

    def _host_tensors(self, inputs: Tensors) -> list[Any]:
        import torch

        missing = [name for name in self._graph.inputs if name not in inputs]
        if missing:
            raise ValueError(f"the model needs the inputs {', '.join(missing)}, which are missing")
        for name in self._graph.inputs:
            declared = self._graph.types[name].shape
            if declared is not None and not _fits(inputs[name].shape, declared):
                raise ValueError(
                    f"input '{name}' has shape {inputs[name].shape}; the model declares {declared}"
                )
        return [torch.tensor(np.ascontiguousarray(inputs[n])) for n in self._graph.inputs]

    def _to_device(self, tensor: Any) -> Any:
        import torch

        moved = tensor.to(self._accelerator)
        if self._channels_last and moved.dim() == 4:
            moved = moved.contiguous(memory_format=torch.channels_last)
        return moved


def _compiled(module: Any, mode: str | None) -> Any:
    import torch
    from torch import _dynamo

    for limit in ("recompile_limit", "cache_size_limit"):  # renamed in torch 2.7
        if hasattr(_dynamo.config, limit):
            setattr(_dynamo.config, limit, _COMPILATIONS)
    if hasattr(_dynamo.config, "fail_on_recompile_limit_hit"):
        _dynamo.config.fail_on_recompile_limit_hit = True
    return torch.compile(module, mode=mode or "default", dynamic=False)


def _enter_inference_mode() -> None:
    """Enter inference mode for good in this thread; the guard lives as long as the thread."""
    import torch

    if not torch.is_inference_mode_enabled():
        _thread.guard = torch.inference_mode()
        _thread.guard.__enter__()


def _timed_copy(sources: Any, targets: Any) -> float:
    import torch

    torch.cuda.synchronize()
    start = time.perf_counter_ns()
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source, non_blocking=True)
    torch.cuda.synchronize()
    return (time.perf_counter_ns() - start) / 1e9


def _to_numpy(tensor: Any) -> Any:
    import torch

    host = tensor.detach().cpu()
    if host.dtype == torch.bfloat16:
        host = host.float()
    return np.array(host.numpy(), order="C")


def _fits(shape: tuple[int, ...], declared: tuple[int | None, ...]) -> bool:
    return len(shape) == len(declared) and all(
        known is None or known == size for size, known in zip(shape, declared, strict=True)
    )


__all__ = ["OPTIONS", "TorchSession", "import_framework", "open_session", "unsupported"]
