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
    """The architecture that weights belong to, its sizes, and the weights under its parameter
    names.

    `passed` are the keys that do not belong to the network.
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
    """A built-in architecture in the sizes that the weights imply, and the remaining
    differences.
    """

    architecture: Architecture
    num_classes: int
    in_channels: int
    difference: Difference
    named: Named

    @property
    def described(self) -> str:
        """The architecture's name, and how many of the weights' keys fit."""
        fitting = self.difference.matched
        return f"{self.architecture.name} ({fitting} of {self.difference.given} keys fit)"


def identify(weights: Mapping[str, Tensor], file_name: str) -> Identified:
    """The built-in architecture whose keys and shapes the weights have; its sizes follow from them.

    `file_name` decides only between architectures that fit equally well; it is also where errors
    point to. Raises CheckpointError if none fits, with the differences from the nearest one, key by
    key, and if the weights contain the network more than once.
    """
    matches = []
    for arch in map(find, names()):
        matches += [_match(arch, named) for named in _complete(arch, weights)]
    alike = [each for each in matches if not each.difference]
    if not alike:
        near = nearest(weights)
        found = f"no known architecture has these weights; the nearest is {near.described}:"
        right = (
            "give the architecture with --arch: "
            "torchvision/NAME, timm/NAME or path/to/file.py:factory"
        )
        raise CheckpointError(file_name, f"{found}\n{near.difference}", right)
    prefix = _only_prefix([each.named for each in alike], file_name)
    fitting = {each.architecture.name: each for each in alike if each.named.prefix == prefix}
    best = fitting[_choose(tuple(fitting), file_name)]
    return Identified(
        best.architecture, best.num_classes, best.in_channels, best.named.weights, best.named.passed
    )


def _only_prefix(found: Sequence[Named], where: str) -> str:
    """The prefix of the network's weights; averages are ignored unless there is nothing else."""
    prefixes = list(dict.fromkeys(each.prefix for each in found))
    if "" in prefixes:
        return ""
    current = [each for each in prefixes if not is_average(each)] or prefixes
    if len(current) > 1:
        places = [each.removesuffix(".") for each in current]
        several = f"contains the network's weights {len(places)} times: under {', '.join(places)}"
        right = f"choose one: `slimmer prune … --set model.entry={places[0]}`"
        raise CheckpointError(where, several, right)
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
    """The architecture in the variant that `weights` belong to, with the classes of its last layer
    and the input channels of its first.

    If the weights have no such layers, the sizes are the architecture's defaults; loading the
    weights then reports that they do not fit. Raises ModelError for an unknown architecture, and
    CheckpointError if the weights contain the network more than once.
    """
    architecture = find(arch) if isinstance(arch, str) else arch
    forms = [architecture, *map(find, architecture.others)]
    with torch.random.fork_rng(devices=[]):  # these random weights are thrown away
        models = [build(form) for form in forms]
    taken = [by_own_names(model, weights, where) for model in models]
    strange = []
    for model, each in zip(models, taken, strict=True):
        strange.append(len(model.state_dict().keys() ^ each.weights.keys()))
    best = strange.index(min(strange))
    named = taken[best]
    return Identified(
        forms[best], *sizes(forms[best], models[best], named.weights), named.weights, named.passed
    )


def by_own_names(
    model: nn.Module, weights: Mapping[str, Tensor], where: str, *, sized: bool = False
) -> Named:
    """The weights under the network's own names; the nearest set if none is complete.

    With `sized`, sets of other shapes (a dense teacher's) are left out if one set has the network's
    own shapes. Raises CheckpointError if the weights contain the network more than once.
    """
    own, last = model.state_dict(), head(model)
    found = complete(own, weights, None if last is None else last[0])
    if not found:
        return nearest_names(own, weights)
    alike = [each for each in found if not compare(own, each.weights)]
    if sized and alike:
        found = alike
    prefix = _only_prefix(found, where)
    return next(each for each in found if each.prefix == prefix)


def nearest(weights: Mapping[str, Tensor]) -> Match:
    """The built-in architecture that shares the largest part of its keys and shapes with the
    weights.
    """
    matches = []
    for arch in map(find, names()):
        named = nearest_names(_skeleton(arch).state_dict(), weights)
        matches.append(_match(arch, named))
    return max(matches, key=lambda each: each.difference.alike)


def _complete(architecture: Architecture, weights: Mapping[str, Tensor]) -> list[Named]:
    """The complete sets of an architecture's weights, under its own names."""
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
    """A built-in architecture in its default sizes, without values; cached, because building all of
    them takes most of a second.
    """
    with torch.device("meta"):
        return build(architecture)
