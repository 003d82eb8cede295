"""What a call finds around it and leaves as it was: random numbers, and whether PyTorch records
gradients.
"""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch


@contextmanager
def undisturbed() -> Iterator[None]:
    """A block that may draw and seed as it likes, and that records gradients whatever stands around
    it.

    Afterwards the global random states of Python, NumPy and PyTorch (of GPUs too, where they are in
    use) are as they were. Calls inside `torch.no_grad()`, `torch.inference_mode()` or
    `torch.autocast()`, or under `torch.set_default_device`, compute as others do.

    >>> torch.manual_seed(0).initial_seed()
    0
    >>> before = torch.get_rng_state()
    >>> with torch.inference_mode(), undisturbed():
    ...     (torch.rand(2, requires_grad=True) * 2).requires_grad
    True
    >>> bool((torch.get_rng_state() == before).all())
    True
    """
    drawn, python, numbers = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
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
