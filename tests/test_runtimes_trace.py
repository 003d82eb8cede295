"""What explains a timing: the nodes of a profiled session, and a first use in a process of its
own.
"""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from slimmer.errors import RuntimeUnavailableError
from slimmer.profiling.runtimes import first_use as fresh_module
from slimmer.profiling.runtimes import node_times as trace_module
from slimmer.profiling.runtimes.first_use import measure_fresh, use_once
from slimmer.profiling.runtimes.node_times import Trace, read_trace, trace_network
from slimmer.profiling.runtimes.session_options import DEFAULTS, Options

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.fixture
def net(tmp_path):
    """Images (batch, 1, 32, 32) through a convolution to 64 channels, then a maximum: two nodes,
    256 KB an image.
    """
    value = helper.make_tensor_value_info
    weight = np.random.default_rng(0).standard_normal((64, 1, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "weight"], ["wide"], name="conv", pads=[1, 1, 1, 1]),
            helper.make_node("ReduceMax", ["wide"], ["logits"], name="most", keepdims=0),
        ],
        "net",
        [value("input", TensorProto.FLOAT, ["batch", 1, 32, 32])],
        [value("logits", TensorProto.FLOAT, [])],
        [numpy_helper.from_array(weight, "weight")],
    )
    path = tmp_path / "net.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path
    )
    return path


def node(name, op, provider, ts, dur):
    args = {"op_name": op, "provider": provider}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": args}


def run(ts, dur):
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": dur, "args": {}}


def test_shares_are_of_the_nodes_time_behind_the_first_run_and_one_slow_run_does_not_count():
    events = [node("conv", "Conv", CPU, 0, 900), node("fc", "Gemm", CPU, 900, 100), run(0, 1000)]
    for start, conv, fc in ((1000, 30, 10), (1040, 30, 10), (1080, 30, 9000)):
        events += [
            node("conv", "Conv", CPU, start, conv),
            node("fc", "Gemm", CPU, start + conv, fc),
        ]
    found = read_trace(
        [{"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 5}, *events], CPU
    )
    assert found.shares == {"Conv": 0.75, "Gemm": 0.25}
    assert (found.nodes, found.on_cpu, found.memcpy) == ({CPU: 2}, (), ())


MIXED = [
    node("conv", "Conv", CUDA, 10, 5),
    node("Memcpy_token_1", "MemcpyToHost", CUDA, 15, 5),
    node("shape", "NonZero", CPU, 20, 5),
    node("Memcpy_token_2", "MemcpyFromHost", CPU, 25, 5),
    run(0, 5),
]


def test_nodes_that_fell_back_and_copies_between_devices_are_named():
    found = read_trace(MIXED, CUDA)
    assert found.nodes == {CUDA: 2, CPU: 2}
    assert found.on_cpu == ("shape (NonZero)",)
    assert found.memcpy == ("Memcpy_token_1 (MemcpyToHost)", "Memcpy_token_2 (MemcpyFromHost)")
    assert found.shares == {}  # a node's time on a GPU is that of launching it


def test_strict_refuses_such_nodes_by_name(net, monkeypatch):
    class Session:
        def __init__(self, folder):
            self.file = folder / "trace.json"
            self.file.write_text(json.dumps(MIXED))

        def prepare(self, x):
            return lambda: None

        def end_trace(self):
            return self.file

        def close(self):
            pass

    asked = []

    def opener(path, *, options, trace, **_):
        asked.append(options)
        return Session(trace.parent)

    monkeypatch.setattr(trace_module, "open_session", opener)
    x = np.zeros((1, 1, 32, 32), np.float32)
    assert len(trace_network(net, x, provider="cuda").on_cpu) == 1
    with pytest.raises(
        RuntimeUnavailableError, match=r"left to the CPU: 1 \(shape \(NonZero\)\)"
    ) as caught:
        trace_network(net, x, provider="cuda", options=Options(strict=True, cuda_graph=True))
    assert "2 (Memcpy_token_1" in caught.value.found
    # The traced session is neither strict nor a graph: it has to show the nodes.
    assert asked == [DEFAULTS, DEFAULTS]


def test_a_real_trace_counts_every_node_and_leaves_no_file(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    x = np.random.default_rng(0).standard_normal((2, 1, 32, 32), dtype=np.float32)
    found = trace_network(net, x, provider="cpu", threads=1, options=Options(strict=True))
    assert isinstance(found, Trace)
    assert sum(found.shares.values()) == pytest.approx(1)
    assert {"Conv", "ReduceMax"} <= set(found.shares)
    assert sum(found.nodes.values()) >= 2
    assert sorted(tmp_path.iterdir()) == before


def test_a_first_use_is_measured_in_a_process_of_its_own(net):
    one, many = (
        measure_fresh(net, (batch, 1, 32, 32), provider="cpu", threads=1) for batch in (1, 64)
    )
    assert one.session_ms > 0
    assert many.first_run_ms > one.first_run_ms > 0
    assert one.device_bytes is None
    if not fresh_module._STATUS.is_file():
        assert one.memory_bytes is None
        return
    # 64 images make 64 * 64 * 32 * 32 numbers of four bytes; the runtime's layouts and its arena
    # take some more.
    wide = 64 * 64 * 32 * 32 * 4
    assert wide < many.memory_bytes - one.memory_bytes < 8 * wide


def test_a_process_that_measures_does_not_load_torch():
    code = "import sys, slimmer.profiling.runtimes.first_use; print('torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


def test_a_first_use_that_fails_is_none_and_quiet(net, tmp_path, capfd):
    assert measure_fresh(tmp_path / "gone.onnx", (1, 1, 32, 32), provider="cpu") is None
    assert measure_fresh(net, (1, 3, 32, 32), provider="cpu") is None
    assert capfd.readouterr() == ("", "")


def test_the_memory_of_a_gpu_is_what_nvml_saw_it_rise_by(net, monkeypatch):
    used = iter([100.0, 612.0])
    monkeypatch.setattr(fresh_module, "gpu_state", lambda: {"memory_used_mib": next(used)})
    monkeypatch.setattr(fresh_module, "_resident", lambda key: None)
    make = onnxruntime.InferenceSession
    monkeypatch.setattr(fresh_module, "open_session", lambda path, **_: Opened(make(str(path))))
    found = use_once(net, (1, 1, 32, 32), "cuda", None, DEFAULTS)
    assert (found.device_bytes, found.memory_bytes) == (512 * 2**20, None)


class Opened:
    """A session on the CPU that passes for one on a GPU."""

    def __init__(self, session):
        self.session = session

    def prepare(self, x):
        return lambda: self.session.run(None, {"input": x})
