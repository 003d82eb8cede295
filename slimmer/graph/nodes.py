"""Properties of the nodes of an exported program: shapes, modules, source lines, arguments."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import SymInt, Tensor
from torch.fx import Node
from torch.fx.node import map_aggregate

TORCH = f"{Path(torch.__file__).parent}{os.sep}"
CHECKS = ("_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range")  # added by tracing


def stored_names(program: Any, again: dict[str, str]) -> dict[str, str]:
    """The names of parameters, buffers and constants, by the names of their placeholders.

    `again` maps the other names of a tensor to its first name.
    """
    signature = program.graph_signature
    own = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    for node, name in own.items():
        own[node] = again.get(name, name)
    return {**own, **signature.inputs_to_lifted_tensor_constants}


def calls(nodes: Iterable[Node]) -> list[Node]:
    """The operations among `nodes`, without the checks that tracing added."""
    return [node for node in nodes if node.op == "call_function" and not is_check(node)]


def by_name(nodes: Iterable[Node]) -> dict[str, Any]:
    """The nodes by their names."""
    return {node.name: node for node in nodes}


def is_check(node: Node) -> bool:
    """Whether `node` is a check that tracing added."""
    return any(name in str(node.target) for name in CHECKS)


def is_size(node: Node) -> bool:
    """Whether `node` reads the length of an axis of open size."""
    return "sym_size" in str(node.target)


def is_open(value: Tensor) -> bool:
    """Whether the first axis of a traced input has an open size."""
    size: Any = value.shape[0]
    return isinstance(size, SymInt) and size.node.maybe_as_int() is None


def leaves(args: Any) -> list[Any]:
    """All arguments in nested arguments, in a fixed order."""
    found: list[Any] = []
    map_aggregate(args, found.append)
    return found


def shape_of(node: Node) -> tuple[int, ...]:
    """The shape of a node's (first) output."""
    value = node.meta["val"]
    if isinstance(value, (list, tuple)):
        value = value[0]
    return tuple(map(int, value.shape))


def module_of(node: Node) -> str:
    """The path of the innermost module whose forward made `node`."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path: str = list(stack.values())[-1][0]
    return path


def source_of(node: Node) -> str:
    """`file.py:line` of the code that made `node`: the last frame outside PyTorch's own files, if
    there is one.
    """
    trace = node.meta.get("stack_trace") or ""
    frames = re.findall(r'File "([^"]+)", line (\d+)', trace)
    if not frames:
        return "unknown line"
    path, line = frames[-1]
    for file, number in frames:
        if not file.startswith(TORCH):
            path, line = file, number
    return f"{'/'.join(path.split('/')[-2:])}:{line}"


def describe(node: Node) -> str:
    """`aten.op in module (file.py:line)`, for reasons."""
    name = str(node.target).removesuffix(".default")
    module = module_of(node)
    return f"{name} in {module or 'the top module'} ({source_of(node)})"


def argument(node: Node, args: Sequence[Any], kwargs: dict[str, Any], name: str) -> Any:
    """The argument `name` of an operation, or its default; None if the operation has no such
    argument.
    """
    target: Any = node.target
    for place, known in enumerate(target._schema.arguments):  # noqa: SLF001 - no public name
        if known.name == name:
            return args[place] if place < len(args) else kwargs.get(name, known.default_value)
    return None


def layer_name(parameter: str) -> str:
    """The path of the module that holds a weight (parametrized or not); for other parameters, the
    whole name.
    """
    name = re.sub(r"\.parametrizations\.(\w+)\.original\d*$", r".\1", parameter)
    module, _, tensor = name.rpartition(".")
    return module if tensor in {"weight", "weight_v"} and module else name
