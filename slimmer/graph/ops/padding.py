"""Padding: over space it passes labels on; over channels nobody makes its zeros: they stay, or
their number follows.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from slimmer.graph.channels import Axis
from slimmer.graph.labels import compact, spread, varying_dims
from slimmer.graph.walk import Handler, Walk, shape_of
from slimmer.models.channel_pad import ChannelPad


def pad(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Labels behind `pad(x, [last axis: before, after, the one before it: ...])`."""
    labels, amounts = args[0], [int(amount) for amount in args[1]]
    shape = shape_of(node)
    padded = {
        labels.dim() - 1 - k // 2 for k in range(0, len(amounts), 2) if any(amounts[k : k + 2])
    }
    counted = padded.intersection(varying_dims(labels))
    if not counted:
        return _stretch(labels, shape)
    dim, place = 1, 2 * (labels.dim() - 2)
    before, after = (*amounts[place : place + 2], 0, 0)[:2]
    if counted != {dim} or padded != {dim} or min(before, after) < 0:
        return walk.refuse(node, [labels], "padding of channels")
    name = walk.module_of(node)
    read = walk.read(labels, dim, node)
    if isinstance(walk.modules.get(name), ChannelPad):
        edges = [
            walk.made_by(Axis(f"{name}#{end}", 0), size)
            for end, size in (("before", before), ("after", after))
        ]
    elif walk.rewrite:
        edges = [walk.book.fresh(size) for size in (before, after)]
    else:
        why = walk.reason(node, "zeros that a padding adds")
        edges = [walk.book.fixed((size,), why) for size in (before, after)]
    walk.note_count(node, "pad", [*[None] * place, *edges, *[None] * (len(amounts) - place - 2)])
    return spread(torch.cat([edges[0], read, edges[1]]), dim, shape)


def _stretch(labels: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The labels in a shape that is larger only along axes on which they do not vary."""
    for dim, size in enumerate(shape):
        if labels.shape[dim] != size:
            labels = labels.narrow(dim, 0, 1)
    return compact(labels.expand(shape))


PADS = [f"{mode}_pad{rank}d" for mode in ("reflection", "replication") for rank in (1, 2, 3)]
HANDLERS: dict[str, Handler] = dict.fromkeys(["pad", "constant_pad_nd", *PADS], pad)
