"""Parts of channels: hard-coded counts tie or fix channels, or the counts are corrected."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.fx import Node

from slimmer.graph.attributes import whole_numbers
from slimmer.graph.channels import Axis
from slimmer.graph.labels import along, compact, tensors_among, varying_dims
from slimmer.graph.nodes import argument, describe
from slimmer.graph.ops.bounds import note_bounds
from slimmer.graph.walk import Handler, Walk

COUNTED = "hard-coded channel indices"


def chunk(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A given number of equal parts: the i-th channels of all parts are tied, so that the parts
    stay equal.

    In a rewritten program the parts may differ: the width of each is corrected.
    """
    labels = args[0]
    dim = argument(node, args, kwargs, "dim") % labels.dim()
    if dim not in varying_dims(labels):
        return cut(walk, node, args, kwargs)
    parts = node.target(*args, **kwargs)  # type: ignore[operator,unused-ignore]
    equal = all(part.shape == parts[0].shape for part in parts)
    if walk.rewrite and not (walk.equal_splits and equal):
        parts = cut(walk, node, args, kwargs)
    elif not equal:
        walk.book.fix(labels, walk.reason(node, "a split into unequal parts"))
    else:
        parts = _alike(walk, parts)
    _note_split(walk, node, parts, dim)
    return parts


def split(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Parts of hard-coded sizes: treated as `cut`; with `equal_splits`, equal parts as `chunk`.

    In the latter case the sizes are updated if they are an attribute of the module; if not, the
    self-check notices.
    """
    labels = args[0]
    dim = argument(node, args, kwargs, "dim") % labels.dim()
    parts = node.target(labels, *args[1:], **kwargs)  # type: ignore[operator,unused-ignore]
    if varying_dims(labels) != [dim]:
        return cut(walk, node, args, kwargs)
    if walk.equal_splits and len(parts) > 1 and all(part.shape == parts[0].shape for part in parts):
        if walk.rewrite:
            note_bounds(walk, node, args, kwargs)
        else:
            _label_sizes(walk, node, walk.read(parts[0], dim, node))
        parts = _alike(walk, parts)
    else:
        parts = cut(walk, node, args, kwargs)
    _note_split(walk, node, parts, dim)
    return parts


def _label_sizes(walk: Walk, node: Node, labels: Tensor) -> None:
    """Label the attributes of the module that state the width of its parts."""
    name = walk.module_of(node)
    for attribute in whole_numbers(walk.modules[name], len(labels)):
        walk.label_axis(Axis(f"{name}#{attribute}", 0), labels)


def _note_split(walk: Walk, node: Node, parts: Sequence[Tensor], dim: int) -> None:
    """Record the labels of the parts of a split, for attributes that state their width."""
    known = tensors_among(along(part, dim) for part in parts)
    if len(known) == len(parts):
        walk.splits.append((walk.module_of(node), describe(node), known))


def _alike(walk: Walk, parts: Sequence[Tensor]) -> list[Tensor]:
    """Parts of one size, their i-th channels tied."""
    for part in parts[1:]:
        walk.book.tie(parts[0], part)
    return [parts[0]] * len(parts)


def gate(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """A gated linear unit: one half of the channels times the sigmoid of the other half; the two
    halves are tied.
    """
    labels = args[0]
    dim = argument(node, args, kwargs, "dim") % labels.dim()
    first, second = labels.chunk(2, dim)
    if dim in varying_dims(labels):
        walk.book.tie(first, second)
    return compact(first)


def cut(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A part with hard-coded bounds: the channels of the split axis are fixed, or the bounds are
    corrected.
    """
    labels = args[0]
    parts = node.target(labels, *args[1:], **kwargs)  # type: ignore[operator,unused-ignore]
    first = parts[0] if isinstance(parts, (list, tuple)) else parts
    dim = argument(node, args, kwargs, "dim") % labels.dim()
    whole = first.dim() == labels.dim() and first.shape[dim] == labels.shape[dim]
    if whole or dim not in varying_dims(labels):
        return parts
    if not (walk.rewrite and note_bounds(walk, node, args, kwargs)):
        walk.book.fix(labels, walk.reason(node, COUNTED))
    return parts


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("slice", "select", "narrow", "narrow_copy", "unbind"), cut),
    **dict.fromkeys(("split", "split_with_sizes"), split),
    "chunk": chunk,
    "glu": gate,
}
