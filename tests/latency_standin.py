"""A runtime without a clock: the latency of a file is a formula of the shapes in it."""

import numpy as np
import onnx
from onnx import shape_inference

from slimmer.latency import means as latency_means
from slimmer.latency.means import Means, Node
from slimmer.profiling.clocks import Clocks

MACHINE = {"cpu": "a formula", "cpu_vector_floats": 8, "onnxruntime": "0", "load": 0.5}


def full(channels, block=8):
    return -(-channels // block) * block


def layers(path):
    """(name, makes, reads, height x width of the output) of every convolution and linear layer."""
    file = shape_inference.infer_shapes(onnx.load(path))
    shapes = {each.name: tuple(each.dims) for each in file.graph.initializer}
    sizes = {}
    for value in (*file.graph.value_info, *file.graph.output):
        dims = value.type.tensor_type.shape.dim
        sizes[value.name] = [dim.dim_value for dim in dims]
    for node in file.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            makes, reads, *kernel = shapes[node.input[1]]
            space = sizes[node.output[0]][2:]
            yield node.name, makes, reads, space, kernel


def ns_of(path, block=8):
    """The time of the file: whole blocks of channels, a launch for every layer."""
    total = 20_000
    for _, makes, reads, space, kernel in layers(path):
        total += node_ns(makes, reads, space, kernel, block)
    return total


def node_ns(makes, reads, space, kernel, block=8):
    makes, reads = full(makes, block), full(reads, block)
    macs = makes * reads * int(np.prod([*space, *kernel]))
    return 2_000 + macs // 100 + 10 * makes * int(np.prod(space))


class StandIn:
    """Its clock advances by the time of the file that runs, times `noise` and plus `delay_ns` if
    these are given.
    """

    def __init__(self, lie=1.0, noise=None, block=8):
        self.now, self.opened, self.lie, self.block = 0, [], lie, block
        self.noise = noise or (lambda: 1.0)
        self.delay_ns = lambda: 0.0

    def means(self, _setting):
        return Means(self.open, Clocks(lambda: self.now, None), self.nodes, lambda: MACHINE)

    def open(self, path):
        self.opened.append(path.name)
        return _Session(self, ns_of(path, self.block))

    def nodes(self, path, images):
        found = []
        batch = len(images)
        for name, makes, reads, space, kernel in layers(path):
            outputs = ((batch, makes, *space),)
            inputs = (batch, reads, *space), (makes, reads, *kernel)
            us = node_ns(makes, reads, space, kernel, self.block) / 1000
            found.append(Node(name, "Conv", inputs, outputs, us**self.lie))
        return tuple(found)

    def install(self, monkeypatch, tmp_path):
        monkeypatch.setattr(latency_means, "means_of", self.means)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr(
            "slimmer.latency.networks.environment", lambda: {"cpu_vector_floats": 8}
        )
        return self


class _Session:
    def __init__(self, owner, ns):
        self.owner, self.ns = owner, ns

    def prepare(self, _images):
        def once():
            spent = self.ns * self.owner.noise() + self.owner.delay_ns()
            self.owner.now += max(1, round(spent))

        return once

    def close(self):
        pass
