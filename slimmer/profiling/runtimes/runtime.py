"""The description of a runtime, which everything that uses runtimes reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from slimmer.errors import RuntimeUnavailableError
from slimmer.profiling.runtimes import Array, Session
from slimmer.profiling.runtimes.session_options import DEFAULTS, Options
from slimmer.registry import hint


@dataclass(frozen=True)
class Request:
    """How to open a session: the provider, intra-op threads (None: the runtime's default), and
    options, which only ONNX Runtime takes.
    """

    provider: str = "cpu"
    threads: int | None = None
    options: Options = DEFAULTS


def only_cpu(provider: str) -> str:
    """`provider`, unchanged. Raise RuntimeUnavailableError if it is not the CPU.

    >>> only_cpu("cpu")
    'cpu'
    """
    if provider != "cpu":
        raise RuntimeUnavailableError(
            "provider", f"{provider!r} is not known", hint(provider, ["cpu"])
        )
    return provider


def no_reason() -> None:
    """Return None: the runtime is always available, or its version is unknown."""


@dataclass(frozen=True)
class Runtime:
    """A runtime: its name in recipes and files, its label in reports, and how it runs a network.

    It opens either an ONNX file (`open_file`) or a PyTorch module (`open_module`); ValueError if it
    has both or neither. `provider` returns the provider for a name, and raises
    RuntimeUnavailableError if there is none. `unavailable` returns the reason why the runtime can't
    be used here, or None. `version` returns the version of the runtime, or None. `takes_options`
    is True if it accepts the options of a `Request`. `wide_vectors` is True if its kernels are slow
    for widths that do not fill whole vectors. `first_use` measures opening and first run in a
    separate process, `trace` where time goes; None skips the measurement.
    """

    name: str
    label: str
    open_file: Callable[[Path, Request], Session] | None = None
    open_module: Callable[[nn.Module, Request], Session] | None = None
    provider: Callable[[str], str] = only_cpu
    unavailable: Callable[[], str | None] = no_reason
    version: Callable[[], str | None] = no_reason
    takes_options: bool = False
    wide_vectors: bool = False
    first_use: Callable[[Path, tuple[int, ...], Request], Any] | None = None
    trace: Callable[[Path, Array, Request], Any] | None = None

    def __post_init__(self) -> None:
        if (self.open_file is None) == (self.open_module is None):
            raise ValueError(
                f"runtime {self.name!r} opens either files or modules: give one of the two"
            )


@dataclass
class FunctionSession:
    """A session that calls a function on the CPU: images (N, C, H, W) float32 in, logits out.

    >>> import numpy as np
    >>> session = FunctionSession("mean", lambda x: x.mean((2, 3)))
    >>> session.run(np.ones((1, 3, 8, 8), np.float32)).shape
    (1, 3)
    """

    name: str
    function: Callable[[Array], Array]
    settings: Mapping[str, str] = field(default_factory=dict)
    provider: str = "cpu"

    def run(self, x: Array) -> Array:
        """The logits for `x`."""
        return self.function(x)

    def prepare(self, x: Array) -> Callable[[], None]:
        """A call that runs the function once on `x`."""

        def once() -> None:
            self.function(x)

        return once

    def copies(self, x: Array) -> dict[str, Callable[[], None]]:  # noqa: ARG002 - the protocol's
        """No copies: the function reads CPU memory."""
        return {}

    def close(self) -> None:
        """Do nothing: there is nothing to release."""
