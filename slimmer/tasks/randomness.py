"""The random numbers of a loader, apart from those of training."""

import hashlib
import random
from types import TracebackType
from typing import Any

import numpy as np
import torch

State = tuple[torch.Tensor, Any, Any]


class Randomness:
    """A block in which the global generators of PyTorch, NumPy and Python go on from where the last
    block ended; the first one starts with `seed`. Outside of it they are as before.

    A loader that is asked for batches only in such blocks gives the same ones whatever is drawn
    between them.

    >>> inside = Randomness(1)
    >>> with inside:
    ...     first = float(torch.rand(()))
    >>> _ = torch.rand(3)
    >>> again = Randomness(1)
    >>> with again:
    ...     bool(first == float(torch.rand(())))
    True
    """

    def __init__(self, seed: int) -> None:
        before = _state()
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - the state that users' transforms draw from
        self._inside = _state()
        _restore(before)
        self._outside = before

    def __enter__(self) -> None:
        self._outside = _state()
        _restore(self._inside)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inside = _state()
        _restore(self._outside)


def seed_of(seed: int, epoch: int) -> int:
    """A seed of 63 bits for an epoch.

    >>> seed_of(0, 1) != seed_of(1, 0)
    True
    """
    found = hashlib.sha256(f"{seed} {epoch}".encode()).digest()
    return int.from_bytes(found[:8], "big") >> 1


def seed_(loader: Any, seed: int, epoch: int) -> None:
    """Seed the generators that a DataLoader and its samplers hold, and tell the epoch to those that
    have `set_epoch`.
    """
    sampler, batches = getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)
    holders = [loader, sampler, batches, getattr(batches, "sampler", None)]
    for holder in holders:
        generator = getattr(holder, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed)
    for holder in [*holders, getattr(loader, "dataset", None)]:
        tell = getattr(holder, "set_epoch", None)
        if callable(tell):
            tell(epoch)


def _state() -> State:
    return torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002


def _restore(state: State) -> None:
    torch.set_rng_state(state[0])
    random.setstate(state[1])
    np.random.set_state(state[2])  # noqa: NPY002
