"""Names of modules and tensors: what one module holds under several paths, and what several modules
share.
"""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Names:
    """Other paths of modules and tensors with the first path of each; tensors of several modules
    with the reason.
    """

    modules: dict[str, str]
    tensors: dict[str, str]
    shared: dict[str, str]


def read_names(model: nn.Module) -> Names:
    """The names in `model` that mean the same thing.

    A module that hangs in two places (`self.conv` and `self.layers[0]`) is one module with two
    paths: cut once, it is cut in both. A parameter that two modules hold is shared: cut in one, it
    would stay whole in the other.

    >>> conv = nn.Conv2d(3, 4, 1)
    >>> names = read_names(nn.ModuleDict({"a": conv, "b": conv}))
    >>> names.modules, names.tensors["b.weight"], names.shared
    ({'b': 'a'}, 'a.weight', {})
    """
    first: dict[nn.Module, str] = {}
    modules: dict[str, str] = {}
    holders: dict[
        int, dict[tuple[str, str], list[str]]
    ] = {}  # tensor -> (module's first path, name in it) -> paths
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
            shared.update({path: reason for paths in held.values() for path in paths})
    return Names(modules, tensors, shared)
