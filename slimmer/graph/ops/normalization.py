"""Normalization: per channel it keeps labels; statistics over several channels fix them."""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.fx import Node
from torch.nn.modules.batchnorm import _NormBase

from slimmer.graph.channels import Axis
from slimmer.graph.labels import spread, varying_dims
from slimmer.graph.nodes import argument, shape_of
from slimmer.graph.walk import Handler, Stored, Walk

MIXED = "normalization statistics over several channels"
# FLOPs that fvcore counts for an element, without and with a scale
PER_ELEMENT = {"batch_norm": (1, 2)}
PER_ELEMENT_OTHERWISE = (4, 5)


def by_channel(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Labels after a batch or instance norm: (input, weight, bias, running_mean, running_var,
    ...).
    """
    entering = args[0]
    labels = walk.read(entering, 1, node)
    stored = []
    for value in args[1:5]:
        if isinstance(value, Stored):
            stored.append(value)
            walk.label_axis(Axis(value.name, 0), labels)
        elif isinstance(value, Tensor):  # computed from parameters
            walk.book.tie(value, labels)
    kind, count = str(node.target).split(".")[1], walk.counter(node, _NormBase, "num_features")
    if stored:
        counted = Axis(stored[0].name, 0)
    else:  # no tensor has these channels, but an attribute may count them
        counted = count or Axis(f"@{node.name}", 1)
    walk.label_axis(counted, labels)
    shape = shape_of(node)
    walk.count(node, kind, (counted,), shape[0] * prod(shape[2:]) * _per_element(node, kind))
    return spread(labels, 1, shape)


def over_groups(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Labels after a group norm, which loses whole norm groups: the statistics of one group do not
    depend on the others.

    If the number of groups is hard-coded, and neither a module's attribute nor the program can be
    corrected, all channels are fixed.
    """
    entering, groups = args[0], args[1]
    count = walk.counter(node, nn.GroupNorm, "num_groups")
    width = walk.counter(node, nn.GroupNorm, "num_channels")
    labels = walk.read(entering, 1, node)
    shape = shape_of(node)
    is_module = count is not None and width is not None
    if groups == 1 or not (is_module or walk.rewrite):
        walk.book.fix(labels, walk.reason(node, MIXED))
    else:
        rows = labels.reshape(groups, -1)
        walk.book.tie(rows, rows[:, :1])
        walk.note_count(node, "num_groups", rows[:, 0])
        for counter, counted in ((count, rows[:, 0]), (width, labels)):
            if counter is not None:
                walk.label_axis(counter, counted)
    for name in ("weight", "bias"):
        value = argument(node, args, kwargs, name)
        if isinstance(value, Stored):
            walk.label_axis(Axis(value.name, 0), labels)
        elif isinstance(value, Tensor):  # computed from parameters
            walk.book.tie(value, labels)
    axis = Axis(f"@{node.name}", 1)
    walk.label_axis(axis, labels)
    elements = shape[0] * prod(shape[2:])
    walk.count(node, "group_norm", (axis,), elements * _per_element(node, "group_norm"))
    return spread(labels, 1, shape)


def over_shape(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Labels after a layer norm: statistics over channels fix them; statistics over spatial axes
    keep them.
    """
    labels: Tensor = args[0]
    kind = str(node.target).split(".")[1]
    whole = prod(labels.shape) * _per_element(node, kind)
    normed = set(range(labels.dim() - len(args[1]), labels.dim()))
    varying = varying_dims(labels)
    if normed.intersection(varying) or len(varying) > 1:
        walk.book.fix(labels, walk.reason(node, MIXED))
        walk.count(node, kind, (), whole)
    elif varying:
        axis = Axis(f"@{node.name}", varying[0])
        walk.label_axis(axis, walk.read(labels, varying[0], node))
        walk.count(node, kind, (axis,), whole // labels.shape[varying[0]])
    else:
        walk.count(node, kind, (), whole)
    return labels


def _per_element(node: Node, kind: str) -> int:
    """The FLOPs that fvcore counts for each element of a norm's output."""
    plain, scaled = PER_ELEMENT.get(kind, PER_ELEMENT_OTHERWISE)
    return plain if argument(node, node.args, node.kwargs, "weight") is None else scaled


HANDLERS: dict[str, Handler] = {
    "batch_norm": by_channel,
    "instance_norm": by_channel,
    "group_norm": over_groups,
    "layer_norm": over_shape,
    "rms_norm": over_shape,
}
