"""Compute in float64, even if a network's code names narrower types."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

Network = TypeVar("Network", bound=nn.Module)
WIDE = {
    torch.float32: torch.float64,
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.complex64: torch.complex128,
}


class _Widened(TorchDispatchMode):
    """Replaces narrower floating-point types by float64 in the arguments of every operation.

    A narrower tensor that the network has without registering it gets one float64 copy for the
    whole block, so that values written to it are read back.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # by id: the tensor itself, which keeps the id valid, and its copy
        self._copies: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map(self._wide, (args, kwargs or {}))
        return func(*args, **kwargs)

    def _wide(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.dtype in WIDE:
            return self._copies.setdefault(id(value), (value, value.to(WIDE[value.dtype])))[1]
        if isinstance(value, torch.dtype):
            return WIDE.get(value, value)
        return value


def widen_(model: Network) -> Network:
    """The network itself, with its parameters and buffers in float64, or complex128 if they are
    complex.

    >>> {value.dtype for value in widen_(nn.Conv2d(3, 4, 1, dtype=torch.complex64)).parameters()}
    {torch.complex128}
    """
    apply: Callable[[Callable[[Tensor], Tensor]], Any] = model._apply  # noqa: SLF001
    apply(lambda tensor: tensor.to(WIDE.get(tensor.dtype, tensor.dtype)))
    return model


@contextmanager
def in_double() -> Iterator[None]:
    """A block in which a network with float64 weights computes in float64: `x.float()` and new
    tensors are float64 too.

    >>> with in_double():
    ...     torch.ones(2, dtype=torch.float64).half().dtype, torch.zeros(2).dtype
    (torch.float64, torch.float64)
    >>> held = torch.ones(2, dtype=torch.float32)
    >>> with in_double():
    ...     (torch.ones(2, dtype=torch.float64) @ held).dtype
    torch.float64
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Widened():
            yield
    finally:
        torch.set_default_dtype(before)
