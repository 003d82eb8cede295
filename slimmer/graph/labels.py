"""Channel labels: integers that are created, tied and fixed during a walk through a program.

A label tensor has the shape of the activation that it describes. Axes along which labels do not
vary have stride 0, so a label tensor needs memory only for its channels.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor


def spread(labels: Tensor, dim: int, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """A label tensor of `shape` that holds `labels` (1-D) along `dim` and does not vary elsewhere.

    >>> spread(torch.tensor([7, 9]), 1, (2, 2, 3)).tolist()[0]
    [[7, 7, 7], [9, 9, 9]]
    """
    view = [1] * len(shape)
    view[dim] = labels.numel()
    return labels.view(view).expand(tuple(shape))


def varies(labels: Tensor, dim: int) -> bool:
    """Whether the labels differ along `dim`."""
    if labels.shape[dim] <= 1 or labels.stride(dim) == 0:
        return False
    first = labels.narrow(dim, 0, 1)
    return not bool((labels == first).all())


def reduced(labels: Tensor) -> Tensor:
    """The same labels with every axis that they do not vary along narrowed to length 1."""
    # Axes of stride 0 first: they cost nothing, and make the others cheap to compare.
    for dim in range(labels.dim()):
        if labels.stride(dim) == 0 and labels.shape[dim] > 1:
            labels = labels.narrow(dim, 0, 1)
    for dim in range(labels.dim()):
        if labels.shape[dim] > 1 and not varies(labels, dim):
            labels = labels.narrow(dim, 0, 1)
    return labels


def compact(labels: Tensor) -> Tensor:
    """The same labels with stride 0 on every axis that they do not vary along."""
    return reduced(labels).expand(labels.shape)


def along(labels: Tensor, dim: int) -> Tensor | None:
    """The labels along `dim` (1-D), or None if they vary along another axis too."""
    small = reduced(labels)
    dim %= labels.dim()
    if not {dim}.issuperset(long_dims(small.shape)):
        return None
    return small.reshape(-1).expand(labels.shape[dim]).contiguous()


def distinct(labels: Tensor) -> list[int]:
    """The different labels, ascending."""
    found: list[int] = np.unique(reduced(labels).numpy()).tolist()
    return found


def varying_dims(labels: Tensor) -> list[int]:
    """The axes along which the labels vary."""
    return long_dims(reduced(labels).shape)


def long_dims(shape: Iterable[int]) -> list[int]:
    """The axes that are longer than 1.

    >>> long_dims((1, 8, 1, 3))
    [1, 3]
    """
    return [dim for dim, size in enumerate(shape) if size > 1]


def tensors_among(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among `values`; for an operation's operands, these are their labels."""
    return [value for value in values if isinstance(value, Tensor)]


@dataclass
class LabelBook:
    """All labels of one walk: their number, which are tied, and which are fixed and why."""

    count: int = 0
    pairs: list[np.ndarray] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)

    def fresh(self, number: int) -> Tensor:
        """`number` new labels."""
        start = self.count
        self.count += number
        return torch.arange(start, self.count)

    def fixed(self, shape: torch.Size | tuple[int, ...], reason: str) -> Tensor:
        """A label tensor of `shape` with one new label that is fixed for `reason`."""
        label = self.fresh(1)
        self.reasons[int(label)] = reason
        return label.view([1] * len(shape)).expand(tuple(shape))

    def fix(self, labels: Tensor, reason: str) -> None:
        """Fix every label in `labels`: its channel is not pruned. The first reason of a label
        counts.
        """
        for label in distinct(labels):
            self.reasons.setdefault(label, reason)

    def reason_of(self, labels: Tensor) -> str | None:
        """The reason for which the first of `labels` was fixed itself, if it was."""
        return self.reasons.get(int(labels[(0,) * labels.dim()])) if labels.numel() else None

    def tie(self, first: Tensor, second: Tensor) -> None:
        """Tie labels at the same positions (of equal or broadcastable shapes): they are pruned
        together.
        """
        first, second = torch.broadcast_tensors(reduced(first), reduced(second))
        pairs = torch.stack([first.reshape(-1), second.reshape(-1)])
        self.pairs.append(pairs[:, pairs[0] != pairs[1]].numpy())

    def components(self) -> np.ndarray:
        """The number of the set of tied labels that each label belongs to."""
        from scipy.sparse import coo_array  # noqa: PLC0415 - 0.4 s; a slim file needs no labels
        from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

        pairs = np.concatenate([np.zeros((2, 0), dtype=np.int64), *self.pairs], axis=1)
        ties = coo_array(
            (np.ones(pairs.shape[1], dtype=np.int8), (pairs[0], pairs[1])), shape=(self.count,) * 2
        )
        return np.asarray(connected_components(ties, directed=False)[1])
