"""The exported program walked once, labels in place of numbers, into a channel graph."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.nn.modules.conv import _ConvNd

from slimmer.errors import ModelError
from slimmer.graph.channels import ChannelGraph, Fixed
from slimmer.graph.grouping import collect
from slimmer.graph.ops import HANDLERS
from slimmer.graph.walk import Stored, Walk, shape_of

BATCH = 2  # one image alone would let a program drop or squeeze its batch axis


def build_graph(model: nn.Module, input_size: tuple[int, ...]) -> ChannelGraph:
    """The channel groups of `model`, read off its program by labels; see docs/decisions.md.

    Args:
        model: any traceable network from one (N, C, H, W) tensor; it is left as it was.
        input_size: (C, H, W) of one image.

    Raises:
        ModelError: the network can't be traced; the message holds torch.export's reason.
    """
    program = export_program(model, input_size)
    walk = Walk(dict(model.named_modules()))
    values: dict[Node, Any] = {}
    signature = program.graph_signature
    stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            reason = "the network's input" if node.name in signature.user_inputs else "numbers that stand in the code"
            values[node] = _placeholder(walk, node, stored, reason)
        elif node.op == "output":
            for labels in _tensors(node.args, values):
                walk.book.fix(labels, "the network's output")
        else:
            values[node] = _call(walk, node, values)
    shared = _shared(model)
    _fix_by_name(walk, shared)
    graph = collect(walk)
    return replace(graph, fixed=(*graph.fixed, *_unread(walk, model, shared)))


def export_program(model: nn.Module, input_size: tuple[int, ...]) -> Any:
    """The network's program as ATen operations, in eval mode. Raises ModelError where it can't be traced."""
    parameter = next(model.parameters(), torch.zeros(()))
    example = torch.zeros((BATCH, *input_size), dtype=parameter.dtype, device=parameter.device)
    with evaluating(model):
        try:
            return torch.export.export(model, (example,), strict=False)
        except Exception as error:  # torch.export raises many kinds, all of them about the network
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise ModelError(
                type(model).__name__,
                f"can't be traced with an input of {tuple(example.shape)}: {reason}",
                "give the input size that the network takes; data-dependent branches can't be pruned",
            ) from error


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode; every module's own mode is put back afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _placeholder(walk: Walk, node: Node, stored: dict[str, str], reason: str) -> Any:
    if node.name in stored:
        return Stored(stored[node.name], shape_of(node))
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return value
    return walk.book.fixed(tuple(value.shape), reason)


def _call(walk: Walk, node: Node, values: dict[Node, Any]) -> Any:
    args: Any = torch.fx.map_arg(node.args, lambda other: values[other])
    kwargs: Any = torch.fx.map_arg(node.kwargs, lambda other: values[other])
    entering = list(_tensors((node.args, node.kwargs), values))
    name = str(getattr(node.target, "_opname", None) or getattr(node.target, "__name__", node.target))
    handler = HANDLERS.get(name)
    if args and isinstance(args[0], Stored):  # a parameter that is reshaped or scaled before it meets anything
        args = tuple(walk.stored_labels(value, node) for value in args)
        entering += [value for value in args if isinstance(value, Tensor)]
    if handler is not None and (entering or name == "getitem"):
        return handler(walk, node, args, kwargs)
    val = node.meta.get("val")
    stored = _stored((args, kwargs))
    if not entering and not stored:
        return (
            walk.book.fixed(tuple(val.shape), f"a constant of the program: {name}") if isinstance(val, Tensor) else val
        )
    shapes = [tuple(part.shape) for part in val] if isinstance(val, (list, tuple)) else None
    if shapes is None and not isinstance(val, Tensor):
        return val
    if shapes is None:
        return walk.refuse(node, [*entering, *stored], "an operation that is not known")
    return [walk.refuse(node, [*entering, *stored], "an operation that is not known", shape) for shape in shapes]


def _tensors(args: Any, values: dict[Node, Any]) -> Iterator[Tensor]:
    """The label tensors among a node's arguments."""
    found: list[Tensor] = []

    def visit(other: Node) -> Node:
        value = values[other]
        found.extend(
            part for part in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(part, Tensor)
        )
        return other

    torch.fx.map_arg(args, visit)
    return iter(found)


def _stored(args: Any) -> list[Stored]:
    """The parameters and buffers among a node's arguments."""
    if isinstance(args, dict):
        args = tuple(args.values())
    if isinstance(args, (list, tuple)):
        return [stored for part in args for stored in _stored(part)]
    return [args] if isinstance(args, Stored) else []


def _shared(model: nn.Module) -> dict[str, str]:
    """Parameters that several modules hold: slicing one of them in one module would leave the others."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    several = (held for held in names.values() if len(held) > 1)
    return {name: f"a parameter shared by {' and '.join(held)}" for held in several for name in held}


def _fix_by_name(walk: Walk, shared: Mapping[str, str]) -> None:
    """Fix what lies on a parameter that is shared, or used somewhere as no handler follows."""
    reasons = {**walk.pinned, **shared}
    for axis, labels in walk.axes.items():
        if axis.tensor in reasons:
            walk.book.fix(labels, reasons[axis.tensor])


def _unread(walk: Walk, model: nn.Module, shared: Mapping[str, str]) -> Iterator[Fixed]:
    """Convolution and linear modules whose weights no layer of the walk reads: they stay whole."""
    read = {layer.name for layer in walk.layers}
    for name, module in model.named_modules():
        if name not in read and isinstance(module, (_ConvNd, nn.Linear)):
            size = module.out_channels if isinstance(module, _ConvNd) else module.out_features
            otherwise = "no convolution or linear layer of the program reads its weights"
            yield Fixed(name, size, size, shared.get(f"{name}.weight") or walk.refused.get(name) or otherwise)
