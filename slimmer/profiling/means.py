"""What a profile measures, and with what: the networks, their sessions, the time, the machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimmer.exporting.onnx import read_metadata
from slimmer.profiling.clocks import Clock, not_known
from slimmer.profiling.runtimes import Array, Session
from slimmer.profiling.runtimes.environment import environment
from slimmer.profiling.runtimes.first_use import Fresh
from slimmer.profiling.runtimes.gpu import GpuState, gpu_state
from slimmer.profiling.runtimes.node_times import Trace
from slimmer.profiling.widths import Layer, read_layers

Progress = Callable[[int, int, str], None]
"""Called as a step begins, with how many are done, how many there are, and what the step is."""


@dataclass(frozen=True)
class Network:
    """A network to time: its name, its ONNX file, and how to get it as a module, which PyTorch
    needs.
    """

    name: str
    path: Path
    module: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Means:
    """What measures: a session of a network in a runtime, a process of its own, a trace, the time.

    `open` is given the network, the runtime and the threads; `fresh` and `trace` the runtime, the
    network, the images' shape or the images, and the threads; they may be absent. `cpu` gives the
    clock of CPU time for a number of threads, None where it says nothing, and `waited` how long
    threads have waited for a core.
    """

    open: Callable[[Network, str, int | None], Session]
    clock: Clock
    cpu: Callable[[int | None], Clock | None] = lambda _: None
    waited: Callable[[], int | None] = not_known
    fresh: Callable[[str, Path, tuple[int, ...], int | None], Fresh | None] | None = None
    trace: Callable[[str, Path, Array, int | None], Trace] | None = None
    layers: Callable[[Path], tuple[Layer, ...]] = read_layers
    about: Callable[[Path], Mapping[str, str]] = read_metadata
    gpu: Callable[[], GpuState | None] = gpu_state
    machine: Callable[[], Mapping[str, str | int | float | None]] = environment
