"""Where the nodes of an ONNX file run and where its time goes, from a session that is timed for
nothing else.
"""

import json
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slimmer.errors import RuntimeUnavailableError
from slimmer.profiling.runtimes import Array
from slimmer.profiling.runtimes.onnxruntime import open_session
from slimmer.profiling.runtimes.providers import CPU, first_choice
from slimmer.profiling.runtimes.session_options import DEFAULTS, Options

RUNS, LEAST = 9, 3  # of a network that takes long, fewer
SECONDS = 2.0
_SUFFIX = "_kernel_time"
Event = Mapping[str, Any]


@dataclass(frozen=True)
class Trace:
    """What ONNX Runtime's profiler saw of one network.

    `nodes` counts by provider. `on_cpu` names the nodes that fell back to the CPU, `memcpy` those
    that copy between devices. `shares` is each operation's share of the nodes' time on the CPU; on
    a GPU it is empty, where a node's time is that of launching its kernels. The profiler slows a
    session, so it says shares and no durations.
    """

    nodes: dict[str, int]
    on_cpu: tuple[str, ...]
    memcpy: tuple[str, ...]
    shares: dict[str, float]


def trace_network(
    path: Path, x: Array, *, provider: str, threads: int | None = None, options: Options = DEFAULTS
) -> Trace:
    """What the nodes of the ONNX file at `path` do on images `x`, over some runs behind a first
    one.

    Raises RuntimeUnavailableError under `options.strict` where a node is left to the CPU or copies
    between devices, with the names of all such, and what `open_session` raises. Source:
    https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html
    """
    # A CUDA graph hides its nodes, and a strict session could not say which ones it refuses.
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
    found = read_trace(events, first_choice(provider))
    if options.strict and (found.on_cpu or found.memcpy):
        raise RuntimeUnavailableError(
            f"{path} on {provider}, strictly",
            f"left to the CPU: {listed(found.on_cpu)}; copies between devices: {listed(found.memcpy)}",
            "operations that the provider has, or leave --strict out",
        )
    return found


def read_trace(events: Iterable[Event], wanted: str) -> Trace:
    """What the events of ONNX Runtime's profiler say about a session on the provider `wanted`."""
    events = list(events)
    ends = sorted(
        event["ts"] + event["dur"] for event in events if event.get("name") == "model_run"
    )
    nodes: dict[str, Event] = {}
    durations: defaultdict[str, list[float]] = defaultdict(list)
    for event in events:
        if (
            event.get("cat") != "Node"
            or not str(event["name"]).endswith(_SUFFIX)
            or "provider" not in event["args"]
        ):
            continue
        name = event["name"].removesuffix(_SUFFIX)
        nodes[name] = event["args"]
        if ends and event["ts"] >= ends[0]:  # the first run also allocates
            durations[name].append(event["dur"])
    by = Counter(args["provider"] for args in nodes.values())
    copying = {name for name, args in nodes.items() if args["op_name"].startswith("Memcpy")}
    fallen = {name for name, args in nodes.items() if args["provider"] == CPU != wanted} - copying
    spent: defaultdict[str, float] = defaultdict(float)
    for name, ticks in durations.items():
        spent[nodes[name]["op_name"]] += statistics.median(
            ticks
        )  # one run that is disturbed must not count
    total = sum(spent.values())
    told = sorted(spent.items(), key=lambda part: -part[1]) if wanted == CPU and total else ()
    return Trace(
        nodes=dict(by),
        on_cpu=tuple(f"{name} ({nodes[name]['op_name']})" for name in sorted(fallen)),
        memcpy=tuple(f"{name} ({nodes[name]['op_name']})" for name in sorted(copying)),
        shares={name: ticks / total for name, ticks in told},
    )


def listed(names: tuple[str, ...], most: int = 8) -> str:
    """How many there are and their names, the first `most` of them.

    >>> listed(("a", "b", "c"), most=2), listed(())
    ('3 (a, b, …)', 'none')
    """
    if not names:
        return "none"
    return f"{len(names)} ({', '.join(names[:most])}{', …' if len(names) > most else ''})"
