"""What the nodes of an exported program are: operations, sizes, parameters and constants."""

from collections.abc import Iterable
from typing import Any

from torch import SymInt, Tensor
from torch.fx import Node
from torch.fx.node import map_aggregate

CHECKS = ("_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range")  # of what was traced


def stored_names(program: Any, again: dict[str, str]) -> dict[str, str]:
    """Placeholders' names -> names of the parameters, buffers and constants that they stand for.

    `again` holds the first names of tensors that have several.
    """
    signature = program.graph_signature
    own = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    own = {node: again.get(name, name) for node, name in own.items()}
    return {**own, **signature.inputs_to_lifted_tensor_constants}


def calls(nodes: Iterable[Node]) -> list[Node]:
    """The operations among `nodes`, without checks of what was traced."""
    found = [node for node in nodes if node.op == "call_function"]
    return [node for node in found if not any(name in str(node.target) for name in CHECKS)]


def is_size(node: Node) -> bool:
    """Whether `node` asks how long an axis is that was left open."""
    return "sym_size" in str(node.target)


def is_open(value: Tensor) -> bool:
    """Whether a traced input's first size is still any number."""
    size: Any = value.shape[0]
    return isinstance(size, SymInt) and size.node.maybe_as_int() is None


def leaves(args: Any) -> list[Any]:
    """Every argument in a nest of arguments, in a fixed order."""
    found: list[Any] = []
    map_aggregate(args, found.append)
    return found
