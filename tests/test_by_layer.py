"""Widths, FLOPs and time layer by layer: equal to what other counters say of the slim network."""

import json

import numpy as np
import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from slimmer.exporting.onnx import export_onnx
from slimmer.profiling.runtimes.node_layers import layer_names, time_by_layer
from slimmer.profiling.runtimes.node_times import trace_network
from slimmer.profiling.widths import read_layers
from slimmer.pruning.slim_file import load_network


def test_the_layers_of_a_report_are_those_of_the_slim_network(main_job):
    saved = json.loads(main_job.run.report.read_text())
    image = torch.zeros(1, *saved["input_size"])
    for side, file in (("dense", main_job.run.dense), ("slim", main_job.run.slim)):
        network = load_network(file).eval()
        modules = dict(network.named_modules())
        analysis = FlopCountAnalysis(network, image)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        counted = analysis.by_module()
        for row in saved["layers"]:
            module = modules[row["name"]]
            assert row[side] == len(module.weight), row
            assert row["flops"][side] == counted[row["name"]], row
        layers = [name for name, each in modules.items() if isinstance(each, nn.Conv2d | nn.Linear)]
        assert [row["name"] for row in saved["layers"]] == layers
        others = sum(counted[name] for name, each in modules.items() if "Norm" in str(type(each)))
        total = sum(row["flops"][side] for row in saved["layers"])
        assert saved["flops"][side] - total >= others


class Joined(nn.Module):
    """Two branches that are added, so that ONNX Runtime computes the sum in one of them."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.left = nn.Conv2d(16, 16, 3, padding=1)
        self.right = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.first(x).relu()
        x = (self.right(x) + self.left(x)).relu()
        return self.head(x.mean((2, 3)))


def test_a_trace_gives_each_layer_the_nodes_that_compute_it(tmp_path):
    path = tmp_path / "joined.onnx"
    export_onnx(Joined().eval(), path, (3, 16, 16), metadata={})
    images = np.zeros((4, 3, 16, 16), np.float32)
    trace = trace_network(path, images, provider="cpu", threads=1)
    assert list(trace.layers) == ["first", "right", "left", "head"]
    assert list(trace.layers) == [layer.name for layer in read_layers(path)]
    of_layers = trace.shares["Conv"] + trace.shares["Gemm"]
    assert sum(trace.layers.values()) == pytest.approx(of_layers)
    assert max(trace.layers, key=trace.layers.get) == "left"  # nine times the work of `right`


def test_a_trace_with_a_node_that_is_not_known_has_no_layers():
    layers = {"conv": "stem", "relu": "stem"}
    ticks = {"relu_nchwc": 2.0, "ReorderOutput_token_1": 1.0}
    operations = {"relu_nchwc": "Conv", "ReorderOutput_token_1": "ReorderOutput", "else": "Conv"}
    assert time_by_layer(ticks, operations, layers) == {"stem": 2.0}
    assert time_by_layer(ticks | {"else": 1.0}, operations, layers) == {}


class PreActivation(nn.Module):
    """A batch norm that no convolution before it can absorb; ONNX Runtime makes it one itself."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)

    def forward(self, x):
        x = self.first(x)
        return x + self.second(self.norm(x).relu())


def test_a_batch_norm_of_its_own_is_no_layer(tmp_path):
    path = tmp_path / "net.onnx"
    export_onnx(PreActivation().eval(), path, (3, 16, 16), metadata={})
    trace = trace_network(path, np.zeros((4, 3, 16, 16), np.float32), provider="cpu", threads=1)
    assert list(trace.layers) == ["first", "second"]
    assert sum(trace.layers.values()) < sum(trace.shares.values())


def test_the_sum_of_two_branches_belongs_to_the_later_one(tmp_path):
    path = tmp_path / "joined.onnx"
    export_onnx(Joined().eval(), path, (3, 16, 16), metadata={})
    import onnx

    (added,) = [node for node in onnx.load(path).graph.node if node.op_type == "Add"]
    names = layer_names(path)
    assert names[added.name] == names[added.output[0]] == "left"
