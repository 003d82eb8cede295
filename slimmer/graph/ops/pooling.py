"""Pooling, resizing and reductions: over space they pass labels on; over channels they fix what they mix."""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor
from torch.fx import Node

from slimmer.graph.channels import Axis, Operation
from slimmer.graph.labels import along, spread, varying_dims
from slimmer.graph.walk import Handler, Walk, module_of, shape_of

POOLS = [
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "lp_pool2d",
    "upsample_nearest1d",
    "_upsample_nearest_exact2d",
    "upsample_bicubic2d",
    "upsample_linear1d",
]
COUNTED = (
    "adaptive_avg_pool2d",
    "upsample_nearest2d",
    "upsample_bilinear2d",
)  # fvcore counts these, an element each
REDUCTIONS = ("mean", "sum", "amax", "amin", "var", "std")


def pool(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Labels behind a pooling or resizing of (N, C, ...) over the axes behind C."""
    shape = shape_of(node)
    labels = along(args[0], 1)
    if labels is None:
        return walk.refuse(node, [args[0]], "labels that vary over positions")
    return spread(labels, 1, shape)


def counted_pool(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """The same, for operations whose FLOPs grow with the channels."""
    out = pool(walk, node, args, kwargs)
    axis = Axis(f"@{node.name}", 1)
    walk.label_axis(axis, walk.read(out, 1, node))
    kind = str(node.target).split(".")[1]
    counted = args[0].shape if kind == "adaptive_avg_pool2d" else out.shape  # fvcore: by input, by output
    walk.operations.append(Operation(module_of(node), kind, (axis,), prod(counted[2:])))
    return out


def reduction(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Labels behind a mean, sum or maximum: what is reduced along an axis of channels stays."""
    labels: Tensor = args[0]
    dims = args[1] if len(args) > 1 else kwargs.get("dim")
    if dims is None:
        dims = range(labels.dim())
    dims = {dim % labels.dim() for dim in ([dims] if isinstance(dims, int) else dims)}
    if dims.intersection(varying_dims(labels)):
        return walk.refuse(node, [labels], "a reduction over channels")
    for dim in dims:
        labels = labels.narrow(dim, 0, 1)
    if labels.dim() != len(shape_of(node)):
        for dim in sorted(dims, reverse=True):
            labels = labels.squeeze(dim)
    return labels


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(POOLS, pool),
    **dict.fromkeys(COUNTED, counted_pool),
    **dict.fromkeys(REDUCTIONS, reduction),
}
