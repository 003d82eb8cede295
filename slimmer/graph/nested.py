"""The tensors in the inputs or outputs of a network, in any nesting."""

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

Array = TypeVar("Array", Tensor, NDArray[np.generic])


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


def named_tensors(value: Any, place: str = "") -> dict[str, Tensor]:
    """The tensors in a value by their places in it.

    >>> list(named_tensors({"out": Tensor(2), "aux": (Tensor(3), None)}))
    ['.out', '.aux.0']
    """
    if isinstance(value, Tensor):
        return {place: value}
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, (list, tuple)):
        parts = list(enumerate(value))
    else:
        parts = list(enumerate(tensors_in(value)))  # a registered class
    found: dict[str, Tensor] = {}
    for name, part in parts:
        found |= named_tensors(part, f"{place}.{name}")
    return found


def refilled(value: Any, tensors: Iterator[Tensor]) -> Any:
    """The same value with `tensors` instead of its own, in the order of `tensors_in`.

    >>> refilled({"out": Tensor([1]), "aux": [None]}, iter([Tensor([5])]))
    {'out': tensor([5.]), 'aux': [None]}
    """
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, Mapping):
        filled: Any = copy(value)
        for name, part in value.items():
            filled[name] = refilled(part, tensors)
        return filled
    if isinstance(value, (list, tuple)):
        parts = [refilled(part, tensors) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    leaves, form = tree_flatten(value)
    if any(leaf is value for leaf in leaves):
        return value
    return tree_unflatten([refilled(leaf, tensors) for leaf in leaves], form)


def logits(value: Any) -> Tensor:
    """The class scores (N, classes): the first tensor of the output, since auxiliary heads come
    after the main one.
    """
    return tensors_in(value)[0]


def top1_hits(scores: Array, labels: Array) -> Any:
    """Whether each row of `scores` (N, classes) is highest at its label (N,), as booleans (N,).

    Both are tensors or both are NumPy arrays, and so is the result. Top-1 accuracy is its mean.

    >>> top1_hits(Tensor([[0.1, 0.9], [0.8, 0.2]]), Tensor([1, 1])).tolist()
    [True, False]
    """
    return scores.argmax(1) == labels
