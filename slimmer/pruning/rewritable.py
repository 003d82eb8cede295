"""The conditions under which `--rewrite` can turn a network into its program."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule
from torch.fx.immutable_collections import immutable_dict, immutable_list

from slimmer.errors import ModelError
from slimmer.graph import Inputs, example_inputs, several_images, tensors_in
from slimmer.models.copying import duplicate, set_mode_

# types that a program writes as [], () and {}
PLAIN = {list, tuple, dict, immutable_list, immutable_dict}


def check_rewritable(model: nn.Module, inputs: Inputs) -> None:
    """Raise ModelError for inputs or names that a graph module can't have."""
    where, right = type(model).__name__, "rename it, or prune without --rewrite"
    if not all(isinstance(value, Tensor) for value in example_inputs(model, inputs, images=1)):
        raise ModelError(where, "takes inputs that are not tensors", "prune without --rewrite")
    empty = GraphModule(nn.Module(), Graph())
    for name, _ in (*model.named_modules(), *model.named_parameters(), *model.named_buffers()):
        if hasattr(empty, name.partition(".")[0]):
            raise ModelError(
                where,
                f"has an attribute {name!r}, a name that torch.fx.GraphModule uses itself",
                right,
            )


def check_gradients(model: nn.Module, inputs: Inputs) -> None:
    """Raise ModelError if the code defines its own backward pass (`autograd.Function`), which its
    program would lose.
    """
    network = set_mode_(duplicate(model), training=True)
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        drawn = several_images(model, example_inputs(model, inputs, images=2))
        answers = tensors_in(network(*drawn))
    waiting: list[Any] = []
    for answer in answers:
        if answer.grad_fn is not None:
            waiting.append(answer.grad_fn)
    seen: set[Any] = {None, *waiting}
    while waiting:
        function = waiting.pop()
        if isinstance(function, torch.autograd.function.BackwardCFunction):
            name = type(function).__name__
            found = f"has a custom backward pass ({name}), which its program would lose"
            raise ModelError(type(model).__name__, found, "prune without --rewrite")
        behind = {other for other, _ in function.next_functions} - seen
        seen |= behind
        waiting += behind


def check_answer(model: nn.Module, graph: Graph) -> None:
    """Raise ModelError if the program's output is of a class that its code can't construct."""
    waiting: list[Any] = list(graph.output_node().args)
    while waiting:
        part = waiting.pop()
        if type(part) in PLAIN:
            waiting += part.values() if isinstance(part, dict) else part
        elif type(part).__module__ not in {"builtins", "torch", "torch.fx.node"}:
            found = f"its output contains a {type(part).__name__}, which a program can't construct"
            right = "let forward return a tuple or a dictionary, or prune without --rewrite"
            raise ModelError(type(model).__name__, found, right)
