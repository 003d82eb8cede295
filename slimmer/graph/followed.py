"""Make traces follow what Python does to tensors without an operation of PyTorch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def copies() -> Iterator[None]:
    """A block in which Python's copies of a tensor are operations; otherwise they are made from the
    storage, which no trace sees.
    """

    def shallow(tensor: Tensor) -> Tensor:
        if isinstance(tensor, nn.Parameter):
            return nn.Parameter(tensor.detach(), tensor.requires_grad)
        return tensor.view_as(tensor)

    def deep(tensor: Tensor, memo: dict[int, Any]) -> Any:
        if isinstance(tensor, nn.Parameter):
            return known(tensor, memo)
        return memo.setdefault(id(tensor), tensor.clone())

    whole: Any = Tensor
    known = whole.__deepcopy__
    whole.__copy__, whole.__deepcopy__ = shallow, deep
    try:
        yield
    finally:
        del whole.__copy__
        whole.__deepcopy__ = known


@contextmanager
def detached() -> Iterator[None]:
    """A block in which `x.data` is an operation; otherwise the trace loses the activation there."""
    known: Any = Tensor.data

    def data(tensor: Tensor) -> Any:
        return known.__get__(tensor) if isinstance(tensor, nn.Parameter) else tensor.detach()

    whole: Any = Tensor
    whole.data = property(data, known.__set__)
    try:
        yield
    finally:
        del whole.data


@contextmanager
def checks() -> Iterator[None]:
    """A block in which PyTorch's checks of sizes accept tensors, which is what torch.jit.trace
    makes of a size (unpooling).
    """
    whole: Any = torch
    known = whole._check_with  # noqa: SLF001 - the only name by which PyTorch calls it

    def check(error_type: type[Exception], cond: Any, message: Any) -> None:
        known(error_type, bool(cond) if isinstance(cond, Tensor) else cond, message)

    whole._check_with = check  # noqa: SLF001
    try:
        yield
    finally:
        whole._check_with = known  # noqa: SLF001
