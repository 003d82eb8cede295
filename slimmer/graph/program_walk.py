"""One walk through an exported program, node by node, with channel labels instead of numbers."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

import torch
from torch import SymInt, Tensor
from torch.fx import Node

from slimmer.errors import NETWORK_FAULTS
from slimmer.graph.labels import tensors_among
from slimmer.graph.names import Names
from slimmer.graph.nodes import shape_of
from slimmer.graph.ops import HANDLERS, READS_WEIGHTS
from slimmer.graph.ops.computed import HANDLERS as WEIGHT_NORMS
from slimmer.graph.ops.computed import computed, stored_value
from slimmer.graph.ops.elementwise_names import FILLED
from slimmer.graph.ops.product import EITHER_SIDE
from slimmer.graph.walk import Computed, Handler, Stored, Walk

AUTOCAST = "wrap_with_autocast"  # a torch.autocast block, exported as a subprogram
BEFORE_PART = 4  # its first arguments: device, type, enabled, cached; the subprogram comes next
SEVERAL = (list, tuple)


def follow(walk: Walk, names: Names, program: Any) -> None:
    """Walk through one program."""
    values: dict[Node, Any] = {}
    parameters: set[Node] = set()  # nodes that depend on no activation
    signature = program.graph_signature
    entering = frozenset(signature.user_inputs)  # a property that is computed at every access
    stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    for placeholder, name in stored.items():
        stored[placeholder] = names.tensors.get(name, name)
    for node in program.graph.find_nodes(op="placeholder"):
        values[node] = _placeholder(walk, node, stored, entering)
        if node.name not in entering:
            parameters.add(node)
    output = _follow_calls(walk, program.graph_module, values, parameters)
    for labels in _tensors(output.args, values):
        walk.book.fix(labels, "the network's output")


def _follow_calls(walk: Walk, module: Any, values: dict[Node, Any], parameters: set[Node]) -> Node:
    """Walk through the operations of a program; the values of its placeholders are known. Returns
    the output node.
    """
    for node in module.graph.nodes:
        if node.op in {"placeholder", "output"}:
            continue
        if parameters.issuperset(node.all_input_nodes):
            parameters.add(node)
        if str(node.target) == AUTOCAST:
            values[node] = _follow_autocast(walk, module, node, values, parameters)
        else:
            values[node] = _call(walk, node, values, of_parameters=node in parameters)
    output: Node = module.graph.output_node()
    return output


def _follow_autocast(
    walk: Walk, module: Any, node: Node, values: dict[Node, Any], parameters: set[Node]
) -> Any:
    """Walk through the subprogram of an autocast block; returns the block's outputs."""
    part: Any
    part, *entering = node.args[BEFORE_PART:]
    inside = getattr(module, part.target)
    placeholders = inside.graph.find_nodes(op="placeholder")
    for placeholder, value in zip(placeholders, entering, strict=True):
        values[placeholder] = values[value] if isinstance(value, Node) else value
        if value in parameters:
            parameters.add(placeholder)
    [given] = _follow_calls(walk, inside, values, parameters).args
    return torch.fx.map_arg(given, lambda other: values[other])


def _placeholder(walk: Walk, node: Node, stored: dict[str, str], entering: AbstractSet[str]) -> Any:
    """The value of a program's input: a parameter or buffer, an input of the network, or a
    constant.
    """
    if node.name in stored:
        return Stored(stored[node.name], shape_of(node))
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return value
    if node.name in entering:
        return walk.book.fixed(shape_of(node), "the network's input")
    reader = next(iter(node.users), node)  # a constant itself has no source line
    return walk.book.fixed(shape_of(node), walk.reason(reader, "a constant in the code"))


def _call(walk: Walk, node: Node, values: dict[Node, Any], of_parameters: bool) -> Any:
    """The labels that `node` returns; `of_parameters`: it depends on no activation."""
    args: Any = torch.fx.map_arg(node.args, lambda other: values[other])
    kwargs: Any = torch.fx.map_arg(node.kwargs, lambda other: values[other])
    entering = list(_tensors((node.args, node.kwargs), values))
    target = node.target
    name = str(getattr(target, "_opname", None) or getattr(target, "__name__", target))
    if args and isinstance(args[0], Stored) and name not in WEIGHT_NORMS:
        # The parameter is reshaped or scaled before any activation meets it.
        args = tuple(stored_value(walk, value, node) for value in args)
        entering += tensors_among(args)
    handler = _handler_of(walk, name, args, bool(entering), of_parameters)
    if handler is not None:
        try:
            return handler(walk, node, args, kwargs)
        except NETWORK_FAULTS as error:
            said = str(error).strip().partition("\n")[0]
            why = f"an operation that the channel analysis can't follow ({said})"
    elif name in HANDLERS:
        why = "a tensor computed from parameters"
    else:
        why = "an unsupported operation"
    return _unknown(walk, node, [*entering, *_stored((args, kwargs))], why)


def _handler_of(
    walk: Walk, name: str, args: Any, labelled: bool, of_parameters: bool
) -> Handler | None:
    """The handler of the operation `name`, or None if it can't be followed; `labelled`: a label
    tensor is among its inputs.
    """
    handler = HANDLERS.get(name)
    reads_weights = name in READS_WEIGHTS
    weight_leads = name in EITHER_SIDE and isinstance(args[1], Tensor)
    others = args[:1] if reads_weights else args
    if not weight_leads and any(isinstance(value, Computed) for value in others):
        if handler is None or reads_weights or not of_parameters:
            return None
        return partial(computed, handler=handler)
    if labelled or name == "getitem" or name in WEIGHT_NORMS:
        return handler
    if walk.rewrite and name in FILLED:
        return handler
    return None


def _unknown(walk: Walk, node: Node, entering: Sequence[Any], why: str) -> Any:
    """The value of an operation that is not followed: a constant if nothing labelled enters it,
    otherwise fixed labels.
    """
    val = node.meta.get("val")
    several = isinstance(val, SEVERAL)
    outputs: Any = val if several else [val]
    shapes = [tuple(map(int, part.shape)) for part in tensors_among(outputs)]
    if not shapes:
        return int(val) if isinstance(val, SymInt) else val  # an open batch size: as traced
    if entering:
        fixed = [walk.refuse(node, entering, why, shape) for shape in shapes]
    else:
        reason = walk.reason(node, "a constant in the program")
        fixed = [walk.book.fixed(shape, reason) for shape in shapes]
    return fixed if several else fixed[0]


def _tensors(args: Any, values: dict[Node, Any]) -> Iterator[Tensor]:
    """The label tensors among a node's arguments."""
    found: list[Tensor] = []

    def visit(other: Node) -> Node:
        value = values[other]
        parts = value if isinstance(value, SEVERAL) else [value]
        found.extend(tensors_among(parts))
        return other

    torch.fx.map_arg(args, visit)
    return iter(found)


def _stored(args: Any) -> list[Stored | Computed]:
    """The parameters and buffers among a node's arguments."""
    if isinstance(args, (Stored, Computed)):
        return [args]
    if isinstance(args, dict):
        args = tuple(args.values())
    found = []
    if isinstance(args, SEVERAL):
        for part in args:
            found += _stored(part)
    return found
