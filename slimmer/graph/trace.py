"""Build the channel graph of a network from its exported program."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx import GraphModule
from torch.nn.modules.conv import _ConvNd

from slimmer.errors import ModelError
from slimmer.graph.channels import ChannelGraph, Fixed
from slimmer.graph.finish import finish_walk
from slimmer.graph.grouping import collect
from slimmer.graph.inputs import Inputs
from slimmer.graph.names import Names, read_names
from slimmer.graph.program import export_program
from slimmer.graph.program_walk import follow
from slimmer.graph.walk import Walk

WEIGHTED = (_ConvNd, nn.Linear)


def build_graph(model: nn.Module, inputs: Inputs, *, equal_splits: bool = False) -> ChannelGraph:
    """The channel groups of `model`, found by tracing it; see docs/decisions.md.

    Args:
        model: any traceable network; it is not changed.
        inputs: (C, H, W) of one image; or, for a network with several inputs, a tuple of example
            tensors in the order of its forward, or a dictionary of them by name. Examples that
            hold two or more images are safer than a single image.
        equal_splits: keep equal parts of a split equal, even if their width is a number in the
            code.

    Raises:
        ModelError: the network can't be traced; the message contains torch.export's reason.
    """
    # With gradients on, torch.export makes a separate program of every no_grad block.
    with torch.no_grad():
        program = export_program(model, inputs)
    training = cache(partial(_training_program, model, inputs))
    walk = walk_program(model, program, equal_splits=equal_splits, training=training)
    return channel_graph(walk, model)


def channel_graph(walk: Walk, model: nn.Module) -> ChannelGraph:
    """The channel graph that a finished walk through `model` found."""
    graph = collect(walk)
    return replace(graph, fixed=(*graph.fixed, *_unread(walk, model, read_names(model).shared)))


def walk_program(
    model: nn.Module,
    program: Any,
    *,
    rewrite: bool = False,
    equal_splits: bool = False,
    training: Callable[[], Any] | None = None,
) -> Walk:
    """The finished walk through the exported `program` of `model`.

    `rewrite` and `equal_splits` are those of `Walk`. `training` returns the program of the network
    in training mode, or the error that explains why there is none; it is called if `program` leaves
    out layers. If some grouped convolutions can only lose all of their groups or none, the walk is
    repeated, and in these every group loses the same channels instead.
    """
    names = read_names(model)
    evenly: frozenset[str] = frozenset()
    while True:
        modules = dict(model.named_modules())
        walk = Walk(
            modules, names.modules, rewrite=rewrite, evenly=evenly, equal_splits=equal_splits
        )
        follow(walk, names, program)
        walked = {layer.name for layer in walk.layers}
        if training is not None and not _weighted(model).issubset(walked):
            _follow_training(walk, names, training())
        finish_walk(walk, names)
        lumped = _lumped(walk)
        if not lumped:
            return walk
        evenly |= lumped


def _lumped(walk: Walk) -> set[str]:
    """The weights of grouped convolutions whose groups can only be removed all together, or not at
    all.
    """
    if not walk.whole:
        return set()
    component = walk.book.components()
    fixed = component[list(walk.book.reasons)]
    lumped = set()
    for name, groups in walk.whole.items():
        units = np.unique(component[groups.numpy()])
        if len(units) == 1 or np.isin(units, fixed).all():
            lumped.add(name)
    return lumped


def _weighted(model: nn.Module) -> set[str]:
    """The names of the convolution and linear modules of a network."""
    return {name for name, module in model.named_modules() if isinstance(module, WEIGHTED)}


def _training_program(model: nn.Module, inputs: Inputs) -> Any:
    """The program of the network in training mode, its nodes renamed so that they differ from those
    of eval mode; or the ModelError that explains why it can't be traced.
    """
    try:
        with torch.no_grad():
            program = export_program(model, inputs, training=True)
    except ModelError as error:
        return error
    for part in program.graph_module.modules():
        if not isinstance(part, GraphModule):
            continue
        # The axes of activations are named after nodes, and eval mode has nodes of these names.
        for node in part.graph.nodes:
            if node.op not in {"placeholder", "output"}:
                node._rename(f"training_{node.name}")  # noqa: SLF001 - no public way to rename
    return program


def _follow_training(walk: Walk, names: Names, program: Any) -> None:
    """Also walk through the training program, for layers that only training runs (auxiliary heads).

    These layers are pruned together with the rest, so that the slim network can be trained. Their
    FLOPs are not counted, since eval mode does not run them. If the network can't be traced in
    training mode, the graph of eval mode is kept, and the reason is reported for the layers that it
    leaves out.
    """
    if isinstance(program, ModelError):
        walk.untraced = f"; training may use them, but the network {program.found}"
        return
    operations, axes = list(walk.operations), set(walk.axes)
    follow(walk, names, program)
    walk.operations = operations
    for axis in set(walk.axes) - axes:
        if axis.tensor.startswith("@"):
            del walk.axes[axis]


def _unread(walk: Walk, model: nn.Module, shared: Mapping[str, str]) -> Iterator[Fixed]:
    """The convolution and linear modules whose weights no layer of the walk reads; they are not
    pruned.
    """
    read = {layer.name for layer in walk.layers}
    unused = f"its weights are not used by any traced convolution or linear layer{walk.untraced}"
    for name, module in model.named_modules():
        if name in read or not isinstance(module, WEIGHTED):
            continue
        size = module.out_channels if isinstance(module, _ConvNd) else module.out_features
        reason = shared.get(f"{name}.weight") or walk.refused.get(name) or unused
        yield Fixed(name, size, size, reason)
