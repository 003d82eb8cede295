"""The end of a walk: shared tensors, tensors that no program reads, and tensors with several
names.
"""

from collections.abc import Mapping

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from slimmer.graph.channels import Axis
from slimmer.graph.names import Names
from slimmer.graph.walk import Walk

NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


def finish_walk(walk: Walk, names: Names) -> None:
    """Complete a walk with what is known only at its end."""
    _fix_by_name(walk, names.shared)
    _label_unread(walk)
    _name_again(walk, names.tensors)


def _fix_by_name(walk: Walk, shared: Mapping[str, str]) -> None:
    """Fix the channels of parameters that are shared, or that an unsupported operation uses."""
    reasons = {**walk.pinned, **shared}
    for axis, labels in walk.axes.items():
        if axis.tensor in reasons:
            walk.book.fix(labels, reasons[axis.tensor])


def _label_unread(walk: Walk) -> None:
    """Label the tensors of a layer that its program does not read, such as an unused bias: they are
    pruned with the layer all the same.
    """
    for path, module in walk.modules.items():
        if isinstance(module, (_ConvNd, nn.Linear)):
            along = {"weight": int(getattr(module, "transposed", False)), "bias": 0}
        elif isinstance(module, _NormBase):
            along = dict.fromkeys(NORM_TENSORS, 0)
        else:
            continue
        held = {name: dim for name, dim in along.items() if getattr(module, name, None) is not None}
        axes = [Axis(f"{path}.{name}".removeprefix("."), dim) for name, dim in held.items()]
        read = [axis for axis in axes if axis in walk.axes]
        grouped_transposed = getattr(module, "transposed", False) and module.groups != 1
        if not read or grouped_transposed:
            continue
        labels = walk.axes[read[0]]
        for axis, name in zip(axes[1:], [*held][1:], strict=True):
            # A computed weight may have more rows than the module's own tensors.
            if len(labels) == getattr(module, name).shape[0]:
                walk.axes.setdefault(axis, labels)


def _name_again(walk: Walk, tensors: Mapping[str, str]) -> None:
    """Record the axes of parameters and buffers under the other paths of their modules too."""
    again: dict[str, list[str]] = {}
    for other, first in tensors.items():
        again.setdefault(first, []).append(other)
    for axis, labels in list(walk.axes.items()):
        for other in again.get(axis.tensor, ()):
            walk.axes[Axis(other, axis.dim)] = labels
