"""Layers in a plain list or dictionary, where PyTorch does not find their weights."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.utils._pytree import tree_leaves

from slimmer.errors import ModelError

OWN = frozenset(vars(nn.Module()))  # attributes that every module has


@contextmanager
def noting_unregistered(model: nn.Module) -> Iterator[list[tuple[str, str]]]:
    """A block that records which attributes hold unregistered layers that `model` calls, as
    (module's path, attribute).
    """
    called: list[tuple[str, str]] = []
    hooks = []
    for path, name, module in _unregistered(model):
        place = (path, name)
        hooks.append(module.register_forward_pre_hook(lambda *_, place=place: called.append(place)))
    try:
        yield called
    finally:
        for hook in hooks:
            hook.remove()


def check_registered(model: nn.Module, called: list[tuple[str, str]]) -> None:
    """Raise ModelError for the first attribute in `called`, see `noting_unregistered`."""
    if not called:
        return
    path, name = called[0]
    kind = type(vars(model.get_submodule(path))[name])
    wanted = "nn.ModuleDict" if issubclass(kind, dict) else "nn.ModuleList"
    place = f"{path}.{name}".removeprefix(".")
    where = "where PyTorch does not find their weights"
    found = f"keeps layers in a plain {kind.__name__}, {place}, {where}"
    raise ModelError(
        type(model).__name__, found, f"use {wanted}: self.{name} = {wanted}(self.{name})"
    )


def _unregistered(model: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """The modules with weights that are only in plain containers, each with the path and attribute
    of the container.
    """
    known = set(model.modules())
    for path, holder in model.named_modules():
        for name, value in vars(holder).items():
            if name in OWN or not isinstance(value, (list, tuple, dict)):
                continue
            for leaf in tree_leaves(value):
                if not isinstance(leaf, nn.Module) or leaf in known:
                    continue
                if any(True for _ in leaf.parameters()):
                    yield path, name, leaf
