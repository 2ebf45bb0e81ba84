"""The two frameworks that bind memory: right outputs, settings that hold, refusals with reasons."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import tiny
from profleet.paths import data_dir
from profleet_runner.frameworks import Options, load

NETWORK = tiny.network(8).SerializeToString()
FRAMEWORKS = ["onnxruntime", "openvino"]


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    pytest.importorskip(request.param)
    framework = load(request.param)
    framework.import_framework()
    return framework


def options(accelerator="cpu", intra=1, inter=1, **chosen):
    return Options(accelerator, intra, inter, chosen)


def expected(inputs):
    import onnxruntime

    (y,) = onnxruntime.InferenceSession(NETWORK).run(None, inputs)
    return y


def x(batch, seed=0):
    return {"x": np.random.default_rng(seed).random((batch, 8), np.float32)}


def test_each_batch_size_gives_its_own_outputs(framework):
    session = framework.open_session(NETWORK, options())
    requests = {batch: session.prepare(x(batch, batch)) for batch in (1, 4, 2)}
    for _ in range(2):
        for request in requests.values():
            request.execute()
    for batch, request in requests.items():
        outputs = request.outputs()
        np.testing.assert_allclose(outputs["y"], expected(x(batch, batch)), rtol=1e-5, atol=1e-6)


def test_inputs_need_not_outlive_the_caller(framework):
    session = framework.open_session(NETWORK, options())
    request = session.prepare(x(64))
    noise = [np.full((64, 8), 7.0, np.float32) for _ in range(50)]  # memory is used again
    request.execute()
    np.testing.assert_allclose(request.outputs()["y"], expected(x(64)), rtol=1e-5, atol=1e-6)
    assert len(noise) == 50


def test_outputs_are_copies(framework):
    session = framework.open_session(NETWORK, options())
    request = session.prepare(x(2))
    request.execute()
    first = request.outputs()["y"]
    first[:] = -1
    assert (request.outputs()["y"] >= 0).all()


def test_output_whose_shape_depends_on_values(framework):
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["where"])],
        "nonzero",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("where", TensorProto.INT64, [2, "found"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    session = framework.open_session(model.SerializeToString(), options())
    request = session.prepare({"x": np.array([[0, 1], [1, 1]], np.float32)})
    request.execute()
    assert request.outputs()["where"].tolist() == [[0, 1, 1], [1, 0, 1]]


def test_missing_input(framework):
    session = framework.open_session(NETWORK, options())
    with pytest.raises(ValueError, match="'x', which is missing"):
        session.prepare({"z": np.zeros((1, 8), np.float32)})


def test_nothing_to_copy_on_a_cpu(framework):
    session = framework.open_session(NETWORK, options())
    assert "in place" in session.copy_seconds(x(1))
    assert "CPU" in session.peak_device_bytes()
    assert session.device()


@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_in_effect(name, threads):
    """In a fresh process: a framework's pools may belong to the process."""
    pytest.importorskip(name)
    code = (
        "import sys\n"
        "from profleet_runner.frameworks import Options, load\n"
        f"framework = load('{name}')\n"
        "framework.import_framework()\n"
        f"options = Options('cpu', {threads}, 1, {{}})\n"
        "print(framework.open_session(sys.stdin.buffer.read(), options).threads())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=NETWORK, capture_output=True, check=True,
        env={**os.environ, "PYTHONPATH": str(data_dir("runners"))},
    )  # fmt: skip
    inter_op = "openvino has one pool" if name == "openvino" else 1
    assert done.stdout.decode().strip() == str({"intra_op": threads, "inter_op": inter_op})


def test_wrong_option_values_are_refused(framework):
    assert framework.unsupported(options()) is None
    assert "execution_mode must be one of" in framework.unsupported(options(execution_mode="fast"))


def onnxruntime_session(**settings):
    framework = load("onnxruntime")
    framework.import_framework()
    return framework.open_session(NETWORK, options(**settings))


def test_options_are_read_back():
    session = onnxruntime_session(
        inter=2, graph_optimization="basic", execution_mode="parallel", spinning=False
    )
    effective = session.options()
    assert effective["graph_optimization"] == "basic"
    assert effective["execution_mode"] == "parallel"
    assert effective["requested_spinning"] is False
    assert effective["providers"] == ["CPUExecutionProvider"]
    assert session.threads() == {"intra_op": 1, "inter_op": 2}


def test_option_that_onnxruntime_overrules_is_seen():
    """One inter-op thread cannot execute in parallel: ONNX Runtime turns sequential."""
    session = onnxruntime_session(inter=1, execution_mode="parallel")
    assert session.options()["execution_mode"] == "sequential"


def test_cuda_is_refused_with_what_to_install():
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    reason = load("onnxruntime").unsupported(options("cuda"))
    assert reason is not None
    assert "onnxruntime-gpu" in reason
    assert "NVIDIA" in reason


def test_openvino_has_one_pool_and_one_device():
    pytest.importorskip("openvino")
    framework = load("openvino")
    assert "inter_op_threads must be 1" in str(framework.unsupported(options(inter=2)))
    assert "'cpu' only" in str(framework.unsupported(options("cuda")))
