"""Exchange of space and channels (pixel shuffle, unfold, fold), and sampling at computed
positions.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor
from torch.fx import Node

from slimmer.graph.channels import Axis
from slimmer.graph.labels import spread
from slimmer.graph.nodes import shape_of
from slimmer.graph.walk import Handler, Stored, Walk

BILINEAR = 4  # FLOPs that fvcore counts for a sampled element, in all modes


def pixel_shuffle(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """r*r channels become one: they are tied."""
    labels, factor = args[0], args[1]
    dim = labels.dim() - 3
    read = walk.read(labels, dim, node).reshape(-1, factor * factor)
    walk.book.tie(read, read[:, :1])
    return spread(read[:, 0], dim, shape_of(node))


def pixel_unshuffle(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """One channel becomes r*r adjacent channels."""
    labels, factor = args[0], args[1]
    dim = labels.dim() - 3
    return spread(
        walk.read(labels, dim, node).repeat_interleave(factor * factor), dim, shape_of(node)
    )


def windows_as_channels(
    walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]
) -> Tensor:
    """(N, C, H, W) -> (N, C * k * k, L): each channel becomes the k * k positions of its
    windows.
    """
    labels, shape = args[0], shape_of(node)
    dim = labels.dim() - 3
    return spread(walk.read(labels, dim, node).repeat_interleave(prod(args[1])), dim, shape)


def channels_as_windows(
    walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]
) -> Tensor:
    """(N, C * k * k, L) -> (N, C, H, W): the k * k positions of a channel's windows are tied."""
    labels, shape = args[0], shape_of(node)
    dim = labels.dim() - 2
    read = walk.read(labels, dim, node).reshape(-1, prod(args[2]))
    walk.book.tie(read, read[:, :1])
    return spread(read[:, 0], dim, shape)


def sampled(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """The input's labels at the positions in a grid; the grid's own channels are fixed."""
    labels, grid = args[:2]
    if isinstance(grid, Tensor):
        walk.book.fix(grid, walk.reason(node, "sampling positions shared by all channels"))
    elif isinstance(grid, Stored):
        why = walk.reason(node, "stored sampling positions shared by all channels")
        walk.pinned.setdefault(grid.name, why)
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
