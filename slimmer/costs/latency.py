"""A latency that was fitted to measurements: a sum over the nodes of a network's graph."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slimmer.costs.cost import Cost, Floats


@dataclass(frozen=True, eq=False)
class Widths:
    """The widths of several axes: `members` (axes, groups) @ widths + `rest` (axes,)."""

    members: Floats
    rest: Floats

    def at(self, widths: Floats) -> Floats:
        """The width of every axis."""
        return np.asarray(self.members @ widths + self.rest)


@dataclass(frozen=True, eq=False)
class LatencyForm:
    """`constant` plus, for every node, a + b·reads·makes + c·enters + d·makes nanoseconds.

    `makes` are the channels that a node computes, `enters` those that it is given, and `reads`
    those from which one of them is computed. Kernels work on blocks of `step` channels, and a block
    that is not full takes as long as a full one. Fewer channels than a block need another kernel:
    `weights` (nodes, 4) are a, b, c and d for a node that is given a block or more, and `small`
    (nodes, 4) for less.
    """

    makes: Widths
    reads: Widths
    enters: Widths
    weights: Floats
    small: Floats
    constant: float
    step: int

    def value(self, widths: Floats) -> float:
        """The nanoseconds at `widths` (groups,)."""
        return float(self.constant + self.by_node(widths).sum())

    def by_node(self, widths: Floats) -> Floats:
        """The nanoseconds of every node at `widths`, (nodes,)."""
        makes, reads, enters, weights = self._parts(widths)
        return np.asarray((weights * features(makes, reads, enters)).sum(axis=1))

    def marginal(self, widths: Floats) -> Floats:
        """The nanoseconds of one more unit of each group, averaged over a block, (groups,)."""
        makes, reads, _, weights = self._parts(widths)
        _, product, given, made = weights.T
        made_more: Floats = (product * reads + made) @ self.makes.members
        read_more: Floats = (product * makes) @ self.reads.members
        return np.asarray(made_more + read_more + given @ self.enters.members)

    def scaled(self, factor: float) -> "LatencyForm":
        """The same form times `factor`."""
        scaled = {name: getattr(self, name) * factor for name in ("weights", "small", "constant")}
        return replace(self, **scaled)

    def _parts(self, widths: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """What every node makes, reads and is given, in blocks, and its coefficients."""
        enters = self.enters.at(widths)
        weights = np.where(is_small(enters, self.step)[:, None], self.small, self.weights)
        parts = [filled(axes.at(widths), self.step) for axes in (self.makes, self.reads)]
        there = (parts[0] > 0) & (enters > 0)  # a node whose channels are all removed does not run
        return parts[0], parts[1], filled(enters, self.step), weights * there[:, None]


def features(makes: Floats, reads: Floats, enters: Floats) -> Floats:
    """What the four coefficients of a node multiply, (nodes, 4)."""
    return np.stack([np.ones_like(makes), reads * makes, enters, makes], axis=1)


def is_small(enters: Floats, step: int) -> NDArray[np.bool_]:
    """Which nodes are given less than a block of channels."""
    return np.asarray(enters < step)


def filled(widths: Floats, step: int) -> Floats:
    """Widths with the last block filled up. Less than a block stays as it is: depthwise layers read
    one channel, and kernels for few channels do not work on blocks.
    """
    if step == 1:
        return widths
    return np.where(widths < step, widths, np.ceil(widths / step) * step)


@dataclass(frozen=True, eq=False)
class LatencyCost(Cost):
    """A fitted latency in nanoseconds; `dense` is the measured latency of the dense network.

    >>> one = Widths(np.array([[1.0]]), np.zeros(1))
    >>> three = Widths(np.array([[0.0]]), np.array([3.0]))
    >>> each = np.array([[0.0, 1.0, 0.0, 0.0]])
    >>> cost = LatencyCost("latency", 58, LatencyForm(one, three, three, each, each, 10.0, 8))
    >>> cost.exact([16]), cost.exact([9]), cost.exact([8]), cost.marginal(torch.tensor([8.0]))
    (58, 58, 34, tensor([3.], dtype=torch.float64))
    """

    name: str
    dense: int
    form: LatencyForm

    def value(self, widths: Tensor) -> Tensor:
        """The nanoseconds at `widths` (groups,); the gradient is that of full blocks."""
        found: Tensor = _Fitted.apply(widths.to(torch.float64), self.form)  # type: ignore[no-untyped-call]
        return found

    def marginal(self, widths: Tensor) -> Tensor:
        """The nanoseconds of one more unit of each group, averaged over a block, (groups,)."""
        return torch.from_numpy(self.form.marginal(_array(widths)))

    def arrays(self) -> LatencyForm:
        """The same function on NumPy arrays."""
        return self.form


class _Fitted(torch.autograd.Function):
    """The form in PyTorch, with the gradient that `marginal` gives."""

    @staticmethod
    def forward(ctx: Any, widths: Tensor, form: LatencyForm) -> Tensor:
        ctx.slope = torch.from_numpy(form.marginal(_array(widths))).to(widths.device)
        return widths.new_tensor(form.value(_array(widths)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.slope, None


def _array(widths: Tensor) -> Floats:
    return np.asarray(widths.detach().double().cpu().numpy())
