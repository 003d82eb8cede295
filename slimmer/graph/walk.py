"""What the handlers of operations share while a program is walked: labels, parameters' axes,
layers, reasons.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from slimmer.graph.channels import Axis, Layer, Operation
from slimmer.graph.labels import LabelBook, along, spread

TORCH = f"{Path(torch.__file__).parent}{os.sep}"
VARYING = "labels that vary over positions"


@dataclass(frozen=True)
class Stored:
    """A parameter or buffer as it stands in the program: its name in the model and its shape."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Computed:
    """A parameter of several axes on its way through the program to the layer that reads it.

    `rows` and `columns` are label tensors of the value's present shape: where the entries of the
    parameter's first and second axis have come to lie. `columns` is None where the rows were
    computed from whole columns (weight normalisation): then the second axis stays, and nothing is
    masked on it.
    """

    name: str
    rows: Tensor
    columns: Tensor | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's present shape."""
        return tuple(self.rows.shape)


Counts = dict[str, Tensor | list[Tensor | None]]
"""Arguments of a node that count labels: the labels counted; for a list, entry by entry, None where
it counts none.
"""


@dataclass
class Walk:
    """The state of one walk through a program; `aliases` are modules' other paths and the first
    path of each.

    Under `rewrite` the program itself is going to be slim: numbers of channels in it will follow,
    and so they need not fix what they count. `counts` holds them by node. `evenly` are the weights
    of grouped convolutions whose groups stay and lose channels alike; of the others, whose groups
    go whole, `whole` has a label for each group. Under `equal_splits` the parts of a split that are
    equal stay so.
    """

    modules: dict[str, nn.Module]
    aliases: dict[str, str] = field(default_factory=dict)
    rewrite: bool = False
    evenly: frozenset[str] = frozenset()
    book: LabelBook = field(default_factory=LabelBook)
    axes: dict[Axis, Tensor] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    pinned: dict[str, str] = field(
        default_factory=dict
    )  # parameters that are used as no handler follows, and why
    refused: dict[str, str] = field(
        default_factory=dict
    )  # modules with a refused operation, and why
    counts: dict[str, Counts] = field(default_factory=dict)
    untraced: str = ""  # why layers that only training runs are not known
    whole: dict[str, Tensor] = field(default_factory=dict)
    equal_splits: bool = False
    splits: list[tuple[str, str, list[Tensor]]] = field(
        default_factory=list
    )  # module, operation, labels of each part
    summed: list[Tensor] = field(
        default_factory=list
    )  # labels of activations that were added to one another

    def label_axis(self, axis: Axis, labels: Tensor) -> Tensor:
        """Note that the entries of `axis` belong to `labels`; an axis seen before ties the two.
        Returns its labels.
        """
        known = self.axes.setdefault(axis, labels)
        if known is not labels:
            self.book.tie(known, labels)
        return known

    def made_by(self, axis: Axis, size: int) -> Tensor:
        """The labels of a producer's output axis: new at its first call, the same at the next."""
        if axis not in self.axes:
            self.axes[axis] = self.book.fresh(size)
        return self.axes[axis]

    def read(self, labels: Tensor, dim: int, node: Node, why: str = VARYING) -> Tensor:
        """The labels that `node` reads along `dim`; fixed, for the reason `why`, where they vary
        along another axis.
        """
        found = along(labels, dim)
        if found is None:
            return self.refuse(node, [labels], why, (labels.shape[dim],))
        return found

    def refuse(
        self, node: Node, inputs: Sequence[Any], why: str, shape: Sequence[int] | None = None
    ) -> Tensor:
        """Fix what enters `node`, and give it a fixed output of `shape` (the node's own by
        default).
        """
        reason = self.reason(node, why)
        self.refused.setdefault(self.module_of(node), reason)
        for value in inputs:
            if isinstance(value, Tensor):
                self.book.fix(value, reason)
            elif isinstance(value, (Stored, Computed)):
                self.pinned.setdefault(value.name, reason)
        return self.book.fixed(shape_of(node) if shape is None else tuple(shape), reason)

    def reason(self, node: Node, why: str) -> str:
        """Why `node` fixes channels: what it does, its operation, module and line."""
        return f"{why}: {describe(node)}"

    def module_of(self, node: Node) -> str:
        """The path of the innermost module whose forward made `node`; its first where it has
        several.
        """
        path = module_of(node)
        return self.aliases.get(path, path)

    def count(self, node: Node, kind: str, axes: Sequence[Axis], volume: int) -> None:
        """Note an operation that fvcore counts, its FLOPs being `volume` times the widths of
        `axes`.
        """
        self.operations.append(Operation(self.module_of(node), kind, tuple(axes), volume))

    def note_count(self, node: Node, argument: str, labels: Tensor | list[Tensor | None]) -> None:
        """Note that an argument of `node` is the number of `labels`; of a list, each entry that of
        its own.

        A weight that is computed passes twice, with its rows and with its columns: what is known
        from before stays.
        """
        if not self.rewrite or (isinstance(labels, list) and all(part is None for part in labels)):
            return
        known = self.counts.setdefault(node.name, {}).get(argument)
        if isinstance(known, list) and isinstance(labels, list):
            labels = [
                old if old is not None else new for old, new in zip(known, labels, strict=True)
            ]
        self.counts[node.name][argument] = labels

    def counter(self, node: Node, kind: type[nn.Module], name: str) -> Axis | None:
        """The axis of an attribute that counts channels, where `node` was made by a module of that
        `kind`.
        """
        module = self.modules.get(self.module_of(node))
        return Axis(f"{self.module_of(node)}#{name}", 0) if isinstance(module, kind) else None

    def as_labels(self, value: Any, node: Node) -> Tensor | None:
        """The labels of an operand: an activation's own; a stored vector gets an axis of its own;
        None for a number.
        """
        if isinstance(value, Tensor):
            return value
        if isinstance(value, Computed):
            return value.rows
        if not isinstance(value, Stored):
            return None
        long = [dim for dim, size in enumerate(value.shape) if size > 1]
        if not long:
            return None
        if len(long) > 1:
            reason = f"a stored tensor of {len(long)} axes, {value.name}: {describe(node)}"
            self.pinned.setdefault(value.name, reason)
            return self.book.fixed(value.shape, reason)
        return self.stored_axis(value, long[0])

    def stored_axis(self, value: Stored, dim: int) -> Tensor:
        """The labels of a parameter or buffer along one of its axes, in its own shape."""
        return spread(self.made_by(Axis(value.name, dim), value.shape[dim]), dim, value.shape)

    def stored_labels(self, value: Any, node: Node) -> Any:
        """The labels of a parameter or buffer, fixed ones for a single number; any other value as
        it is.
        """
        if not isinstance(value, Stored):
            return value
        labels = self.as_labels(value, node)
        return (
            self.book.fixed(value.shape, self.reason(node, "a stored number"))
            if labels is None
            else labels
        )


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
    """`file.py:line` of the code that made `node`: the last frame outside PyTorch's own files,
    where there is one.
    """
    trace = node.meta.get("stack_trace") or ""
    frames = re.findall(r'File "([^"]+)", line (\d+)', trace)
    own = [frame for frame in frames if not frame[0].startswith(TORCH)] or frames
    if not own:
        return "unknown line"
    path, line = own[-1]
    return f"{'/'.join(path.split('/')[-2:])}:{line}"


def describe(node: Node) -> str:
    """`aten.op in module (file.py:line)`, for reasons."""
    name = str(node.target).removesuffix(".default")
    module = module_of(node)
    return f"{name} in {module or 'the top module'} ({source_of(node)})"


def argument(node: Node, args: Sequence[Any], kwargs: dict[str, Any], name: str) -> Any:
    """The argument of an operation by its name in the operation's schema, or its default there."""
    target: Any = node.target
    for place, known in enumerate(target._schema.arguments):  # noqa: SLF001 - a schema has no public name
        if known.name == name:
            return args[place] if place < len(args) else kwargs.get(name, known.default_value)
    return None


def layer_name(parameter: str) -> str:
    """The path of the module that holds a `weight` (parametrised or not); else the parameter's
    whole name.
    """
    name = re.sub(r"\.parametrizations\.(\w+)\.original\d*$", r".\1", parameter)
    module, _, tensor = name.rpartition(".")
    return module if tensor in {"weight", "weight_v"} and module else name
