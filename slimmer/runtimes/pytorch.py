"""PyTorch's eager mode behind the same protocol, to hold a runtime's timings against."""

import copy
from collections.abc import Callable, Mapping

import torch
from torch import nn

from slimmer.errors import RuntimeUnavailableError
from slimmer.graph import logits
from slimmer.registry import hint
from slimmer.runtimes import Array

PROVIDERS = ("cpu", "cuda")


class TorchSession:
    """A copy of a network in eval mode on one device; `open_model` makes it."""

    name = "pytorch"

    def __init__(self, model: nn.Module, device: str) -> None:
        self.provider = device
        self._model: nn.Module | None = copy.deepcopy(model).eval().to(device)

    @property
    def settings(self) -> Mapping[str, str]:
        """PyTorch's settings of the moment; slimmer changes none of them."""
        return {
            "mode": "eager, inference_mode",
            "threads": str(torch.get_num_threads()),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "cudnn.benchmark": str(torch.backends.cudnn.benchmark),
        }

    def run(self, x: Array) -> Array:
        """The logits for `x`, the first tensor of what the network returns."""
        with torch.inference_mode():
            answer = logits(self._live()(torch.from_numpy(x).to(self.provider)))
        return answer.cpu().numpy()

    def prepare(self, x: Array) -> Callable[[], None]:
        """A call that runs the network once on `x` on the device, and waits for it."""
        model, images, cuda = self._live(), torch.from_numpy(x).to(self.provider), self.provider == "cuda"

        def once() -> None:
            with torch.inference_mode():
                model(images)
                if cuda:
                    torch.cuda.synchronize()

        return once

    def close(self) -> None:
        """Let go of the network."""
        self._model = None

    def _live(self) -> nn.Module:
        if self._model is None:
            raise ValueError("this session is closed")
        return self._model


def open_model(model: nn.Module, *, provider: str = "cpu") -> TorchSession:
    """A copy of `model`, ready to run on `provider`: "cpu" or "cuda"; `model` stays as it was.

    Raises RuntimeUnavailableError for a provider that is unknown or not there.
    """
    if provider not in PROVIDERS:
        raise RuntimeUnavailableError("provider", f"{provider!r} is not known", hint(provider, PROVIDERS))
    if provider == "cuda" and not torch.cuda.is_available():
        found = f"torch {torch.__version__} sees no GPU"
        raise RuntimeUnavailableError("provider cuda", found, "a build of torch for CUDA and a GPU, or cpu")
    return TorchSession(model, provider)
