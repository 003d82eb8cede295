"""Normalisation: by channel it passes labels on; over channels it fixes what it mixes."""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.fx import Node
from torch.nn.modules.batchnorm import _NormBase

from slimmer.graph.channels import Axis
from slimmer.graph.labels import spread, varying_dims
from slimmer.graph.walk import Handler, Stored, Walk, argument, shape_of

MIXED = "statistics over several channels"
PER_ELEMENT = {
    "batch_norm": (1, 2)
}  # what fvcore counts of an element, without and with a scale; others:
PER_ELEMENT_OTHERWISE = (4, 5)


def by_channel(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Labels behind a batch or instance norm: (input, weight, bias, running_mean, running_var,
    ...).
    """
    entering = args[0]
    labels = walk.read(entering, 1, node)
    stored = [value for value in args[1:5] if isinstance(value, Stored)]
    for value in args[1:5]:
        if isinstance(value, Stored):
            walk.label_axis(Axis(value.name, 0), labels)
        elif isinstance(value, Tensor):  # computed from parameters
            walk.book.tie(value, labels)
    kind, count = str(node.target).split(".")[1], walk.counter(node, _NormBase, "num_features")
    by_number = count or Axis(
        f"@{node.name}", 1
    )  # where no tensor holds the channels, an attribute may
    counted = Axis(stored[0].name, 0) if stored else by_number
    walk.label_axis(counted, labels)
    shape = shape_of(node)
    walk.count(node, kind, (counted,), shape[0] * prod(shape[2:]) * _per_element(node, kind))
    return spread(labels, 1, shape)


def over_groups(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Labels behind a group norm, whose norm groups go whole: the statistics of one do not depend
    on another's.

    Where the number of groups stands in the code, and neither a module's attribute nor the program
    can follow, all channels stay.
    """
    entering, groups = args[0], args[1]
    count, width = (
        walk.counter(node, nn.GroupNorm, "num_groups"),
        walk.counter(node, nn.GroupNorm, "num_channels"),
    )
    labels = walk.read(entering, 1, node)
    shape = shape_of(node)
    if groups == 1 or ((count is None or width is None) and not walk.rewrite):
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
    walk.count(
        node, "group_norm", (axis,), shape[0] * prod(shape[2:]) * _per_element(node, "group_norm")
    )
    return spread(labels, 1, shape)


def over_shape(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Labels behind a layer norm: over channels it takes statistics of all and they stay; over
    space they pass.
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
    """What fvcore counts of each element that a norm gives."""
    plain, scaled = PER_ELEMENT.get(kind, PER_ELEMENT_OTHERWISE)
    return plain if argument(node, node.args, node.kwargs, "weight") is None else scaled


HANDLERS: dict[str, Handler] = {
    "batch_norm": by_channel,
    "instance_norm": by_channel,
    "group_norm": over_groups,
    "layer_norm": over_shape,
    "rms_norm": over_shape,
}
