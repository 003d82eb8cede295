"""Compare a network's evaluation program with its training program, operation by operation."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, Node
from torch.nn.modules.batchnorm import _BatchNorm

from slimmer.errors import ModelError
from slimmer.graph.nodes import argument, is_size, leaves, module_of

WITHOUT = "prune without --rewrite, or remove this from the network"
COUNTER = "num_batches_tracked"
NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


@dataclass
class Comparison:
    """Two programs of one network; `e` is a node of the evaluated one, `t` of the trained one.

    Args:
        model: the network.
        aliases: the first path of each module, by its other paths.
        stored: the names of parameters, buffers and constants, by their placeholders.
        modules: the network's modules by path.
        types: the floating-point types in which the two programs were traced.
        graph: the merged graph.
        made: the merged node of each t.
        stands: what each t is in the evaluated program.
    """

    model: nn.Module
    aliases: dict[str, str]
    stored: dict[str, str]
    modules: dict[str, nn.Module]
    types: tuple[torch.dtype, torch.dtype]
    graph: Graph = field(default_factory=Graph)
    made: dict[Node, Node] = field(default_factory=dict)
    stands: dict[Node, Any] = field(default_factory=dict)

    def refuse(self, found: str) -> ModelError:
        """The error for a network that can't be rewritten."""
        return ModelError(type(self.model).__name__, found, WITHOUT)

    def path(self, node: Node) -> str:
        """The path of the module that made `node`; empty for sizes of an open batch."""
        path = self.aliases.get(module_of(node), module_of(node))
        return path if path in self.modules else ""

    def key(self, e: Any) -> Any:
        """What identifies `e`: the same for every node that reads the same size."""
        if not isinstance(e, Node):
            return e
        if not is_size(e):
            return e.name
        return ("size", self.key(e.args[0]), e.args[1])

    def stand(self, t: Any) -> Any:
        """What `t` is in the evaluated program, as `key` identifies it."""
        return self.stands.get(t) if isinstance(t, Node) else t

    def is_counter(self, t: Node) -> bool:
        """Whether `t` only counts the batches of a batch norm, which the module does itself."""
        if not isinstance(self.modules[self.path(t)], _BatchNorm):
            return False
        for other in t.all_input_nodes:
            name = str(self.stored.get(other.name) or self.stands.get(other))
            if not name.endswith(COUNTER):
                return False
        return True

    def is_norm(self, node: Node, *, training: bool) -> bool:
        """Whether `node` is all that a batch norm module does with its own tensors in this mode."""
        path = self.path(node)
        if "batch_norm" not in str(node.target) or not isinstance(self.modules[path], _BatchNorm):
            return False
        tensors = [self.stored.get(getattr(other, "name", ""), "") for other in node.args[1:5]]
        for name, tensor in zip(tensors, NORM_TENSORS, strict=True):
            if name not in ("", f"{path}.{tensor}".removeprefix(".")):
                return False
        has_statistics = tensors[2] != ""
        mode = argument(node, node.args, node.kwargs, "training")
        return has_statistics and mode is training

    def differ(self, e: Node, t: Node) -> dict[int, str] | None:
        """The arguments that depend on the mode or the type, by their place among all arguments;
        None if the operations differ in anything else.
        """
        if e.target is not t.target:
            return None
        if self.is_norm(e, training=False) and self.is_norm(t, training=True):
            same_input = self.key(e.args[0]) == self.stand(t.args[0])
            return {} if same_input and self.path(e) == self.path(t) else None
        ours, theirs = leaves((e.args, e.kwargs)), leaves((t.args, t.kwargs))
        if len(ours) != len(theirs):
            return None
        found = {}
        for place, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if a is False and b is True:
                found[place] = "training"
            elif (a, b) == self.types:
                found[place] = "dtype"
            elif isinstance(a, torch.device):
                found[place] = "device"
            elif isinstance(a, Node) != isinstance(b, Node) or self.key(a) != self.stand(b):
                return None
        return found
