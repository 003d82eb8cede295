"""Padding: along spatial axes it keeps the labels; along channels, its zeros are fixed, or their
number is corrected.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from slimmer.graph.channels import Axis
from slimmer.graph.labels import compact, spread, varying_dims
from slimmer.graph.nodes import shape_of
from slimmer.graph.walk import Handler, Walk
from slimmer.models.channel_pad import ChannelPad


def pad(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Labels after `pad(x, [before, after of the last axis, before, after of the axis before,
    ...])`.
    """
    labels, amounts = args[0], [int(amount) for amount in args[1]]
    shape = shape_of(node)
    padded = set()
    for place in range(0, len(amounts), 2):
        if any(amounts[place : place + 2]):
            padded.add(labels.dim() - 1 - place // 2)
    counted = padded.intersection(varying_dims(labels))
    if not counted:
        return _stretch(labels, shape)
    dim, place = 1, 2 * (labels.dim() - 2)
    before, after = (*amounts[place : place + 2], 0, 0)[:2]
    if counted != {dim} or padded != {dim} or min(before, after) < 0:
        return walk.refuse(node, [labels], "padding along the channel axis")
    name = walk.module_of(node)
    read = walk.read(labels, dim, node)
    if isinstance(walk.modules.get(name), ChannelPad):
        edges = [
            walk.made_by(Axis(f"{name}#before", 0), before),
            walk.made_by(Axis(f"{name}#after", 0), after),
        ]
    elif walk.rewrite:
        edges = [walk.book.fresh(size) for size in (before, after)]
    else:
        why = walk.reason(node, "zeros added by padding")
        edges = [walk.book.fixed((size,), why) for size in (before, after)]
    rest = len(amounts) - place - 2
    walk.note_count(node, "pad", [*[None] * place, *edges, *[None] * rest])
    return spread(torch.cat([edges[0], read, edges[1]]), dim, shape)


def _stretch(labels: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The labels in a shape that is larger only along axes on which they do not vary."""
    for dim, size in enumerate(shape):
        if labels.shape[dim] != size:
            labels = labels.narrow(dim, 0, 1)
    return compact(labels.expand(shape))


RANKS = (1, 2, 3)
PADS = [
    "pad",
    "constant_pad_nd",
    *(f"reflection_pad{rank}d" for rank in RANKS),
    *(f"replication_pad{rank}d" for rank in RANKS),
]
HANDLERS: dict[str, Handler] = dict.fromkeys(PADS, pad)
