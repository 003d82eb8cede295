"""PyTorch, eager or compiled, behind the same protocol, to hold a runtime's timings against."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from slimmer.errors import RecipeError, RuntimeUnavailableError
from slimmer.exporting.error_text import one_line
from slimmer.graph import logits
from slimmer.models.copying import duplicate, set_mode_
from slimmer.profiling.runtimes import Array
from slimmer.registry import hint

PROVIDERS = ("cpu", "cuda")


class TorchSession:
    """A copy of a network in eval mode on one device; `open_model` makes it."""

    def __init__(
        self, model: nn.Module, device: str, *, threads: int | None = None, compiled: bool = False
    ) -> None:
        self.name = "torch-compiled" if compiled else "torch"
        self.provider = device
        self._compiled = compiled
        self._before = torch.get_num_threads()
        if threads is not None:
            torch.set_num_threads(threads)  # PyTorch has one number for the whole process
        self._model: Any = set_mode_(duplicate(model), training=False).to(device)
        if compiled:
            # Of more versions than its limit Dynamo would run the rest eagerly; fullgraph makes
            # that an error.
            self._model = torch.compile(self._model, dynamic=False, fullgraph=True)

    @property
    def settings(self) -> Mapping[str, str]:
        """PyTorch's settings of the moment; slimmer changes none of them but the number of threads
        asked for.
        """
        return {
            "mode": f"{'compiled, inductor' if self._compiled else 'eager'}, inference_mode",
            "threads": str(torch.get_num_threads()),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "cudnn.benchmark": str(torch.backends.cudnn.benchmark),
            "cudnn.allow_tf32": str(torch.backends.cudnn.allow_tf32),
        }

    def run(self, x: Array) -> Array:
        """The logits for `x`, the first tensor of what the network returns."""
        with torch.inference_mode():
            answer = logits(self._live()(torch.from_numpy(x).to(self.provider)))
        return answer.cpu().numpy()

    def prepare(self, x: Array) -> Callable[[], None]:
        """A call that runs the network once on `x` on the device, and waits for it.

        A compiled network is compiled by its first run. The call raises RuntimeUnavailableError
        where that fails, or the network does not take `x`, or there is no memory for it.
        """
        model, images, cuda = (
            self._live(),
            torch.from_numpy(x).to(self.provider),
            self.provider == "cuda",
        )

        def once() -> None:
            try:
                with torch.inference_mode():
                    model(images)
                    if cuda:
                        torch.cuda.synchronize()
            except Exception as error:
                compiled = (
                    "a C++ compiler, a network that torch.compile takes, " if self._compiled else ""
                )
                right = f"{compiled}images that the network takes and memory for such a batch, or leave {self.name} out"
                where = f"runtime {self.name} on images {x.shape}"
                raise RuntimeUnavailableError(where, one_line(error), right) from error

        return once

    def copies(self, x: Array) -> dict[str, Callable[[], None]]:
        """What `prepare` leaves out on a GPU: calls that copy `x` to it, and the logits back; none
        on the CPU.
        """
        if self.provider == "cpu":
            return {}
        images = torch.from_numpy(x)
        there = images.to(self.provider)
        with torch.inference_mode():
            answer = logits(self._live()(there))

        def to_device() -> None:
            there.copy_(images)
            torch.cuda.synchronize()

        def to_host() -> None:
            answer.cpu()

        return {"to_device": to_device, "to_host": to_host}

    def close(self) -> None:
        """Let go of the network, and give the process its number of threads back."""
        self._model = None
        torch.set_num_threads(self._before)
        if self._compiled:
            torch.compiler.reset()  # else its versions count against the limit of the next sessions

    def _live(self) -> Any:
        if self._model is None:
            raise ValueError("this session is closed")
        return self._model


def check_device(provider: str) -> str:
    """`provider` itself, where PyTorch has it. Raises RuntimeUnavailableError where it has not.

    >>> check_device("cpu")
    'cpu'
    """
    if provider not in PROVIDERS:
        raise RuntimeUnavailableError(
            "provider", f"{provider!r} is not known to PyTorch", hint(provider, PROVIDERS)
        )
    if provider == "cuda" and not torch.cuda.is_available():
        found = f"torch {torch.__version__} sees no GPU"
        raise RuntimeUnavailableError(
            "provider cuda", found, "a build of torch for CUDA and a GPU, or cpu"
        )
    return provider


def open_model(
    model: nn.Module, *, provider: str = "cpu", threads: int | None = None, compiled: bool = False
) -> TorchSession:
    """A copy of `model`, ready to run on `provider`: "cpu" or "cuda"; `model` stays as it was.

    `threads` holds for the whole process until the session is closed; sessions close in reverse
    order. None leaves PyTorch's own. Raises RuntimeUnavailableError for a provider that is unknown
    or not there, RecipeError for fewer threads than one.
    """
    check_device(provider)
    if threads is not None and threads < 1:
        raise RecipeError("threads", str(threads), "1 or more, or none for PyTorch's own")
    return TorchSession(model, provider, threads=threads, compiled=compiled)
