"""The tensors in the inputs or outputs of a network, in any nesting."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in a value, in order; dictionaries, tuples and registered pytree classes are
    opened.

    >>> value = {"out": Tensor(2, 3), "aux": (None, Tensor(2, 5))}
    >>> [tuple(each.shape) for each in tensors_in(value)]
    [(2, 3), (2, 5)]
    """
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, (list, tuple)):
        parts = list(value)
    else:
        parts = [leaf for leaf in tree_leaves(value) if leaf is not value]  # a registered class
    found = []
    for part in parts:
        found += tensors_in(part)
    return found


def logits(value: Any) -> Tensor:
    """The class scores (N, classes): the first tensor of the output, since auxiliary heads come
    after the main one.
    """
    return tensors_in(value)[0]
