"""What a profile measures, and the functions that do it: sessions, clocks, traces, machine."""

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
"""Called when a step begins, with the steps done, the number of all steps, and the step's name."""


@dataclass(frozen=True)
class Network:
    """A network to time: its name, its ONNX file, and a function that returns it as a module, which
    runtimes of PyTorch need.
    """

    name: str
    path: Path
    module: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Means:
    """The functions that a profile measures with; tests replace them.

    `open` takes the network, the runtime and the threads. `fresh` and `trace` take the runtime, the
    file, the shape of the images or the images themselves, and the threads; either may be None.
    `cpu` returns the clock of CPU time for a number of threads, or None if it does not measure the
    network. `waited` returns how long threads have waited for a core.
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
