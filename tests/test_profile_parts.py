"""What a profile explains beside its timings: threads, runtimes, efficiency, copies, first use,
nodes, widths.
"""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_profiling import MS, FakeSession, constant, fake_profile

from slimmer.profiling.notes import gpu_notes, load_note, placement_notes, width_notes
from slimmer.profiling.results import Comparison, Conditions, Ratio, TracedRun
from slimmer.profiling.runtimes.first_use import Fresh
from slimmer.profiling.runtimes.node_times import Trace
from slimmer.profiling.timing import Effort
from slimmer.profiling.widths import Layer, multiple_of, read_layers

PAIR = {"dense": constant(10), "slim": constant(4)}


def test_every_number_of_threads_and_every_runtime_is_timed_in_one_call(tmp_path):
    found, _ = fake_profile(
        tmp_path, PAIR, threads=(1, 2), batches=(1, 8), runtimes=("onnxruntime", "torch"), runs=2
    )
    cases = [(one.threads, one.batch, one.runtime, one.model) for one in found.timings]
    runtimes, models = ("onnxruntime", "torch"), ("dense", "slim")
    assert cases == [(t, b, r, m) for t in (1, 2) for b in (1, 8) for r in runtimes for m in models]
    assert [(one.name, one.runtime) for one in found.subjects] == [
        (m, r) for r in runtimes for m in models
    ]


def test_a_network_is_held_against_the_first_of_its_runtime_and_against_itself_in_the_first_runtime(
    tmp_path,
):
    found, _ = fake_profile(tmp_path, PAIR, runtimes=("onnxruntime", "torch"), runs=2)
    told = {
        (one.model, one.runtime, one.against, one.against_runtime): one.speedup
        for one in found.comparisons
    }
    assert told == {
        ("slim", "onnxruntime", "dense", "onnxruntime"): 2.5,
        ("slim", "torch", "dense", "torch"): 2.5,
        ("dense", "torch", "dense", "onnxruntime"): 1,
        ("slim", "torch", "slim", "onnxruntime"): 1,
    }


def test_efficiency_is_the_speed_up_over_what_the_flops_promise(tmp_path):
    found, _ = fake_profile(
        tmp_path, PAIR, flops={"dense": 4000, "slim": 1000}, runtimes=("onnxruntime", "torch")
    )
    within, _, across, _ = found.comparisons
    assert (within.promise, within.efficiency) == (4, 2.5 / 4)
    assert (across.promise, across.efficiency) == (None, None)  # the same network promises nothing
    assert [one.flops for one in found.subjects] == [4000, 1000, 4000, 1000]


def test_copies_are_timed_apart(tmp_path, monkeypatch):
    def copies(self, x):
        return {"to_device": self.wait(3), "to_host": self.wait(1)}

    def wait(self, ms):
        def once():
            self.clock.now += ms * MS

        return once

    monkeypatch.setattr(FakeSession, "copies", copies)
    monkeypatch.setattr(FakeSession, "wait", wait, raising=False)
    found, _ = fake_profile(tmp_path, PAIR, runs=2)
    assert [one.copies_ms for one in found.timings] == [{"to_device": 3, "to_host": 1}] * 2
    assert [one.median_ms for one in found.timings] == [10, 4]


def test_first_uses_and_traces_are_of_every_network_and_batch_on_the_first_number_of_threads(
    tmp_path,
):
    order = []
    cost = Fresh(5.0, 2.0, 1_000_000, None)
    trace = Trace({"CPUExecutionProvider": 3}, (), (), {"Conv": 1.0})
    means = {
        "fresh": lambda runtime, path, shape, threads: (
            order.append((path.name, shape, threads)) or cost
        ),
        "trace": lambda runtime, path, images, threads: (
            order.append((path.name, images.shape, threads)) or trace
        ),
    }
    found, _ = fake_profile(tmp_path, PAIR, threads=(2, 1), batches=(1, 8), means=means, runs=2)
    shapes = [(1, 1, 2, 2), (8, 1, 2, 2)]
    assert order == [(name, shape, 2) for name in PAIR for shape in shapes for _ in range(2)]
    cases = [(name, batch, 2) for name in PAIR for batch in (1, 8)]
    assert [(one.model, one.batch, one.threads) for one in found.fresh] == cases
    assert [(one.model, one.batch, one.threads) for one in found.traces] == cases
    assert {one.cost for one in found.fresh} == {cost}
    assert all(one.trace is trace for one in found.traces)


def test_progress_counts_first_uses_and_traces_too(tmp_path):
    heard = []
    means = {
        "fresh": lambda runtime, path, shape, threads: None,
        "trace": lambda runtime, path, images, threads: Trace({}, (), (), {}),
    }
    fake_profile(
        tmp_path,
        PAIR,
        threads=(1, 2),
        means=means,
        runs=2,
        on_progress=lambda *step: heard.append(step),
    )
    assert [done for done, _, _ in heard] == list(range(heard[0][1] + 1))
    assert heard[0][2] == "dense, batch 1: tracing nodes"


def test_a_first_use_that_failed_is_left_out(tmp_path):
    found, _ = fake_profile(
        tmp_path, PAIR, means={"fresh": lambda runtime, path, shape, threads: None}, runs=2
    )
    assert found.fresh == ()
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


GPU = Conditions((1, 2, 2), Effort(0, 1, 1), provider="cuda")


def test_the_notes_name_the_nodes_that_left_the_gpu_and_what_throttled_it():
    trace = Trace(
        {"CUDAExecutionProvider": 9, "CPUExecutionProvider": 1},
        ("shape (NonZero)",),
        ("m (MemcpyToHost)",),
        {},
    )
    traces = [TracedRun("slim", "onnxruntime", None, batch, trace=trace) for batch in (1, 8)]
    gpu = {
        "before": {"throttled_by": [], "busy_percent": 35.0},
        "after": {"throttled_by": ["power cap"]},
    }
    subject = SimpleNamespace(name="slim", settings={"nodes.CPUExecutionProvider": "1"})
    assert [*gpu_notes(GPU, gpu), *placement_notes(GPU, traces, [subject])] == [
        "GPU clocks were read, not locked.",
        "The GPU was busy before the first run: 35 %.",
        "The GPU was throttled after the runs: power cap.",
        "slim: nodes left to the CPU: 1 (shape (NonZero)).",
        "slim: nodes copying between devices: 1 (m (MemcpyToHost)).",
    ]
    on_cpu = replace(GPU, provider="cpu")
    assert [*gpu_notes(on_cpu, gpu), *placement_notes(on_cpu, traces, [subject])] == []


@pytest.mark.parametrize(("load", "busy"), [(0.4, False), (1.1, True), (None, False)])
def test_a_machine_that_does_something_else_is_said_to(load, busy):
    told = list(load_note({"load": load, "usable_cores": 2}))
    assert [line[:52] for line in told] == (
        ["The machine was busy: a load of 1.1 on 2 cores in th"] if busy else []
    )


def layer(name, width, *, output=False):
    return Layer(name, "Conv", width, 8, 1, multiple_of(width), output)


def comparison(efficiency, batch=1):
    ratio = Ratio(2 * efficiency, 1.0, 2.0)
    quoted = {
        "speedup": ratio.speedup,
        "low": ratio.low,
        "high": ratio.high,
        "by": "wall",
        "undisturbed": True,
    }
    return Comparison(
        *("slim", "onnxruntime", None, batch, "dense", "onnxruntime"),
        **quoted,
        wall=ratio,
        cpu=None,
        of_medians=1.5,
        verdict="faster",
        promise=2.0,
        efficiency=efficiency,
    )


def test_odd_widths_that_cost_speed_get_a_hint_at_rounding():
    layers = {"slim": (layer("a", 13), layer("b", 16), layer("fc", 10, output=True))}
    found = [comparison(0.8), comparison(0.5, batch=8)]
    [hint] = width_notes(found, layers, 8)
    assert "1 of 2 layers" in hint
    assert "batch 8 realises 50 % of its FLOP reduction" in hint
    assert "may be faster at the same budget, by up to 2.00x" in hint
    assert "--round-to 8" in hint
    assert [
        "2 of 2" in hint and "--round-to 32" in hint for hint in width_notes(found, layers, 32)
    ] == [True]


@pytest.mark.parametrize(("lanes", "multiple"), [(16, 16), (8, 8), (None, 8)])
def test_the_hint_is_at_what_the_machine_is_made_for(lanes, multiple, tmp_path):
    means = {
        "layers": lambda path: (layer("a", 13),),
        "machine": lambda: {"cpu_vector_floats": lanes},
    }
    found, _ = fake_profile(tmp_path, PAIR, flops={"dense": 4000, "slim": 1000}, means=means)
    assert any(f"--round-to {multiple}`" in note for note in found.notes)


@pytest.mark.parametrize(
    ("efficiency", "width"),
    [(0.95, 13), (0.5, 16)],
    ids=["as fast as its FLOPs promise", "widths that are rounded already"],
)
def test_no_hint_where_rounding_would_not_help(efficiency, width):
    assert list(width_notes([comparison(efficiency)], {"slim": (layer("a", width),)}, 16)) == []


@pytest.fixture
def file(tmp_path):
    """Convolutions of 20 channels and of 6 by depth, a linear layer to 32, a matrix to 5
    classes.
    """
    value = helper.make_tensor_value_info
    shapes = {
        "first.weight": (20, 3, 1, 1),
        "deep.weight": (20, 1, 1, 1),
        "fc.weight": (32, 20),
        "head.weight": (32, 5),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "first.weight"], ["a"]),
            helper.make_node("Conv", ["a", "deep.weight"], ["b"], group=20),
            helper.make_node("Flatten", ["b"], ["c"]),
            helper.make_node("Gemm", ["c", "fc.weight"], ["d"], transB=1),
            helper.make_node("MatMul", ["d", "head.weight"], ["logits"]),
        ],
        "net",
        [value("input", TensorProto.FLOAT, ["batch", 3, 1, 1])],
        [value("logits", TensorProto.FLOAT, ["batch", 5])],
        [
            numpy_helper.from_array(np.zeros(shape, np.float32), name)
            for name, shape in shapes.items()
        ],
    )
    path = tmp_path / "net.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path
    )
    return path


def test_the_layers_of_a_file_have_their_widths(file):
    assert read_layers(file) == (
        Layer("first", "Conv", 20, 3, 1, 1, output=False),
        Layer("deep", "Conv", 20, 1, 20, 1, output=False),
        Layer("fc", "Gemm", 32, 20, 1, 32, output=False),
        Layer("head", "MatMul", 5, 32, 1, 1, output=True),
    )


def test_a_quantized_weight_is_read_through_its_scaling(file, tmp_path):
    model = onnx.load(file)
    model.graph.node.insert(
        0, helper.make_node("DequantizeLinear", ["first.weight", "scale"], ["first_real"])
    )
    model.graph.node[1].input[1] = "first_real"
    onnx.save(model, tmp_path / "quantized.onnx")
    assert read_layers(tmp_path / "quantized.onnx")[0].name == "first"


def test_the_layer_that_makes_the_output_is_known_behind_a_quantizer_and_its_inverse(
    file, tmp_path
):
    model = onnx.load(file)
    [answer] = model.graph.output
    plain = answer.name
    for kind, given, made in (
        ("QuantizeLinear", plain, "small"),
        ("DequantizeLinear", "small", "back"),
    ):
        model.graph.node.append(helper.make_node(kind, [given, "scale"], [made]))
    answer.name = "back"
    onnx.save(model, tmp_path / "quantized.onnx")
    assert [layer.output for layer in read_layers(tmp_path / "quantized.onnx")] == [
        layer.output for layer in read_layers(file)
    ]


@pytest.mark.parametrize(
    ("width", "multiple"), [(64, 32), (32, 32), (48, 16), (24, 8), (20, 1), (1, 1)]
)
def test_the_multiple_is_the_largest_that_divides(width, multiple):
    assert multiple_of(width) == multiple
