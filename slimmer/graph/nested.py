"""The tensors of what a network takes or returns, whatever they come in."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in a value, in its order: dictionaries, tuples, and classes that PyTorch can take
    apart are opened.

    >>> [tuple(each.shape) for each in tensors_in({"out": Tensor(2, 3), "aux": (None, Tensor(2, 5))})]
    [(2, 3), (2, 5)]
    """
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, (Mapping, list, tuple)):
        parts = [leaf for leaf in tree_leaves(value) if leaf is not value]  # of a registered class
    return [tensor for part in parts for tensor in tensors_in(part)]


def logits(value: Any) -> Tensor:
    """The class scores (N, classes): the first tensor of the answer, since auxiliary heads come
    behind the main one.
    """
    return tensors_in(value)[0]
