"""Sessions: what they compute, what they record, and that what was asked for is what runs."""

import gc
import json
import os
import weakref
from collections import Counter
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from slimmer.errors import DataError, ExportError, RecipeError, RuntimeUnavailableError
from slimmer.runtimes import onnxruntime as runtime
from slimmer.runtimes.environment import environment
from slimmer.runtimes.onnxruntime import accuracy, open_session
from slimmer.runtimes.pytorch import open_model

WEIGHT = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


def write(path):
    """A network made by hand: (batch, 1, 2, 2) flattened times WEIGHT, and the double of it."""
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
        helper.make_node("Add", ["logits", "logits"], ["output_1"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "net",
        [value("input", TensorProto.FLOAT, ["batch", 1, 2, 2])],
        [
            value("logits", TensorProto.FLOAT, ["batch", 3]),
            value("output_1", TensorProto.FLOAT, ["batch", 3]),
        ],
        [numpy_helper.from_array(WEIGHT, "weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture
def net(tmp_path):
    return write(tmp_path / "net.onnx")


def images(number):
    return np.random.default_rng(1).standard_normal((number, 1, 2, 2)).astype(np.float32)


def cuda_is_active(path):
    try:
        open_session(path, provider="cuda")
    except RuntimeUnavailableError:
        return False
    return True


def test_a_session_gives_the_first_output(net):
    x = images(5)
    session = open_session(net, provider="cpu", threads=1)
    np.testing.assert_allclose(session.run(x), x.reshape(5, 4) @ WEIGHT, rtol=1e-5)
    assert (session.name, session.provider) == ("onnxruntime", "CPUExecutionProvider")


def test_a_prepared_call_computes_the_network_again_each_time(net, monkeypatch):
    x = images(2)
    bindings = []
    make = onnxruntime.InferenceSession.io_binding
    monkeypatch.setattr(
        onnxruntime.InferenceSession, "io_binding", lambda self: bindings.append(make(self)) or bindings[-1]
    )
    session = open_session(net, provider="cpu", threads=1)
    once = session.prepare(x)
    for _ in range(2):
        once()
        np.testing.assert_allclose(bindings[0].get_outputs()[0].numpy(), x.reshape(2, 4) @ WEIGHT, rtol=1e-5)
        x *= 2  # bound, not copied: the next call sees it


def test_a_prepared_call_keeps_its_images_alive(net):
    session = open_session(net, provider="cpu", threads=1)
    x = images(64)
    alive, call = weakref.ref(x), session.prepare(x)
    session.close()
    del x
    gc.collect()
    assert alive() is not None  # else the call would read a freed buffer
    call()


def test_the_settings_say_what_is_active(net):
    settings = open_session(net, provider="cpu", threads=1).settings
    assert settings["threads"] == "1"
    assert settings["graph_optimization_level"] == "ORT_ENABLE_ALL"
    assert settings["providers"] == "CPUExecutionProvider"
    assert all(isinstance(value, str) for value in settings.values())
    assert open_session(net, provider="cpu").settings["threads"] == "one per core"


@pytest.mark.parametrize("shape", [(2, 1, 3, 3), (2, 4)])
def test_images_that_the_network_does_not_take_are_an_error_that_names_both(shape, net):
    session = open_session(net, provider="cpu", threads=1)
    x = np.zeros(shape, np.float32)
    for call in (lambda: session.run(x), session.prepare(x)):
        with pytest.raises(ExportError, match=r"net\.onnx on images") as caught:
            call()
        assert "\n" not in caught.value.found


def test_a_missing_or_broken_file_is_an_export_error(net, tmp_path, capfd):
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "cut.onnx").write_bytes(net.read_bytes()[:150])
    for name, provider in (("text.onnx", "cpu"), ("cut.onnx", "cuda"), ("none.onnx", "cpu"), (".", "cuda")):
        with pytest.raises(ExportError, match="an ONNX file"):
            open_session(tmp_path / name, provider=provider)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_provider_is_refused_with_the_nearest_name(net):
    with pytest.raises(RuntimeUnavailableError, match="did you mean 'cuda'"):
        open_session(net, provider="cudaa")


@pytest.mark.parametrize("threads", [0, -1])
def test_less_than_one_thread_is_refused(threads, net):
    with pytest.raises(RecipeError, match="1 or more"):
        open_session(net, provider="cpu", threads=threads)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_there_is_one_quiet_error(provider, net, capfd):
    if cuda_is_active(net):
        pytest.skip("CUDA is active here")
    with pytest.raises(RuntimeUnavailableError, match=f"provider {provider}") as caught:
        open_session(net, provider=provider)
    assert "\n" not in caught.value.found
    assert "or provider cpu" in caught.value.right
    assert capfd.readouterr() == ("", "")


class Fake:
    """A session of ONNX Runtime on a machine that this one is not."""

    def __init__(self, providers, nodes):
        self._providers, self._nodes = providers, nodes

    def __call__(self, *_, **__):
        return self

    def get_providers(self):
        return self._providers

    def get_provider_options(self):
        return {self._providers[0]: {"use_tf32": "1"}}

    def get_provider_graph_assignment_info(self):
        return [SimpleNamespace(ep_name=name, get_nodes=lambda n=n: [None] * n) for name, n in self._nodes.items()]

    def get_inputs(self):
        return [SimpleNamespace(name="input")]

    def get_outputs(self):
        return [SimpleNamespace(name="logits")]


CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def test_a_session_that_fell_back_or_runs_nothing_on_the_provider_is_refused(net, monkeypatch):
    monkeypatch.setattr(onnxruntime, "InferenceSession", Fake([CPU], {CPU: 3}))
    with pytest.raises(RuntimeUnavailableError, match=f"{CPU} is active"):
        open_session(net, provider="cuda")
    monkeypatch.setattr(onnxruntime, "InferenceSession", Fake([CUDA, CPU], {CPU: 3}))
    with pytest.raises(RuntimeUnavailableError, match="runs none of the nodes"):
        open_session(net, provider="cuda")
    monkeypatch.setattr(onnxruntime, "InferenceSession", Fake([CUDA, CPU], {CUDA: 2, CPU: 1}))
    with pytest.raises(RuntimeUnavailableError, match="TensorrtExecutionProvider was asked for"):
        open_session(net, provider="tensorrt")


def test_a_cuda_session_records_tf32_and_the_nodes_of_each_provider(net, monkeypatch):
    monkeypatch.setattr(onnxruntime, "InferenceSession", Fake([CUDA, CPU], {CUDA: 2, CPU: 1}))
    session = open_session(net, provider="cuda")
    assert session.provider == CUDA
    assert session.settings[f"{CUDA}.use_tf32"] == "1"
    assert (session.settings[f"nodes.{CUDA}"], session.settings[f"nodes.{CPU}"]) == ("2", "1")


def test_an_onnx_runtime_that_does_not_count_nodes_is_no_error():
    assert runtime._nodes(object()) == Counter()


def test_accuracy_counts_over_batches_of_unequal_size(net):
    x = images(7)
    classes = (x.reshape(7, 4) @ WEIGHT).argmax(axis=1)
    labels = classes.copy()
    labels[[0, 5]] = (labels[[0, 5]] + 1) % 3
    batches = [(torch.from_numpy(x[a:b]), torch.from_numpy(labels[a:b])) for a, b in ((0, 4), (4, 7))]
    assert accuracy(net, batches, threads=1) == 5 / 7
    with pytest.raises(DataError, match="no images"):
        accuracy(net, [])


def test_pytorch_runs_a_copy_in_eval_mode_behind_the_same_protocol():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)).train()
    statistics = model[1].running_mean.clone()
    session = open_model(model)
    x = images(3)
    logits = session.run(x)
    session.prepare(x)()
    assert model.training
    assert torch.equal(model[1].running_mean, statistics)
    with torch.no_grad():
        np.testing.assert_allclose(logits, model.eval()(torch.from_numpy(x)).numpy(), rtol=1e-6)
    assert (session.name, session.provider) == ("pytorch", "cpu")
    assert session.settings["threads"] == str(torch.get_num_threads())
    session.close()
    with pytest.raises(ValueError, match="closed"):
        session.run(x)


def test_pytorch_refuses_a_provider_that_is_unknown_or_not_there():
    with pytest.raises(RuntimeUnavailableError, match="did you mean 'cpu'"):
        open_model(nn.Identity(), provider="cpuu")
    if torch.cuda.is_available():
        pytest.skip("CUDA is active here")
    with pytest.raises(RuntimeUnavailableError, match="sees no GPU"):
        open_model(nn.Identity(), provider="cuda")


def test_the_environment_is_json_and_has_the_versions_that_are_imported():
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["onnxruntime"] == onnxruntime.__version__
    assert found["torch"] == torch.__version__
    assert found["onnx"] == onnx.__version__
    assert found["cores"] == os.cpu_count()
    assert found["cpu"]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            "echo 'NVIDIA H100, 570.1, 1980 MHz, 2619 MHz, 34, 70.1 W'",
            ("NVIDIA H100", "570.1", "1980 MHz, 2619 MHz, 34, 70.1 W"),
        ),
        ("exit 9", (None, None, None)),
    ],
)
def test_the_gpu_is_what_nvidia_smi_says(script, expected, tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = environment()
    assert (found["gpu"], found["gpu_driver"], found["gpu_state"]) == expected
