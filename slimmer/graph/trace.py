"""The exported program walked once, labels in place of numbers, into a channel graph."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from slimmer.errors import ModelError
from slimmer.graph.channels import ChannelGraph
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
            values[node] = _placeholder(walk, node, stored)
        elif node.op == "output":
            for labels in _tensors(node.args, values):
                walk.book.fix(labels, "the network's output")
        else:
            values[node] = _call(walk, node, values)
    _fix_shared(walk, model)
    return collect(walk)


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


def _placeholder(walk: Walk, node: Node, stored: dict[str, str]) -> Any:
    if node.name in stored:
        return Stored(stored[node.name], shape_of(node))
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return value
    return walk.book.fixed(tuple(value.shape), "the network's input")


def _call(walk: Walk, node: Node, values: dict[Node, Any]) -> Any:
    args = torch.fx.map_arg(node.args, lambda other: values[other])
    kwargs = torch.fx.map_arg(node.kwargs, lambda other: values[other])
    entering = list(_tensors((node.args, node.kwargs), values))
    name = getattr(node.target, "_opname", None) or getattr(node.target, "__name__", str(node.target))
    handler = HANDLERS.get(name)
    if handler is not None and (entering or name == "getitem"):
        return handler(walk, node, args, kwargs)
    val = node.meta.get("val")
    if not entering and not _touches_stored((args, kwargs)):
        return (
            walk.book.fixed(tuple(val.shape), f"a constant of the program: {name}") if isinstance(val, Tensor) else val
        )
    shapes = [tuple(part.shape) for part in val] if isinstance(val, (list, tuple)) else None
    if shapes is None and not isinstance(val, Tensor):
        return val
    if shapes is None:
        return walk.refuse(node, entering, "an operation that is not known")
    return [walk.refuse(node, entering, "an operation that is not known", shape) for shape in shapes]


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


def _touches_stored(args: Any) -> bool:
    if isinstance(args, (list, tuple)):
        return any(_touches_stored(part) for part in args)
    if isinstance(args, dict):
        return any(_touches_stored(part) for part in args.values())
    return isinstance(args, Stored)


def _fix_shared(walk: Walk, model: nn.Module) -> None:
    """Fix what lies on a parameter that several modules hold: slicing it in one would leave the others."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    shared = {name: held for held in names.values() if len(held) > 1 for name in held}
    for axis, labels in walk.axes.items():
        if axis.tensor in shared:
            walk.book.fix(labels, f"a parameter shared by {' and '.join(shared[axis.tensor])}")
