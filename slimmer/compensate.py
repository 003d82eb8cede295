"""What removed channels said is handed to those that stay: least squares on the dense network's own activations."""

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from slimmer.graph import ChannelGraph, evaluating
from slimmer.plan import Plan

WIDEST = 4096  # input axes; wider ones (behind a flatten) would need gigabytes and are left as they are
POSITIONS = 16  # along each spatial axis, at most
RIDGE = 1e-3  # of the mean square, so that nearly dead channels are not blown up


def compensate_(model: nn.Module, graph: ChannelGraph, plan: Plan, images: Iterable[Tensor]) -> None:
    """Change the weights that read kept channels so that they stand in for the removed ones.

    Each removed channel is predicted, position by position, from the kept channels of the same layer input and a
    constant; the prediction is folded into the weights of the layer that reads them (the constant is left to the batch
    norm behind it). The plan's other channels are not touched, so masked and slim network stay equal.

    Source: the idea of He et al., Channel Pruning for Accelerating Very Deep Neural Networks (2017), with the
    regression taken over channels at a position in place of whole receptive fields.
    """
    removed = plan.removed()
    readers = {layer.in_axis: layer for layer in graph.layers if layer.in_axis in removed}
    moments: dict[str, Tensor] = {}
    hooks = []
    for axis in readers:
        module = model.get_submodule(axis.tensor.rpartition(".")[0])
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)) and module.weight.shape[axis.dim] <= WIDEST:  # noqa: SLF001
            hooks.append(module.register_forward_pre_hook(partial(_observe, moments, axis.tensor)))
    device = next(model.parameters()).device
    with evaluating(model), torch.no_grad():
        for batch in images:
            model(batch.to(device))
        for hook in hooks:
            hook.remove()
        for axis in readers:
            if axis.tensor in moments:
                weight = model.get_parameter(axis.tensor).movedim(axis.dim, 1)  # the same numbers, outputs first
                _hand_on_(weight, moments[axis.tensor], removed[axis])


def _observe(moments: dict[str, Tensor], name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Add the second moments of a layer's input channels and a constant to `moments`, (channels + 1) squared."""
    x = inputs[0]
    if not isinstance(module, nn.Linear):
        strides = [slice(None, None, -(-size // POSITIONS)) for size in x.shape[2:]]
        x = x[(slice(None), slice(None), *strides)].movedim(1, -1)
    rows = x.reshape(-1, x.shape[-1]).double()
    rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
    total = rows.T @ rows
    moments[name] = moments[name] + total if name in moments else total


def _hand_on_(weight: Tensor, moments: Tensor, removed: Sequence[int]) -> None:
    """Fold the least-squares prediction of the removed inputs from the kept ones into `weight` (out, in, ...)."""
    moments /= moments[-1, -1].clone()
    gone = torch.tensor(removed, device=weight.device)
    stays = torch.ones(len(moments), dtype=torch.bool, device=weight.device)
    stays[gone] = False
    known = stays.nonzero().flatten()
    if len(known) == 1:
        return
    ridge = RIDGE * moments.diagonal().mean() * torch.eye(len(known), dtype=moments.dtype, device=weight.device)
    share = torch.linalg.solve(moments[known][:, known] + ridge, moments[known][:, gone])[:-1].to(weight.dtype)
    weight[:, known[:-1]] += torch.einsum("og...,gk->ok...", weight[:, gone], share.T)
