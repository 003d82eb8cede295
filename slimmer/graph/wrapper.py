"""Refuse a module that only contains a network, and say which module to give instead."""

from torch import nn

from slimmer.errors import ModelError


def check_is_network(model: nn.Module) -> None:
    """Raise ModelError for a module without a forward method (a package's wrapper, a list); the
    message names the network inside it.

    >>> check_is_network(nn.ModuleDict({"model": nn.Linear(2, 2)}))
    Traceback (most recent call last):
    slimmer.errors.ModelError: ModuleDict: has no forward method
      give the network inside it: model.model
    """
    if _has_forward(model):
        return
    inside = []
    for name, module in model.named_modules():
        if name and _has_forward(module):
            inside.append(name)
    below = tuple(f"{name}." for name in inside)
    first = [name for name in inside if not name.startswith(below)]
    right = "give the module whose forward returns the outputs"
    if len(first) == 1:
        right = f"give the network inside it: model.{first[0]}"
    raise ModelError(type(model).__name__, "has no forward method", right)


def _has_forward(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward or "forward" in vars(module)
