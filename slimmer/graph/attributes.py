"""Integer attributes of the user's modules that state a width, and which of them a plan may
change.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from types import new_class
from typing import Any

import torch
from torch import nn
from torch.jit import ScriptModule

from slimmer.graph.channels import Attribute, Axis, ChannelGraph, Width
from slimmer.graph.inputs import Inputs, example_inputs
from slimmer.graph.program import quiet
from slimmer.models.copying import duplicate, set_mode_

# Words in the names of attributes that count something else than channels.
OTHERWISE = frozenset(
    (
        *(
            "batch",
            "blocks",
            "classes",
            "depth",
            "dilation",
            "epochs",
            "groups",
            "heads",
            "image",
            "img",
            "kernel",
        ),
        *(
            "layers",
            "length",
            "nc",
            "padding",
            "patch",
            "repeats",
            "resolution",
            "seed",
            "stages",
            "steps",
            "stride",
        ),
        *("times", "tokens", "version", "window"),
    )
)


def find_attributes(model: nn.Module, graph: ChannelGraph, inputs: Inputs) -> ChannelGraph:
    """The graph with those attributes of the user's modules that state a prunable width.

    If a module's own code splits channels into parts as wide as an attribute's value, the attribute
    is the width of these parts. Otherwise it may stand for every width of that value among the
    tensors of the module and of the modules inside it. Attributes that forward reads are left out:
    the self-check has shown that the network is right with their present values.
    """
    found = _candidates(model, graph)
    if not found:
        return graph
    read = _read_by_forward(model, found, inputs)
    kept = [each for each in found if (each.module, each.name) not in read]
    return replace(graph, attributes=tuple(kept))


def whole_numbers(module: nn.Module, value: int) -> list[str]:
    """The names of the integer attributes of a user's module whose value is `value`.

    >>> block = type("Block", (nn.Module,), {})()
    >>> block.width, block.kernel_size = 16, 16
    >>> whole_numbers(block, 16), whole_numbers(nn.Conv2d(16, 16, 1), 16)
    (['width'], [])
    """
    return [name for name, number in _own_numbers(module).items() if number == value]


def _own_numbers(module: nn.Module) -> dict[str, int]:
    """The integers above 1 that a module's own code has set, except those that count something
    else.
    """
    if type(module).__module__.partition(".")[0] == "torch" or isinstance(module, ScriptModule):
        return {}
    torchs: set[str] = set()
    for kind in type(module).__mro__:
        torchs.update(_constants(kind))
    found = {}
    for name, value in vars(module).items():
        if type(value) is not int or value <= 1 or name.startswith("_") or name in torchs:
            continue
        if OTHERWISE.isdisjoint(name.lower().split("_")):
            found[name] = value
    return found


def _constants(kind: type) -> Iterable[str]:
    """The attributes that a PyTorch module declares as constants; these are updated together with
    the layer's tensors.
    """
    if kind.__module__.partition(".")[0] != "torch":
        return ()
    names: Iterable[str] = getattr(kind, "__constants__", ())
    return names


def _candidates(model: nn.Module, graph: ChannelGraph) -> list[Attribute]:
    """Every attribute that may state a prunable width."""
    by_axis = _ways(graph)
    counted = {axis.tensor for axis, _ in graph.sizes if "#" in axis.tensor}
    found = []
    for path, module in model.named_modules():
        for name, value in _own_numbers(module).items():
            if f"{path}#{name}" in counted:
                continue  # it is already updated with the channels that it counts
            ways = _parts(graph, path, value) or _held(module, graph, by_axis, path, value)
            if any(way != () for way in ways):
                found.append(Attribute(path, name, value, tuple(ways)))
    return found


def _ways(graph: ChannelGraph) -> dict[Axis, Width]:
    """The groups on every axis, and how many positions one unit of each takes."""
    ways: dict[Axis, Width] = {}
    for group in graph.groups:
        for part in group.slices:
            ways[part.axis] = (*ways.get(part.axis, ()), (group.name, part.multiplicity))
    return ways


def _parts(graph: ChannelGraph, path: str, value: int) -> dict[Width | None, None]:
    """The widths of the parts of `value` channels into which the code of a module splits, each
    once.
    """
    kept = {group.name for group in graph.groups}  # the others can't be pruned
    found: dict[Width | None, None] = {}
    for split in graph.splits:
        for size, way in zip(split.sizes, split.parts, strict=True):
            if split.module != path or size != value:
                continue
            if way is not None:
                way = tuple(each for each in way if each[0] in kept)  # noqa: PLW2901
            found[way] = None
    return found


def _held(
    module: nn.Module, graph: ChannelGraph, by_axis: Mapping[Axis, Width], path: str, value: int
) -> dict[Width | None, None]:
    """The widths of all axes of length `value` among the tensors of a module, each once.

    Tensors that are not in the graph (a layer that was not traced) do not change.
    """
    inside = f"{path}." if path else ""
    found: dict[Width | None, None] = {}
    known = set()
    for axis, size in graph.sizes:
        known.add(axis.tensor)
        is_stored = "@" not in axis.tensor and "#" not in axis.tensor
        if size == value and is_stored and axis.tensor.startswith(inside):
            found[by_axis.get(axis, ())] = None
    for name, tensor in module.named_parameters():
        if f"{inside}{name}" not in known and value in tensor.shape[:2]:
            found[()] = None
    return found


def _read_by_forward(
    model: nn.Module, attributes: Iterable[Attribute], inputs: Inputs
) -> AbstractSet[tuple[str, str]]:
    """The attributes that a call reads, in eval mode or in training, as (module, name).

    The call runs on a copy whose modules record which of their attributes are read. If the copy
    can't be called in eval mode, all attributes are returned.
    """
    attributes = list(attributes)
    names: dict[str, set[str]] = {}
    for each in attributes:
        names.setdefault(each.module, set()).add(each.name)
    seen: set[tuple[str, str]] = set()
    watched = duplicate(model)
    for path, of in names.items():
        module = watched.get_submodule(path)
        module.__class__ = _watching(type(module), path, of, seen)
    drawn = example_inputs(model, inputs, images=2)
    for training in (False, True):
        set_mode_(watched, training)
        try:
            with quiet(), torch.no_grad(), torch.random.fork_rng(devices=[]):
                watched(*drawn)
        except Exception:  # noqa: BLE001 - some can't be called in training
            if not training:
                return {(each.module, each.name) for each in attributes}
    return seen


def _watching(
    kind: type[nn.Module], path: str, names: AbstractSet[str], seen: set[tuple[str, str]]
) -> Any:
    """A class like `kind` whose instances record in `seen` which of `names` are read."""

    def note(self: nn.Module, name: str) -> Any:
        if name in names:
            seen.add((path, name))
        return kind.__getattribute__(self, name)

    return new_class(
        kind.__name__, (kind,), exec_body=lambda own: own.update(__getattribute__=note)
    )
