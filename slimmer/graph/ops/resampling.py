"""Space against channels: pixel shuffles, windows as channels and back, samples at computed places."""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor
from torch.fx import Node

from slimmer.graph.channels import Axis
from slimmer.graph.labels import spread
from slimmer.graph.walk import Handler, Stored, Walk, shape_of

BILINEAR = 4  # FLOPs that fvcore counts of an element that is sampled, whatever the mode


def pixel_shuffle(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """r*r channels become one: they go together."""
    labels, factor = args[0], args[1]
    dim = labels.dim() - 3
    read = walk.read(labels, dim, node).reshape(-1, factor * factor)
    walk.book.tie(read, read[:, :1])
    return spread(read[:, 0], dim, shape_of(node))


def pixel_unshuffle(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """One channel becomes r*r, side by side."""
    labels, factor = args[0], args[1]
    dim = labels.dim() - 3
    return spread(
        walk.read(labels, dim, node).repeat_interleave(factor * factor), dim, shape_of(node)
    )


def windows_as_channels(
    walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]
) -> Tensor:
    """(N, C, H, W) -> (N, C * k * k, L): each channel becomes the k * k places of its windows."""
    labels, shape = args[0], shape_of(node)
    dim = labels.dim() - 3
    return spread(walk.read(labels, dim, node).repeat_interleave(prod(args[1])), dim, shape)


def channels_as_windows(
    walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]
) -> Tensor:
    """(N, C * k * k, L) -> (N, C, H, W): the k * k places of a channel's windows go together."""
    labels, shape = args[0], shape_of(node)
    dim = labels.dim() - 2
    read = walk.read(labels, dim, node).reshape(-1, prod(args[2]))
    walk.book.tie(read, read[:, :1])
    return spread(read[:, 0], dim, shape)


def sampled(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """The input's labels at the places that a grid names; what computes the grid stays."""
    labels, grid = args[:2]
    walk.book.fix(grid, walk.reason(node, "places computed for all channels")) if isinstance(
        grid, Tensor
    ) else None
    if isinstance(grid, Stored):
        walk.pinned.setdefault(grid.name, walk.reason(node, "places stored for all channels"))
    read, shape = walk.read(labels, 1, node), shape_of(node)
    axis = Axis(f"@{node.name}", 1)
    walk.label_axis(axis, read)
    walk.count(node, "grid_sampler", (axis,), BILINEAR * shape[0] * prod(shape[2:]))
    return spread(read, 1, shape)


HANDLERS: dict[str, Handler] = {
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "im2col": windows_as_channels,
    "col2im": channels_as_windows,
    "grid_sampler": sampled,
}
