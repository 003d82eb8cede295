"""Masks with one value per unit of every channel group, applied to the weights that read the
channels.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from slimmer.graph import Axis, ChannelGraph
from slimmer.pruning.plan import Plan


class Gate(Protocol):
    """A function from variables (units,) to a mask (units,)."""

    def __call__(self, variables: Tensor, *, training: bool) -> Tensor: ...  # noqa: D102


class Masked(nn.Module):
    """A model whose weights are multiplied by a mask, where they read the channels of a group.

    `variables` (units,) are in the order of the graph's groups. The mask is `gate` of the variables
    and of the training mode; by default it is the variables themselves. With a mask of zeros and
    ones, the model computes what the pruned network computes (see docs/decisions.md, 6).

    `model` may be one that `plan` has pruned. The variables are still those of all units; those of
    removed units are `closed`.
    """

    gather: Tensor
    removed: Tensor

    def __init__(
        self,
        model: nn.Module,
        graph: ChannelGraph,
        variables: Tensor,
        gate: Gate | None = None,
        *,
        plan: Plan | None = None,
        closed: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self._gate = gate
        self._closed = closed
        self.variables = nn.Parameter(variables)
        self._layers = consumer_index(graph)
        removed = torch.zeros(0, dtype=torch.int64)
        if plan is not None:
            self._layers = _kept_index(self._layers, plan)
            removed = (hard_mask(plan) == 0).nonzero().flatten()
        self.register_buffer("removed", removed, persistent=False)
        self.hold_()
        lengths = list(map(len, self._layers.values()))
        self._lengths = lengths
        gather = torch.cat([*self._layers.values(), torch.zeros(0, dtype=torch.int64)])
        self.register_buffer("gather", gather, persistent=False)

    def mask(self) -> Tensor:
        """The mask's values (units,), in 0..1."""
        if self._gate is None:
            return self.variables
        return self._gate(self.variables, training=self.training)

    def hold_(self) -> None:
        """Set the variables of removed units, which an optimizer step moves like any other."""
        if len(self.removed):
            self.variables.data[self.removed] = self._closed

    def forward(self, *inputs: Any) -> Tensor:
        """The model's output under the mask, for (N, C, H, W) or whatever inputs the model
        takes.
        """
        weights = masked_weights(
            self.model, self.mask(), list(self._layers), self.gather, self._lengths
        )
        # Not tied: PyTorch would leave the masked weight in a module that is registered twice.
        answer: Tensor = functional_call(self.model, weights, inputs, tie_weights=False)
        return answer


def under_ones(model: nn.Module, graph: ChannelGraph) -> Masked:
    """The model under masks of one, on its own device."""
    ones = torch.ones(graph.units, dtype=torch.float32)
    return Masked(model, graph, ones).to(next(model.parameters()).device)


def consumer_index(graph: ChannelGraph) -> dict[Axis, Tensor]:
    """For every layer's input axis, the unit that each position belongs to.

    Units are numbered through the graph's groups; the total number of units stands for a channel
    that is not pruned.
    """
    sizes = dict(graph.sizes)
    index: dict[Axis, Tensor] = {}
    for layer in graph.layers:
        if layer.in_axis is not None:
            index[layer.in_axis] = torch.full((sizes[layer.in_axis],), graph.units)
    start = 0
    for group in graph.groups:
        for part in group.slices:
            if part.axis in index:
                positions = torch.tensor(part.index)
                index[part.axis][positions] = (
                    torch.arange(start, start + group.size).unsqueeze(1).expand_as(positions)
                )
        start += group.size
    return {axis: units for axis, units in index.items() if bool((units < graph.units).any())}


def _kept_index(index: Mapping[Axis, Tensor], plan: Plan) -> dict[Axis, Tensor]:
    """The units of the positions that `plan` keeps, for every axis of `consumer_index`."""
    removed = plan.removed()
    kept = {}
    for axis, units in index.items():
        stays = torch.ones(len(units), dtype=torch.bool)
        stays[removed.get(axis, [])] = False
        kept[axis] = units[stays]
    return kept


def masked_weights(
    model: nn.Module, mask: Tensor, axes: Sequence[Axis], gather: Tensor, lengths: Sequence[int]
) -> dict[str, Tensor]:
    """The masked weights, by their names in the model; `axes` are the input axes on which `mask`
    (units,) acts.
    """
    spread = torch.cat([mask, mask.new_ones(1)])[gather].split(list(lengths))
    weights: dict[str, Tensor] = {}
    for axis, values in zip(axes, spread, strict=True):
        # a weight that is read along both axes is masked on both
        weight = weights.get(axis.tensor, model.get_parameter(axis.tensor))
        shape = [1] * weight.dim()
        shape[axis.dim] = -1
        weights[axis.tensor] = weight * values.to(weight.dtype).view(shape)
    return weights


def fold_(model: nn.Module, graph: ChannelGraph, mask: Tensor) -> None:
    """Multiply the mask into the weights, so that the model itself computes what it computed under
    the mask.
    """
    layers = consumer_index(graph)
    gather = torch.cat([*layers.values(), torch.zeros(0, dtype=torch.int64)])
    lengths = list(map(len, layers.values()))
    with torch.no_grad():
        for name, weight in masked_weights(model, mask, list(layers), gather, lengths).items():
            model.get_parameter(name).copy_(weight)


def hard_mask(plan: Plan, dtype: torch.dtype = torch.float32) -> Tensor:
    """The mask of ones and zeros (units,) that computes what the pruned network computes."""
    parts = []
    for group, kept in zip(plan.groups, plan.keep, strict=True):
        part = torch.zeros(group.size, dtype=dtype)
        part[list(kept)] = 1
        parts.append(part)
    return torch.cat(parts) if parts else torch.zeros(0, dtype=dtype)
