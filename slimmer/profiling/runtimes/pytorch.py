"""PyTorch, eager or compiled, behind the protocol of runtimes, as a baseline for their timings."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from slimmer.errors import RecipeError, RuntimeUnavailableError
from slimmer.exporting.error_text import one_line
from slimmer.graph import logits
from slimmer.models.copying import duplicate, set_mode_
from slimmer.profiling.runtimes import Array, Session
from slimmer.profiling.runtimes.environment import package_version
from slimmer.profiling.runtimes.providers import SHORT
from slimmer.profiling.runtimes.runtime import Request, Runtime
from slimmer.registry import hint

PROVIDERS = ("cpu", "cuda")


class TorchSession:
    """A copy of a network in eval mode on one device; `open_model` creates it."""

    def __init__(
        self, model: nn.Module, device: str, *, threads: int | None = None, compiled: bool = False
    ) -> None:
        self.name = "torch-compiled" if compiled else "torch"
        self.provider = device
        self._compiled = compiled
        self._before = torch.get_num_threads()
        if threads is not None:
            torch.set_num_threads(threads)  # applies to the whole process
        self._model: Any = set_mode_(duplicate(model), training=False).to(device)
        if compiled:
            # Beyond its limit of compiled versions, Dynamo would run eagerly; fullgraph makes that
            # an error.
            self._model = torch.compile(self._model, dynamic=False, fullgraph=True)

    @property
    def settings(self) -> Mapping[str, str]:
        """PyTorch's current settings; slimmer changes none of them except the number of threads."""
        mode = "compiled, inductor" if self._compiled else "eager"
        return {
            "mode": f"{mode}, inference_mode",
            "threads": str(torch.get_num_threads()),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "cudnn.benchmark": str(torch.backends.cudnn.benchmark),
            "cudnn.allow_tf32": str(torch.backends.cudnn.allow_tf32),
        }

    def run(self, x: Array) -> Array:
        """The logits for `x`: the first tensor that the network returns."""
        with torch.inference_mode():
            answer = logits(self._live()(torch.from_numpy(x).to(self.provider)))
        return answer.cpu().numpy()

    def prepare(self, x: Array) -> Callable[[], None]:
        """A call that runs the network once on `x`, which is on the device, and waits for it.

        The first run of a compiled network compiles it. The call raises RuntimeUnavailableError if
        compilation fails, the network does not take `x`, or memory is short.
        """
        model, images = self._live(), torch.from_numpy(x).to(self.provider)
        cuda = self.provider == "cuda"

        def once() -> None:
            try:
                with torch.inference_mode():
                    model(images)
                    if cuda:
                        torch.cuda.synchronize()
            except Exception as error:
                right = (
                    "images that the network takes and enough memory for this batch, or leave "
                    f"{self.name} out"
                )
                if self._compiled:
                    right = f"a C++ compiler, a network that torch.compile supports, {right}"
                where = f"runtime {self.name} on images {x.shape}"
                raise RuntimeUnavailableError(where, one_line(error), right) from error

        return once

    def copies(self, x: Array) -> dict[str, Callable[[], None]]:
        """The copies that `prepare` leaves out on a GPU: `x` to the GPU, and the logits back; none
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
        """Release the network, and restore the process's number of threads."""
        self._model = None
        torch.set_num_threads(self._before)
        if self._compiled:
            torch.compiler.reset()  # its versions would count towards the next sessions' limit

    def _live(self) -> Any:
        if self._model is None:
            raise ValueError("this session is closed")
        return self._model


def check_device(provider: str) -> str:
    """`provider`, unchanged. Raise RuntimeUnavailableError if PyTorch does not have it here.

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
    """A copy of `model`, ready to run on `provider`, "cpu" or "cuda"; `model` is not changed.

    `threads` applies to the whole process until the session is closed; sessions must be closed in
    reverse order. None keeps PyTorch's own number. Raise RuntimeUnavailableError for a provider
    that is unknown or not available, RecipeError for fewer than one thread.
    """
    check_device(provider)
    if threads is not None and threads < 1:
        raise RecipeError("threads", str(threads), "1 or more, or none for PyTorch's own")
    return TorchSession(model, provider, threads=threads, compiled=compiled)


def _module(module: nn.Module, request: Request, *, compiled: bool) -> Session:
    return open_model(module, provider=request.provider, threads=request.threads, compiled=compiled)


def _device(provider: str) -> str:
    return check_device(SHORT.get(provider, provider))


def _runtime(name: str, label: str, *, compiled: bool) -> Runtime:
    return Runtime(
        name,
        label,
        open_module=partial(_module, compiled=compiled),
        provider=_device,
        version=partial(package_version, "torch"),
        wide_vectors=True,
    )


EAGER = _runtime("torch", "PyTorch", compiled=False)
COMPILED = _runtime("torch-compiled", "PyTorch, compiled", compiled=True)
