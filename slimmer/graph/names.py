"""Names of modules and tensors: several of one thing, and which lie inside another."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Names:
    """The first paths of modules and of tensors, by their other paths; and for tensors that several
    modules share, why they are not pruned.
    """

    modules: dict[str, str]
    tensors: dict[str, str]
    shared: dict[str, str]


def read_names(model: nn.Module) -> Names:
    """The names in `model` that refer to the same module or tensor.

    A module that is registered twice (as `self.conv` and `self.layers[0]`) has two paths; pruning
    it once prunes both. A parameter that two modules share can't be pruned: it would be pruned in
    one of them only.

    >>> conv = nn.Conv2d(3, 4, 1)
    >>> names = read_names(nn.ModuleDict({"a": conv, "b": conv}))
    >>> names.modules, names.tensors["b.weight"], names.shared
    ({'b': 'a'}, 'a.weight', {})
    """
    first: dict[nn.Module, str] = {}
    modules: dict[str, str] = {}
    # by tensor: its paths, by (first path of a module, name in that module)
    holders: dict[int, dict[tuple[str, str], list[str]]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if first.setdefault(module, path) != path:
            modules[path] = first[module]
        for name, tensor in (
            *module.named_parameters("", False, False),
            *module.named_buffers("", False, False),
        ):
            full = f"{path}.{name}" if path else name
            holders.setdefault(id(tensor), {}).setdefault((first[module], name), []).append(full)
    tensors, shared = {}, {}
    for held in holders.values():
        for paths in held.values():
            tensors.update(dict.fromkeys(paths[1:], paths[0]))
        if len(held) > 1:
            reason = f"a parameter shared by {' and '.join(paths[0] for paths in held.values())}"
            for paths in held.values():
                shared.update(dict.fromkeys(paths, reason))
    return Names(modules, tensors, shared)


def is_inside(path: str, name: str) -> bool:
    """Whether `path` is the module `name` or a module inside it.

    >>> is_inside("head.0.conv", "head.0"), is_inside("heads", "head")
    (True, False)
    """
    return path == name or path.startswith(f"{name}.")


def is_inside_any(path: str, names: Iterable[str]) -> bool:
    """Whether `path` is one of the modules `names` or a module inside one."""
    return any(is_inside(path, name) for name in names)
