"""The state of a walk through a program, shared by the handlers of all operations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.fx import Node

from slimmer.graph.channels import Axis, Layer, Operation
from slimmer.graph.labels import LabelBook, along, long_dims, spread
from slimmer.graph.nodes import describe, module_of, shape_of

VARYING = "channels spread over more than one axis"


@dataclass(frozen=True)
class Stored:
    """A parameter or buffer of the program: its name in the model, and its shape."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Computed:
    """A weight that is computed from a parameter with several axes before a layer reads it.

    `rows` and `columns` are label tensors of the weight's shape: they show where the entries of the
    parameter's first and second axis are in the weight. `columns` is None if the rows were computed
    from whole columns (weight normalization): then the second axis is not pruned, and no mask acts
    on it.
    """

    name: str
    rows: Tensor
    columns: Tensor | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the computed weight."""
        return tuple(self.rows.shape)


Counts = dict[str, Tensor | list[Tensor | None]]
"""The arguments of a node that count channels, with the labels that each counts. An argument that
is a list has one entry for each of its numbers, None for a number that counts no channels.
"""


@dataclass
class Walk:
    """The state of one walk through a program.

    Args:
        modules: the network's modules by path.
        aliases: the first path of each module, by its other paths.
        rewrite: the program itself will be pruned: channel counts in it are corrected, so they do
            not fix the channels that they count. `counts` records them by node.
        evenly: the weights of grouped convolutions that keep all groups, while every group loses
            the same channels. The other grouped convolutions lose whole groups; `whole` has one
            label for each of their groups.
        equal_splits: equal parts of a split stay equal.
    """

    modules: dict[str, nn.Module]
    aliases: dict[str, str] = field(default_factory=dict)
    rewrite: bool = False
    evenly: frozenset[str] = frozenset()
    book: LabelBook = field(default_factory=LabelBook)
    axes: dict[Axis, Tensor] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    # parameters that an unsupported operation uses, and why they are not pruned
    pinned: dict[str, str] = field(default_factory=dict)
    # modules with an unsupported operation, and why their channels are not pruned
    refused: dict[str, str] = field(default_factory=dict)
    counts: dict[str, Counts] = field(default_factory=dict)
    untraced: str = ""  # why layers that only training runs are unknown
    whole: dict[str, Tensor] = field(default_factory=dict)
    equal_splits: bool = False
    # for every split: the module, the operation, and the labels of each part
    splits: list[tuple[str, str, list[Tensor]]] = field(default_factory=list)
    # labels of activations that were added to one another
    summed: list[Tensor] = field(default_factory=list)

    def label_axis(self, axis: Axis, labels: Tensor) -> Tensor:
        """Record the labels of `axis`; if it already has labels, tie the two. Returns the first
        labels.
        """
        known = self.axes.setdefault(axis, labels)
        if known is not labels:
            self.book.tie(known, labels)
        return known

    def made_by(self, axis: Axis, size: int) -> Tensor:
        """The labels of a layer's output axis: new ones at its first call, the same ones later."""
        if axis not in self.axes:
            self.axes[axis] = self.book.fresh(size)
        return self.axes[axis]

    def read(self, labels: Tensor, dim: int, node: Node, why: str = VARYING) -> Tensor:
        """The labels that `node` reads along `dim`. If they also vary along another axis, they are
        fixed for the reason `why`.
        """
        found = along(labels, dim)
        if found is None:
            return self.refuse(node, [labels], why, (labels.shape[dim],))
        return found

    def refuse(
        self, node: Node, inputs: Sequence[Any], why: str, shape: Sequence[int] | None = None
    ) -> Tensor:
        """Fix the channels of all `inputs` of `node`; returns a fixed output of `shape` (by
        default, the node's own shape).
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
        """Why `node` fixes channels, followed by its operation, module and source line."""
        return f"{why}: {describe(node)}"

    def module_of(self, node: Node) -> str:
        """The path of the innermost module whose forward made `node`; the first path if it has
        several.
        """
        path = module_of(node)
        return self.aliases.get(path, path)

    def count(self, node: Node, kind: str, axes: Sequence[Axis], volume: int) -> None:
        """Record an operation that fvcore counts: its FLOPs are `volume` times the widths of
        `axes`.
        """
        self.operations.append(Operation(self.module_of(node), kind, tuple(axes), volume))

    def note_count(self, node: Node, argument: str, labels: Tensor | list[Tensor | None]) -> None:
        """Record that an argument of `node` is the number of `labels`; for a list, that each entry
        is the number of its own labels.

        A computed weight passes twice, with its rows and with its columns: entries that are known
        from the first pass are kept.
        """
        if not self.rewrite:
            return
        if isinstance(labels, list) and all(part is None for part in labels):
            return
        known = self.counts.setdefault(node.name, {}).get(argument)
        if isinstance(known, list) and isinstance(labels, list):
            both = list(labels)
            for place, old in enumerate(known):
                if old is not None:
                    both[place] = old
            labels = both
        self.counts[node.name][argument] = labels

    def counter(self, node: Node, kind: type[nn.Module], name: str) -> Axis | None:
        """The axis of a module attribute that counts channels; None unless a module of type `kind`
        made `node`.
        """
        path = self.module_of(node)
        return Axis(f"{path}#{name}", 0) if isinstance(self.modules.get(path), kind) else None

    def as_labels(self, value: Any, node: Node) -> Tensor | None:
        """The labels of an operand: those of an activation; new labels for a parameter or buffer
        with one axis; None for a number.
        """
        if isinstance(value, Tensor):
            return value
        if isinstance(value, Computed):
            return value.rows
        if not isinstance(value, Stored):
            return None
        long = long_dims(value.shape)
        if not long:
            return None
        if len(long) > 1:
            why = f"a parameter or buffer with {len(long)} axes, {value.name}"
            reason = self.reason(node, why)
            self.pinned.setdefault(value.name, reason)
            return self.book.fixed(value.shape, reason)
        return self.stored_axis(value, long[0])

    def stored_axis(self, value: Stored, dim: int) -> Tensor:
        """The labels of a parameter or buffer along one of its axes, in its own shape."""
        return spread(self.made_by(Axis(value.name, dim), value.shape[dim]), dim, value.shape)

    def stored_labels(self, value: Any, node: Node) -> Any:
        """The labels of a parameter or buffer, fixed ones for a scalar; any other value
        unchanged.
        """
        if not isinstance(value, Stored):
            return value
        labels = self.as_labels(value, node)
        if labels is not None:
            return labels
        return self.book.fixed(value.shape, self.reason(node, "a scalar parameter or buffer"))


Handler = Callable[[Walk, Node, Sequence[Any], dict[str, Any]], Any]
