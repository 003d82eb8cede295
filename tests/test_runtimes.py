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
import pynvml
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from slimmer.errors import DataError, ExportError, RecipeError, RuntimeUnavailableError
from slimmer.profiling.runtimes import onnxruntime as runtime
from slimmer.profiling.runtimes.environment import environment
from slimmer.profiling.runtimes.gpu import gpu_count, gpu_state
from slimmer.profiling.runtimes.onnxruntime import accuracy, open_session
from slimmer.profiling.runtimes.providers import asked_for, check_provider
from slimmer.profiling.runtimes.pytorch import open_model
from slimmer.profiling.runtimes.session_options import Options

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
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path
    )
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
        onnxruntime.InferenceSession,
        "io_binding",
        lambda self: bindings.append(make(self)) or bindings[-1],
    )
    session = open_session(net, provider="cpu", threads=1)
    once = session.prepare(x)
    for _ in range(2):
        once()
        np.testing.assert_allclose(
            bindings[0].get_outputs()[0].numpy(), x.reshape(2, 4) @ WEIGHT, rtol=1e-5
        )
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
    for name, provider in (
        ("text.onnx", "cpu"),
        ("cut.onnx", "cuda"),
        ("none.onnx", "cpu"),
        (".", "cuda"),
    ):
        with pytest.raises(ExportError, match="an ONNX file"):
            open_session(tmp_path / name, provider=provider)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_provider_is_refused_with_the_nearest_name(net):
    with pytest.raises(RuntimeUnavailableError, match="did you mean 'cuda'"):
        open_session(net, provider="cudaa")


def test_a_provider_by_its_own_name_runs_and_one_that_was_not_built_is_refused(net):
    assert open_session(net, provider=CPU).provider == CPU
    built = onnxruntime.get_available_providers()
    [other] = [name for name in onnxruntime.get_all_providers() if name not in built][:1]
    with pytest.raises(RuntimeUnavailableError, match="was built without it"):
        open_session(net, provider=other)


@pytest.mark.parametrize("threads", [0, -1])
def test_less_than_one_thread_is_refused(threads, net):
    with pytest.raises(RecipeError, match="1 or more"):
        open_session(net, provider="cpu", threads=threads)


@pytest.mark.parametrize(
    ("short", "name"),
    [
        ("openvino", "OpenVINOExecutionProvider"),
        ("coreml", "CoreMLExecutionProvider"),
        ("directml", "DmlExecutionProvider"),
    ],
)
def test_providers_have_short_names_and_a_build_without_one_names_the_package_that_has_it(
    short, name, monkeypatch
):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [name, CPU])
    assert check_provider(short) == check_provider(name) == short
    assert asked_for(short, Options()) == [(name, {})]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(
        RuntimeUnavailableError, match=f"(?s)provider {short}.*built without it.*or provider cpu"
    ):
        check_provider(short)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_onnxruntime_for_the_cpu_alone_has_no_cuda_and_says_so_without_a_word_of_its_own(
    provider, net, capfd, monkeypatch
):
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["AzureExecutionProvider", CPU]
    )
    with pytest.raises(
        RuntimeUnavailableError, match=r"(?s)was built without it.*onnxruntime-gpu instead of"
    ):
        open_session(net, provider=provider)
    assert capfd.readouterr() == ("", "")


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
    """A session of ONNX Runtime on a machine that this one is not; it takes over the options that
    it is given.
    """

    def __init__(self, providers, nodes, ignores=()):
        self._providers, self._nodes, self._ignores = providers, nodes, ignores
        self._options = {providers[0]: {"use_tf32": "1"}}

    def __call__(self, path, settings, *, providers, **_):
        self.settings, self.asked = settings, providers
        for name, options in providers:
            taken = {key: value for key, value in options.items() if key not in self._ignores}
            self._options.setdefault(name, {}).update(taken)
        return self

    def get_providers(self):
        return self._providers

    def get_provider_options(self):
        return self._options

    def get_provider_graph_assignment_info(self):
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda n=n: [None] * n)
            for name, n in self._nodes.items()
        ]

    def get_inputs(self):
        return [SimpleNamespace(name="input", type="tensor(float)", shape=["batch", 1, 2, 2])]

    def get_outputs(self):
        return [SimpleNamespace(name="logits", type="tensor(float)", shape=["batch", 3])]

    def io_binding(self):
        self.binding = Binding()
        return self.binding

    def run_with_iobinding(self, binding, options=None):
        self.ran = options


class Binding:
    """What a session on a GPU binds; its values lie on the CPU, since there is no GPU here."""

    def __init__(self):
        self.inputs, self.outputs = {}, {}

    def bind_ortvalue_input(self, name, value):
        self.inputs[name] = value

    def bind_output(self, name, device, index):
        self.outputs[name] = device

    def bind_ortvalue_output(self, name, value):
        self.outputs[name] = value

    def synchronize_inputs(self):
        pass

    def synchronize_outputs(self):
        pass

    def copy_outputs_to_cpu(self):
        return []


CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def stand_in(monkeypatch, fake):
    """Let ONNX Runtime be one that was built for CUDA, whose sessions are `fake`."""
    built = ["TensorrtExecutionProvider", CUDA, CPU]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built)
    monkeypatch.setattr(onnxruntime, "InferenceSession", fake)


def test_a_session_that_fell_back_or_runs_nothing_on_the_provider_is_refused(net, monkeypatch):
    stand_in(monkeypatch, Fake([CPU], {CPU: 3}))
    with pytest.raises(RuntimeUnavailableError, match=f"{CPU} is active"):
        open_session(net, provider="cuda")
    stand_in(monkeypatch, Fake([CUDA, CPU], {CPU: 3}))
    with pytest.raises(RuntimeUnavailableError, match="runs none of the nodes"):
        open_session(net, provider="cuda")
    stand_in(monkeypatch, Fake([CUDA, CPU], {CUDA: 2, CPU: 1}))
    with pytest.raises(RuntimeUnavailableError, match="TensorrtExecutionProvider was requested"):
        open_session(net, provider="tensorrt")


def test_a_cuda_session_records_tf32_and_the_nodes_of_each_provider(net, monkeypatch):
    stand_in(monkeypatch, Fake([CUDA, CPU], {CUDA: 2, CPU: 1}))
    session = open_session(net, provider="cuda")
    assert session.provider == CUDA
    assert session.settings[f"{CUDA}.use_tf32"] == "1"
    assert (session.settings[f"nodes.{CUDA}"], session.settings[f"nodes.{CPU}"]) == ("2", "1")


@pytest.fixture
def gpu(net, monkeypatch):
    """What opens a session on a GPU that is not there, and the session behind it."""
    fake = Fake([CUDA, CPU], {CUDA: 3})
    value = onnxruntime.OrtValue
    on_cpu = SimpleNamespace(
        ortvalue_from_numpy=lambda array, device, index: value.ortvalue_from_numpy(
            array, "cpu", index
        ),
        ortvalue_from_shape_and_type=lambda shape, kind, device, index: (
            value.ortvalue_from_shape_and_type(shape, kind, "cpu", index)
        ),
    )
    stand_in(monkeypatch, fake)
    monkeypatch.setattr(onnxruntime, "OrtValue", on_cpu)
    return lambda **options: (open_session(net, provider="cuda", options=Options(**options)), fake)


def test_what_is_set_for_cuda_reaches_onnx_runtime_and_the_settings(gpu):
    session, fake = gpu(tf32=False, conv_search="heuristic", prefer_nhwc=True, cuda_graph=True)
    wanted = {
        "enable_cuda_graph": "1",
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "prefer_nhwc": "1",
    }
    assert fake.asked == [(CUDA, wanted)]
    assert {key: session.settings[f"{CUDA}.{key}"] for key in wanted} == wanted


def test_what_is_not_set_is_left_to_onnx_runtime(gpu):
    assert gpu()[1].asked == [(CUDA, {})]


def test_an_option_that_does_not_take_is_refused(net, monkeypatch):
    stand_in(monkeypatch, Fake([CUDA, CPU], {CUDA: 3}, ignores=["use_tf32"]))
    with pytest.raises(RuntimeUnavailableError, match="option use_tf32 was set to 0 and is 1"):
        open_session(net, provider="cuda", options=Options(tf32=False))


@pytest.mark.parametrize("provider", ["cpu", "tensorrt", CPU])
def test_an_option_of_another_provider_is_refused(provider, net):
    with pytest.raises(RuntimeUnavailableError, match="no such option for it: use_tf32"):
        open_session(net, provider=provider, options=Options(tf32=False))


def test_a_convolution_search_that_is_none_is_refused():
    with pytest.raises(RecipeError, match="exhaustive or heuristic or default"):
        Options(conv_search="fast")


def test_strict_tells_onnx_runtime_to_refuse_what_would_fall_back(gpu):
    key = "session.disable_cpu_ep_fallback"
    assert gpu(strict=True)[1].settings.get_session_config_entry(key) == "1"
    with pytest.raises(RuntimeError, match="does not have"):
        gpu()[1].settings.get_session_config_entry(key)


def test_a_captured_graph_has_outputs_that_stay_and_a_number_of_its_own(gpu):
    session, fake = gpu(cuda_graph=True)
    numbers = []
    for batch in (5, 6):
        once = session.prepare(images(batch))
        assert fake.binding.outputs["logits"].shape() == [batch, 3]
        once()
        numbers.append(fake.ran.get_run_config_entry("gpu_graph_id"))
    assert numbers == ["1", "2"]
    session, fake = gpu()
    session.prepare(images(5))()
    assert fake.binding.outputs == {"logits": "cuda"}
    assert fake.ran is None


def test_a_captured_graph_needs_outputs_of_known_size(gpu, monkeypatch):
    unknown = SimpleNamespace(name="logits", type="tensor(float)", shape=["batch", "classes"])
    monkeypatch.setattr(Fake, "get_outputs", lambda self: [unknown])
    with pytest.raises(ExportError, match="sizes that depend on the batch only"):
        gpu(cuda_graph=True)[0].prepare(images(2))


def test_the_copies_that_a_run_leaves_out_are_calls_of_their_own(gpu):
    session, fake = gpu()
    x = images(4)
    copies = session.copies(x)
    assert list(copies) == ["to_device", "to_host"]
    x *= 2
    for copy in copies.values():
        copy()
    np.testing.assert_array_equal(fake.binding.inputs["input"].numpy(), x)


def test_the_cpu_has_no_copies(net):
    assert open_session(net, provider="cpu", threads=1).copies(images(1)) == {}


def test_images_take_the_type_that_the_file_asks_for(net, tmp_path):
    model = onnx.load(net)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    model.graph.node.insert(0, helper.make_node("Cast", ["input"], ["image"], to=TensorProto.FLOAT))
    model.graph.node[1].input[0] = "image"
    half = tmp_path / "half.onnx"
    onnx.save(model, half)
    x = images(3)
    session = open_session(half, provider="cpu", threads=1)
    np.testing.assert_allclose(session.run(x), x.reshape(3, 4) @ WEIGHT, atol=0.02)
    session.prepare(x)()


def test_an_onnx_runtime_that_does_not_count_nodes_is_no_error():
    assert runtime._nodes(object()) == Counter()


def test_accuracy_counts_over_batches_of_unequal_size(net):
    x = images(7)
    classes = (x.reshape(7, 4) @ WEIGHT).argmax(axis=1)
    labels = classes.copy()
    labels[[0, 5]] = (labels[[0, 5]] + 1) % 3
    batches = [
        (torch.from_numpy(x[a:b]), torch.from_numpy(labels[a:b])) for a, b in ((0, 4), (4, 7))
    ]
    assert accuracy(net, batches, threads=1) == 5 / 7
    with pytest.raises(DataError, match="no images"):
        accuracy(net, [])


def test_pytorch_runs_a_copy_in_eval_mode_behind_the_same_protocol():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)
    ).train()
    statistics = model[1].running_mean.clone()
    session = open_model(model)
    x = images(3)
    logits = session.run(x)
    session.prepare(x)()
    assert model.training
    assert torch.equal(model[1].running_mean, statistics)
    with torch.no_grad():
        np.testing.assert_allclose(logits, model.eval()(torch.from_numpy(x)).numpy(), rtol=1e-6)
    assert (session.name, session.provider) == ("torch", "cpu")
    assert session.copies(x) == {}
    assert session.settings["threads"] == str(torch.get_num_threads())
    session.close()
    with pytest.raises(ValueError, match="closed"):
        session.run(x)


def test_pytorch_has_the_threads_that_were_asked_for_until_it_is_closed():
    before = torch.get_num_threads()
    sessions = [open_model(nn.Flatten(), threads=before + 1) for _ in range(2)]
    assert sessions[0].settings["threads"] == str(before + 1)
    for session in reversed(sessions):
        session.close()
    assert torch.get_num_threads() == before
    with pytest.raises(RecipeError, match="1 or more"):
        open_model(nn.Identity(), threads=0)


def test_a_compiled_network_is_compiled_by_its_first_run_and_computes_the_same(monkeypatch):
    """With Dynamo's own backend in place of inductor's C++, which takes a minute to compile."""
    compiled, compile_ = [], torch.compile

    def eager(model, **options):
        return compile_(
            model, backend=lambda graph, _: compiled.append(graph) or graph.forward, **options
        )

    monkeypatch.setattr(torch, "compile", eager)
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), images(2)
    session = open_model(model, compiled=True)
    once = session.prepare(x)
    assert (session.name, compiled) == ("torch-compiled", [])
    once()
    once()
    assert len(compiled) == 1
    np.testing.assert_allclose(session.run(x), open_model(model).run(x), rtol=1e-6)
    session.close()


def test_a_network_that_can_not_be_compiled_is_never_timed_eagerly():
    class Branches(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    session = open_model(Branches(), compiled=True)
    with pytest.raises(RuntimeUnavailableError, match="runtime torch-compiled"):
        session.prepare(images(1))()
    session.close()


def test_what_pytorch_can_not_run_is_one_error_that_says_on_what():
    session = open_model(nn.Conv2d(4, 2, 1))
    with pytest.raises(
        RuntimeUnavailableError, match=r"(?s)runtime torch on images .*expected.*memory for"
    ):
        session.prepare(images(1))()
    session.close()


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


class Card:
    """NVML as it answers for one GPU; what is not here the card does not give."""

    NVMLError = pynvml.NVMLError

    def __init__(self, patch, **answers):
        for name in [name for name in dir(pynvml) if name.startswith("nvmlDeviceGet")]:
            patch.setattr(pynvml, name, self.not_supported)
        given = {"Init": None, "Shutdown": None, "SystemGetDriverVersion": "570.1", **answers}
        for name, answer in given.items():
            patch.setattr(
                pynvml,
                f"nvml{name}",
                answer if callable(answer) else lambda *_, answer=answer: answer,
            )

    @staticmethod
    def not_supported(*_):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


def test_the_gpu_is_what_nvml_says(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-5f,1")
    Card(
        monkeypatch,
        DeviceGetHandleByUUID=lambda named: named,
        DeviceGetName=lambda gpu: {"GPU-5f": "NVIDIA H100"}[gpu],
        DeviceGetClockInfo=lambda _, kind: {
            pynvml.NVML_CLOCK_SM: 1980,
            pynvml.NVML_CLOCK_MEM: 2619,
        }[kind],
        DeviceGetTemperature=34,
        DeviceGetPowerUsage=70_100,
        DeviceGetUtilizationRates=SimpleNamespace(gpu=12, memory=3),
        DeviceGetCurrentClocksEventReasons=0x24,
        DeviceGetCount=2,
    )
    found = environment()
    assert (found["gpu"], found["gpu_driver"]) == ("NVIDIA H100", "570.1")
    state = gpu_state()
    assert (state["clock_sm_mhz"], state["clock_memory_mhz"], state["temperature_c"]) == (
        1980,
        2619,
        34,
    )
    assert (state["power_w"], state["busy_percent"]) == (70.1, 12)
    assert state["memory_used_mib"] is None  # what the card does not give
    assert state["throttled_by"] == ["power cap", "thermal slowdown, software"]
    assert gpu_count() == 2


def test_a_gpu_that_tells_no_reasons_is_not_said_to_run_free(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    Card(monkeypatch, DeviceGetHandleByIndex=lambda number: {0: "first"}[number])
    assert set(gpu_state().values()) == {None}


def test_without_a_gpu_nothing_is_said_of_one(monkeypatch):
    def no_driver():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    assert (environment()["gpu"], gpu_state(), gpu_count()) == (None, None, 0)


def test_the_version_in_the_environment_is_that_of_the_imported_onnxruntime(monkeypatch):
    """Several packages have the module, so the installed one need not be onnxruntime-gpu."""
    monkeypatch.setattr(onnxruntime, "__version__", "1.2.3")
    assert environment()["onnxruntime"] == "1.2.3"
