"""A copy of a network that shares nothing with it."""

from copy import deepcopy
from typing import TypeVar

from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def duplicate(model: Network) -> Network:
    """A deep copy, also of modules whose hooks leave a computed weight on them (`torch.nn.utils.weight_norm`).

    PyTorch refuses to copy those, since they belong to a gradient's graph; they are computed anew at each forward, so
    the copy holds their values.

    >>> conv = nn.utils.spectral_norm(nn.Conv2d(3, 4, 3))
    >>> conv.weight.is_leaf, duplicate(conv).weight.is_leaf
    (False, True)
    """
    computed = [value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    return deepcopy(model, {id(value): value.detach().clone() for value in computed if not value.is_leaf})
