"""Fold computed weights: what a program computes from parameters alone becomes a parameter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument
from torch.fx import Graph, Node

from slimmer.graph.foldable import Finder, behind
from slimmer.graph.nodes import by_name, is_check


@dataclass(frozen=True, eq=False)
class Folding:
    """What was taken out of a program: the graph that computes the weights, and what each weight is
    computed from.

    A weight has the name that it has in its module (`conv.weight`). `reads` are the names of the
    parameters and buffers that it is computed from, which the program no longer reads.
    """

    graph: Graph
    reads: Mapping[str, frozenset[str]]

    @property
    def gone(self) -> frozenset[str]:
        """The parameters and buffers that the program no longer needs."""
        return frozenset[str]().union(*self.reads.values()) - self.reads.keys()

    def weights(self, tensors: Mapping[str, Tensor]) -> dict[str, nn.Parameter]:
        """The weights, computed from `tensors`, which have the network's names for them.

        A weight requires gradients if one of the parameters that it is computed from does.
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
        weights = {}
        for name, weight in found.items():
            own = weight.clone(memory_format=torch.contiguous_format)
            trained = any(tensors[leaf].requires_grad for leaf in self.reads[name])
            weights[name] = nn.Parameter(own, requires_grad=trained)
        return weights


def fold_(model: nn.Module, merged: Graph, evaluated: Any) -> Folding:
    """Take the computed weights out of both programs of `model`; see `merge` for `merged`.

    A weight is folded only if training computes it by the same operations, which draw no random
    numbers and change nothing, from parameters that nothing else reads. Weights that are mere views
    of a parameter, or scaled by a vector, are left: a walk follows these. The network does not get
    more parameters than before.
    """
    weights = Finder(model, merged, evaluated).find()
    graph = Graph()
    copies: dict[Node, Node] = {}
    taken: set[Node] = set()
    for weight in weights.values():
        taken |= weight.nodes
    for node in merged.nodes:
        if node in taken:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output({name: copies[weight.ends[0]] for name, weight in weights.items()})
    known = by_name(evaluated.graph.nodes)
    for name, weight in weights.items():
        with merged.inserting_before(next(iter(merged.nodes))):
            _replace_(merged, weight.ends, merged.create_node("get_attr", name))
        _store_(evaluated, [known[end.meta["name"]] for end in weight.ends], name)
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    reads = {name: weight.leaves.intersection(own) for name, weight in weights.items()}
    folding = Folding(graph, reads)
    # Nodes that still read a folded parameter only ask for its type or device.
    for node in merged.nodes:
        if node.op == "get_attr" and node.target in folding.gone:
            node.target = next(iter(weights))
    return folding


def _store_(program: Any, ends: Sequence[Node], name: str) -> None:
    """Replace `ends` in an exported program by a parameter."""
    with program.graph.inserting_before(next(iter(program.graph.nodes))):
        stored = program.graph.placeholder(f"folded_{name.replace('.', '_')}")
    stored.meta["val"] = ends[0].meta["val"]
    kind = TensorArgument(name=stored.name)
    program.graph_signature.input_specs.append(InputSpec(InputKind.PARAMETER, kind, name, None))
    _replace_(program.graph, ends, stored)


def _replace_(graph: Graph, ends: Sequence[Node], value: Node) -> None:
    """Read `value` instead of `ends`, and remove what was computed only for them."""
    nodes = behind(ends)
    for end in ends:
        end.replace_all_uses_with(value)
    for node in reversed([*graph.nodes]):
        unused = node in nodes and not node.users and node.op != "placeholder"
        if unused or (is_check(node) and not nodes.isdisjoint(node.all_input_nodes)):
            graph.erase_node(node)
