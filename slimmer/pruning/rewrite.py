"""A network as its own program, whose numbers of channels follow a plan: what `--rewrite` prunes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.nn.modules.batchnorm import _BatchNorm

from slimmer.errors import RunError
from slimmer.graph import Axis, ChannelGraph, Inputs
from slimmer.graph.fold import Folding, fold_
from slimmer.graph.merge import merge
from slimmer.graph.nodes import argument
from slimmer.graph.program import export_program
from slimmer.graph.trace import channel_graph, walk_program
from slimmer.models.copying import duplicate
from slimmer.pruning.apply import slice_tensors
from slimmer.pruning.plan import Plan
from slimmer.pruning.rewritable import check_answer, check_gradients, check_rewritable

NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
Units = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class Program:
    """A network's program, its channel groups, and which of its numbers count which of their units.

    `counts` are the arguments of operations that count channels, by the operation's name: the unit
    of each channel that is counted; for a list of numbers, entry by entry, None where an entry
    counts none. `units` are those along the axes of parameters and buffers. `folding` is what
    computed weights and is no longer in the program.
    """

    channels: ChannelGraph
    graph: Graph
    constants: Mapping[str, Tensor]
    counts: Mapping[str, Mapping[str, Units | list[Units | None]]]
    units: Mapping[Axis, Units]
    folding: Folding

    def dense(self, model: nn.Module) -> nn.Module:
        """The network that is pruned: `model` itself, or its program where weights of it were
        computed.

        In that one each such weight is a parameter, which has the value that the parameters of
        `model` give it; those are gone. It computes what `model` computes in eval mode, and trains
        the weights as they are.
        """
        if not self.folding.reads:
            return model
        held = dict((*model.named_parameters(), *model.named_buffers()))
        folded = self.folding.weights({**self._placed(model), **held})
        tensors = {
            tensor: _copy_of(tensor, tensor)
            for name, tensor in held.items()
            if name not in self.folding.gone
        }
        dense = self._module(
            model, {**tensors, **{held[name]: folded[name] for name in folded.keys() & held.keys()}}
        )
        for name in folded.keys() - held.keys():
            holder, _, last = name.rpartition(".")
            dense.get_submodule(holder).register_parameter(last, folded[name])
        dense.graph = self._corrected(np.zeros(0, dtype=np.int64))
        return dense

    def prune(self, dense: nn.Module, plan: Plan) -> GraphModule:
        """The program with the weights of `dense` that `plan` keeps, and its numbers corrected.

        A module like any other: it follows train() and eval(), and its parameters and buffers have
        the names that they have in `dense`. Raises RunError where the plan belongs to another
        network.
        """
        gone = self._gone(plan)
        slim = self._module(dense, _kept(dense, plan))
        slim.graph = self._corrected(gone)
        return slim

    def _module(self, model: nn.Module, tensors: Mapping[Tensor, Tensor]) -> GraphModule:
        """The modules of `model` without a program yet, with `tensors` in place of its own; others
        are left out.
        """
        made = GraphModule(nn.Module(), Graph(), type(model).__name__)
        _fill_(made, model, tensors, self.graph)
        own = {
            name for name, _ in model.named_buffers(remove_duplicate=False)
        }  # some are constants to torch.export
        for name, value in self._placed(model).items():
            if name in own:
                continue
            holder, _, last = name.rpartition(".")
            made.get_submodule(holder).register_buffer(last, value, persistent=False)
        return made

    def _placed(self, model: nn.Module) -> dict[str, Tensor]:
        """The program's constants in the type and place of `model`."""
        like = next(model.parameters())
        return {
            name: value.to(like if value.is_floating_point() else like.device)
            for name, value in self.constants.items()
        }

    def _gone(self, plan: Plan) -> Units:
        """The units that go."""
        found = [np.zeros(0, dtype=np.int64)]
        for axis, positions in plan.removed().items():
            if "@" in axis.tensor or "#" in axis.tensor:
                continue  # named by the trace of its day; its units lie on parameters too
            units = self.units.get(axis)
            if units is None or positions[-1] >= len(units):
                raise RunError(
                    "plan",
                    f"cuts {axis}, which the program does not know",
                    "give the plan of this network",
                )
            found.append(units[positions])
        return np.unique(np.concatenate(found))

    def _corrected(self, gone: Units) -> Graph:
        """The graph with every argument that counts channels set to the number of those that stay."""
        graph = Graph()
        copies: dict[Node, Node] = {}
        for node in self.graph.nodes:
            copies[node] = graph.node_copy(node, copies.__getitem__)
            counts = self.counts.get(node.meta.get("name", ""), {})
            if counts:
                _correct_(
                    copies[node], {name: _number(units, gone) for name, units in counts.items()}
                )
        return graph


def read_program(model: nn.Module, inputs: Inputs, *, equal_splits: bool = False) -> Program:
    """The program of `model`, traced in eval mode, and in training in another precision, and its
    channel groups.

    Numbers of channels in the code fix nothing here: split sizes, slice bounds, fixed views, group
    counts, amounts of padding follow the channels that they count. Sizes of images stay those of
    `inputs` wherever the code holds them. Weights that are computed from parameters alone are
    parameters here; see `Program.dense`. The parts of a split may differ in width, but under
    `equal_splits` those that are equal stay so.

    Raises:
        ModelError: the network can't be traced, does something else in training than in eval mode, or has a backward
            pass of its own making.
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

    counts = {
        node: {
            name: [*map(units, of)] if isinstance(of, list) else units(of)
            for name, of in by_name.items()
        }
        for node, by_name in walk.counts.items()
    }
    return Program(
        channels=channel_graph(walk, model),
        graph=graph,
        constants={
            name: value for name, value in evaluated.constants.items() if isinstance(value, Tensor)
        },
        counts=counts,
        units={axis: units(labels) for axis, labels in walk.axes.items()},
        folding=folding,
    )


def _number(units: Units | list[Units | None], gone: Units) -> int | list[int | None]:
    """How many of `units` stay."""
    if isinstance(units, list):
        return [None if of is None else int((~np.isin(of, gone)).sum()) for of in units]
    return int((~np.isin(units, gone)).sum())


def _correct_(node: Node, numbers: Mapping[str, Any]) -> None:
    """Set arguments of a node by their names; parts of one size or number become parts of sizes
    that are written.
    """
    if "split_sizes" in numbers:
        dim = argument(node, node.args, node.kwargs, "dim")
        node.target = torch.ops.aten.split_with_sizes.default
        node.args, node.kwargs = (node.args[0], list(numbers["split_sizes"]), dim), {}
        return
    target: Any = node.target
    schema = [known.name for known in target._schema.arguments]  # noqa: SLF001 - a schema has no public name
    for name, number in numbers.items():
        old = argument(node, node.args, node.kwargs, name)
        new = (
            [b if a is None else a for a, b in zip(number, old, strict=True)]
            if isinstance(number, list)
            else number
        )
        place = schema.index(name)
        if place < len(node.args):
            node.update_arg(place, new)
        else:
            node.update_kwarg(name, new)


def _fill_(
    made: GraphModule, model: nn.Module, tensors: Mapping[Tensor, Tensor], graph: Graph
) -> None:
    """Give `made` the tree of modules of `model`, with `tensors` in place of its own.

    Each module is an empty one that holds tensors, but for those that the program calls: batch
    norms, and modules without tensors, which are copied.
    """
    called = {node.target: node for node in graph.nodes if node.op == "call_module"}
    copies: dict[nn.Module, nn.Module] = {model: made}
    whole = set()
    for path, module in model.named_modules():
        if module is not model:
            copies[module] = _copy(module, called.get(path))
            if path in called and not isinstance(module, _BatchNorm):
                whole.add(module)
    for module, copy in copies.items():
        if module in whole:
            continue
        copy.training = module.training
        _hold_(copy, module, tensors)
        for name, child in module._modules.items():  # noqa: SLF001 - named_children() gives one that hangs twice once
            if child is not None:
                copy.add_module(name, copies[child])


def _kept(model: nn.Module, plan: Plan) -> dict[Tensor, Tensor]:
    """For each parameter and buffer what `plan` keeps of it: one for one, whatever holds it in
    several places.
    """
    held = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    sliced = slice_tensors({name: tensor.detach() for name, tensor in held}, plan)
    kept: dict[Tensor, Tensor] = {}
    for name, tensor in held:
        kept.setdefault(tensor, _copy_of(sliced[name], tensor))
    return kept


def _copy_of(numbers: Tensor, tensor: Tensor) -> Tensor:
    """A parameter or buffer like `tensor`, of these numbers."""
    own = numbers.detach().clone()
    return (
        nn.Parameter(own, requires_grad=tensor.requires_grad)
        if isinstance(tensor, nn.Parameter)
        else own
    )


def _hold_(copy: nn.Module, module: nn.Module, tensors: Mapping[Tensor, Tensor]) -> None:
    """Register what `module` holds itself, as far as there is something in its place."""
    for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
        if parameter in tensors:
            copy.register_parameter(name, tensors[parameter])  # type: ignore[arg-type]
    for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
        if buffer in tensors:
            persistent = name not in module._non_persistent_buffers_set  # noqa: SLF001
            copy.register_buffer(name, tensors[buffer], persistent=persistent)
    if isinstance(copy, _BatchNorm) and copy.running_mean is not None:
        copy.num_features = len(copy.running_mean)


def _copy(module: nn.Module, call: Node | None) -> nn.Module:
    """What stands for `module`, still without tensors and children; `call` is the program's call of
    it.
    """
    if call is None:
        return nn.Module()
    if not isinstance(module, _BatchNorm):
        return duplicate(module)
    copy = NORMS[call.meta["axes"]](module.num_features, module.eps, module.momentum, affine=False)
    copy.affine = module.affine
    return copy
