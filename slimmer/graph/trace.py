"""The exported program walked once, labels in place of numbers, into a channel graph."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import SymInt, Tensor, nn
from torch.fx import GraphModule, Node
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from slimmer.errors import ModelError
from slimmer.graph.channels import Axis, ChannelGraph, Fixed
from slimmer.graph.grouping import collect
from slimmer.graph.inputs import Inputs
from slimmer.graph.names import Names, read_names
from slimmer.graph.ops import HANDLERS, READS_WEIGHTS
from slimmer.graph.ops.computed import HANDLERS as WEIGHT_NORMS
from slimmer.graph.ops.computed import computed, stored_value
from slimmer.graph.ops.elementwise import FILLED
from slimmer.graph.ops.product import EITHER_SIDE
from slimmer.graph.program import export_program
from slimmer.graph.walk import Computed, Stored, Walk, shape_of

AUTOCAST = "wrap_with_autocast"  # a block under torch.autocast, as a program of its own
BEFORE_PART = (
    4  # of its arguments: device, type, enabled, cached; then come the program and what enters it
)


def build_graph(model: nn.Module, inputs: Inputs, *, equal_splits: bool = False) -> ChannelGraph:
    """The channel groups of `model`, read off its program by labels; see docs/decisions.md.

    Args:
        model: any traceable network; it is left as it was.
        inputs: (C, H, W) of one image; or, for a network of several inputs, a tuple of example tensors in the order
            of its forward, or a dictionary of them by name. Examples of two or more images are safer than of one.
        equal_splits: parts that the code cuts alike stay alike, also where a number says how wide they are.

    Raises:
        ModelError: the network can't be traced; the message holds torch.export's reason.
    """
    with (
        torch.no_grad()
    ):  # else a part of the network without gradients would be a program of its own
        program = export_program(model, inputs)
    training = cache(partial(_training_program, model, inputs))
    return channel_graph(
        walk_program(model, program, equal_splits=equal_splits, training=training), model
    )


def channel_graph(walk: Walk, model: nn.Module) -> ChannelGraph:
    """The channel groups that a walk through `model` found."""
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
    """The finished walk through the exported program of `model`; see `Walk` for `rewrite` and
    `equal_splits`.

    `training` gives the program of training, or the error that says why there is none; it is asked
    where `program` leaves layers out. A walk that finds convolutions whose groups can't go, or only
    all together, is followed by one in which they lose channels alike.
    """
    names = read_names(model)
    evenly: frozenset[str] = frozenset()
    while True:
        modules = dict(model.named_modules())
        walk = Walk(
            modules, names.modules, rewrite=rewrite, evenly=evenly, equal_splits=equal_splits
        )
        follow(walk, names, program)
        if training is not None and not _weighted(model).issubset(
            layer.name for layer in walk.layers
        ):
            _follow_training(walk, names, training())
        finish_walk(walk, names)
        lumped = _lumped(walk)
        if not lumped:
            return walk
        evenly |= lumped


def _lumped(walk: Walk) -> set[str]:
    """The weights of grouped convolutions whose groups can't go, or only all together."""
    if not walk.whole:
        return set()
    component = walk.book.components()
    fixed = component[list(walk.book.reasons)]
    units = {name: np.unique(component[groups.numpy()]) for name, groups in walk.whole.items()}
    return {name for name, of in units.items() if len(of) == 1 or np.isin(of, fixed).all()}


def finish_walk(walk: Walk, names: Names) -> None:
    """What is known at the end only: shared tensors, tensors that no program reads, other names."""
    _fix_by_name(walk, names.shared)
    _label_unread(walk)
    _name_again(walk, names.tensors)


def follow(walk: Walk, names: Names, program: Any) -> None:
    """Walk through one program."""
    values: dict[Node, Any] = {}
    parameters: set[Node] = set()  # nodes that no activation enters
    signature = program.graph_signature
    entering = frozenset(signature.user_inputs)  # made anew at every look
    stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    stored = {node: names.tensors.get(name, name) for node, name in stored.items()}
    for node in program.graph.find_nodes(op="placeholder"):
        values[node] = _placeholder(walk, node, stored, entering)
        if node.name not in entering:
            parameters.add(node)
    output = _follow_calls(walk, program.graph_module, values, parameters)
    for labels in _tensors(output.args, values):
        walk.book.fix(labels, "the network's output")


def _follow_calls(walk: Walk, module: Any, values: dict[Node, Any], parameters: set[Node]) -> Node:
    """Walk through all of a program behind its placeholders, whose values are known; its output
    node.
    """
    for node in module.graph.nodes:
        if node.op in {"placeholder", "output"}:
            continue
        if parameters.issuperset(node.all_input_nodes):
            parameters.add(node)
        if str(node.target) != AUTOCAST:
            values[node] = _call(walk, node, values, of_parameters=node in parameters)
            continue
        part, *entering = node.args[BEFORE_PART:]
        inside = getattr(module, part.target)
        for placeholder, value in zip(
            inside.graph.find_nodes(op="placeholder"), entering, strict=True
        ):
            values[placeholder] = values[value] if isinstance(value, Node) else value
            if value in parameters:
                parameters.add(placeholder)
        [given] = _follow_calls(walk, inside, values, parameters).args
        values[node] = torch.fx.map_arg(given, lambda other: values[other])
    output: Node = module.graph.output_node()
    return output


def _weighted(model: nn.Module) -> set[str]:
    """The convolution and linear modules of a network."""
    return {
        name for name, module in model.named_modules() if isinstance(module, (_ConvNd, nn.Linear))
    }


def _training_program(model: nn.Module, inputs: Inputs) -> Any:
    """The program of training, its nodes named apart from evaluation's; or the ModelError that says
    why not.
    """
    try:
        with torch.no_grad():
            program = export_program(model, inputs, training=True)
    except ModelError as error:
        return error
    for part in (each for each in program.graph_module.modules() if isinstance(each, GraphModule)):
        for node in part.graph.nodes:
            if node.op not in {
                "placeholder",
                "output",
            }:  # activations' axes go by such names, evaluation has its own
                node._rename(f"training_{node.name}")  # noqa: SLF001 - the name can't be set otherwise
    return program


def _follow_training(walk: Walk, names: Names, program: Any) -> None:
    """Walk through the program of training too, where it may have layers that evaluation has not
    (auxiliary heads).

    They are cut with the rest, so that the slim network trains; no FLOPs are counted here, since
    evaluation has none of theirs. A network that can't be traced in training is left as evaluation
    has it, and its other layers say so.
    """
    if isinstance(program, ModelError):
        walk.untraced = f"; training may read what is cut here: it {program.found}"
        return
    operations, axes = list(walk.operations), set(walk.axes)
    follow(walk, names, program)
    walk.operations = operations
    for axis in set(walk.axes) - axes:
        if axis.tensor.startswith("@"):
            del walk.axes[axis]


def _placeholder(walk: Walk, node: Node, stored: dict[str, str], entering: AbstractSet[str]) -> Any:
    if node.name in stored:
        return Stored(stored[node.name], shape_of(node))
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return value
    if node.name in entering:
        return walk.book.fixed(shape_of(node), "the network's input")
    reader = next(iter(node.users), node)  # the numbers themselves have no line
    return walk.book.fixed(shape_of(node), walk.reason(reader, "numbers that stand in the code"))


def _call(walk: Walk, node: Node, values: dict[Node, Any], of_parameters: bool) -> Any:
    """What `node` makes of labels; `of_parameters` says that no activation enters it."""
    args: Any = torch.fx.map_arg(node.args, lambda other: values[other])
    kwargs: Any = torch.fx.map_arg(node.kwargs, lambda other: values[other])
    entering = list(_tensors((node.args, node.kwargs), values))
    name = str(
        getattr(node.target, "_opname", None) or getattr(node.target, "__name__", node.target)
    )
    handler = HANDLERS.get(name)
    if (
        args and isinstance(args[0], Stored) and name not in WEIGHT_NORMS
    ):  # reshaped or scaled before it meets anything
        args = tuple(stored_value(walk, value, node) for value in args)
        entering += [value for value in args if isinstance(value, Tensor)]
    leads = name in EITHER_SIDE and isinstance(
        args[1], Tensor
    )  # a weight on the left of an activation
    if not leads and any(
        isinstance(value, Computed) for value in (args[:1] if name in READS_WEIGHTS else args)
    ):
        if handler is not None:
            handler = (
                None
                if name in READS_WEIGHTS or not of_parameters
                else partial(computed, handler=handler)
            )
    elif not entering and name not in {"getitem", *WEIGHT_NORMS, *(FILLED if walk.rewrite else ())}:
        handler = None
    if handler is None:
        why = (
            "a tensor computed from parameters"
            if name in HANDLERS
            else "an operation that is not known"
        )
        return _unknown(walk, node, [*entering, *_stored((args, kwargs))], why)
    try:
        return handler(walk, node, args, kwargs)
    except (
        RuntimeError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        AssertionError,
    ) as error:
        why = f"an operation that labels can't follow ({str(error).strip().partition(chr(10))[0]})"
        return _unknown(walk, node, [*entering, *_stored((args, kwargs))], why)


def _unknown(walk: Walk, node: Node, entering: Sequence[Any], why: str) -> Any:
    """What an operation that is not followed gives: constants where nothing enters it, else fixed
    labels.
    """
    val = node.meta.get("val")
    several = isinstance(val, (list, tuple))
    parts = [
        part
        for part in (val if isinstance(val, (list, tuple)) else [val])
        if isinstance(part, Tensor)
    ]
    if not parts:
        return (
            int(val) if isinstance(val, SymInt) else val
        )  # of an open batch: as many as were traced
    shapes = [tuple(int(size) for size in part.shape) for part in parts]
    if entering:
        fixed = [walk.refuse(node, entering, why, shape) for shape in shapes]
    else:
        fixed = [
            walk.book.fixed(shape, walk.reason(node, "a constant of the program"))
            for shape in shapes
        ]
    return fixed if several else fixed[0]


def _tensors(args: Any, values: dict[Node, Any]) -> Iterator[Tensor]:
    """The label tensors among a node's arguments."""
    found: list[Tensor] = []

    def visit(other: Node) -> Node:
        value = values[other]
        found.extend(
            part
            for part in (value if isinstance(value, (list, tuple)) else [value])
            if isinstance(part, Tensor)
        )
        return other

    torch.fx.map_arg(args, visit)
    return iter(found)


def _stored(args: Any) -> list[Stored | Computed]:
    """The parameters and buffers among a node's arguments."""
    if isinstance(args, dict):
        args = tuple(args.values())
    if isinstance(args, (list, tuple)):
        return [stored for part in args for stored in _stored(part)]
    return [args] if isinstance(args, (Stored, Computed)) else []


def _fix_by_name(walk: Walk, shared: Mapping[str, str]) -> None:
    """Fix what lies on a parameter that is shared, or used somewhere as no handler follows."""
    reasons = {**walk.pinned, **shared}
    for axis, labels in walk.axes.items():
        if axis.tensor in reasons:
            walk.book.fix(labels, reasons[axis.tensor])


def _label_unread(walk: Walk) -> None:
    """Label what a layer holds and its program does not read (an unused bias): it is cut with the
    rest all the same.
    """
    for path, module in walk.modules.items():
        if isinstance(module, (_ConvNd, nn.Linear)):
            along = {"weight": int(getattr(module, "transposed", False)), "bias": 0}
        elif isinstance(module, _NormBase):
            along = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), 0)
        else:
            continue
        held = {name: dim for name, dim in along.items() if getattr(module, name, None) is not None}
        axes = [Axis(f"{path}.{name}".removeprefix("."), dim) for name, dim in held.items()]
        read = [axis for axis in axes if axis in walk.axes]
        if read and not (getattr(module, "transposed", False) and module.groups != 1):
            labels = walk.axes[read[0]]
            for axis, name in zip(axes[1:], [*held][1:], strict=True):
                if (
                    len(labels) == getattr(module, name).shape[0]
                ):  # a computed weight may have more rows
                    walk.axes.setdefault(axis, labels)


def _name_again(walk: Walk, tensors: Mapping[str, str]) -> None:
    """Note the axes of parameters and buffers under their modules' other paths too."""
    again: dict[str, list[str]] = {}
    for other, first in tensors.items():
        again.setdefault(first, []).append(other)
    for axis, labels in list(walk.axes.items()):
        for other in again.get(axis.tensor, ()):
            walk.axes[Axis(other, axis.dim)] = labels


def _unread(walk: Walk, model: nn.Module, shared: Mapping[str, str]) -> Iterator[Fixed]:
    """Convolution and linear modules whose weights no layer of the walk reads: they stay whole."""
    read = {layer.name for layer in walk.layers}
    for name, module in model.named_modules():
        if name not in read and isinstance(module, (_ConvNd, nn.Linear)):
            size = module.out_channels if isinstance(module, _ConvNd) else module.out_features
            otherwise = (
                f"no convolution or linear layer of the program reads its weights{walk.untraced}"
            )
            yield Fixed(
                name,
                size,
                size,
                shared.get(f"{name}.weight") or walk.refused.get(name) or otherwise,
            )
