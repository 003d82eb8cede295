"""Find the weights that a program computes from parameters and that can be computed in advance."""

import operator
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.nn.modules.conv import _ConvNd

from slimmer.graph.labels import long_dims
from slimmer.graph.names import read_names
from slimmer.graph.nodes import argument, by_name, module_of, shape_of
from slimmer.graph.ops import convolution, linear
from slimmer.graph.ops.computed import AS_IT_IS, SCALES
from slimmer.graph.ops.movement import MOVES, RESHAPES

LAYERS = {*convolution.HANDLERS, *linear.HANDLERS}
VIEWS = {*MOVES, *RESHAPES, *AS_IT_IS}


@dataclass(frozen=True, eq=False)
class Weight:
    """A computed weight.

    Args:
        ends: the nodes that layers read; they have the same value at every call.
        nodes: `ends` and all nodes that they are computed from.
        leaves: the parameters, buffers and constants that they are computed from.
    """

    ends: Sequence[Node]
    nodes: frozenset[Node]
    leaves: frozenset[str]


class Finder:
    """The search for foldable weights; a class, because every step uses the same tables."""

    def __init__(self, model: nn.Module, merged: Graph, evaluated: Any) -> None:
        self.merged = merged
        self.evaluated = by_name(evaluated.graph.nodes)
        self.tensors = dict((*model.named_parameters(), *model.named_buffers()))
        constants = evaluated.constants.items()
        self.constants = {name for name, value in constants if isinstance(value, Tensor)}
        self.modules = dict(model.named_modules())
        self.names = read_names(model)
        self.called = {str(node.target) for node in merged.nodes if node.op == "call_module"}
        self.values = self._values()

    def find(self) -> dict[str, Weight]:
        """The weights that can be folded, by the names that they get."""
        named: dict[Node, str] = {}  # named after the first layer that reads it
        for node in self.merged.nodes:
            if _operation(node) not in LAYERS:
                continue
            end: Any = node.args[1]
            if end in self.values and end.op != "get_attr" and end not in named:
                named[end] = self._name(node)
        weights = {}
        for name in dict.fromkeys(named.values()):
            weight = _weight([end for end in named if named[end] == name])
            if self._can_fold(name, weight):
                weights[name] = weight
        return weights

    def _values(self) -> dict[Node, int]:
        """The nodes that depend on parameters, buffers and constants alone; nodes with equal
        values have the same number.
        """
        values: dict[Node, int] = {}
        seen: dict[tuple[str, str], int] = {}
        for node in self.merged.nodes:
            if node.op == "get_attr":
                known = node.target in self.tensors or node.target in self.constants
            else:
                known = _is_pure(node) and values.keys() >= {*node.all_input_nodes}
            if known:
                inputs = torch.fx.map_arg(
                    (node.args, node.kwargs), lambda other: f"%{values[other]}"
                )
                values[node] = seen.setdefault((str(node.target), str(inputs)), len(seen))
        return values

    def _name(self, layer: Node) -> str:
        """`conv.weight` if the layer is a module; if it is a function, the name of the largest
        parameter that its weight is computed from.
        """
        path = module_of(self.evaluated[layer.meta["name"]])
        path = self.names.modules.get(path, path)
        if isinstance(self.modules.get(path), (_ConvNd, nn.Linear)):
            return f"{path}.weight".removeprefix(".")
        nodes = behind([layer.args[1]])  # type: ignore[list-item]
        largest, most = "", 0
        for node in self.merged.nodes:
            name = str(node.target)
            if node in nodes and name in self.tensors and self.tensors[name].numel() > most:
                largest, most = name, self.tensors[name].numel()
        return re.sub(r"\.parametrizations\.(\w+)\.original\d*$", r".\1", largest)

    def _can_fold(self, name: str, weight: Weight) -> bool:
        """Whether a weight can be folded; see `fold_` for the conditions."""
        if name in self.modules or (name in self.tensors and name not in weight.leaves):
            return False  # the name is taken
        if len({self.values[end] for end in weight.ends}) > 1:
            return False  # layers read different values
        for node in weight.nodes.difference(weight.ends):
            if node.target not in self.constants and not weight.nodes.issuperset(node.users):
                return False  # something else reads it on its way
        for leaf in weight.leaves:
            if leaf in self.names.shared or leaf.rpartition(".")[0] in self.called:
                return False
        if self._grows(weight):
            return False
        return any(map(self._is_more, weight.nodes))

    def _grows(self, weight: Weight) -> bool:
        """Whether a weight has more elements than the parameters that it is computed from."""
        size = 0
        for leaf in weight.leaves:
            tensor = self.tensors.get(leaf)
            if isinstance(tensor, nn.Parameter):
                size += tensor.numel()
        made: Tensor = self.evaluated[weight.ends[0].meta["name"]].meta["val"]
        return made.numel() > size

    def _is_more(self, node: Node) -> bool:
        """Whether a walk can't follow the rows and columns of a weight through `node`."""
        name = _operation(node)
        if name in VIEWS or not name:
            return False
        twin = self.evaluated[node.meta["name"]]
        if name not in SCALES or shape_of(twin.args[0]) != shape_of(twin):
            return True
        scale = twin.args[1]
        if not isinstance(scale, Node):
            return False
        return len(long_dims(shape_of(scale))) > 1


def _weight(ends: Sequence[Node]) -> Weight:
    """The weight whose value `ends` have."""
    nodes = behind(ends)
    leaves = set()
    for node in nodes:
        if node.op == "get_attr" and not _is_asked(node):
            leaves.add(str(node.target))
    return Weight(ends, nodes, frozenset(leaves))


def _operation(node: Node) -> str:
    """The ATen name of a node's operation; empty if it is not an operation on tensors."""
    target = node.target
    return target._opname if isinstance(target, torch._ops.OpOverload) else ""  # noqa: SLF001


def _is_pure(node: Node) -> bool:
    """Whether a node returns the same at every call and has no side effects."""
    if node.target in (getattr, operator.getitem):
        return True
    overload = torch._ops.OpOverload  # noqa: SLF001
    if node.op != "call_function" or not isinstance(node.target, overload):
        return False
    in_place = node.target._schema.is_mutable  # noqa: SLF001
    changes = in_place or argument(node, node.args, node.kwargs, "running_mean") is not None
    return not changes and torch.Tag.nondeterministic_seeded not in node.target.tags


def _is_asked(node: Node) -> bool:
    """Whether a tensor is read only for its type or device."""
    return all(user.target is getattr for user in node.users)


def behind(ends: Iterable[Node]) -> frozenset[Node]:
    """`ends` and all nodes that they are computed from."""
    found: dict[Node, None] = {}
    waiting = [*ends]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found[node] = None
            waiting += node.all_input_nodes
    return frozenset(found)
