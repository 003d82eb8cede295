"""What removed channels said is handed to those that stay: least squares on the dense network's own
activations.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from slimmer.graph import Axis, ChannelGraph, evaluating
from slimmer.pruning.plan import Plan

WIDEST = (
    4096  # input axes; wider ones (behind a flatten) would need gigabytes and are left as they are
)
READS = {
    "linear": 1,
    **{f"conv{n}d": 1 for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": 0 for n in (1, 2, 3)},
}
POSITIONS = 16  # along each spatial axis, at most
RIDGE = 1e-3  # of the mean square, so that nearly dead channels are not blown up


def compensate_(
    model: nn.Module, graph: ChannelGraph, plan: Plan, images: Iterable[Tensor]
) -> None:
    """Change the weights that read kept channels so that they stand in for the removed ones.

    Each removed channel is predicted, position by position, from the kept channels of the same
    layer input and a constant; the prediction is folded into the weights of the layer that reads
    them (the constant is left to the batch norm behind it). The plan's other channels are not
    touched, so masked and slim network stay equal.

    Source: the idea of He et al., Channel Pruning for Accelerating Very Deep Neural Networks
    (2017), with the regression taken over channels at a position in place of whole receptive
    fields.
    """
    removed = plan.removed()
    readers = {layer.in_axis: layer for layer in graph.layers if layer.in_axis in removed}
    weights = {axis: model.get_parameter(axis.tensor) for axis in readers}
    moments: dict[Axis, Tensor] = {}
    watched = {
        (weight, axis.dim): axis
        for axis, weight in weights.items()
        if weight.shape[axis.dim] <= WIDEST
    }
    device = next(model.parameters()).device
    with evaluating(model), torch.no_grad():
        with _Watch(watched, moments):
            for batch in images:
                model(batch.to(device))
        for axis in readers:
            if axis in moments:
                weight = weights[axis].movedim(axis.dim, 1)  # the same numbers, outputs first
                _hand_on_(weight, moments[axis], removed[axis])


class _Watch(TorchFunctionMode):
    """Notes what convolutions and linear layers read, whether modules or a program call them; told
    by their weight.
    """

    def __init__(
        self, watched: Mapping[tuple[nn.Parameter, int], Axis], moments: dict[Axis, Tensor]
    ) -> None:
        super().__init__()
        self._watched, self._moments = watched, moments

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What `func` gives, unchanged."""
        kind = getattr(func, "__name__", "").partition(".")[0]
        if (
            kind in READS
            and len(args) > 1
            and isinstance(args[1], nn.Parameter)
            and not args[1].is_complex()
        ):
            axis = self._watched.get((args[1], READS[kind]))
            channels = args[0].shape[-1 if kind == "linear" else 1]
            if (
                axis is not None and channels == args[1].shape[axis.dim]
            ):  # not one of several groups, cut alike
                _observe(self._moments, axis, args[0], channels_last=kind == "linear")
        return func(*args, **(kwargs or {}))


def _observe(moments: dict[Axis, Tensor], axis: Axis, x: Tensor, *, channels_last: bool) -> None:
    """Add the second moments of a layer's input channels and a constant to `moments`, (channels +
    1) squared.
    """
    if not channels_last:
        strides = [slice(None, None, -(-size // POSITIONS)) for size in x.shape[2:]]
        x = x[(slice(None), slice(None), *strides)].movedim(1, -1)
    rows = x.reshape(-1, x.shape[-1]).double()
    rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
    total = rows.T @ rows
    moments[axis] = moments[axis] + total if axis in moments else total


def _hand_on_(weight: Tensor, moments: Tensor, removed: Sequence[int]) -> None:
    """Fold the least-squares prediction of the removed inputs from the kept ones into `weight`
    (out, in, ...).
    """
    moments /= moments[-1, -1].clone()
    gone = torch.tensor(removed, device=weight.device)
    stays = torch.ones(len(moments), dtype=torch.bool, device=weight.device)
    stays[gone] = False
    known = stays.nonzero().flatten()
    if len(known) == 1:
        return
    ridge = (
        RIDGE
        * moments.diagonal().mean()
        * torch.eye(len(known), dtype=moments.dtype, device=weight.device)
    )
    share = torch.linalg.solve(moments[known][:, known] + ridge, moments[known][:, gone])[:-1].to(
        weight.dtype
    )
    weight[:, known[:-1]] += torch.einsum("og...,gk->ok...", weight[:, gone], share.T)
