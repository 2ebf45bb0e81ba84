"""Torch as a framework: options, threads, requests, and refusals that say why."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from onnx_cases import assert_same, by_onnxruntime, graph, require_torch

torch = require_torch()

from profleet_runner import frameworks  # noqa: E402  # after the skip
from profleet_runner.frameworks import Options, Unsupported  # noqa: E402
from profleet_runner.frameworks import torch as framework  # noqa: E402

RNG = np.random.default_rng(3)
RUNNERS = Path(frameworks.__file__).parents[2]


@pytest.fixture(autouse=True)
def _leave_inference_mode() -> Iterator[None]:
    yield
    framework._thread.__dict__.clear()
    assert not torch.is_inference_mode_enabled()


def options(accelerator: str = "cpu", **chosen: Any) -> Options:
    return Options(accelerator, 1, torch.get_num_interop_threads(), chosen)


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def artifact() -> bytes:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
    ]
    return graph(
        nodes, {"x": normal(1, 3, 8, 8)}, ["t", "p"], {"w": normal(4, 3, 3, 3)},
        shapes={"x": ["batch", 3, 8, 8]},
    )  # fmt: skip


def test_the_registry_offers_torch() -> None:
    assert frameworks.load("torch").OPTIONS == framework.OPTIONS


def test_importing_the_module_does_not_import_torch() -> None:
    code = "import sys, profleet_runner.frameworks.torch; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=RUNNERS)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_request_gives_the_outputs_of_its_inputs(channels_last: bool) -> None:
    model = artifact()
    session = framework.open_session(model, options(channels_last=channels_last))
    requests = [(x, session.prepare(x)) for x in ({"x": normal(b, 3, 8, 8)} for b in (1, 4))]
    for inputs, request in requests * 2:
        request.execute()
        found = request.outputs()
        assert list(found) == ["t", "p"]
        assert_same(list(found.values()), by_onnxruntime(model, inputs), 1e-4)
        assert all(array.flags.c_contiguous for array in found.values())
    effective = session.options()
    assert effective.pop("build").startswith("PyTorch built with")
    assert effective == {"compile": False, "channels_last": channels_last, "tf32": False}
    layout = torch.channels_last if channels_last else torch.contiguous_format
    (weight,) = session._graph.module.parameters()
    assert weight.is_contiguous(memory_format=layout)


def test_outputs_are_copies_and_inputs_may_be_read_only() -> None:
    session = framework.open_session(artifact(), options())
    x = normal(1, 3, 8, 8)
    x.setflags(write=False)
    request = session.prepare({"x": x})
    request.execute()
    first = request.outputs()
    first["p"][:] = 0
    assert request.outputs()["p"].any()


def test_outputs_before_the_first_execution_are_an_error() -> None:
    request = framework.open_session(artifact(), options()).prepare({"x": normal(1, 3, 8, 8)})
    with pytest.raises(RuntimeError, match="before the first execution"):
        request.outputs()


def test_wrong_inputs_are_refused() -> None:
    session = framework.open_session(artifact(), options())
    with pytest.raises(ValueError, match=r"needs the inputs x, which are missing"):
        session.prepare({"y": normal(1)})
    with pytest.raises(ValueError, match=r"input 'x' has shape \(1, 3, 8, 9\)"):
        session.prepare({"x": normal(1, 3, 8, 9)})


def test_every_thread_executes_under_inference_mode() -> None:
    request = framework.open_session(artifact(), options()).prepare({"x": normal(1, 3, 8, 8)})
    seen = []

    def elsewhere() -> None:
        request.execute()
        seen.append(torch.is_inference_mode_enabled())

    worker = threading.Thread(target=elsewhere)
    worker.start()
    worker.join()
    assert seen == [True]
    assert torch.is_inference_mode_enabled()


def test_what_a_cpu_lacks_is_said() -> None:
    session = framework.open_session(artifact(), options())
    assert isinstance(session.copy_seconds({"x": normal(1, 3, 8, 8)}), str)
    assert isinstance(session.peak_device_bytes(), str)
    assert session.device().startswith("CPU (")


def test_threads_are_set_each_to_its_own_pool_and_read_back() -> None:
    code = """
        import json, sys
        from profleet_runner.frameworks import Options, Unsupported, torch as framework
        framework.import_framework()
        model = sys.stdin.buffer.read()
        threads = framework.open_session(model, Options("cpu", 2, 3, {})).threads()
        import torch
        read = {"intra_op": torch.get_num_threads(), "inter_op": torch.get_num_interop_threads()}
        framework.open_session(model, Options("cpu", 1, 3, {}))
        try:
            framework.open_session(model, Options("cpu", 1, 2, {}))
        except Unsupported as refused:
            print(json.dumps([threads, read, str(refused)]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        input=artifact(), stdout=subprocess.PIPE, check=True, cwd=RUNNERS,
    )  # fmt: skip
    threads, read, refused = json.loads(done.stdout)
    assert threads == read == {"intra_op": 2, "inter_op": 3}
    assert "fixed its inter-op threads at 3" in refused


def test_an_uncovered_operator_is_refused_when_the_session_opens() -> None:
    model = graph([helper.make_node("Det", ["x"], ["y"])], {"x": normal(2, 2)}, ["y"])
    with pytest.raises(Unsupported, match="operator Det"):
        framework.open_session(model, options())


def test_cuda_without_a_device_names_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    reason = framework.unsupported(options("cuda"))
    assert reason is not None
    assert torch.__version__ in reason
    assert "CUDA" in reason


def test_other_accelerators_are_refused() -> None:
    assert "not on 'rocm'" in str(framework.unsupported(options("rocm")))


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ({}, None),
        ({"channels_last": True}, None),
        ({"compile": "yes"}, "compile must be true or false"),
        ({"compile_mode": "default"}, "compile_mode needs compile"),
        ({"compile": True, "compile_mode": "fast"}, "compile_mode must be one of"),
        ({"tf32": True}, "tf32 needs the accelerator cuda"),
    ],
)
def test_options_are_checked(chosen: dict[str, Any], reason: str | None) -> None:
    found = framework.unsupported(options(**chosen))
    assert found is None if reason is None else reason in str(found)


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert "'g++' is not on PATH" in str(framework.unsupported(options(compile=True)))
    monkeypatch.setenv("CXX", "my-c++")
    assert "'my-c++' is not on PATH" in str(framework.unsupported(options(compile=True)))
    (tmp_path / "my-c++").touch(mode=0o755)
    assert framework.unsupported(options(compile=True)) is None


def test_compiling_on_cuda_needs_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(framework.importlib.util, "find_spec", lambda name: None)
    assert "triton" in str(framework.unsupported(options("cuda", compile=True)))
    assert framework.unsupported(options("cuda", tf32=True)) is None


def test_a_compiled_session_agrees_at_each_batch_size() -> None:
    reason = framework.unsupported(options(compile=True))
    if reason is not None:
        pytest.skip(reason)
    model = artifact()
    session = framework.open_session(model, options(compile=True))
    for batch in (1, 2):
        inputs = {"x": normal(batch, 3, 8, 8)}
        request = session.prepare(inputs)
        request.execute()
        assert_same(list(request.outputs().values()), by_onnxruntime(model, inputs), 1e-4)
    effective = session.options()
    assert (effective["compile"], effective["compile_mode"]) == (True, "default")
    # Beyond eight shapes torch would fall back to eager execution and say nothing.
    assert torch._dynamo.config.recompile_limit >= 64


def test_a_request_adds_no_work_to_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the module itself is called in the measured region: no copy, no conversion."""
    session = framework.open_session(artifact(), options())
    request = session.prepare({"x": normal(1, 3, 8, 8)})
    calls: list[str] = []

    def trace(frame: Any, event: str, _: Any) -> None:
        if event == "call" and "profleet_runner" in frame.f_code.co_filename:
            calls.append(frame.f_code.co_name)

    sys.setprofile(trace)
    try:
        request.execute()
    finally:
        sys.setprofile(None)
    assert calls == ["execute"]
