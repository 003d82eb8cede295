"""What an architecture is: a name, a factory, and the sizes it has unless told otherwise."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Architecture:
    """A network that can be built by name.

    `factory` is called with the keywords `num_classes` and `in_channels` and returns random
    weights; `input_size` is the image it is made for, (channels, height, width), before anyone asks
    for another. `others` are the names of the same network in other forms, of which weights may be.
    """

    name: str
    factory: Callable[..., nn.Module]
    input_size: tuple[int, int, int]
    num_classes: int
    others: tuple[str, ...] = ()
