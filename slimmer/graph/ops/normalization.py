"""Normalisation: by channel it passes labels on; over channels it fixes what it mixes."""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor
from torch.fx import Node
from torch.nn.modules.batchnorm import _NormBase

from slimmer.graph.channels import Axis, Operation
from slimmer.graph.labels import spread
from slimmer.graph.walk import Handler, Stored, Walk, module_of, shape_of


def by_channel(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Labels behind a batch or instance norm: (input, weight, bias, running_mean, running_var, ...)."""
    entering = args[0]
    labels = walk.read(entering, 1, node)
    stored = [value for value in args[1:5] if isinstance(value, Stored)]
    for value in args[1:5]:
        if isinstance(value, Stored):
            walk.label_axis(Axis(value.name, 0), labels)
        elif isinstance(value, Tensor):  # computed from parameters
            walk.book.tie(value, labels)
    shape = shape_of(node)
    kind = str(node.target).split(".")[1]
    if stored:
        counted = Axis(stored[0].name, 0)
    elif isinstance(walk.modules.get(module_of(node)), _NormBase):
        counted = Axis(f"{module_of(node)}#num_features", 0)  # no tensor holds the channels, but an attribute does
    else:
        counted = Axis(f"@{node.name}", 1)
    walk.label_axis(counted, labels)
    walk.operations.append(Operation(module_of(node), kind, (counted,), prod(shape[2:])))
    return spread(labels, 1, shape)


def over_channels(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Layer and group norm take statistics over several channels: what they read stays."""
    walk.book.fix(args[0], walk.reason(node, "statistics over several channels"))
    entering: Tensor = args[0]
    return entering


HANDLERS: dict[str, Handler] = {
    "batch_norm": by_channel,
    "instance_norm": by_channel,
    "layer_norm": over_channels,
    "group_norm": over_channels,
}
