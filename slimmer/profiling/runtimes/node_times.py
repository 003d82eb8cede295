"""Where the nodes of an ONNX file run and how its time is spent, from a separate session."""

import json
import math
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from slimmer.errors import RuntimeUnavailableError
from slimmer.profiling.runtimes import Array
from slimmer.profiling.runtimes.node_layers import layer_names, time_by_layer
from slimmer.profiling.runtimes.onnxruntime import open_session
from slimmer.profiling.runtimes.providers import CPU, first_choice
from slimmer.profiling.runtimes.session_options import DEFAULTS, Options

RUNS, LEAST, SECONDS = 9, 3, 2.0  # after these seconds, the fewest runs are enough
_SUFFIX = "_kernel_time"
Event = Mapping[str, Any]


@dataclass(frozen=True)
class Trace:
    """What ONNX Runtime's profiler recorded of one network.

    `nodes` is the number of nodes on each provider. `on_cpu` lists the nodes that fell back to the
    CPU, `memcpy` those that copy between devices. `shares` is each operation's share of the nodes'
    time on the CPU. On a GPU it is empty, because a node's time there only covers kernel launches.
    The profiler slows down a session, so there are shares and no durations. `layers` is the share
    of each layer, with what is fused into it, in network order; empty if nodes can't be told apart.
    """

    nodes: dict[str, int]
    on_cpu: tuple[str, ...]
    memcpy: tuple[str, ...]
    shares: dict[str, float]
    layers: dict[str, float] = field(default_factory=dict)


def trace_network(
    path: Path, x: Array, *, provider: str, threads: int | None = None, options: Options = DEFAULTS
) -> Trace:
    """The trace of the ONNX file at `path` on images `x`, over several runs after the first.

    Raise RuntimeUnavailableError under `options.strict` if nodes run on the CPU or copy between
    devices, with their names, and the errors of `open_session`. Source:
    https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html
    """
    # A CUDA graph hides its nodes, and a strict session can't report which nodes it refuses.
    plain = replace(options, cuda_graph=False, strict=False)
    with tempfile.TemporaryDirectory(prefix="slimmer-trace-") as folder:
        session = open_session(
            path, provider=provider, threads=threads, options=plain, trace=Path(folder) / "trace"
        )
        once = session.prepare(x)
        once()
        began = time.perf_counter()
        for done in range(RUNS):
            if done >= LEAST and time.perf_counter() - began > SECONDS:
                break
            once()
        events = json.loads(session.end_trace().read_text(encoding="utf-8"))
        session.close()
    found = read_trace(events, first_choice(provider), layer_names(path))
    if options.strict and (found.on_cpu or found.memcpy):
        on_cpu, copying = listed(found.on_cpu), listed(found.memcpy)
        raise RuntimeUnavailableError(
            f"{path} on {provider}, strictly",
            f"left to the CPU: {on_cpu}; copies between devices: {copying}",
            "operations that the provider supports, or leave --strict out",
        )
    return found


def read_trace(
    events: Iterable[Event], wanted: str, layers: Mapping[str, str] = MappingProxyType({})
) -> Trace:
    """The trace in the events of ONNX Runtime's profiler, of a session on the provider `wanted`.

    `layers` are the layers of the file by the names of nodes, see `layer_names`.
    """
    events = list(events)
    runs = [event for event in events if event.get("name") == "model_run"]
    # The first run also allocates memory, so only later events count.
    start = min((run["ts"] + run["dur"] for run in runs), default=math.inf)
    nodes: dict[str, Event] = {}
    durations: defaultdict[str, list[float]] = defaultdict(list)
    for event in events:
        if not _is_node(event):
            continue
        name = event["name"].removesuffix(_SUFFIX)
        nodes[name] = event["args"]
        if event["ts"] >= start:
            durations[name].append(event["dur"])
    on_cpu, memcpy = [], []
    for name, args in sorted(nodes.items()):
        described = f"{name} ({args['op_name']})"
        if args["op_name"].startswith("Memcpy"):
            memcpy.append(described)
        elif args["provider"] == CPU != wanted:
            on_cpu.append(described)
    by_provider = Counter(args["provider"] for args in nodes.values())
    counted = _medians(durations) if wanted == CPU else {}
    operations = {name: str(args["op_name"]) for name, args in nodes.items()}
    return Trace(
        dict(by_provider),
        tuple(on_cpu),
        tuple(memcpy),
        _shares(counted, operations),
        _of_layers(counted, operations, layers),
    )


def _is_node(event: Event) -> bool:
    """Whether an event is the run of a node's kernel."""
    if event.get("cat") != "Node" or not str(event["name"]).endswith(_SUFFIX):
        return False
    return "provider" in event["args"]


def _medians(durations: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median time of each node, because one disturbed run must not count."""
    return {name: statistics.median(ticks) for name, ticks in durations.items()}


def _shares(spent: Mapping[str, float], operations: Mapping[str, str]) -> dict[str, float]:
    """Each operation's share of the time, largest first."""
    total = sum(spent.values())
    if not total:
        return {}
    found: defaultdict[str, float] = defaultdict(float)
    for name, ticks in spent.items():
        found[operations[name]] += ticks
    ordered = sorted(found.items(), key=lambda part: -part[1])
    return {name: ticks / total for name, ticks in ordered}


def _of_layers(
    spent: Mapping[str, float], operations: Mapping[str, str], layers: Mapping[str, str]
) -> dict[str, float]:
    """Each layer's share of the time, in network order."""
    total = sum(spent.values())
    if not total or not layers:
        return {}
    return {
        layer: ticks / total for layer, ticks in time_by_layer(spent, operations, layers).items()
    }


def listed(names: tuple[str, ...], most: int = 8) -> str:
    """The number of names, and the first `most` of them.

    >>> listed(("a", "b", "c"), most=2), listed(())
    ('3 (a, b, …)', 'none')
    """
    if not names:
        return "none"
    more = ", …" if len(names) > most else ""
    return f"{len(names)} ({', '.join(names[:most])}{more})"
