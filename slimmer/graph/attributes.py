"""Whole numbers that a user's modules hold and that name widths: which of them may follow a plan."""

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

# Words in names of numbers that count something else, whatever their value.
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
    """The graph with the attributes of the user's modules that name a width which may change.

    Where the code of a module itself cuts channels into parts of an attribute's value, the
    attribute is their width; else it names every width of that value among the tensors that the
    module holds, itself or in modules inside. A number that forward reads is none of these: the
    network was found to be right with it as it is.
    """
    found = _candidates(model, graph)
    if not found:
        return graph
    read = _read_by_forward(model, found, inputs)
    return replace(
        graph, attributes=tuple(each for each in found if (each.module, each.name) not in read)
    )


def whole_numbers(module: nn.Module, value: int) -> list[str]:
    """The names of the attributes of a module of the user's own that are `value`.

    >>> block = type("Block", (nn.Module,), {})()
    >>> block.width, block.kernel_size = 16, 16
    >>> whole_numbers(block, 16), whole_numbers(nn.Conv2d(16, 16, 1), 16)
    (['width'], [])
    """
    return [name for name, number in _own_numbers(module).items() if number == value]


def _own_numbers(module: nn.Module) -> dict[str, int]:
    """The whole numbers above 1 that a module's own code has set, but for those that count
    something else.
    """
    if type(module).__module__.partition(".")[0] == "torch" or isinstance(module, ScriptModule):
        return {}
    torchs = {name for kind in type(module).__mro__ for name in _constants(kind)}
    return {
        name: value
        for name, value in vars(module).items()
        if type(value) is int and value > 1 and not name.startswith("_") and name not in torchs
        if OTHERWISE.isdisjoint(name.lower().split("_"))
    }


def _constants(kind: type) -> Iterable[str]:
    """The attributes that a module of PyTorch's own says it is made with: layers' own are cut with
    their tensors.
    """
    return (
        getattr(kind, "__constants__", ()) if kind.__module__.partition(".")[0] == "torch" else ()
    )


def _candidates(model: nn.Module, graph: ChannelGraph) -> list[Attribute]:
    """Every attribute that names a width of which something may go."""
    by_axis = _ways(graph)
    counted = {axis.tensor for axis, _ in graph.sizes if "#" in axis.tensor}
    found = []
    for path, module in model.named_modules():
        for name, value in _own_numbers(module).items():
            if f"{path}#{name}" in counted:
                continue  # it goes with the channels that it counts
            ways = _parts(graph, path, value) or _held(module, graph, by_axis, path, value)
            if any(way != () for way in ways):
                found.append(Attribute(path, name, value, tuple(ways)))
    return found


def _ways(graph: ChannelGraph) -> dict[Axis, Width]:
    """For each axis that a group lies on: its groups, and how many positions one of their units
    takes.
    """
    ways: dict[Axis, Width] = {}
    for group in graph.groups:
        for part in group.slices:
            ways[part.axis] = (*ways.get(part.axis, ()), (group.name, part.multiplicity))
    return ways


def _parts(graph: ChannelGraph, path: str, value: int) -> dict[Width | None, None]:
    """The ways of the parts of `value` channels that the code of a module cuts, each once."""
    kept = {group.name for group in graph.groups}  # the others were found to stay
    found: dict[Width | None, None] = {}
    for split in graph.splits:
        for size, way in zip(split.sizes, split.parts, strict=True):
            if split.module == path and size == value:
                found[way if way is None else tuple(each for each in way if each[0] in kept)] = None
    return found


def _held(
    module: nn.Module, graph: ChannelGraph, by_axis: Mapping[Axis, Width], path: str, value: int
) -> dict[Width | None, None]:
    """The ways of all axes of `value` entries of the tensors that a module holds, each once.

    Tensors that the graph knows nothing of (a layer that was not traced) stay as they are.
    """
    inside = f"{path}." if path else ""
    axes = [axis for axis, size in graph.sizes if size == value and axis.tensor.startswith(inside)]
    found: dict[Width | None, None] = {
        by_axis.get(axis, ()): None for axis in axes if not {"@", "#"}.intersection(axis.tensor)
    }
    known = {axis.tensor for axis, _ in graph.sizes}
    unknown = (
        tensor for name, tensor in module.named_parameters() if f"{inside}{name}" not in known
    )
    if any(value in tensor.shape[:2] for tensor in unknown):
        found[()] = None
    return found


def _read_by_forward(
    model: nn.Module, attributes: Iterable[Attribute], inputs: Inputs
) -> AbstractSet[tuple[str, str]]:
    """Which of the attributes a call reads, in eval mode or in training: (module, name).

    A copy is called whose modules note what is read of them. Where it can't be called in eval mode,
    all of them.
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
        except Exception:  # noqa: BLE001 - some networks can't be called in training; what was read counts
            if not training:
                return {(each.module, each.name) for each in attributes}
    return seen


def _watching(
    kind: type[nn.Module], path: str, names: AbstractSet[str], seen: set[tuple[str, str]]
) -> Any:
    """A class like `kind` whose instances note in `seen` which of `names` are read."""

    def note(self: nn.Module, name: str) -> Any:
        if name in names:
            seen.add((path, name))
        return kind.__getattribute__(self, name)

    return new_class(
        kind.__name__, (kind,), exec_body=lambda own: own.update(__getattribute__=note)
    )
