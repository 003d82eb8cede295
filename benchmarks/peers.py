"""Torch-Pruning through its public API, one shot to a FLOP budget, for side-by-side tables."""

from collections.abc import Iterable
from copy import deepcopy

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from slimmer.costs.flops import count_flops
from slimmer.models.channel_pad import ChannelPad

IMPORTANCES = {
    "tp-magnitude": lambda: tp.importance.GroupMagnitudeImportance(p=2),
    "tp-bn-scale": tp.importance.BNScaleImportance,
    "tp-taylor": tp.importance.GroupTaylorImportance,
}


def prune_by_peer(
    name: str,
    model: nn.Module,
    input_size: tuple[int, int, int],
    flops: float,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    global_pruning: bool,
    round_to: int | None = None,
    steps: int = 200,
) -> nn.Module:
    """A copy of `model` that Torch-Pruning's `name` pruned to at most `flops` of its FLOPs.

    Its pruners take a ratio of channels, so they step in `steps` small steps until fvcore's count
    is inside the budget, or, with multiples of `round_to`, as near as it comes. It can't trace a
    zero-padded (option-A) shortcut: while it traces, such shortcuts are detached from its view, and
    every layer that writes to the residual stream is on its ignore list, so those channels stay.
    """
    slim = deepcopy(model).eval()
    for parameter in slim.parameters():
        parameter.requires_grad_(requires_grad=True)
    image = torch.zeros(1, *input_size)
    target = flops * count_flops(slim, input_size)
    hidden = [module for module in slim.modules() if isinstance(module, ChannelPad)]
    ignored = [module for module in slim.modules() if isinstance(module, nn.Linear)]
    if hidden:
        ignored += [
            module
            for path, module in slim.named_modules()
            if path == "conv1" or path.endswith(".conv2")
        ]
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, out: out.detach())
        for module in hidden
    ]
    if name == "tp-taylor":
        for images, labels in batches:
            cross_entropy(slim(images), labels).backward()
    pruner = tp.pruner.BasePruner(
        slim,
        image,
        importance=IMPORTANCES[name](),
        pruning_ratio=1.0 - 1e-6,
        pruning_ratio_dict={},
        ignored_layers=ignored,
        iterative_steps=steps,
        global_pruning=global_pruning,
        round_to=round_to,
    )
    for hook in hooks:
        hook.remove()
    for _ in range(steps):
        if count_flops(slim, input_size) <= target:
            break
        pruner.step()
    slim.zero_grad(set_to_none=True)
    return slim
