"""The entry point of profiling: time networks against each other in the given runtimes."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from slimmer.profiling.clocks import cpu_clock, waited_for_a_core
from slimmer.profiling.means import Means, Network, Progress
from slimmer.profiling.measure import measure
from slimmer.profiling.results import (
    Comparison,
    Conditions,
    Profile,
    Subject,
    Timing,
)
from slimmer.profiling.runtimes import Array, Session
from slimmer.profiling.runtimes.first_use import Fresh
from slimmer.profiling.runtimes.known import RUNTIMES, check_runtimes
from slimmer.profiling.runtimes.node_times import Trace
from slimmer.profiling.runtimes.runtime import Request
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


def profile(
    networks: Sequence[Network], conditions: Conditions, on_progress: Progress | None = None
) -> Profile:
    """The latency of each of `networks`, and how each compares with the first.

    First, each ONNX file is opened and run in a separate process (opening, first run, memory) and
    traced in a session that is not timed otherwise (where its nodes run, where its time goes).
    Then all networks are open at the same time and take turns, block by block, back to back, on
    random images that are already on the device. Only the network is timed; copies are timed
    separately. This is done for every number of threads and every batch size. `on_progress` is
    called with (steps done, number of steps, next step), and once more at the end. Nothing is
    written, and the machine's settings are not changed.

    Raise RecipeError for an invalid number or name, RuntimeUnavailableError if a provider, an
    option or a runtime is not active, and ExportError if a file is broken or takes other images.
    """
    providers = check_runtimes(conditions.runtimes, conditions.provider, conditions.options)

    def request(runtime: str, threads: int | None) -> Request:
        return Request(providers[runtime], threads, conditions.options)

    def fresh(
        runtime: str, path: Path, shape: tuple[int, ...], threads: int | None
    ) -> Fresh | None:
        measured = RUNTIMES[runtime].first_use
        return None if measured is None else measured(path, shape, request(runtime, threads))

    def trace(runtime: str, path: Path, images: Array, threads: int | None) -> Trace:
        traced = RUNTIMES[runtime].trace
        assert traced is not None  # measure checks it
        found: Trace = traced(path, images, request(runtime, threads))
        return found

    def opened(network: Network, runtime: str, threads: int | None) -> Session:
        entry, asked = RUNTIMES[runtime], request(runtime, threads)
        if entry.open_file is not None:
            return entry.open_file(network.path, asked)
        assert entry.open_module is not None  # an entry has one of the two
        assert network.module is not None  # measure checks it
        return entry.open_module(network.module(), asked)

    means = Means(
        open=opened,
        clock=time.perf_counter_ns,
        cpu=partial(cpu_clock, providers[conditions.runtimes[0]]),
        waited=waited_for_a_core,
        fresh=fresh,
        trace=trace,
    )
    return measure(networks, conditions, means, on_progress)
