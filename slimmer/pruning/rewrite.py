"""Prune a network as its traced program, in which channel counts are corrected (`--rewrite`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node

from slimmer.errors import RunError
from slimmer.graph import Axis, ChannelGraph, Inputs
from slimmer.graph.fold import Folding, fold_
from slimmer.graph.merge import merge
from slimmer.graph.nodes import argument
from slimmer.graph.program import export_program
from slimmer.graph.trace import channel_graph, walk_program
from slimmer.models.copying import duplicate
from slimmer.pruning.plan import Plan
from slimmer.pruning.program_modules import copy_of, fill_, kept_tensors
from slimmer.pruning.rewritable import check_answer, check_gradients, check_rewritable

Units = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class Program:
    """A network's program, its channel groups, and the numbers in it that count channels.

    Args:
        channels: the channel graph of the program.
        graph: the program.
        constants: the program's constant tensors, by name.
        counts: the arguments that count channels, by operation and argument: the units that are
            counted; for a list of numbers, one entry for each, None if it counts no channels.
        units: the unit of each position on the axes of parameters and buffers.
        folding: the computation of weights, which is no longer in the program.
    """

    channels: ChannelGraph
    graph: Graph
    constants: Mapping[str, Tensor]
    counts: Mapping[str, Mapping[str, Units | list[Units | None]]]
    units: Mapping[Axis, Units]
    folding: Folding

    def dense(self, model: nn.Module) -> nn.Module:
        """The network that is pruned: `model` itself, or its program if some of its weights are
        computed.

        In the program each computed weight is a parameter with its present value, and the
        parameters that it was computed from are removed. The program computes what `model` computes
        in eval mode, and trains these weights directly.
        """
        if not self.folding.reads:
            return model
        held = dict((*model.named_parameters(), *model.named_buffers()))
        folded = self.folding.weights({**self._placed(model), **held})
        gone = self.folding.gone
        tensors: dict[Tensor, Tensor] = {}
        for name, tensor in held.items():
            if name in folded:
                tensors[tensor] = folded[name]
            elif name not in gone:
                tensors[tensor] = copy_of(tensor, tensor)
        dense = self._module(model, tensors)
        for name in folded.keys() - held.keys():
            holder, _, last = name.rpartition(".")
            dense.get_submodule(holder).register_parameter(last, folded[name])
        dense.graph = self._corrected(np.zeros(0, dtype=np.int64))
        return dense

    def prune(self, dense: nn.Module, plan: Plan) -> GraphModule:
        """The program with the weights of `dense` that `plan` keeps, and corrected channel counts.

        It is a module like any other: it follows train() and eval(), and its parameters and buffers
        have the names that they have in `dense`. Raises RunError if the plan belongs to another
        network.
        """
        gone = self._gone(plan)
        slim = self._module(dense, kept_tensors(dense, plan))
        slim.graph = self._corrected(gone)
        return slim

    def _module(self, model: nn.Module, tensors: Mapping[Tensor, Tensor]) -> GraphModule:
        """The modules of `model`, without a program yet, with `tensors` instead of its own tensors;
        tensors without a replacement are left out.
        """
        made = GraphModule(nn.Module(), Graph(), type(model).__name__)
        fill_(made, model, tensors, self.graph)
        # torch.export treats some buffers as constants
        own = dict(model.named_buffers(remove_duplicate=False))
        for name, value in self._placed(model).items():
            if name in own:
                continue
            holder, _, last = name.rpartition(".")
            made.get_submodule(holder).register_buffer(last, value, persistent=False)
        return made

    def _placed(self, model: nn.Module) -> dict[str, Tensor]:
        """The program's constants, in the type and on the device of `model`."""
        like = next(model.parameters())
        placed = {}
        for name, value in self.constants.items():
            placed[name] = value.to(like) if value.is_floating_point() else value.to(like.device)
        return placed

    def _gone(self, plan: Plan) -> Units:
        """The removed units."""
        found = [np.zeros(0, dtype=np.int64)]
        for axis, positions in plan.removed().items():
            if "@" in axis.tensor or "#" in axis.tensor:
                continue  # its name depends on the trace; its units are on parameters too
            units = self.units.get(axis)
            if units is None or positions[-1] >= len(units):
                found_wrong = f"prunes {axis}, which the program does not have"
                raise RunError("plan", found_wrong, "give the plan of this network")
            found.append(units[positions])
        return np.unique(np.concatenate(found))

    def _corrected(self, gone: Units) -> Graph:
        """The graph with every argument that counts channels set to the number of kept ones."""
        graph = Graph()
        copies: dict[Node, Node] = {}
        for node in self.graph.nodes:
            copies[node] = graph.node_copy(node, copies.__getitem__)
            counts = self.counts.get(node.meta.get("name", ""), {})
            if counts:
                numbers = {name: _number(units, gone) for name, units in counts.items()}
                _correct_(copies[node], numbers)
        return graph


def read_program(model: nn.Module, inputs: Inputs, *, equal_splits: bool = False) -> Program:
    """The program of `model`, traced in eval mode and, in another precision, in training; and its
    channel groups.

    Hard-coded channel counts fix nothing here: split sizes, slice bounds, fixed views, group counts
    and amounts of padding are corrected. Hard-coded image sizes stay those of `inputs`. Weights
    that are computed from parameters alone become parameters, see `Program.dense`. The parts of a
    split may become unequal; with `equal_splits`, equal parts stay equal.

    Raises:
        ModelError: the network can't be traced, does something else in training than in eval
            mode, or has a custom backward pass.
    """
    check_rewritable(model, inputs)
    evaluated = export_program(model, inputs, any_batch=True)
    own = next(model.parameters()).dtype
    other = torch.float32 if own == torch.float64 else torch.float64
    trained = export_program(duplicate(model).to(other), inputs, training=True, any_batch=True)
    check_gradients(model, inputs)
    graph = merge(model, evaluated, trained, (own, other))
    check_answer(model, graph)
    folding = fold_(model, graph, evaluated)
    walk = walk_program(model, evaluated, rewrite=True, equal_splits=equal_splits)
    component = walk.book.components()

    def units(labels: Tensor | None) -> Any:
        return None if labels is None else component[labels.numpy()]

    counts: dict[str, dict[str, Any]] = {}
    for node, by_name in walk.counts.items():
        counts[node] = {}
        for name, of in by_name.items():
            counts[node][name] = [*map(units, of)] if isinstance(of, list) else units(of)
    constants = evaluated.constants.items()
    return Program(
        channels=channel_graph(walk, model),
        graph=graph,
        constants={name: value for name, value in constants if isinstance(value, Tensor)},
        counts=counts,
        units={axis: units(labels) for axis, labels in walk.axes.items()},
        folding=folding,
    )


def _number(units: Units | list[Units | None], gone: Units) -> int | list[int | None]:
    """The number of `units` that are kept."""
    if not isinstance(units, list):
        return int((~np.isin(units, gone)).sum())
    numbers: list[int | None] = []
    for of in units:
        numbers.append(None if of is None else int((~np.isin(of, gone)).sum()))
    return numbers


def _correct_(node: Node, numbers: Mapping[str, Any]) -> None:
    """Set arguments of a node by name; a split into parts of one size, or into a number of parts,
    becomes a split into listed sizes.
    """
    if "split_sizes" in numbers:
        dim = argument(node, node.args, node.kwargs, "dim")
        node.target = torch.ops.aten.split_with_sizes.default
        node.args, node.kwargs = (node.args[0], list(numbers["split_sizes"]), dim), {}
        return
    target: Any = node.target
    schema = [known.name for known in target._schema.arguments]  # noqa: SLF001
    for name, number in numbers.items():
        old = argument(node, node.args, node.kwargs, name)
        new = number
        if isinstance(number, list):
            new = list(old)
            for entry, count in enumerate(number):
                if count is not None:
                    new[entry] = count
        place = schema.index(name)
        if place < len(node.args):
            node.update_arg(place, new)
        else:
            node.update_kwarg(name, new)
