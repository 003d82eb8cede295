"""The architecture that weights belong to, found from their keys and shapes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor, nn

from slimmer.errors import CheckpointError
from slimmer.models import Architecture, build, find, names
from slimmer.models.match import Difference, compare, head, sizes
from slimmer.models.prefixes import Named, complete, is_average, nearest_names


@dataclass(frozen=True)
class Identified:
    """The architecture that weights belong to, the sizes they give it, and the weights by its own
    names.

    `passed` are the keys that are not the network's.
    """

    arch: Architecture
    num_classes: int
    in_channels: int
    weights: Mapping[str, Tensor] = field(default_factory=dict, compare=False, repr=False)
    passed: tuple[str, ...] = field(default=(), compare=False)

    @property
    def matched(self) -> str:
        """The architecture's name."""
        return self.arch.name


@dataclass(frozen=True)
class Match:
    """An architecture of ours in the sizes that weights imply, and what still differs."""

    architecture: Architecture
    num_classes: int
    in_channels: int
    difference: Difference
    named: Named

    @property
    def described(self) -> str:
        """The architecture's name, and how many of the weights' keys fit it."""
        fitting = self.difference.matched
        return f"{self.architecture.name} ({fitting} of {self.difference.given} keys fit)"


def identify(weights: Mapping[str, Tensor], file_name: str) -> Identified:
    """The architecture of ours whose keys and shapes these weights have; its sizes come from them
    too.

    `file_name` decides only between architectures that fit alike; it also says where an error is.
    Raises CheckpointError where none fits, with what differs from the nearest, key by key, and
    where the weights hold a network more than once.
    """
    matches = [
        _match(arch, named) for arch in map(find, names()) for named in _complete(arch, weights)
    ]
    alike = [each for each in matches if not each.difference]
    if not alike:
        near = nearest(weights)
        raise CheckpointError(
            file_name,
            f"no known architecture has these weights; the nearest is {near.described}:\n{near.difference}",
            "name the architecture with --arch: torchvision/NAME, timm/NAME or path/to/file.py:factory",
        )
    prefix = _only_prefix([each.named for each in alike], file_name)
    fitting = {each.architecture.name: each for each in alike if each.named.prefix == prefix}
    best = fitting[_choose(tuple(fitting), file_name)]
    return Identified(
        best.architecture, best.num_classes, best.in_channels, best.named.weights, best.named.passed
    )


def _only_prefix(found: Sequence[Named], where: str) -> str:
    """The prefix that the network's weights have, averages left aside where there are others."""
    prefixes = list(dict.fromkeys(each.prefix for each in found))
    if "" in prefixes:
        return ""
    current = [each for each in prefixes if not is_average(each)] or prefixes
    if len(current) > 1:
        listed = ", ".join(each.removesuffix(".") for each in current)
        raise CheckpointError(
            where,
            f"holds the network's weights {len(current)} times: under {listed}",
            f"say which: `slimmer prune … --set model.entry={current[0].removesuffix('.')}`",
        )
    return current[0]


def _choose(fitting: tuple[str, ...], file_name: str) -> str:
    """The longest name that the file's name contains (with or without "cifar_"), else the first.

    >>> _choose(("cifar_resnet20", "resnet3", "resnet34"), "my_ResNet34_best.pth")
    'resnet34'
    """
    held = [name for name in fitting if name.removeprefix("cifar_") in file_name.lower()]
    return max(held, key=len) if held else fitting[0]


def infer_sizes(
    arch: str | Architecture, weights: Mapping[str, Tensor], where: str = "weights"
) -> Identified:
    """That architecture, in the form that `weights` have, with the classes of its last layer and
    its first's channels.

    Where the weights have no such layers the sizes are the architecture's own: that they do not fit
    comes out when they are loaded. Raises ModelError for an architecture that is not known, and
    CheckpointError where the weights hold the network more than once.
    """
    architecture = find(arch) if isinstance(arch, str) else arch
    forms = [architecture, *map(find, architecture.others)]
    with torch.random.fork_rng(devices=[]):  # random weights are drawn here only to be thrown away
        models = [build(form) for form in forms]
    taken = [by_own_names(model, weights, where) for model in models]
    strange = [
        len(model.state_dict().keys() ^ each.weights.keys())
        for model, each in zip(models, taken, strict=True)
    ]
    best = strange.index(min(strange))
    named = taken[best]
    return Identified(
        forms[best], *sizes(forms[best], models[best], named.weights), named.weights, named.passed
    )


def by_own_names(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> Named:
    """The weights by the network's own names; those that come nearest where they are not whole."""
    own, last = model.state_dict(), head(model)
    found = complete(own, weights, None if last is None else last[0])
    if not found:
        return nearest_names(own, weights)
    prefix = _only_prefix(found, where)
    return next(each for each in found if each.prefix == prefix)


def nearest(weights: Mapping[str, Tensor]) -> Match:
    """The architecture of ours that shares the largest part of its keys and shapes with the
    weights.
    """
    known = [
        (arch, nearest_names(_skeleton(arch).state_dict(), weights)) for arch in map(find, names())
    ]
    return max(
        (_match(arch, named) for arch, named in known), key=lambda each: each.difference.alike
    )


def _complete(architecture: Architecture, weights: Mapping[str, Tensor]) -> list[Named]:
    """The weights by an architecture's own names, as often as they are there."""
    network = _skeleton(architecture)
    last = head(network)
    return complete(network.state_dict(), weights, None if last is None else last[0])


def _match(architecture: Architecture, named: Named) -> Match:
    num_classes, in_channels = sizes(architecture, _skeleton(architecture), named.weights)
    with torch.device("meta"):
        sized = build(architecture, num_classes=num_classes, in_channels=in_channels)
    difference = compare(sized.state_dict(), named.weights)
    return Match(architecture, num_classes, in_channels, difference, named)


@cache
def _skeleton(architecture: Architecture) -> nn.Module:
    """An architecture of ours in its own sizes, shapes only; kept, since building all takes most of
    a second.
    """
    with torch.device("meta"):
        return build(architecture)
