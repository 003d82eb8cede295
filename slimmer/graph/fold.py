"""Weights that a program computes from parameters alone, taken out of it: each becomes a parameter
of its layer.
"""

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument
from torch.fx import Graph, Node
from torch.nn.modules.conv import _ConvNd

from slimmer.graph.names import read_names
from slimmer.graph.nodes import CHECKS
from slimmer.graph.ops import convolution, linear
from slimmer.graph.ops.computed import AS_IT_IS, SCALES
from slimmer.graph.ops.movement import MOVES, RESHAPES
from slimmer.graph.walk import argument, module_of, shape_of

LAYERS = {*convolution.HANDLERS, *linear.HANDLERS}
VIEWS = {*MOVES, *RESHAPES, *AS_IT_IS}


@dataclass(frozen=True, eq=False)
class Folding:
    """What was taken out of a program: the graph that computes the weights, and what each of them
    is computed from.

    A weight has the name that it has in its module (`conv.weight`); `reads` are the names of the
    parameters and buffers behind it, which the program reads no more.
    """

    graph: Graph
    reads: Mapping[str, frozenset[str]]

    @property
    def gone(self) -> frozenset[str]:
        """The parameters and buffers that the program does without."""
        return frozenset[str]().union(*self.reads.values()) - self.reads.keys()

    def weights(self, tensors: Mapping[str, Tensor]) -> dict[str, nn.Parameter]:
        """The weights that `tensors`, by the names that the network has for them, come to.

        A weight is trained where one of the parameters behind it was.
        """
        values: dict[Node, Any] = {}
        found: dict[str, Tensor] = {}
        with torch.no_grad():
            for node in self.graph.nodes:
                args, kwargs = torch.fx.map_arg((node.args, node.kwargs), values.__getitem__)
                if node.op == "get_attr":
                    values[node] = tensors[str(node.target)]
                elif node.op == "output":
                    found = args[0]
                else:
                    values[node] = node.target(*args, **kwargs)
        return {
            name: nn.Parameter(
                weight.clone(memory_format=torch.contiguous_format),
                requires_grad=any(tensors[behind].requires_grad for behind in self.reads[name]),
            )
            for name, weight in found.items()
        }


@dataclass(frozen=True, eq=False)
class _Weight:
    """A weight that is computed: the values that layers read (the same at every call), and all
    nodes behind them.
    """

    ends: Sequence[Node]
    nodes: frozenset[Node]
    leaves: frozenset[str]  # parameters, buffers and constants


def fold_(model: nn.Module, merged: Graph, evaluated: Any) -> Folding:
    """Take the computed weights out of both programs of `model`; see `merge` for `merged`.

    Only those that training computes by the same operations, which neither draw nor change numbers,
    from parameters that nothing else reads; and not those that are mere views of a parameter or
    scaled by a vector, which the walk follows. The network has no more parameters than before.
    """
    weights = _Finder(model, merged, evaluated).find()
    graph = Graph()
    copies: dict[Node, Node] = {}
    taken = frozenset[Node]().union(*(weight.nodes for weight in weights.values()))
    for node in merged.nodes:
        if node in taken:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output({name: copies[weight.ends[0]] for name, weight in weights.items()})
    known = {node.name: node for node in evaluated.graph.nodes}
    for name, weight in weights.items():
        with merged.inserting_before(next(iter(merged.nodes))):
            _replace_(merged, weight.ends, merged.create_node("get_attr", name))
        _store_(evaluated, [known[end.meta["name"]] for end in weight.ends], name)
    own = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    folding = Folding(graph, {name: weight.leaves & own for name, weight in weights.items()})
    for node in merged.nodes:  # what is left asks a tensor for the network's type or place
        if node.op == "get_attr" and node.target in folding.gone:
            node.target = next(iter(weights))
    return folding


class _Finder:
    """The search for weights that can be taken out; a class, since every step looks at the same
    tables.
    """

    def __init__(self, model: nn.Module, merged: Graph, evaluated: Any) -> None:
        self.merged = merged
        self.evaluated = {node.name: node for node in evaluated.graph.nodes}
        self.tensors = dict((*model.named_parameters(), *model.named_buffers()))
        self.constants = {
            name for name, value in evaluated.constants.items() if isinstance(value, Tensor)
        }
        self.modules = dict(model.named_modules())
        self.names = read_names(model)
        self.called = {str(node.target) for node in merged.nodes if node.op == "call_module"}
        self.values = self._values()

    def find(self) -> dict[str, _Weight]:
        """The weights by the names that they get."""
        named: dict[Node, str] = {}  # by the first layer that reads it
        for node in self.merged.nodes:
            end = node.args[1] if _operation(node) in LAYERS else node
            if end is not node and end in self.values and end.op != "get_attr" and end not in named:
                named[end] = self._name(node)
        weights = {}
        for name in dict.fromkeys(named.values()):
            found = [end for end in named if named[end] == name]
            nodes = _behind(found)
            leaves = frozenset(
                str(node.target) for node in nodes if node.op == "get_attr" and not _is_asked(node)
            )
            weights[name] = _Weight(found, nodes, leaves)
        return {name: weight for name, weight in weights.items() if self._can_fold(name, weight)}

    def _values(self) -> dict[Node, int]:
        """The nodes that are computed from parameters, buffers and constants alone; equal ones by
        one number.
        """
        values: dict[Node, int] = {}
        seen: dict[tuple[str, str], int] = {}
        for node in self.merged.nodes:
            if node.op == "get_attr":
                known = node.target in self.tensors or node.target in self.constants
            else:
                known = _is_pure(node) and all(other in values for other in node.all_input_nodes)
            if known:
                inputs = torch.fx.map_arg(
                    (node.args, node.kwargs), lambda other: f"%{values[other]}"
                )
                values[node] = seen.setdefault((str(node.target), str(inputs)), len(seen))
        return values

    def _name(self, layer: Node) -> str:
        """`conv.weight` of the module that the layer is; of a function's, the name of the largest
        parameter behind.
        """
        path = module_of(self.evaluated[layer.meta["name"]])
        path = self.names.modules.get(path, path)
        if isinstance(self.modules.get(path), (_ConvNd, nn.Linear)):
            return f"{path}.weight".removeprefix(".")
        behind = _behind([layer.args[1]])  # type: ignore[list-item]
        leaves = [str(node.target) for node in self.merged.nodes if node in behind]
        largest = max(
            (name for name in leaves if name in self.tensors),
            key=lambda n: self.tensors[n].numel(),
            default="",
        )
        return re.sub(r"\.parametrizations\.(\w+)\.original\d*$", r".\1", largest)

    def _can_fold(self, name: str, weight: _Weight) -> bool:
        """Whether a weight is one that `fold_` takes out."""
        taken = (name in self.tensors and name not in weight.leaves) or name in self.modules
        once = len({self.values[end] for end in weight.ends}) == 1
        alone = all(
            weight.nodes.issuperset(node.users)
            for node in weight.nodes.difference(weight.ends)
            if node.target not in self.constants
        )
        shared = any(
            leaf in self.names.shared or leaf.rpartition(".")[0] in self.called
            for leaf in weight.leaves
        )
        parameters = [self.tensors[leaf] for leaf in weight.leaves if leaf in self.tensors]
        size = sum(tensor.numel() for tensor in parameters if isinstance(tensor, nn.Parameter))
        grows = self.evaluated[weight.ends[0].meta["name"]].meta["val"].numel() > size
        return (
            once
            and alone
            and not (taken or shared or grows)
            and any(map(self._is_more, weight.nodes))
        )

    def _is_more(self, node: Node) -> bool:
        """Whether the walk can't follow a weight's rows and columns through `node`."""
        name = _operation(node)
        if name in VIEWS or not name:
            return False
        twin = self.evaluated[node.meta["name"]]
        if name not in SCALES or shape_of(twin.args[0]) != shape_of(twin):
            return True
        scale = twin.args[1]
        return isinstance(scale, Node) and sum(size > 1 for size in shape_of(scale)) > 1


def _operation(node: Node) -> str:
    """The ATen name of what a node does; none of what is no operation on tensors."""
    return node.target._opname if isinstance(node.target, torch._ops.OpOverload) else ""  # noqa: SLF001 - no public name


def _is_pure(node: Node) -> bool:
    """Whether a node gives the same at every call, and does nothing else."""
    if node.target in (getattr, operator.getitem):
        return True
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):  # noqa: SLF001
        return False
    in_place = node.target._schema.is_mutable  # noqa: SLF001
    changes = in_place or argument(node, node.args, node.kwargs, "running_mean") is not None
    return not changes and torch.Tag.nondeterministic_seeded not in node.target.tags


def _is_asked(node: Node) -> bool:
    """Whether a tensor is read for its type or place alone."""
    return all(user.target is getattr for user in node.users)


def _behind(ends: Iterable[Node]) -> frozenset[Node]:
    """`ends` and all nodes that they are computed from."""
    found: dict[Node, None] = {}
    waiting = [*ends]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found[node] = None
            waiting += node.all_input_nodes
    return frozenset(found)


def _store_(program: Any, ends: Sequence[Node], name: str) -> None:
    """Give an exported program a parameter in place of `ends`."""
    with program.graph.inserting_before(next(iter(program.graph.nodes))):
        stored = program.graph.placeholder(f"folded_{name.replace('.', '_')}")
    stored.meta["val"] = ends[0].meta["val"]
    kind = TensorArgument(name=stored.name)
    program.graph_signature.input_specs.append(InputSpec(InputKind.PARAMETER, kind, name, None))
    _replace_(program.graph, ends, stored)


def _replace_(graph: Graph, ends: Sequence[Node], value: Node) -> None:
    """Read `value` where `ends` were read, and drop what was computed for them alone."""
    nodes = _behind(ends)
    for end in ends:
        end.replace_all_uses_with(value)
    for node in reversed([*graph.nodes]):
        checks = any(check in str(node.target) for check in CHECKS) and not nodes.isdisjoint(
            node.all_input_nodes
        )
        if checks or (node in nodes and not node.users and node.op != "placeholder"):
            graph.erase_node(node)
