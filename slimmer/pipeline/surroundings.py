"""The global state that a call restores: random number generators and PyTorch's gradient mode."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch


@contextmanager
def undisturbed() -> Iterator[None]:
    """A block that may draw random numbers and set seeds, and that records gradients whatever the
    caller's mode is.

    Afterwards the global random states of Python, NumPy and PyTorch (and of GPUs, if they are in
    use) are restored. Inside `torch.no_grad()`, `torch.inference_mode()` or `torch.autocast()`, or
    under `torch.set_default_device`, the block computes the same as elsewhere.

    >>> torch.manual_seed(0).initial_seed()
    0
    >>> before = torch.get_rng_state()
    >>> with torch.inference_mode(), undisturbed():
    ...     (torch.rand(2, requires_grad=True) * 2).requires_grad
    True
    >>> bool((torch.get_rng_state() == before).all())
    True
    """
    drawn, python = torch.get_rng_state(), random.getstate()
    numbers = np.random.get_state()  # noqa: NPY002
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        with ExitStack() as inside:
            inside.enter_context(torch.inference_mode(mode=False))
            inside.enter_context(torch.enable_grad())
            if torch.get_default_device().type != "cpu":
                inside.enter_context(torch.device("cpu"))
            for kind in ("cpu", "cuda"):
                if torch.is_autocast_enabled(kind):
                    inside.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        torch.set_rng_state(drawn)
        random.setstate(python)
        np.random.set_state(numbers)  # noqa: NPY002
        if on_gpus is not None:
            torch.cuda.set_rng_state_all(on_gpus)
