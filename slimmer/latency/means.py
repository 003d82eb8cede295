"""How a network is timed in a setting: its session, clocks and node times. Imports no torch."""

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from slimmer.profiling.clocks import Clocks, cpu_clock, waited_for_a_core
from slimmer.profiling.runtimes import Array, Session
from slimmer.profiling.runtimes.environment import environment
from slimmer.profiling.runtimes.onnxruntime import open_session
from slimmer.profiling.runtimes.providers import CPU, OPENVINO, first_choice
from slimmer.recipe.latency_section import TimingSection

_SUFFIX = "_kernel_time"
LAUNCH_US, MACS_PER_US, FLOATS_PER_US = 4.0, 1e7, 2.5e5  # of a GPU, roughly
SECONDS, LEAST, MOST = 0.15, 4, 60  # of the profiled runs of one network, after the first run

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """A node of the graph that ONNX Runtime runs: shapes of its inputs and outputs, and its
    microseconds.
    """

    name: str
    op: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    us: float


@dataclass(frozen=True)
class Means:
    """The functions that time networks: `open` an ONNX file, the clocks, the nodes of a file with
    the time of each, and the machine.
    """

    open: Callable[[Path], Session]
    clocks: Clocks
    nodes: Callable[[Path, Array], tuple[Node, ...]]
    machine: Callable[[], Mapping[str, Any]] = environment


def means_of(setting: TimingSection) -> Means:
    """The means of timing in a setting.

    The times of nodes on a GPU only cover launches, and some providers run the whole network as one
    node. So on other providers than the CPU, the nodes are those of the CPU, with estimated times;
    OpenVINO computes on the CPU by default, so for it the times are the CPU provider's.
    """
    provider, threads = setting.provider, setting.threads

    def nodes(path: Path, images: Array) -> tuple[Node, ...]:
        if first_choice(provider) in (CPU, OPENVINO):
            return profiled(path, images, provider="cpu", threads=threads)
        return tuple(map(estimated, profiled(path, images[:1], provider="cpu", threads=threads)))

    return Means(
        open=lambda path: open_session(path, provider=provider, threads=threads),
        clocks=Clocks(time.perf_counter_ns, cpu_clock(provider, threads), waited_for_a_core),
        nodes=nodes,
    )


def profiled(path: Path, images: Array, *, provider: str, threads: int | None) -> tuple[Node, ...]:
    """The nodes of the ONNX file at `path` with their times, from a session of its own."""
    with tempfile.TemporaryDirectory(prefix="slimmer-nodes-") as folder:
        trace = Path(folder) / "trace"
        session = open_session(path, provider=provider, threads=threads, trace=trace)
        once = session.prepare(images)
        once()
        began = time.perf_counter()
        for done in range(MOST):
            if done >= LEAST and time.perf_counter() - began > SECONDS:
                break
            once()
        events = json.loads(session.end_trace().read_text(encoding="utf-8"))
        session.close()
    return nodes_of(events)


def estimated(node: Node) -> Node:
    """The node with the time of a launch, its multiply-adds and its memory on a GPU, roughly: only
    the order of magnitude of classes matters, which measured latencies then correct.
    """
    sizes = [float(np.prod(shape)) for shape in (*node.inputs, *node.outputs)]
    macs = 0.0
    if len(node.inputs) > 1 and node.outputs and "Conv" in node.op:
        macs = sizes[len(node.inputs)] * float(np.prod(node.inputs[1][1:]))
    elif node.inputs and node.outputs and ("Gemm" in node.op or "MatMul" in node.op):
        macs = sizes[0] * float(node.outputs[0][-1])
    us = LAUNCH_US + macs / MACS_PER_US + sum(sizes) / FLOATS_PER_US
    return replace(node, us=us)


def nodes_of(events: Iterable[Mapping[str, Any]]) -> tuple[Node, ...]:
    """The nodes in the events of ONNX Runtime's profiler, in the order of their first run.

    The time of a node is the mean of the quicker half of its runs after the first: other processes
    slow down single runs, and the profiler rounds to whole microseconds.
    """
    described: dict[str, Mapping[str, Any]] = {}
    durations: defaultdict[str, list[float]] = defaultdict(list)
    for event in events:
        name = str(event.get("name"))
        if event.get("cat") == "Node" and name.endswith(_SUFFIX):
            name = name.removesuffix(_SUFFIX)
            described.setdefault(name, event["args"])
            durations[name].append(float(event["dur"]))
    found = []
    for name, args in described.items():
        runs = np.sort(durations[name][1:] or durations[name])
        quick = runs[: max(1, len(runs) // 2)]
        shapes = _shapes(args.get("input_type_shape")), _shapes(args.get("output_type_shape"))
        found.append(Node(name, args["op_name"], *shapes, float(quick.mean())))
    return tuple(found)


def _shapes(listed: Any) -> tuple[Shape, ...]:
    """The shapes in the profiler's list of {type: shape}."""
    found: list[Shape] = []
    for each in listed or ():
        found += [tuple(map(int, shape)) for shape in each.values()]
    return tuple(found)
