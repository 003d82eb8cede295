"""Update the remaining weights to compensate for the removed channels: least squares on the dense
network's activations.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from slimmer.graph import Arguments, Axis, ChannelGraph, called, evaluating
from slimmer.pruning.plan import Plan

WIDEST = 4096  # input channels; wider layers (after a flatten) would need gigabytes and are skipped
READS = {
    "linear": 1,
    **{f"conv{n}d": 1 for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": 0 for n in (1, 2, 3)},
}
POSITIONS = 16  # along each spatial axis, at most
RIDGE = 1e-3  # of the mean square, so that nearly dead channels get no large weights


def compensate_(
    model: nn.Module, graph: ChannelGraph, plan: Plan, batches: Iterable[Arguments]
) -> None:
    """Update the weights that read kept channels, so that they compensate for the removed ones.

    Each removed channel is predicted, position by position, from the kept channels of the same
    layer input and a constant. The prediction is folded into the weights of the layer that reads
    them; the constant is left to the batch norm after it. Only weights of kept channels change, so
    the masked and the slim network stay equal.

    Source: the idea of He et al., Channel Pruning for Accelerating Very Deep Neural Networks
    (2017), with the regression over the channels at a position instead of whole receptive fields.
    """
    fold_removed_(model, plan, moments_of(model, graph, batches, plan.removed()))


def moments_of(
    model: nn.Module, graph: ChannelGraph, batches: Iterable[Arguments], axes: Container[Axis]
) -> dict[Axis, Tensor]:
    """The second moments of what layers read, for those of `axes` along which a layer reads
    channels; each (channels + 1, channels + 1), with a constant as the last channel.
    """
    moments: dict[Axis, Tensor] = {}
    watched: dict[tuple[nn.Parameter, int], Axis] = {}
    for layer in graph.layers:
        axis = layer.in_axis
        if axis is None or axis not in axes:
            continue
        weight = model.get_parameter(axis.tensor)
        if weight.shape[axis.dim] <= WIDEST:
            watched[weight, axis.dim] = axis
    with evaluating(model), torch.no_grad(), _Watch(watched, moments):
        for given in batches:
            called(model, given)
    return moments


def fold_removed_(model: nn.Module, plan: Plan, moments: Mapping[Axis, Tensor]) -> None:
    """Fold the predictions of the channels that `plan` removes into the weights that read them;
    `moments` are those of `moments_of`.
    """
    with torch.no_grad():
        for axis, channels in plan.removed().items():
            if axis in moments:
                weight = model.get_parameter(axis.tensor)
                entering_second = weight.movedim(axis.dim, 1)  # a view, outputs first
                _fold_prediction_(entering_second, moments[axis], channels)


class _Watch(TorchFunctionMode):
    """Observes the inputs of convolutions and linear layers, which it recognizes by their weights,
    in modules and in programs.
    """

    def __init__(
        self, watched: Mapping[tuple[nn.Parameter, int], Axis], moments: dict[Axis, Tensor]
    ) -> None:
        super().__init__()
        self._watched, self._moments = watched, moments

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The result of `func`, unchanged."""
        kind = getattr(func, "__name__", "").partition(".")[0]
        if kind in READS and len(args) > 1 and isinstance(args[1], nn.Parameter):
            self._read(kind, args[0], args[1])
        return func(*args, **(kwargs or {}))

    def _read(self, kind: str, entering: Tensor, weight: nn.Parameter) -> None:
        """Observe one call, unless it is complex or a grouped convolution that keeps its groups."""
        axis = self._watched.get((weight, READS[kind]))
        if axis is None or weight.is_complex():
            return
        channels_last = kind == "linear"
        channels = entering.shape[-1 if channels_last else 1]
        if channels == weight.shape[axis.dim]:
            _observe(self._moments, axis, entering, channels_last=channels_last)


def _observe(moments: dict[Axis, Tensor], axis: Axis, x: Tensor, *, channels_last: bool) -> None:
    """Add the second moments of a layer's input channels and a constant to `moments`, (channels +
    1, channels + 1).
    """
    if not channels_last:
        strides = [slice(None, None, -(-size // POSITIONS)) for size in x.shape[2:]]
        x = x[(slice(None), slice(None), *strides)].movedim(1, -1)
    rows = x.reshape(-1, x.shape[-1]).double()
    rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
    total = rows.T @ rows
    moments[axis] = moments[axis] + total if axis in moments else total


def _fold_prediction_(weight: Tensor, moments: Tensor, removed: Sequence[int]) -> None:
    """Fold the least-squares prediction of the removed inputs from the kept ones into `weight`
    (out, in, ...).
    """
    moments = moments / moments[-1, -1]
    gone = torch.tensor(removed, device=weight.device)
    stays = torch.ones(len(moments), dtype=torch.bool, device=weight.device)
    stays[gone] = False
    known = stays.nonzero().flatten()
    if len(known) == 1:
        return
    identity = torch.eye(len(known), dtype=moments.dtype, device=weight.device)
    ridge = RIDGE * moments.diagonal().mean() * identity
    shares = torch.linalg.solve(moments[known][:, known] + ridge, moments[known][:, gone])
    share = shares[:-1].to(weight.dtype)
    weight[:, known[:-1]] += torch.einsum("og...,gk->ok...", weight[:, gone], share.T)
