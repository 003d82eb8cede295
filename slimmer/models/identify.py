"""The architecture that weights belong to, found from their keys and shapes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from slimmer.errors import CheckpointError
from slimmer.models import Architecture, build, find, names
from slimmer.models.match import Difference, compare, sizes


@dataclass(frozen=True)
class Identified:
    """The architecture that weights belong to, and the sizes they give it."""

    arch: Architecture
    num_classes: int
    in_channels: int

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

    @property
    def described(self) -> str:
        """The architecture's name, and how many of the weights' keys fit it."""
        fitting = self.difference.matched
        return f"{self.architecture.name} ({fitting} of {self.difference.given} keys fit)"


def identify(weights: Mapping[str, Tensor], file_name: str) -> Identified:
    """The architecture of ours whose keys and shapes these weights have; its sizes come from them too.

    `file_name` decides only between architectures that fit alike; it also says where an error is.
    Raises CheckpointError where none fits, with what differs from the nearest, key by key.
    """
    alike = [_match(find(name), weights) for name in names() if _has_keys(find(name), weights)]
    fitting = {each.architecture.name: each for each in alike if not each.difference}
    if not fitting:
        near = nearest(weights)
        raise CheckpointError(
            file_name,
            f"no known architecture has these weights; the nearest is {near.described}:\n{near.difference}",
            "name the architecture with --arch: torchvision/NAME, timm/NAME or path/to/file.py:factory",
        )
    best = fitting[_choose(tuple(fitting), file_name)]
    return Identified(best.architecture, best.num_classes, best.in_channels)


def _choose(fitting: tuple[str, ...], file_name: str) -> str:
    """The longest name that the file's name contains (with or without "cifar_"), else the first.

    >>> _choose(("cifar_resnet20", "resnet3", "resnet34"), "my_ResNet34_best.pth")
    'resnet34'
    """
    held = [name for name in fitting if name.removeprefix("cifar_") in file_name.lower()]
    return max(held, key=len) if held else fitting[0]


def infer_sizes(arch: str | Architecture, weights: Mapping[str, Tensor]) -> Identified:
    """That architecture, in the form that `weights` have, with the classes of its last layer and its first's channels.

    Where the weights have no such layers the sizes are the architecture's own: that they do not fit comes
    out when they are loaded. Raises ModelError for an architecture that is not known.
    """
    architecture = find(arch) if isinstance(arch, str) else arch
    forms = [architecture, *map(find, architecture.others)]
    with torch.random.fork_rng(devices=[]):  # random weights are drawn here only to be thrown away
        models = [build(form) for form in forms]
    if len(forms) > 1:
        strange = [len(model.state_dict().keys() ^ weights.keys()) for model in models]
        best = strange.index(min(strange))
        forms, models = [forms[best]], [models[best]]
    return Identified(forms[0], *sizes(forms[0], models[0], weights))


def nearest(weights: Mapping[str, Tensor]) -> Match:
    """The architecture of ours that shares the largest part of its keys and shapes with the weights."""
    return max((_match(find(name), weights) for name in names()), key=lambda each: each.difference.alike)


def _has_keys(architecture: Architecture, weights: Mapping[str, Tensor]) -> bool:
    difference = compare(_skeleton(architecture).state_dict(), weights)
    return not (difference.missing or difference.unexpected)


def _match(architecture: Architecture, weights: Mapping[str, Tensor]) -> Match:
    num_classes, in_channels = sizes(architecture, _skeleton(architecture), weights)
    with torch.device("meta"):
        sized = build(architecture, num_classes=num_classes, in_channels=in_channels)
    return Match(architecture, num_classes, in_channels, compare(sized.state_dict(), weights))


@cache
def _skeleton(architecture: Architecture) -> nn.Module:
    """An architecture of ours in its own sizes, shapes only; kept, since building all takes most of a second."""
    with torch.device("meta"):
        return build(architecture)
