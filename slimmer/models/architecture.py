"""An architecture: a name, a factory, and its default sizes."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Architecture:
    """A network that can be built by name.

    `factory` is called with the keywords `num_classes` and `in_channels` and returns a network with
    random weights; `input_size` is the default size of an image, (channels, height, width).
    `others` are the names of variants of the same network, to which weights may also belong.
    """

    name: str
    factory: Callable[..., nn.Module]
    input_size: tuple[int, int, int]
    num_classes: int
    others: tuple[str, ...] = ()
