"""Pooling, resizing and reductions: along spatial axes they keep labels; along channels they fix
them.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor
from torch.fx import Node

from slimmer.graph.channels import Axis
from slimmer.graph.labels import along, spread, varying_dims
from slimmer.graph.nodes import argument, shape_of
from slimmer.graph.ops.elementwise import several
from slimmer.graph.walk import VARYING, Computed, Handler, Stored, Walk

RANKS = (1, 2, 3)
POOLS = [
    *(f"max_pool{rank}d" for rank in RANKS),
    *(f"avg_pool{rank}d" for rank in RANKS),
    *(f"lp_pool{rank}d" for rank in RANKS),
    *(f"adaptive_max_pool{rank}d" for rank in RANKS),
    *(f"max_pool{rank}d_with_indices" for rank in RANKS),
    "adaptive_avg_pool1d",
    "adaptive_avg_pool3d",
    "fractional_max_pool2d",
    "upsample_nearest1d",
    "upsample_nearest3d",
    "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d",
    "upsample_bicubic2d",
    "upsample_linear1d",
    "upsample_trilinear3d",
    "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa",
]
# FLOPs that fvcore counts for an element
COUNTED = {"adaptive_avg_pool2d": 1, "upsample_nearest2d": 1, "upsample_bilinear2d": 4}
REDUCTIONS = (
    "mean",
    "sum",
    "amax",
    "amin",
    "var",
    "std",
    "prod",
    "logsumexp",
    "norm",
    "linalg_vector_norm",
    "max",
    "min",
    "any",
    "all",
    "argmax",
    "argmin",
    "var_mean",
    "std_mean",
    "median",
)
ALONG = (
    "softmax",
    "log_softmax",
    "softmin",
    "cumsum",
    "cumprod",
    "logcumsumexp",
    "sort",
    "argsort",
    "topk",
)


def pool(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
    """Labels after pooling or resizing (N, C, ...) along the axes after C, and labels of the
    indices.
    """
    shape = shape_of(node)
    labels = along(args[0], 1)
    out = walk.refuse(node, [args[0]], VARYING) if labels is None else spread(labels, 1, shape)
    return [out] * len(node.meta["val"]) if isinstance(node.meta["val"], (list, tuple)) else out


def unpool(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Labels after an unpooling, tied to those of its indices."""
    labels, indices = (walk.read(value, 1, node) for value in args[:2])
    walk.book.tie(labels, indices)
    return spread(labels, 1, shape_of(node))


def counted_pool(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """As `pool`, for operations whose FLOPs depend on the number of channels."""
    out: Tensor = pool(walk, node, args, kwargs)
    axis = Axis(f"@{node.name}", 1)
    walk.label_axis(axis, walk.read(out, 1, node))
    kind = str(node.target).split(".")[1]
    # fvcore counts average pooling by the input's size, resizing by the output's.
    counted = args[0].shape if kind == "adaptive_avg_pool2d" else out.shape
    walk.count(node, kind, (axis,), COUNTED[kind] * counted[0] * prod(counted[2:]))
    return out


def reduction(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Labels after a mean, sum or maximum: channels that are reduced are fixed.

    `max(x, y)` and `min(x, y)` are not reductions: their operands are tied.
    """
    labels: Tensor = args[0]
    if len(args) > 1 and isinstance(args[1], (Tensor, Stored, Computed)):
        return several(walk, node, args, kwargs)
    shape, results = shape_of(node), node.meta["val"]
    given = argument(node, args, kwargs, "dim")
    if given is None or given == []:
        given = range(labels.dim())
    elif isinstance(given, int):
        given = [given]
    dims = {dim % labels.dim() for dim in given}
    out = labels
    if dims.intersection(varying_dims(labels)):
        out = walk.refuse(node, [labels], "a reduction over channels")
    else:
        for dim in dims:
            out = out.narrow(dim, 0, 1)
        if out.dim() != len(shape):
            for dim in sorted(dims, reverse=True):
                out = out.squeeze(dim)
    return [out] * len(results) if isinstance(results, (list, tuple)) else out


def in_order(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Labels after a softmax, a sort or a running sum along one axis; along channels they are
    fixed.
    """
    labels: Tensor = args[0]
    shape, results = shape_of(node), node.meta["val"]
    dim = argument(node, args, kwargs, "dim")
    if dim is None or dim % labels.dim() in varying_dims(labels):
        out = walk.refuse(node, [labels], "an operation along the channel axis")
    else:
        out = labels.narrow(dim, 0, 1).expand(shape)
    return [out] * len(results) if isinstance(results, (list, tuple)) else out


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(POOLS, pool),
    **dict.fromkeys(COUNTED, counted_pool),
    **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(ALONG, in_order),
    **dict.fromkeys(("max_unpool2d", "max_unpool3d"), unpool),
}
