"""The profile of networks: all that is needed to time them side by side, put together."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from slimmer.errors import RuntimeUnavailableError
from slimmer.profiling.clocks import cpu_clock, waited_for_a_core
from slimmer.profiling.means import Means, Network, Progress
from slimmer.profiling.measure import measure
from slimmer.profiling.results import (
    IN_PYTORCH,
    ONNX_RUNTIME,
    RUNTIMES,
    Comparison,
    Conditions,
    Profile,
    Subject,
    Timing,
)
from slimmer.profiling.runtimes import Array, Session
from slimmer.profiling.runtimes.first_use import Fresh, measure_fresh
from slimmer.profiling.runtimes.node_times import Trace, trace_network
from slimmer.profiling.runtimes.onnxruntime import open_session
from slimmer.profiling.runtimes.providers import asked_for, check_provider
from slimmer.profiling.timing import Effort

__all__ = [
    "RUNTIMES",
    "Comparison",
    "Conditions",
    "Effort",
    "Network",
    "Profile",
    "Subject",
    "Timing",
    "profile",
]


def profile(networks: Sequence[Network], conditions: Conditions, on_progress: Progress | None = None) -> Profile:
    """How long each of `networks` takes, and how each compares with the first.

    First each ONNX file is used once in a process of its own (opening, first run, memory) and traced in a session
    that is timed for nothing else (where its nodes run, where its time goes). Then all are open at once and take
    turns, block by block: back to back, on random images that already lie on the device. What is timed is the
    network alone; copies are timed apart. This is done for every number of threads and every batch size.
    `on_progress` hears (steps done, steps in all, what comes next), and once more when all are done.
    Nothing is written and nothing of the machine is changed.

    Raises RecipeError for a number or a name that makes no sense, RuntimeUnavailableError where a provider, an
    option or a runtime is not active, ExportError where a file is broken or takes other images.
    """
    provider, options = check_provider(conditions.provider), conditions.options
    asked_for(provider, options)  # an option that the provider does not have is refused before anything is opened
    _check_runtimes(conditions.runtimes)

    def fresh(path: Path, shape: tuple[int, ...], threads: int | None) -> Fresh | None:
        return measure_fresh(path, shape, provider=provider, threads=threads, options=options)

    def trace(path: Path, images: Array, threads: int | None) -> Trace:
        return trace_network(path, images, provider=provider, threads=threads, options=options)

    def opened(network: Network, runtime: str, threads: int | None) -> Session:
        if runtime in IN_PYTORCH:
            # PyTorch takes a second to load, which ONNX files alone need not wait for.
            from slimmer.profiling.runtimes.pytorch import open_model  # noqa: PLC0415

            assert network.module is not None  # measure has seen to it
            compiled = runtime == "torch-compiled"
            return open_model(network.module(), provider=provider, threads=threads, compiled=compiled)
        return open_session(network.path, provider=provider, threads=threads, options=options)

    means = Means(
        open=opened,
        clock=time.perf_counter_ns,
        cpu=partial(cpu_clock, provider),
        waited=waited_for_a_core,
        fresh=fresh,
        trace=trace,
    )
    return measure(networks, conditions, means, on_progress)


def _check_runtimes(runtimes: Sequence[str]) -> None:
    """Raise RuntimeUnavailableError for a runtime that is listed and that nothing here opens."""
    opened = (ONNX_RUNTIME, *IN_PYTORCH)
    for runtime in runtimes:
        if runtime not in opened:
            found = "it is listed, and no code opens a session of it"
            raise RuntimeUnavailableError(f"runtime {runtime}", found, f"one of {', '.join(opened)}")
