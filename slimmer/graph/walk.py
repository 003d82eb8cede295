"""What the handlers of operations share while a program is walked: labels, parameters' axes, layers, reasons."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.fx import Node

from slimmer.graph.channels import Axis, Layer, Operation
from slimmer.graph.labels import LabelBook, along, spread


@dataclass(frozen=True)
class Stored:
    """A parameter or buffer as it stands in the program: its name in the model and its shape."""

    name: str
    shape: tuple[int, ...]


@dataclass
class Walk:
    """The state of one walk through a program."""

    modules: dict[str, nn.Module]
    book: LabelBook = field(default_factory=LabelBook)
    axes: dict[Axis, Tensor] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    pinned: dict[str, str] = field(default_factory=dict)  # parameters that are used as no handler follows, and why
    refused: dict[str, str] = field(default_factory=dict)  # modules with a refused operation, and why

    def label_axis(self, axis: Axis, labels: Tensor) -> Tensor:
        """Note that the entries of `axis` belong to `labels`; an axis seen before ties the two. Returns its labels."""
        known = self.axes.setdefault(axis, labels)
        if known is not labels:
            self.book.tie(known, labels)
        return known

    def made_by(self, axis: Axis, size: int) -> Tensor:
        """The labels of a producer's output axis: new at its first call, the same at the next."""
        if axis not in self.axes:
            self.axes[axis] = self.book.fresh(size)
        return self.axes[axis]

    def read(self, labels: Tensor, dim: int, node: Node) -> Tensor:
        """The labels that `node` reads along `dim`; fixed where they vary along another axis too."""
        found = along(labels, dim)
        if found is None:
            return self.refuse(node, [labels], "labels that vary over positions", (labels.shape[dim],))
        return found

    def refuse(self, node: Node, inputs: Sequence[Any], why: str, shape: Sequence[int] | None = None) -> Tensor:
        """Fix what enters `node`, and give it a fixed output of `shape` (the node's own by default)."""
        reason = self.reason(node, why)
        self.refused.setdefault(module_of(node), reason)
        for value in inputs:
            if isinstance(value, Tensor):
                self.book.fix(value, reason)
            elif isinstance(value, Stored):
                self.pinned.setdefault(value.name, reason)
        return self.book.fixed(shape_of(node) if shape is None else tuple(shape), reason)

    def reason(self, node: Node, why: str) -> str:
        """Why `node` fixes channels: what it does, its operation, module and line."""
        return f"{why}: {describe(node)}"

    def as_labels(self, value: Any, node: Node) -> Tensor | None:
        """The labels of an operand: an activation's own; a stored vector gets an axis of its own; None for a number."""
        if isinstance(value, Tensor):
            return value
        if not isinstance(value, Stored):
            return None
        long = [dim for dim, size in enumerate(value.shape) if size > 1]
        if not long:
            return None
        if len(long) > 1:
            reason = f"a stored tensor of {len(long)} axes, {value.name}: {describe(node)}"
            self.pinned.setdefault(value.name, reason)
            return self.book.fixed(value.shape, reason)
        axis = Axis(value.name, long[0])
        return spread(self.made_by(axis, value.shape[long[0]]), long[0], value.shape)

    def stored_labels(self, value: Any, node: Node) -> Any:
        """The labels of a parameter or buffer, fixed ones for a single number; any other value as it is."""
        if not isinstance(value, Stored):
            return value
        labels = self.as_labels(value, node)
        return self.book.fixed(value.shape, self.reason(node, "a stored number")) if labels is None else labels


Handler = Callable[[Walk, Node, Sequence[Any], dict[str, Any]], Any]


def shape_of(node: Node) -> tuple[int, ...]:
    """The shape of a node's (first) output."""
    value = node.meta["val"]
    if isinstance(value, (list, tuple)):
        value = value[0]
    return tuple(int(size) for size in value.shape)


def module_of(node: Node) -> str:
    """The path of the innermost module whose forward made `node`."""
    stack = node.meta.get("nn_module_stack") or {}
    return next(reversed(list(stack.values())))[0] if stack else ""


def source_of(node: Node) -> str:
    """`file.py:line` of the code that made `node`: the last frame outside PyTorch's own files, where there is one."""
    trace = node.meta.get("stack_trace") or ""
    frames = re.findall(r'File "([^"]+)", line (\d+)', trace)
    own = [frame for frame in frames if "/torch/" not in frame[0]] or frames
    if not own:
        return "unknown line"
    path, line = own[-1]
    return f"{'/'.join(path.split('/')[-2:])}:{line}"


def describe(node: Node) -> str:
    """`aten.op in module (file.py:line)`, for reasons."""
    name = str(node.target).removesuffix(".default")
    module = module_of(node)
    return f"{name} in {module or 'the top module'} ({source_of(node)})"


def layer_name(stored: Stored) -> str:
    """The path of the module that holds a `weight`; the whole name of a parameter that is called otherwise."""
    module, _, tensor = stored.name.rpartition(".")
    return module if tensor == "weight" and module else stored.name
